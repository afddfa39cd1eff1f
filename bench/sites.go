package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/securecookie"
	gorilla "github.com/gorilla/sessions"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// number is what the write of pathWrite stores: never the same twice, so that
// nobody can skip it.
var number atomic.Int64

func next() int { return int(number.Add(1)) }

// The names under which sites appear in the tables.
const (
	nameBare        = "bare handler"
	nameContext     = "bare handler and `WithContext`"
	nameByHand      = "map and mutex, by hand"
	nameOurs        = "**gatehouse**"
	nameScs         = "scs"
	nameCookie      = "gorilla/sessions, CookieStore"
	nameGorillaMem  = "gorilla/sessions, map as store"
	nameGorillaFile = "gorilla/sessions, FilesystemStore"
	nameFiberBare   = "bare fiber"
	nameFiber       = "fiber session"
)

// bareSite does what the others do but for the session: the floor.
func bareSite(withContext bool) httpSite {
	page := func(body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if withContext {
				r = r.WithContext(r.Context())
			}
			if body != "" {
				io.WriteString(w, body)
			}
			sink = r
		})
	}
	return httpSite{pathNothing: page(""), pathRead: page(payload), pathWrite: page(payload)}
}

// sink keeps the compiler from leaving work out.
var sink *http.Request

// handSite is the least that can be called a session: a cookie, a map and a
// mutex. It has no expiry, no bound, no safety beyond the mutex and nothing
// lazy, and is here as a floor, not as a proposal.
func handSite() httpSite {
	type contextKey struct{}
	type values struct {
		name string
		n    int
	}
	var mu sync.RWMutex
	sessions := map[string]values{"only": {name: payload}}
	page := func(f func(w http.ResponseWriter, r *http.Request, id string)) http.Handler {
		inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, _ := r.Context().Value(contextKey{}).(string)
			f(w, r, id)
		})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var id string
			if c, err := r.Cookie("session"); err == nil {
				id = c.Value
			}
			inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, id)))
		})
	}
	read := func(id string) string {
		mu.RLock()
		defer mu.RUnlock()
		return sessions[id].name
	}
	return httpSite{
		pathBegin: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "only"})
		}),
		pathNothing: page(func(http.ResponseWriter, *http.Request, string) {}),
		pathRead: page(func(w http.ResponseWriter, r *http.Request, id string) {
			io.WriteString(w, read(id))
		}),
		pathNumber: page(func(w http.ResponseWriter, r *http.Request, id string) {
			mu.RLock()
			defer mu.RUnlock()
			fmt.Fprint(w, sessions[id].n)
		}),
		pathWrite: page(func(w http.ResponseWriter, r *http.Request, id string) {
			name := read(id)
			mu.Lock()
			sessions[id] = values{name, next()}
			mu.Unlock()
			io.WriteString(w, name)
		}),
	}
}

var (
	ourName   = session.NewKey[string](key)
	ourNumber = session.NewKey[int]("n")
)

// ourSite is Gatehouse with the settings it has by itself.
func ourSite(hold func()) (httpSite, error) {
	m, err := session.New(session.Config{
		Store: memory.New(memory.Config{}),
		// What is refused in the promises' tests is no news.
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return ourPages(m, hold), nil
}

func ourPages(m *session.Manager, hold func()) httpSite {
	page := func(f func(w http.ResponseWriter, r *http.Request, s *session.Session)) http.Handler {
		return m.Handler(m.With(f))
	}
	return httpSite{
		pathNothing: m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})),
		pathRead: page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			v, _ := ourName.Get(s)
			io.WriteString(w, v)
		}),
		pathWrite: page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			v, _ := ourName.Get(s)
			ourNumber.Set(s, next())
			io.WriteString(w, v)
		}),
		pathNumber: page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			n, _ := ourNumber.Get(s)
			fmt.Fprint(w, n)
		}),
		pathBegin: page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			ourName.Set(s, payload)
		}),
		pathKeep: page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			hold()
			session.NewKey[string](r.FormValue("key")).Set(s, "kept")
		}),
		pathGet: page(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			v, _ := session.NewKey[string](r.FormValue("key")).Get(s)
			io.WriteString(w, v)
		}),
		pathEnd: page(func(w http.ResponseWriter, r *http.Request, s *session.Session) { s.Destroy() }),
	}
}

// scsSite is scs with the settings it has by itself, its memstore among them.
func scsSite(hold func()) httpSite { return scsPages(scs.New(), hold) }

func scsPages(m *scs.SessionManager, hold func()) httpSite {
	page := func(f http.HandlerFunc) http.Handler { return m.LoadAndSave(f) }
	return httpSite{
		pathNothing: page(func(http.ResponseWriter, *http.Request) {}),
		pathRead: page(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, m.GetString(r.Context(), key))
		}),
		pathWrite: page(func(w http.ResponseWriter, r *http.Request) {
			v := m.GetString(r.Context(), key)
			m.Put(r.Context(), "n", next())
			io.WriteString(w, v)
		}),
		pathNumber: page(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, m.GetInt(r.Context(), "n"))
		}),
		pathBegin: page(func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), key, payload) }),
		pathKeep: page(func(w http.ResponseWriter, r *http.Request) {
			hold()
			m.Put(r.Context(), r.FormValue("key"), "kept")
		}),
		pathGet: page(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, m.GetString(r.Context(), r.FormValue("key")))
		}),
		pathEnd: page(func(w http.ResponseWriter, r *http.Request) {
			if err := m.Destroy(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}),
	}
}

// secret signs gorilla's cookies; nothing is encrypted, which is its default
// and the cheaper way.
var secret = []byte("0123456789abcdef0123456789abcdef")

// gorillaSite works with any store of gorilla/sessions.
func gorillaSite(store gorilla.Store, hold func()) httpSite {
	page := func(f func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := store.Get(r, "session")
			if err == nil {
				err = f(w, r, s)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	return httpSite{
		pathNothing: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		pathRead: page(func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error {
			v, _ := s.Values[key].(string)
			_, err := io.WriteString(w, v)
			return err
		}),
		pathWrite: page(func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error {
			v, _ := s.Values[key].(string)
			s.Values["n"] = next()
			if err := s.Save(r, w); err != nil {
				return err
			}
			_, err := io.WriteString(w, v)
			return err
		}),
		pathNumber: page(func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error {
			_, err := fmt.Fprint(w, s.Values["n"])
			return err
		}),
		pathBegin: page(func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error {
			s.Values[key] = payload
			return s.Save(r, w)
		}),
		pathKeep: page(func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error {
			hold()
			s.Values[r.FormValue("key")] = "kept"
			return s.Save(r, w)
		}),
		pathGet: page(func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error {
			v, _ := s.Values[r.FormValue("key")].(string)
			_, err := io.WriteString(w, v)
			return err
		}),
		pathEnd: page(func(w http.ResponseWriter, r *http.Request, s *gorilla.Session) error {
			s.Options.MaxAge = -1
			return s.Save(r, w)
		}),
	}
}

// gorillaMemory is a store in memory for gorilla/sessions, which has none. Its
// cookie is FilesystemStore's, a signed id; the values are a copy of the map,
// which is cheaper than the encoding that stores elsewhere need, and nothing
// ever expires. It is the fastest that we know how to make it.
type gorillaMemory struct {
	codecs []securecookie.Codec
	mu     sync.RWMutex
	values map[string]map[any]any
}

func newGorillaMemory() *gorillaMemory {
	return &gorillaMemory{codecs: securecookie.CodecsFromPairs(secret), values: make(map[string]map[any]any)}
}

// Get implements [gorilla.Store].
func (s *gorillaMemory) Get(r *http.Request, name string) (*gorilla.Session, error) {
	return gorilla.GetRegistry(r).Get(s, name)
}

// New implements [gorilla.Store].
func (s *gorillaMemory) New(r *http.Request, name string) (*gorilla.Session, error) {
	v := gorilla.NewSession(s, name)
	v.Options = &gorilla.Options{Path: "/", MaxAge: 86400, HttpOnly: true, Secure: true}
	v.IsNew = true
	c, err := r.Cookie(name)
	if err != nil {
		return v, nil
	}
	if err := securecookie.DecodeMulti(name, c.Value, &v.ID, s.codecs...); err != nil {
		return v, err
	}
	s.mu.RLock()
	values, ok := s.values[v.ID]
	s.mu.RUnlock()
	if !ok {
		return v, errors.New("gorillaMemory: no such session")
	}
	v.Values, v.IsNew = maps.Clone(values), false
	return v, nil
}

// Save implements [gorilla.Store].
func (s *gorillaMemory) Save(_ *http.Request, w http.ResponseWriter, v *gorilla.Session) error {
	if v.Options.MaxAge < 0 {
		s.mu.Lock()
		delete(s.values, v.ID)
		s.mu.Unlock()
		http.SetCookie(w, gorilla.NewCookie(v.Name(), "", v.Options))
		return nil
	}
	if v.ID == "" {
		v.ID = fmt.Sprintf("%x", securecookie.GenerateRandomKey(32))
	}
	values := maps.Clone(v.Values)
	s.mu.Lock()
	s.values[v.ID] = values
	s.mu.Unlock()
	encoded, err := securecookie.EncodeMulti(v.Name(), v.ID, s.codecs...)
	if err == nil {
		http.SetCookie(w, gorilla.NewCookie(v.Name(), encoded, v.Options))
	}
	return err
}
