package main

import (
	"bytes"
	"context"
	"image"
	_ "image/gif"
	_ "image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Everybody must do the work: a comparison with somebody who does nothing, or
// refuses, is worth nothing.

func TestSites(t *testing.T) {
	vs, err := rivals()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		t.Run(v.name, func(t *testing.T) {
			if a := v.site.answer(pathNothing, ""); a.code != http.StatusOK || a.body != "" {
				t.Errorf("nothing: %+v", a)
			}
			var cookie string
			if !v.bare {
				if cookie, err = begin(v.site); err != nil {
					t.Fatal(err)
				}
			}
			a := v.site.answer(pathRead, cookie)
			if a.code != http.StatusOK || a.body != payload {
				t.Errorf("read: %+v", a)
			}
			a = v.site.answer(pathWrite, cookie)
			if a.code != http.StatusOK || a.body != payload {
				t.Errorf("write: %+v", a)
			}
			if !v.bare {
				if a.cookie != "" {
					cookie = a.cookie
				}
				want := strconv.FormatInt(number.Load(), 10)
				if a := v.site.answer(pathNumber, cookie); a.body != want {
					t.Errorf("write stored %q, not %s", a.body, want)
				}
			}
			v.site.repeat(pathRead, cookie, payload, 3)
			v.site.repeat(pathWrite, cookie, payload, 3)
			if v.bare || v.name == nameByHand {
				return
			}
			// Without its cookie there is nothing to read; what is set is kept.
			if a := v.site.answer(pathRead, ""); a.body != "" {
				t.Errorf("read without a cookie: %+v", a)
			}
			if a := v.site.answer(pathKeep+"?key=k", cookie); a.code != http.StatusOK {
				t.Errorf("keep: %+v", a)
			} else if a.cookie != "" {
				cookie = a.cookie
			}
			if a := v.site.answer(pathGet+"?key=k", cookie); a.body != "kept" {
				t.Errorf("get: %+v", a)
			}
			if a := v.site.answer(pathEnd, cookie); a.code != http.StatusOK || !a.gone {
				t.Errorf("end: %+v", a)
			}
		})
	}
}

func TestPromises(t *testing.T) {
	for _, p := range promisedSites(t.TempDir()) {
		kept, succeeded, err := keptKeys(p)
		if err != nil {
			t.Fatal(err)
		}
		rev, err := revives(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d of %d kept, %d succeeded, %+v", p.name, kept, writers, succeeded, rev)
		if p.name == nameOurs && (kept != writers || succeeded != writers || rev != revival{code: http.StatusConflict}) {
			t.Errorf("ours breaks its promises: %d kept, %d succeeded, %+v", kept, succeeded, rev)
		}
	}
}

func TestGuards(t *testing.T) {
	gs, err := guards()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gs {
		t.Run(g.name, func(t *testing.T) {
			repeat(g.handler, []*http.Request{g.post}, len("done"), 3)

			// Each refuses what it is there for: a POST of another site, and
			// one without its token.
			protects := g.over != "" && g.name != guardSession
			evil := g.post.Clone(context.Background())
			evil.Header.Set("Sec-Fetch-Site", "cross-site")
			evil.Header.Set("Origin", "https://attacker.example")
			evil.Header.Del("X-Csrf-Token")
			w := &discard{header: make(http.Header)}
			g.handler.ServeHTTP(w, evil)
			if w.failed != protects {
				t.Errorf("a POST of another site: refused %v, want %v", w.failed, protects)
			}
			if g.post.Header.Get("X-Csrf-Token") == "" {
				return
			}
			bare := g.post.Clone(context.Background())
			bare.Header.Del("X-Csrf-Token")
			w = &discard{header: make(http.Header)}
			g.handler.ServeHTTP(w, bare)
			if !w.failed {
				t.Error("a POST without the token: not refused")
			}
		})
	}
}

func TestPainters(t *testing.T) {
	ps, err := painters()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		first, err := p.draw(nil, 1)
		if err != nil {
			t.Fatal(p.name, err)
		}
		second, err := p.draw(nil, 2)
		if err != nil || bytes.Equal(first, second) {
			t.Errorf("%s: two pictures are the same (%v)", p.name, err)
		}
		m, _, err := image.Decode(bytes.NewReader(first))
		if err != nil || m.Bounds().Dx() != pictureWidth || m.Bounds().Dy() != pictureHeight {
			t.Errorf("%s: not a picture of %d by %d: %v", p.name, pictureWidth, pictureHeight, err)
		}
	}
}

func TestHeap(t *testing.T) {
	for _, who := range []string{heapOurs, heapVaried, heapScs, heapMap} {
		h, err := heapOf(who, 20_000)
		if err != nil || h.Alloc < 100 || h.Alloc > 2000 || h.GC <= 0 {
			t.Errorf("%s: %+v, %v", who, h, err)
		}
	}
}

func TestReadFor(t *testing.T) {
	s, err := ourSite(func() {})
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := begin(s)
	if err != nil {
		t.Fatal(err)
	}
	l := readFor(s, []string{cookie}, time.Millisecond, 50*time.Millisecond)
	if l.Reads == 0 || l.Max < l.P999 || l.P999 < l.P50 || l.P50 <= 0 {
		t.Errorf("%+v", l)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 3}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(test.in); got != test.want {
			t.Errorf("median(%v) = %v", test.in, got)
		}
	}
}

func TestReport(t *testing.T) {
	r := &report{live: io.Discard}
	r.head([]string{"-quick"}, quick)
	r.atMost("speed", 1.004, 1, times, "other 7")
	r.atLeast("promise", 63, 64, count, "")
	r.foot()
	name := filepath.Join(t.TempDir(), "out.md")
	notes := filepath.Join(t.TempDir(), "notes.md")
	if err := os.WriteFile(notes, []byte("## Notes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.write(name, notes); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`go run . -quick`", "| speed | ≤ 1.00 | 1.00 | met | other 7 |", "| promise | ≥ 64 | 63 | **missed** |  |", "\n\n## Notes\n",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in:\n%s", want, b)
		}
	}
}

// BenchmarkSessions is for profiles: go test -bench Sessions/read/gatehouse
// -cpuprofile cpu.out. For figures run the command.
func BenchmarkSessions(b *testing.B) {
	layBallast()
	for _, op := range []struct{ path, want string }{{pathNothing, ""}, {pathRead, payload}, {pathWrite, payload}} {
		vs, err := rivals()
		if err != nil {
			b.Fatal(err)
		}
		for _, v := range vs {
			b.Run(op.path[1:]+"/"+strings.Trim(v.name, "*"), func(b *testing.B) {
				c, err := contenderFor(v, op.path, op.want)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				c.run(b.N)
			})
		}
	}
}
