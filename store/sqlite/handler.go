package sqlite

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/session"
)

const (
	// maxBody bounds what a request may bring.
	maxBody = 4 << 20

	// callTime bounds a call, and how long a listing waits for who reads it.
	callTime = 30 * time.Second

	// streamStep is how many lines of a listing have that time.
	streamStep = 32
)

// handler serves the store to the commands; the package's documentation
// describes it.
func handler(s *Store) http.Handler {
	mux := http.NewServeMux()
	for pattern, call := range map[string]func(*http.Request) (any, error){
		"GET /v1/sessions/{id}":    s.serveFind,
		"POST /v1/sessions/{id}":   s.serveCommit,
		"DELETE /v1/sessions/{id}": s.serveDelete,
		"GET /v1/spent/{id}":       s.serveSpent,
		"POST /v1/spent/{id}":      s.serveSpend,
		"GET /v1/account":          s.serveGet,
		"POST /v1/account":         s.servePut,
		"DELETE /v1/account":       s.serveDeleteAccount,
		"POST /v1/log":             s.serveAppend,
		"POST /v1/throttle":        s.serveThrottle,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), callTime)
			defer cancel()
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(callTime))
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			respond(w, r.WithContext(ctx), call)
		})
	}
	// These take as long as there is something to do, and end when the client goes.
	mux.HandleFunc("GET /v1/sessions", func(w http.ResponseWriter, r *http.Request) { stream(w, s.serveList(r), toWire) })
	mux.HandleFunc("POST /v1/sweep", func(w http.ResponseWriter, r *http.Request) { stream(w, s.Sweep(r.Context()), toWire) })
	mux.HandleFunc("GET /v1/accounts", func(w http.ResponseWriter, r *http.Request) { stream(w, s.serveAccounts(r), foundToWire) })
	mux.HandleFunc("GET /v1/log", func(w http.ResponseWriter, r *http.Request) {
		stream(w, s.serveEntries(r), func(e *account.Entry) *account.Entry { return e })
	})
	mux.HandleFunc("DELETE /v1/log", func(w http.ResponseWriter, r *http.Request) { respond(w, r, s.serveTrim) })
	return mux
}

// respond writes what call answers.
func respond(w http.ResponseWriter, r *http.Request, call func(*http.Request) (any, error)) {
	answer, err := call(r)
	var body []byte
	if err == nil {
		body, err = json.Marshal(answer)
	}
	status := http.StatusOK
	if err != nil {
		answer, status = errorToWire(err)
		body, _ = json.Marshal(answer) // strings
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // or the client has gone
}

// stream writes what toWire makes of each item on a line. If it ends with an error,
// that is the last line, unless it is the only one and still can be the answer's
// status.
func stream[T, W any](w http.ResponseWriter, items iter.Seq2[T, error], toWire func(*T) W) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	controller := http.NewResponseController(w)
	n := 0
	for item, err := range items {
		if n%streamStep == 0 {
			_ = controller.SetWriteDeadline(time.Now().Add(callTime))
		}
		var line []byte
		if err == nil {
			line, err = json.Marshal(toWire(&item))
		}
		if err != nil {
			answer, status := errorToWire(err)
			if n == 0 {
				w.WriteHeader(status)
			}
			_ = json.NewEncoder(w).Encode(answer)
			return
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return // the client has gone
		}
		n++
	}
}

func (s *Store) serveList(r *http.Request) iter.Seq2[session.Record, error] {
	values := r.URL.Query()
	q := session.Query{
		Owner:    values.Get("owner"),
		Label:    session.Label{Name: values.Get("label"), Value: values.Get("value")},
		All:      values.Get("all") == "true",
		SignedIn: values.Get("signed-in") == "true",
		Fields:   values.Get("fields") == "true",
	}
	if named := q.Owner != "" || q.SignedIn || q.Label.Name != ""; q.All == named || (q.Label.Name == "") != (q.Label.Value == "") {
		return func(yield func(session.Record, error) bool) { yield(session.Record{}, session.ErrQuery) }
	}
	return s.List(r.Context(), q)
}

// address returns the ID of the session that the path names by its ID or its
// handle.
func (s *Store) address(r *http.Request) (id session.ID, err error) {
	name := r.PathValue("id")
	if len(name) == hex.EncodedLen(len(id)) {
		return id, parseHex(id[:], name)
	}
	h, err := session.ParseHandle(name)
	if err != nil {
		return id, fmt.Errorf("%w: neither an ID nor a handle: %w", errRequest, err)
	}
	rec, err := s.Find(r.Context(), h)
	return rec.ID, err
}

func (s *Store) serveFind(r *http.Request) (any, error) {
	id, err := s.address(r)
	if err != nil {
		return nil, err
	}
	rec, err := s.Load(r.Context(), id)
	return toWire(&rec), err
}

func decodeBody[T any](r *http.Request, decode func([]byte) (T, error)) (T, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var none T
		return none, fmt.Errorf("%w: %w", errRequest, err)
	}
	return decode(body)
}

func (s *Store) serveCommit(r *http.Request) (any, error) {
	id, err := s.address(r)
	if err != nil {
		return nil, err
	}
	d, err := decodeBody(r, decodeDelta)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.Commit(r.Context(), id, d)
}

func (s *Store) serveDelete(r *http.Request) (any, error) {
	id, err := s.address(r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.Delete(r.Context(), id)
}

func (s *Store) serveSpent(r *http.Request) (any, error) {
	var id [16]byte
	if err := parseHex(id[:], r.PathValue("id")); err != nil {
		return nil, err
	}
	spent, err := s.Spent(r.Context(), id)
	return wireSpent{Spent: spent}, err
}

func (s *Store) serveSpend(r *http.Request) (any, error) {
	var id [16]byte
	if err := parseHex(id[:], r.PathValue("id")); err != nil {
		return nil, err
	}
	until, err := parseTime("until", r.URL.Query().Get("until"))
	if err != nil {
		return nil, err
	}
	first, err := s.Spend(r.Context(), id, until)
	return wireSpent{Spent: true, First: first}, err
}

func (s *Store) serveGet(r *http.Request) (any, error) {
	rec, err := s.Accounts().Get(r.Context(), r.URL.Query().Get("key"))
	return accountToWire(&rec), err
}

func (s *Store) servePut(r *http.Request) (any, error) {
	rec, err := decodeBody(r, decodeAccount)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.Accounts().Put(r.Context(), rec)
}

func (s *Store) serveDeleteAccount(r *http.Request) (any, error) {
	values := r.URL.Query()
	version, err := parseNumber("version", values.Get("version"))
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.Accounts().Delete(r.Context(), values.Get("id"), version)
}

func (s *Store) serveAccounts(r *http.Request) iter.Seq2[account.Found, error] {
	values := r.URL.Query()
	return s.Accounts().List(r.Context(), values.Get("prefix"), values.Get("after"))
}

func (s *Store) serveAppend(r *http.Request) (any, error) {
	e, err := decodeBody(r, decodeEntry)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.Accounts().Append(r.Context(), e)
}

func (s *Store) serveEntries(r *http.Request) iter.Seq2[account.Entry, error] {
	q, err := parseLogQuery(r.URL.Query())
	if err != nil {
		return func(yield func(account.Entry, error) bool) { yield(account.Entry{}, err) }
	}
	return s.Accounts().Entries(r.Context(), q)
}

func (s *Store) serveTrim(r *http.Request) (any, error) {
	before, err := parseTime("before", r.URL.Query().Get("before"))
	if err != nil {
		return nil, err
	}
	n, err := s.Accounts().Trim(r.Context(), before)
	return wireTrimmed{n}, err
}
