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

	"github.com/seed-64ad3862/gatehouse/session"
)

const (
	// maxBody bounds what a request may bring.
	maxBody = 4 << 20

	// callTime bounds a call, and how long a listing waits for who reads it.
	callTime = 30 * time.Second
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
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), callTime)
			defer cancel()
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(callTime))
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			answer, err := call(r.WithContext(ctx))
			var body []byte
			if err == nil {
				body, err = json.Marshal(answer)
			}
			status := http.StatusOK
			if err != nil {
				answer, status = errorToWire(err)
				body, _ = json.Marshal(answer) // two strings
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write(append(body, '\n')) // or the client has gone
		})
	}
	mux.HandleFunc("GET /v1/sessions", func(w http.ResponseWriter, r *http.Request) { stream(w, s.serveList(r)) })
	mux.HandleFunc("POST /v1/sweep", func(w http.ResponseWriter, r *http.Request) { stream(w, s.Sweep(r.Context())) })
	return mux
}

// stream writes a record on each line. If it ends with an error, that is the last
// line, unless it is the only one and still can be the answer's status.
func stream(w http.ResponseWriter, records iter.Seq2[session.Record, error]) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	controller := http.NewResponseController(w)
	n := 0
	for r, err := range records {
		if n%listStep == 0 {
			_ = controller.SetWriteDeadline(time.Now().Add(callTime))
		}
		var line []byte
		if err == nil {
			line, err = json.Marshal(toWire(&r))
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
		Owner:  values.Get("owner"),
		Label:  session.Label{Name: values.Get("label"), Value: values.Get("value")},
		All:    values.Get("all") == "true",
		Fields: values.Get("fields") == "true",
	}
	if named := q.Owner != "" || q.Label.Name != ""; q.All == named || (q.Label.Name == "") != (q.Label.Value == "") {
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

func (s *Store) serveCommit(r *http.Request) (any, error) {
	id, err := s.address(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	d, err := decodeDelta(body)
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
	until, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("until"))
	if err != nil {
		return nil, fmt.Errorf("%w: until: %w", errRequest, err)
	}
	first, err := s.Spend(r.Context(), id, until)
	return wireSpent{Spent: true, First: first}, err
}
