package redis_test

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// TestSlim: a change that sets values, and the time of use, takes the server one
// command that writes values, whatever there are.
func TestSlim(t *testing.T) {
	server := service.Redis(t)
	s := open(t, redis.Config{}, server.Addr)
	id, now := signIn(t, s, newID(), "alice"), time.Now()
	before := calls(t, []string{server.Addr}, "hset", "hgetall", "zadd")
	commit(t, s, id, &session.Delta{Seen: now, Set: []session.Field{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}, {Key: "c", Value: "3"}}})
	if n := calls(t, []string{server.Addr}, "hset", "hgetall", "zadd") - before; n != 1 {
		t.Errorf("%d commands, want 1", n)
	}

	// As many as there are fit.
	var many []session.Field
	for n := range 16000 {
		many = append(many, session.Field{Key: strconv.Itoa(n), Value: strconv.Itoa(n)})
	}
	for _, n := range []int{1, 99, 100, 101, len(many)} {
		commit(t, s, id, &session.Delta{Seen: now, Set: many[:n]})
		r, err := s.Load(t.Context(), id)
		got := map[string]string{}
		for _, f := range r.Fields {
			got[f.Key] = f.Value
		}
		if err != nil || got[strconv.Itoa(n-1)] != strconv.Itoa(n-1) || len(got) != n+3 {
			t.Errorf("%d values: %d are there, %v", n, len(got), err)
		}
	}
}

// TestSlimIsTheSame: the change of TestSlim does what it does when it is made
// together with one that changes nothing, by the script for all changes.
func TestSlimIsTheSame(t *testing.T) {
	server := service.Redis(t)
	s, c := open(t, redis.Config{}, server.Addr), raws(t, server.Addr)
	now := time.Now().Truncate(time.Millisecond)
	begun := now.Add(-time.Hour)
	head := func(seen time.Time, idle time.Duration, expires, indexed time.Time) string {
		ms := int64(0)
		if !indexed.IsZero() {
			ms = indexed.UnixMilli()
		}
		return fmt.Sprintf("ID %d %d %d %d %d", begun.UnixMilli(), seen.UnixMilli(), idle.Milliseconds(), expires.UnixMilli(), ms)
	}
	far, never := now.Add(24*time.Hour), time.Time{}
	for name, test := range map[string]struct {
		head  string // "": no session
		names map[string]string
		seen  time.Time
		want  error
	}{
		"anonymous":                  {head: head(begun, 2*time.Hour, far, never), seen: now},
		"used at the same moment":    {head: head(now, time.Hour, far, never), seen: now},
		"used later":                 {head: head(now.Add(time.Minute), time.Hour, far, never), seen: now},
		"ends at the latest":         {head: head(begun, 48*time.Hour, far, never), seen: now},
		"before 1970":                {head: "ID -2 -1 3600000 " + fmt.Sprint(far.UnixMilli()) + " 0", seen: now},
		"seen before 1970":           {head: head(begun, 2*time.Hour, far, never), seen: time.UnixMilli(-5)},
		"for ever":                   {head: head(begun, 2500000*time.Hour, now.Add(2500000*time.Hour), never), seen: now},
		"listed just now":            {head: head(begun, 2*time.Hour, far, now.Add(-time.Minute)), names: map[string]string{"owner": "alice", "l:a": "b", "tag": "00000001"}, seen: now},
		"listed 5 minutes ago":       {head: head(begun, 2*time.Hour, far, now.Add(-5*time.Minute)), names: map[string]string{"owner": "alice", "l:a": "b", "tag": "00000002"}, seen: now},
		"listed long ago, no tag":    {head: head(begun, 2*time.Hour, far, begun), names: map[string]string{"owner": "alice"}, seen: now},
		"listed and has no name":     {head: head(begun, 2*time.Hour, far, begun), seen: now},
		"none":                       {want: session.ErrNotFound, seen: now},
		"a reservation":              {names: map[string]string{"pending": "ID"}, seen: now, want: session.ErrNotFound},
		"another with this handle":   {head: "OTHER 1 2 3 4 5", seen: now, want: session.ErrNotFound},
		"no number":                  {head: "ID 1 2 x 4 5", seen: now, want: session.ErrNotFound},
		"a number less":              {head: "ID 1 2 3 4", seen: now, want: session.ErrNotFound},
		"a number more":              {head: "ID 1 2 3 4 5 6", seen: now, want: session.ErrNotFound},
		"nothing after the numbers ": {head: "ID 1 2 3 4 5 ", seen: now, want: session.ErrNotFound},
		"the ID alone":               {head: "ID", seen: now, want: session.ErrNotFound},
		"a fraction":                 {head: "ID 1 2 3 4.5 5", seen: now, want: session.ErrNotFound},
	} {
		type result struct {
			err  error
			hash map[string]string
			end  int64
		}
		try := func(d session.Delta) (r result) {
			t.Helper()
			id := newID()
			key := "gatehouse:s:" + id.Handle().String()
			hash := map[string]string{"v:n": "1", "v:other": "2"}
			maps.Copy(hash, test.names)
			if test.head != "" {
				hash["head"] = test.head
			}
			other := newIDLike(id)
			replace := func(text, from, to string) string {
				if len(text) >= len(from) && text[:len(from)] == from {
					return to + text[len(from):]
				}
				return text
			}
			set := c.B().Hset().Key(key).FieldValue()
			for field, value := range hash {
				value = replace(replace(value, "ID", fmt.Sprintf("%x", id)), "OTHER", fmt.Sprintf("%x", other))
				set = set.FieldValue(field, value)
			}
			if name != "none" {
				if err := c.Do(t.Context(), set.Build()).Error(); err != nil {
					t.Fatal(err)
				}
			}
			r.err = s.Commit(t.Context(), id, &d)
			r.hash = must(c.Do(t.Context(), c.B().Hgetall().Key(key).Build()).AsStrMap())
			r.end = must(c.Do(t.Context(), c.B().Pexpiretime().Key(key).Build()).ToInt64())
			for field, value := range r.hash {
				r.hash[field] = replace(replace(value, fmt.Sprintf("%x", id), "ID"), fmt.Sprintf("%x", other), "OTHER")
			}
			if len(test.names) > 0 && test.names["tag"] == "" && r.hash["tag"] != "" {
				r.hash["tag"] = "new"
			}
			if test.want == nil && test.names != nil {
				if n := count(t, s, session.Query{Owner: "alice"}); n != 1 && name != "listed just now" {
					t.Errorf("%s: %d are listed", name, n)
				}
				_ = s.Delete(t.Context(), id)
			}
			return r
		}
		set := []session.Field{{Key: "n", Value: "3"}, {Key: "m", Value: "4"}}
		slim := try(session.Delta{Seen: test.seen, Set: set})
		all := try(session.Delta{Seen: test.seen, Set: set, Delete: []string{"absent"}})
		if !errors.Is(slim.err, test.want) || !errors.Is(all.err, test.want) {
			t.Errorf("%s: %v and %v, want %v", name, slim.err, all.err, test.want)
		}
		if fmt.Sprint(slim.hash) != fmt.Sprint(all.hash) || slim.end != all.end {
			t.Errorf("%s:\nslim %v, ends %v\nall  %v, ends %v", name, slim.hash, slim.end, all.hash, all.end)
		}
	}
}
