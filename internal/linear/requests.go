package linear

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// The fields that requests use: one is set, one is handed out once, one counts.
const (
	setField = iota
	onceField
	countField
)

var keys = [len(fieldKeys)]session.Key[int]{
	session.NewKey[int](fieldKeys[0]), session.NewKey[int](fieldKeys[1]), session.NewKey[int](fieldKeys[2]),
}

// A reply is the body of an answer.
type reply struct {
	Exists  bool             // the request had a session that is stored
	Owner   string           `json:",omitempty"`
	Fields  [len(keys)]int   // 0: absent
	Value   int              // of Update and Consume
	Taken   bool             // by Consume
	Moved   bool             // by SetOwner: the session that there was has a new identifier
	Handles []session.Handle `json:",omitempty"`
}

type renewedKey struct{}

// Observe is the [session.Config] Observe of a site. From it the handler knows
// whether a sign-in moved the session or began one, and says so: this is part of
// what is checked.
func Observe(ctx context.Context, e session.Event) {
	if renewed, ok := ctx.Value(renewedKey{}).(*bool); ok && e.Kind == session.Renewed {
		*renewed = true
	}
}

// Handler answers the requests of histories. Each uses one of the package
// session's promises:
//
//	POST /get      the session's owner and fields
//	POST /set      Set a field to a value
//	POST /update   Update the counter, and answer with it
//	POST /consume  Consume a field, and answer with it
//	POST /renew    Renew
//	POST /signin   SetOwner
//	POST /signout  Destroy
//	POST /end      Manager.End of a handle
//	POST /endall   Manager.EndAll of an owner
//	POST /list     Manager.List of an owner
func Handler(m *session.Manager) http.Handler {
	mux := http.NewServeMux()
	for path, f := range map[string]func(s *session.Session, r *http.Request, a *reply) error{
		"get": func(s *session.Session, _ *http.Request, a *reply) error {
			a.Owner = s.Owner()
			for i := range keys {
				a.Fields[i], _ = keys[i].Get(s)
			}
			return nil
		},
		"set": func(s *session.Session, r *http.Request, _ *reply) error {
			field, _ := strconv.Atoi(r.FormValue("field"))
			value, err := strconv.Atoi(r.FormValue("value"))
			keys[field].Set(s, value)
			return err
		},
		"update": func(s *session.Session, r *http.Request, a *reply) error {
			return keys[countField].Update(r.Context(), s, func(n int) int {
				a.Value = n + 1
				return a.Value
			})
		},
		"consume": func(s *session.Session, r *http.Request, a *reply) (err error) {
			a.Value, a.Taken, err = keys[onceField].Consume(r.Context(), s)
			return err
		},
		"renew": func(s *session.Session, _ *http.Request, _ *reply) error {
			s.Renew()
			return nil
		},
		"signin": func(s *session.Session, r *http.Request, a *reply) error {
			s.SetOwner(r.FormValue("owner"))
			err := s.Commit(r.Context())
			a.Moved = *r.Context().Value(renewedKey{}).(*bool)
			return err
		},
		"signout": func(s *session.Session, _ *http.Request, _ *reply) error {
			s.Destroy()
			return nil
		},
	} {
		mux.Handle("POST /"+path, m.Handler(m.With(func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			a := reply{Exists: s.Exists()}
			if err := f(s, r, &a); err != nil {
				m.Error(w, r, err)
				return
			}
			_ = json.NewEncoder(w).Encode(&a)
		})))
	}
	for path, f := range map[string]func(r *http.Request, a *reply) error{
		"end": func(r *http.Request, _ *reply) error {
			handle, err := session.ParseHandle(r.FormValue("handle"))
			if err != nil {
				return err
			}
			return m.End(r.Context(), handle)
		},
		"endall": func(r *http.Request, _ *reply) error {
			_, err := m.EndAll(r.Context(), session.Query{Owner: r.FormValue("owner")})
			return err
		},
		"list": func(r *http.Request, a *reply) error {
			for info, err := range m.List(r.Context(), session.Query{Owner: r.FormValue("owner")}) {
				if err != nil {
					return err
				}
				a.Handles = append(a.Handles, info.Handle)
			}
			return nil
		},
	} {
		mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) {
			a := reply{}
			switch err := f(r, &a); {
			case errors.Is(err, session.ErrNotFound):
				w.WriteHeader(http.StatusNotFound)
			case err != nil:
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				_ = json.NewEncoder(w).Encode(&a)
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), renewedKey{}, new(bool))))
	})
}

// Here is a [Site] in this process, whose requests do not go through a network.
func Here(m *session.Manager) Site { return Site{"http://here", here{Handler(m)}} }

type here struct{ http.Handler }

func (h here) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// A cookie is a session's identifier, as a browser has it.
type cookie struct {
	line   string
	handle session.Handle
	born   time.Duration // when the request was sent that it is the answer to
	known  time.Duration // when that was answered
	proven bool          // it needs no record: see session.Config.Keys
	owned  bool          // by the history's owner: a session that gets one gets another cookie
}

// newRecord returns the number of a session's record.
func (h *history) newRecord(call time.Duration, c *http.Cookie, owned bool) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := session.ID(sha256.Sum256([]byte(c.Value)))
	h.cookies = append(h.cookies, cookie{
		line: c.Name + "=" + c.Value, handle: id.Handle(), born: call, known: h.now(), proven: c.Value[0] == '~', owned: owned,
	})
	h.records++
	return h.records - 1
}

// someCookie returns one of the identifiers, mostly a new one, or none: then id is
// -1.
func (h *history) someCookie(rng *rand.Rand) (id int, c cookie) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := rng.IntN(20)
	for id = len(h.cookies) - 1; id >= 0; id-- {
		if n < 14 || n > 14 && rng.IntN(3) == 0 {
			return id, h.cookies[id]
		}
	}
	return -1, cookie{}
}

// A siteClient sends requests, one after the other.
type siteClient struct {
	*history
	number  int
	process int
	site    Site
	rng     *rand.Rand
	weights []int
	owner   string
	written int
	cancels bool
	gaveUp  bool
}

// useSites makes a history at the level of requests.
func (h *history) useSites() {
	rng := rand.New(rand.NewPCG(h.seed, 3))
	weights := make([]int, len(requests))
	for i := range weights {
		weights[i] = [...]int{0, 1, 4, 10}[rng.IntN(4)]
		if i >= aboutAll {
			weights[i] = min(weights[i], 1)
		}
	}
	salt := randomID().Handle().String()
	cancels := h.target.Cancel && rng.IntN(4) == 0
	clients := 2 + rng.IntN(5)
	client := func(i int) *siteClient {
		process := i % len(h.target.Sites)
		return &siteClient{
			history: h, number: i, process: process, site: h.target.Sites[process],
			rng: rand.New(rand.NewPCG(h.seed, uint64(10+i))), weights: weights, owner: "owner " + salt, cancels: cancels,
		}
	}
	client(clients).set(-1, cookie{}) // the session that most of it is about
	side(clients, func(i int) {
		c := client(i)
		h.call(c.rng, clients, c.next)
	})
	h.spread()
}

var requests = [...]func(c *siteClient, id int, with cookie){
	(*siteClient).get, (*siteClient).set, (*siteClient).update, (*siteClient).consume, (*siteClient).renew,
	(*siteClient).signIn, (*siteClient).signOut, (*siteClient).end, (*siteClient).endAll, (*siteClient).list,
}

// aboutAll is the first of the requests that are about all sessions of the owner.
// They are rare, since each is as many steps.
const aboutAll = 8

// next sends one request, and reports whether its outcome is unknown.
func (c *siteClient) next() (gaveUp bool) {
	c.gaveUp = false
	n := 5 // get and set, so that there is something
	for _, w := range c.weights {
		n += w
	}
	n = c.rng.IntN(n)
	id, with := c.someCookie(c.rng)
	request := requests[n%2]
	for i, w := range c.weights {
		if n -= w; n < 0 {
			request = requests[i]
			break
		}
	}
	request(c, id, with)
	return c.gaveUp
}

// An answer is what a client was told.
type answer struct {
	status int // 0: nothing
	cookie *http.Cookie
	reply
}

// ask sends a request with the cookie of a record, unless id is -1.
func (c *siteClient) ask(path string, with cookie, form url.Values) (call time.Duration, a answer) {
	ctx, cancel := context.WithTimeout(c.ctx, bounded)
	defer cancel()
	if c.cancels && c.rng.IntN(5) == 0 && c.unknown() < doubtful {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.rng.IntN(2000))*time.Microsecond)
		defer cancel()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.site.URL+"/"+path+"?"+form.Encode(), http.NoBody)
	if err != nil {
		panic(err)
	}
	if with.line != "" {
		r.Header.Set("Cookie", with.line)
	}
	call = c.now()
	res, err := c.site.Transport.RoundTrip(r)
	if err == nil {
		defer res.Body.Close()
		var body []byte
		if body, err = io.ReadAll(res.Body); err == nil {
			a.status = res.StatusCode
			for _, set := range res.Cookies() {
				a.cookie = set
			}
			if a.status == http.StatusOK {
				err = json.Unmarshal(body, &a.reply)
			}
		}
	}
	if err != nil {
		a = answer{}
	}
	switch a.status {
	case 0, http.StatusServiceUnavailable:
		if len(c.target.Breaks) == 0 && ctx.Err() == nil {
			c.failed("client %d: %s: status %d, %v, while the store is well", c.number, path, a.status, err)
		}
		c.gaveUp = true
		a.status = 0
	case http.StatusOK, http.StatusConflict, http.StatusNotFound:
	default:
		c.failed("client %d: %s: status %d", c.number, path, a.status)
	}
	return call, a
}

// note adds a step that has returned.
func (c *siteClient) note(call time.Duration, s step) {
	s.client, s.call = c.number, call
	c.add(c.process, &s)
}

// noteOf is note of what a request did to the session of its cookie.
func (c *siteClient) noteOf(with cookie, call time.Duration, s step) {
	s.proven = with.proven
	c.note(call, s)
}

// absent notes that there is no session, if the request had a cookie.
func (c *siteClient) absent(call time.Duration, id int) {
	if id >= 0 {
		c.note(call, step{kind: see, id: id, to: -1})
	}
}

// present notes that there is a session as it was loaded.
func (c *siteClient) present(with cookie, call time.Duration, after mask, s step) {
	s.kind, s.to, s.found = see, -1, true
	s.call = call
	c.loaded(&s, after)
	c.noteOf(with, s.call, s)
}

// changing sends a request that changes a session by the delta, or begins one with
// what it sets where there is none.
func (c *siteClient) changing(path string, id int, with cookie, form url.Values, d func(a *answer) *session.Delta) {
	after := c.mustSee(c.process, id)
	call, a := c.ask(path, with, form)
	switch {
	case a.status == 0:
		if id >= 0 {
			c.noteOf(with, call, step{kind: commit, id: id, to: -1, delta: d(&a), outcome: unknown})
		}
	case a.status == http.StatusConflict:
		c.endedMeanwhile(with, call, after, id)
	case a.cookie != nil && a.cookie.Value != "":
		c.absent(call, id)
		c.note(call, step{kind: commit, id: c.newRecord(call, a.cookie, false), to: -1, delta: created(d(&a))})
	case id < 0:
		c.failed("client %d: %s without a cookie gets none", c.number, path)
	default:
		c.noteOf(with, call, step{kind: commit, id: id, to: -1, delta: d(&a)})
	}
}

// created makes a creation of a change. The clocks of sessions are not visible
// here: they never end by themselves.
func created(d *session.Delta) *session.Delta {
	own := *d
	own.Create, own.Rename, own.If = true, session.ID{}, nil
	own.Seen, own.Idle, own.Expires = time.Unix(0, 0), 250*365*24*time.Hour, time.UnixMilli(1<<50)
	return &own
}

// emptySession is one that holds nothing.
var emptySession = record{}.apply(created(&session.Delta{}))

// endedMeanwhile notes that the session was there when it was loaded, and ended
// before it was changed.
func (c *siteClient) endedMeanwhile(with cookie, call time.Duration, after mask, id int) {
	if id < 0 {
		c.failed("client %d: without a session it is told that it has ended", c.number)
		return
	}
	c.present(with, call, after, step{id: id, detail: presence})
	c.absent(call, id)
}

func (c *siteClient) get(id int, with cookie) {
	after := c.mustSee(c.process, id)
	call, a := c.ask("get", with, nil)
	switch {
	case a.status == 0:
	case a.cookie != nil:
		c.failed("client %d: reading sets a cookie", c.number)
	case !a.Exists:
		c.absent(call, id)
	case id < 0:
		c.failed("client %d: there is a session without a cookie", c.number)
	default:
		r := record{owner: a.Owner}
		for i, n := range a.Fields {
			if n != 0 {
				r.fields[i] = strconv.Itoa(n)
			}
		}
		c.present(with, call, after, step{id: id, record: r, detail: values})
	}
}

func (c *siteClient) set(id int, with cookie) {
	c.written++
	field, value := c.rng.IntN(2), strconv.Itoa(1000*(c.number+1)+c.written)
	c.changing("set", id, with, url.Values{"field": {strconv.Itoa(field)}, "value": {value}}, func(*answer) *session.Delta {
		return &session.Delta{Set: []session.Field{{Key: fieldKeys[field], Value: value}}}
	})
}

func (c *siteClient) update(id int, with cookie) {
	after := c.mustSee(c.process, id)
	call, a := c.ask("update", with, nil)
	count := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	key := fieldKeys[countField]
	d := &session.Delta{Set: []session.Field{{Key: key, Value: count(a.Value)}}, If: []session.Field{{Key: key, Value: count(a.Value - 1)}}}
	switch {
	case a.status == 0:
		if id >= 0 {
			c.noteOf(with, call, step{kind: increment, id: id, to: -1, key: countField, outcome: unknown})
		}
	case a.status == http.StatusConflict:
		c.endedMeanwhile(with, call, after, id)
	case a.cookie != nil:
		if a.Value != 1 {
			c.failed("client %d: in a new session the count is %d", c.number, a.Value)
		}
		c.absent(call, id)
		c.note(call, step{kind: commit, id: c.newRecord(call, a.cookie, false), to: -1, delta: created(d)})
	case id < 0:
		c.failed("client %d: no cookie after Update", c.number)
	default:
		c.noteOf(with, call, step{kind: commit, id: id, to: -1, delta: d})
	}
}

func (c *siteClient) consume(id int, with cookie) {
	after := c.mustSee(c.process, id)
	call, a := c.ask("consume", with, nil)
	d := &session.Delta{Delete: []string{fieldKeys[onceField]}}
	switch {
	case a.status == 0:
		if id >= 0 {
			c.noteOf(with, call, step{kind: commit, id: id, to: -1, delta: d, outcome: unknown})
		}
	case a.status == http.StatusConflict:
		c.endedMeanwhile(with, call, after, id)
	case a.Taken && id < 0:
		c.failed("client %d: Consume without a session", c.number)
	case a.Taken:
		d.If = []session.Field{{Key: fieldKeys[onceField], Value: strconv.Itoa(a.Value)}}
		c.noteOf(with, call, step{kind: commit, id: id, to: -1, delta: d})
	case a.Exists && id >= 0:
		c.present(with, call, after, step{id: id, detail: without, key: onceField})
	default:
		c.absent(call, id)
	}
}

// moving sends a request that gives the session a new identifier.
func (c *siteClient) moving(path string, id int, with cookie, form url.Values, owned bool, d *session.Delta) {
	after := c.mustSee(c.process, id)
	call, a := c.ask(path, with, form)
	switch {
	case a.status == 0:
		// Under which identifier it goes on is never known: it is gone.
		if id >= 0 {
			c.noteOf(with, call, step{kind: remove, id: id, to: -1, outcome: unknown})
		}
	case a.status == http.StatusConflict:
		c.endedMeanwhile(with, call, after, id)
	case a.cookie == nil:
		if path == "signin" {
			c.failed("client %d: a sign-in sets no cookie", c.number)
		}
		c.absent(call, id)
	case path == "signin" && !a.Moved:
		c.absent(call, id)
		c.note(call, step{kind: commit, id: c.newRecord(call, a.cookie, owned), to: -1, delta: created(d)})
	case id < 0:
		c.failed("client %d: %s moves a session without one", c.number, path)
	default:
		c.noteOf(with, call, step{kind: commit, id: id, to: c.newRecord(call, a.cookie, owned), delta: d})
	}
}

func (c *siteClient) renew(id int, with cookie) {
	c.moving("renew", id, with, nil, with.owned, &session.Delta{})
}

func (c *siteClient) signIn(id int, with cookie) {
	c.moving("signin", id, with, url.Values{"owner": {c.owner}}, true, &session.Delta{Owner: &c.owner})
}

func (c *siteClient) signOut(id int, with cookie) {
	after := c.mustSee(c.process, id)
	call, a := c.ask("signout", with, nil)
	switch {
	case a.status == 0:
		if id >= 0 {
			c.noteOf(with, call, step{kind: remove, id: id, to: -1, outcome: unknown})
		}
	case a.status == http.StatusConflict:
		c.endedMeanwhile(with, call, after, id)
	case a.cookie == nil:
		c.absent(call, id)
	case id < 0:
		c.failed("client %d: signing out without a session sets a cookie", c.number)
	default:
		c.noteOf(with, call, step{kind: remove, id: id, to: -1})
	}
}

func (c *siteClient) end(id int, with cookie) {
	if id < 0 {
		return
	}
	call, a := c.ask("end", cookie{}, url.Values{"handle": {with.handle.String()}})
	switch a.status {
	case 0:
		c.note(call, step{kind: remove, id: id, to: -1, outcome: unknown})
	case http.StatusNotFound:
		c.absent(call, id)
	default:
		c.note(call, step{kind: remove, id: id, to: -1})
	}
}

// everywhere is the record of a step that is about all of them: what requests
// list or end is known when the history has ended.
const everywhere = -1

func (c *siteClient) endAll(int, cookie) {
	call, a := c.ask("endall", cookie{}, url.Values{"owner": {c.owner}})
	s := step{kind: purge, id: everywhere, to: -1, owner: c.owner}
	if a.status == 0 {
		s.outcome = unknown
	}
	c.note(call, s)
}

func (c *siteClient) list(int, cookie) {
	call, a := c.ask("list", cookie{}, url.Values{"owner": {c.owner}})
	if a.status != 0 {
		c.note(call, step{kind: see, id: everywhere, to: -1, detail: presence, query: &session.Query{Owner: c.owner}, handles: a.Handles})
	}
}

// spread makes a step for each record of those that are about all of them. EndAll
// is not atomic: of sessions that are renewed meanwhile some may escape.
//
// It leaves out steps that are possible whatever else happened, since they would
// only take time: those about a record that began later, or was dead before, and
// those about one that another step is known to have ended, if there was a moment
// before it began or after it ended.
func (h *history) spread() {
	// An identifier that was found dead stays so.
	dead, ends := make([]time.Duration, h.records), make([]time.Duration, h.records)
	for i := range dead {
		dead[i], ends[i] = never, never
	}
	for _, s := range h.steps {
		ended := s.outcome == done && (s.kind == remove || s.to >= 0)
		if ended {
			ends[s.id] = s.call
		}
		if ended || s.id >= 0 && s.kind == see && !s.found {
			dead[s.id] = min(dead[s.id], s.ret)
		}
	}
	possible := func(s *step, id int, c cookie) bool {
		return !c.owned || c.born > s.ret || dead[id] < s.call || ends[id] != never && (ends[id] <= s.ret || s.call <= c.known)
	}
	steps := h.steps
	h.steps = nil
	for _, s := range steps {
		if s.id != everywhere {
			h.steps = append(h.steps, s)
			continue
		}
		for id, c := range h.cookies {
			times := 0
			for _, handle := range s.handles {
				if handle == c.handle {
					times++
					found := *s
					found.id, found.found = id, true
					h.steps = append(h.steps, &found)
				}
			}
			if s.kind == see && times == 1 || possible(s, id, c) {
				continue
			}
			one := *s
			one.id = id
			h.steps = append(h.steps, &one)
		}
	}
}
