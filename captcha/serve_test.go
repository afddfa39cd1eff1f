package captcha_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
)

func TestServe(t *testing.T) {
	c := newCaptcha(t, captcha.Config{Keys: [][]byte{keyA}})
	id := c.Issue(scope)
	spent := c.Issue(scope)
	c.Verify(t.Context(), spent, scope, "")
	foreign := newCaptcha(t, captcha.Config{}).Issue(scope)
	for _, tt := range []struct {
		method, path string
		status       int
		header       string // one that must be there
		value        string
	}{
		{"GET", "/captcha/" + id + ".txt", 200, "Content-Type", "text/x-answer"},
		{"GET", "/" + id + ".txt", 200, "Content-Length", "37"},
		{"GET", id + ".txt", 200, "Content-Length", "37"}, // after http.StripPrefix
		{"HEAD", "/captcha/" + id + ".txt", 200, "Content-Length", "37"},
		{"POST", "/captcha/" + id + ".txt", 405, "Allow", "GET, HEAD"},
		{"DELETE", "/captcha/x.txt", 405, "Allow", "GET, HEAD"},
		{"GET", "/captcha/" + id + ".gif", 404, "", ""},
		{"GET", "/captcha/" + id + ".", 404, "", ""},
		{"GET", "/captcha/" + id + ".txt.txt", 404, "", ""},
		{"GET", "/captcha/.txt", 404, "", ""},
		{"GET", "/captcha/" + foreign + ".txt", 404, "", ""},
		{"GET", "/captcha/" + spent + ".txt", 410, "", ""},
		{"POST", "/captcha/" + id, 200, "Content-Type", "application/json"},
		{"POST", "/captcha/" + spent, 200, "Content-Type", "application/json"},
		{"POST", "/captcha/" + foreign, 404, "", ""},
		{"POST", "/captcha/", 404, "", ""},
		{"GET", "/captcha/" + id, 405, "Allow", "POST"},
		{"GET", "/captcha/", 405, "Allow", "POST"},
	} {
		r := httptest.NewRequest(tt.method, "/", nil)
		r.URL.Path = tt.path
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.status)
		}
		if tt.header != "" && w.Header().Get(tt.header) != tt.value {
			t.Errorf("%s %s: %s is %q", tt.method, tt.path, tt.header, w.Header().Get(tt.header))
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: header %v", tt.method, tt.path, w.Header())
		}
	}
}

// HEAD over a real connection has the length and no body.
func TestHead(t *testing.T) {
	c := newCaptcha(t, captcha.Config{})
	srv := httptest.NewServer(c)
	defer srv.Close()
	resp, err := http.Head(srv.URL + "/" + c.Issue(scope) + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) != 0 || resp.ContentLength != 37 {
		t.Errorf("%d bytes, length %d, %v", len(body), resp.ContentLength, err)
	}
}

// A visitor gets as many new challenges as he likes, for his session only, and
// even when the old one is too old.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaptcha(t, captcha.Config{})
		id := c.Issue(scope)
		for range 3 {
			time.Sleep(10 * time.Minute)
			w := httptest.NewRecorder()
			c.ServeHTTP(w, httptest.NewRequest("POST", "/captcha/"+id, nil))
			var got struct {
				ID        string `json:"id"`
				ExpiresIn int    `json:"expires_in"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got.ID == id || got.ExpiresIn != 300 || w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len()) {
				t.Errorf("got %+v, %v", got, w.Header())
			}
			id = got.ID
		}
		answer := read(t, c, id)
		if err := c.Verify(t.Context(), id, captcha.Scope{Purpose: "sign-in", Session: "bob"}, answer); !errors.Is(err, captcha.ErrUnknown) {
			t.Errorf("in another session: %v", err)
		}
		if err := c.Verify(t.Context(), id, scope, answer); err != nil {
			t.Error(err)
		}
	})
}

type tooMany time.Duration

func (tooMany) Error() string               { return "too many" }
func (e tooMany) RetryAfter() time.Duration { return time.Duration(e) }

func TestAllow(t *testing.T) {
	for _, tt := range []struct {
		err   error
		after string
	}{
		{tooMany(90 * time.Second), "90"},
		{fmt.Errorf("network: %w", tooMany(1500*time.Millisecond)), "2"},
		{tooMany(-time.Second), "1"},
		{errors.New("no"), ""},
	} {
		drawn := false
		c, err := captcha.New(captcha.Config{
			Forms: map[string]captcha.Renderer{"txt": form(func() error { drawn = true; return nil })},
			Allow: func(*http.Request) error { return tt.err },
		})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest("GET", "/"+c.Issue(scope)+".txt", nil))
		if w.Code != 429 || w.Header().Get("Retry-After") != tt.after || drawn {
			t.Errorf("%v: %d, Retry-After %q, drawn: %v", tt.err, w.Code, w.Header().Get("Retry-After"), drawn)
		}
	}
}

// form is a form whose drawing is a function.
type form func() error

func (form) MediaType() string { return "text/plain" }

func (f form) Append(dst []byte, _ string, _ [32]byte) ([]byte, error) { return append(dst, 'x'), f() }

func TestDraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := make(chan struct{})
		c, err := captcha.New(captcha.Config{
			Forms: map[string]captcha.Renderer{"txt": form(func() error { <-busy; return nil })},
			Draws: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		id := c.Issue(scope)
		codes := make(chan int, 3)
		for range 2 {
			go func() {
				code, _ := get(c, id)
				codes <- code
			}()
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest("GET", "/"+id+".txt", nil))
		if w.Code != 503 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("a third: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
		// Who waits only for a moment gets a turn.
		go func() {
			code, _ := get(c, id)
			codes <- code
		}()
		time.Sleep(10 * time.Millisecond)
		close(busy)
		for range 3 {
			if code := <-codes; code != 200 {
				t.Errorf("got %d", code)
			}
		}
	})
}

// A form that fails costs the visitor a 500, and nobody else anything.
func TestFormFails(t *testing.T) {
	fail := errors.New("cannot draw K7MPY")
	var events []captcha.Event
	c, err := captcha.New(captcha.Config{
		Forms:   map[string]captcha.Renderer{"txt": form(func() error { return fail })},
		Draws:   1,
		Observe: func(e captcha.Event) { events = append(events, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	id := c.Issue(scope)
	for range 3 {
		if code, body := get(c, id); code != 500 || body != "Internal Server Error\n" {
			t.Errorf("%d %q", code, body)
		}
	}
	fail = nil
	if code, body := get(c, id); code != 200 || body != "x" {
		t.Errorf("afterwards: %d %q", code, body)
	}
	want := []captcha.Event{captcha.Issued, captcha.Failed, captcha.Failed, captcha.Failed}
	if !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
}

// reader is a Once that fails to tell what is spent.
type reader struct{ store }

func (reader) Spent(context.Context, [16]byte) (bool, error) { return false, errDown }

func TestSpentFails(t *testing.T) {
	c := newCaptcha(t, captcha.Config{Once: &reader{}})
	if code, _ := get(c, c.Issue(scope)); code != 503 {
		t.Errorf("store down: %d", code)
	}
	// A Once without the method is not asked.
	c = newCaptcha(t, captcha.Config{Once: &store{down: true}})
	if code, _ := get(c, c.Issue(scope)); code != 200 {
		t.Errorf("store that cannot be asked: %d", code)
	}
}
