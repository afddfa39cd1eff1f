package session_test

import (
	"net/http"
	"testing"

	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// discard is an answer that costs nothing, so that the session's own cost shows.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func benchmark(b *testing.B, f func(m *session.Manager, r *http.Request)) {
	m, err := session.New(session.Config{Store: memory.New(memory.Config{})})
	if err != nil {
		b.Fatal(err)
	}
	w := &discard{http.Header{}}
	r, _ := http.NewRequest("GET", "/", nil)
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s, _ := m.Load(r.Context())
		name.Set(s, "alex")
		count.Set(s, 1)
	})).ServeHTTP(w, r)
	resp := http.Response{Header: w.h}
	for _, c := range resp.Cookies() {
		r.AddCookie(c)
	}
	h := m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { f(m, r) }))
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		h.ServeHTTP(w, r)
	}
}

func BenchmarkUntouched(b *testing.B) {
	benchmark(b, func(*session.Manager, *http.Request) {})
}

func BenchmarkRead(b *testing.B) {
	benchmark(b, func(m *session.Manager, r *http.Request) {
		s, err := m.Load(r.Context())
		if v, ok := name.Get(s); err != nil || !ok || v != "alex" {
			b.Fatal(v, ok, err)
		}
	})
}

func BenchmarkReadWrite(b *testing.B) {
	n := 0
	benchmark(b, func(m *session.Manager, r *http.Request) {
		s, err := m.Load(r.Context())
		if _, ok := name.Get(s); err != nil || !ok {
			b.Fatal(ok, err)
		}
		n++
		count.Set(s, n)
	})
}

func BenchmarkFloor(b *testing.B) {
	w := &discard{http.Header{}}
	r, _ := http.NewRequest("GET", "/", nil)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {})
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r.WithContext(r.Context()))
	}
}
