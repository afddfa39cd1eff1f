package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

// TestAgreements: it is known of each setting whether machines may differ in it.
func TestAgreements(t *testing.T) {
	all := names()
	for _, name := range all {
		if _, ok := agreements[name]; !ok {
			t.Errorf("it is not known whether machines may have another --%s", name)
		}
		if agreements[name] == equal && consequences[name] == "" {
			t.Errorf("what comes of another --%s?", name)
		}
		if secret := strings.HasSuffix(name, "-file") || strings.HasSuffix(name, "-key"); secret && agreements[name] != own {
			t.Errorf("--%s is announced, and is about a secret", name)
		}
	}
	for name := range agreements {
		if !slices.Contains(all, name) {
			t.Errorf("--%s is no setting", name)
		}
	}
}

// memoryBoard is a board in memory, that can be copied and lost.
type memoryBoard struct {
	mu    sync.Mutex
	texts map[string]string
	kept  []string // names that Remove leaves
	noPut error    // if not nil, what Put and Remove return
	noAll error    // if not nil, what All returns
	slow  bool     // some calls take long, by chance
}

func (b *memoryBoard) wait() {
	if b.slow && rand.N(4) == 0 {
		time.Sleep(rand.N(beatEvery / 2))
	}
}

func newBoard() *memoryBoard { return &memoryBoard{texts: make(map[string]string)} }

func (b *memoryBoard) Put(_ context.Context, name, text string) error {
	b.wait()
	defer b.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.noPut == nil {
		b.texts[name] = text
	}
	return b.noPut
}

func (b *memoryBoard) All(context.Context) (map[string]string, error) {
	b.wait()
	defer b.wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.noAll != nil {
		return nil, b.noAll
	}
	return maps.Clone(b.texts), nil
}

func (b *memoryBoard) Remove(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.noPut == nil && !slices.Contains(b.kept, name) {
		delete(b.texts, name)
	}
	return b.noPut
}

// keep lets Remove of the name do nothing, until unkeep.
func (b *memoryBoard) keep(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, name)
}

func (b *memoryBoard) unkeep(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = slices.DeleteFunc(b.kept, func(kept string) bool { return kept == name })
}

// fail lets calls fail: those that write, and those that read.
func (b *memoryBoard) fail(noPut, noAll error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noPut, b.noAll = noPut, noAll
}

func (b *memoryBoard) lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.texts)
}

func (b *memoryBoard) copied() *memoryBoard {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &memoryBoard{texts: maps.Clone(b.texts)}
}

// virtual is a machine on boards in memory; nil is a store that is not shared.
type virtual struct {
	*machines
	log  *output
	stop context.CancelFunc
	done chan struct{}
}

// on gives it the file of SQLite of another one.
func (v *virtual) on(file *virtual) *virtual {
	v.s.stores.people = file.s.stores.people
	return v
}

func newVirtual(name string, database, sessions board, change ...func(s *settings)) *virtual {
	log := new(output)
	s := &server{
		settings: settings{PublicURL: "https://app.example", SecondFactor: "optional", DifferingSettings: "refuse", Database: "gatehouse.db"},
		log:      slog.New(slog.NewTextHandler(log, nil)), stores: &stores{notes: sessions, people: new(account.Memory)},
	}
	if database != nil {
		s.Database = "postgres://gatehouse@db/gatehouse"
	}
	if sessions != nil {
		s.Sessions = "redis://cache:6379"
	}
	for _, f := range change {
		f(&s.settings)
	}
	m := s.newMachines(&listeners{port: "9000"})
	m.me.Name = name
	if database != nil {
		m.boards[databaseStore] = database
	}
	return &virtual{machines: m, log: log, done: make(chan struct{})}
}

// run joins the others, and stays.
func (v *virtual) run(ctx context.Context) error {
	ctx, v.stop = context.WithCancel(ctx)
	err := v.join(ctx)
	if err != nil {
		close(v.done)
		return err
	}
	go func() {
		defer close(v.done)
		v.stay(ctx)
	}()
	return nil
}

// end ends it as a signal does.
func (v *virtual) end() {
	v.stop()
	<-v.done
}

// kill ends it without a word.
func (v *virtual) kill() {
	for _, b := range v.boards {
		b.(*memoryBoard).keep(v.me.ID)
		defer b.(*memoryBoard).unkeep(v.me.ID)
	}
	v.end()
}

// TestJoin: a machine joins others with the same stores and settings at once and without a
// word, and none with others that live.
func TestJoin(t *testing.T) {
	for name, tt := range map[string]struct {
		run   func(t *testing.T, ctx context.Context, database, sessions *memoryBoard, first *virtual) *virtual // the second one
		says  string                                                                                            // as an error
		log   string
		soon  bool // it need not wait for anything
		later bool // both tell the log of it, when they stay
	}{
		"the same": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, sessions)
			},
		},
		"another spelling": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, sessions, func(s *settings) {
					s.Database, s.Sessions, s.PublicURL = "postgres://gatehouse@10.0.0.5/gatehouse", "redis://10.0.0.6", "https://App.example/"
				})
			},
		},
		"another Redis": {
			run: func(_ *testing.T, _ context.Context, database, _ *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, newBoard(), func(s *settings) { s.Sessions = "redis://else:6379" })
			},
			says: `one \(since [^)]*\): --sessions is "redis://else:6379" here and "redis://cache:6379" there: people are signed in on one`,
		},
		"another Redis by the same name": {
			run: func(_ *testing.T, _ context.Context, database, _ *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, newBoard())
			},
			says: `--sessions is "redis://cache:6379" on both, and leads to two different ones`,
		},
		"no Redis": {
			run: func(_ *testing.T, _ context.Context, database, _ *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, nil)
			},
			says: `--sessions is "in the database" here and "redis://cache:6379" there`,
		},
		"another database": {
			run: func(_ *testing.T, _ context.Context, _, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", newBoard(), sessions)
			},
			says: `--database is "postgres://gatehouse@db/gatehouse" on both, and leads to two different ones: each refuses`,
		},
		"a file": {
			run: func(_ *testing.T, _ context.Context, _, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", nil, sessions)
			},
			says: `--database is "gatehouse.db" here and "postgres://gatehouse@db/gatehouse" there`,
		},
		"a copy of the database": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				copied := database.copied()
				time.Sleep(2 * beatEvery)
				return newVirtual("two", copied, sessions)
			},
			says: `--database is .* on both`,
		},
		"a copy of Redis": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				copied := sessions.copied()
				time.Sleep(2 * beatEvery)
				return newVirtual("two", database, copied)
			},
			says: `--sessions is .* on both`,
		},
		"a copy of this moment": { // which the next word shows to be one
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, sessions.copied())
			},
			later: true,
		},
		"both copied": { // another site altogether
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database.copied(), sessions.copied())
			},
		},
		"another URL": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, sessions, func(s *settings) { s.PublicURL = "https://else.example" })
			},
			says: `--public-url is "https://else.example" here and "https://app.example" there: cookies, passkeys`,
		},
		"several": {
			run: func(_ *testing.T, _ context.Context, database, _ *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, newBoard(), func(s *settings) { s.PublicURL = "https://else.example" })
			},
			says: `(?s)--public-url is .*--sessions is`,
		},
		"another policy": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, sessions, func(s *settings) {
					s.SecondFactor, s.PasswordLength, s.Listen = "required", 15, "localhost:9999"
				})
			},
			log: `level=WARN msg="another machine has other settings" machine=one differences="--password-length is \\"15\\" here and \\"0\\" there; --second-factor is \\"required\\" here and \\"optional\\" there"`,
		},
		"asked for": {
			run: func(_ *testing.T, _ context.Context, database, _ *memoryBoard, _ *virtual) *virtual {
				return newVirtual("two", database, newBoard(), func(s *settings) { s.DifferingSettings = differWarn })
			},
			log:   `level=ERROR msg="another machine has other settings" machine=one differences="--sessions is`,
			later: true,
		},
		"killed": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, first *virtual) *virtual {
				first.kill()
				return newVirtual("two", database, sessions, func(s *settings) { s.PublicURL = "https://else.example" })
			},
			log: `level=INFO msg="another machine may have other settings, or have ended: looking"`,
		},
		"killed, and itself again": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, first *virtual) *virtual {
				first.kill()
				return newVirtual("one", database, sessions, func(s *settings) { s.SecondFactor = "required" })
			},
		},
		"ended": {
			run: func(_ *testing.T, _ context.Context, database, _ *memoryBoard, first *virtual) *virtual {
				first.end()
				return newVirtual("two", database, newBoard(), func(s *settings) { s.PublicURL = "https://else.example" })
			},
			soon: true,
		},
		"Redis has lost everything": {
			run: func(_ *testing.T, _ context.Context, database, sessions *memoryBoard, _ *virtual) *virtual {
				sessions.lose()
				return newVirtual("two", database, sessions)
			},
			log: `^\S+ level=INFO msg="another machine may have other settings, or have ended: looking"\n$`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				database, sessions := newBoard(), newBoard()
				first := newVirtual("one", database, sessions)
				if err := first.run(ctx); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10*beatEvery + beatEvery/3)
				second := tt.run(t, ctx, database, sessions, first)
				began := time.Now()
				err := second.run(ctx)
				took := time.Since(began)
				switch {
				case tt.says == "" && err != nil:
					t.Errorf("it does not join: %v", err)
				case tt.says != "" && (!errors.Is(err, errDiffers) || !regexp.MustCompile(tt.says).MatchString(err.Error())):
					t.Errorf("it says %v, want %s", err, tt.says)
				case tt.says != "" && took > 4*beatEvery:
					t.Errorf("it takes %v to say so", took)
				case tt.soon && took != 0:
					t.Errorf("it waits for %v", took)
				}
				log := second.log.String()
				if tt.log != "" && !regexp.MustCompile(tt.log).MatchString(log) || tt.log == "" && tt.says == "" && log != "" {
					t.Errorf("the log: %s, want %s", log, tt.log)
				}
				// What they find later, they tell once.
				before := len(first.log.String())
				time.Sleep(10 * beatEvery)
				for _, v := range []*virtual{first, second} {
					if n := strings.Count(v.log.String(), "promises are broken"); (n == 1) != tt.later || n > 1 {
						t.Errorf("%s tells %d times: %s", v.me.Name, n, v.log.String())
					}
				}
				if added := first.log.String()[before:]; added != "" && !tt.later {
					t.Errorf("the first one is told of it: %s", added)
				}
				second.stop()
				<-second.done
				first.end()
				for _, b := range []*memoryBoard{database, sessions} {
					all, _ := b.All(ctx)
					for _, text := range all {
						if !strings.Contains(name, "killed") {
							t.Errorf("left behind: %s", text)
						}
					}
				}
			})
		})
	}
}

// TestJoinTogether: of several that begin at once and have not seen each other, those that
// came first stay, and those that differ from them do not.
func TestJoinTogether(t *testing.T) {
	for round := range 100 {
		synctest.Test(t, func(t *testing.T) {
			database := newBoard()
			boards := []*memoryBoard{newBoard(), newBoard()}
			for _, b := range append(boards, database) {
				b.slow = round%2 == 1
			}
			var mu sync.Mutex
			var in []*virtual
			var wg sync.WaitGroup
			for i := range 6 {
				wg.Go(func() {
					v := newVirtual(string(rune('a'+i)), database, boards[i%2])
					v.me.Started = v.me.Started.Add(time.Duration((i+round)%5) * time.Millisecond) // or together
					switch err := v.run(t.Context()); {
					case err == nil:
						mu.Lock()
						defer mu.Unlock()
						in = append(in, v)
					case !errors.Is(err, errDiffers):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			time.Sleep(10 * beatEvery)
			if len(in) == 0 {
				t.Error("none is in")
			}
			for _, v := range in {
				if v.boards[sessionsStore] != in[0].boards[sessionsStore] {
					t.Errorf("%s and %s are in", v.me.Name, in[0].me.Name)
				}
				v.stop()
			}
			for _, v := range in {
				<-v.done
			}
		})
	}
}

// TestStay: machines that are silent for long are forgotten, data that a store loses are
// no difference, and clocks that differ are told of, once.
func TestStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database, sessions := newBoard(), newBoard()
		var all []*virtual
		for _, name := range []string{"one", "two", "three"} {
			v := newVirtual(name, database, sessions)
			if err := v.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
			time.Sleep(beatEvery / 4)
		}
		for range 5 {
			time.Sleep(3*beatEvery + beatEvery/7)
			sessions.lose()
		}
		all[2].kill()
		time.Sleep(forgetAfter + 3*beatEvery)
		for _, b := range []*memoryBoard{database, sessions} {
			if left, _ := b.All(t.Context()); len(left) != 2 {
				t.Errorf("%d machines: %v", len(left), left)
			}
		}
		for _, v := range all[:2] {
			if log := v.log.String(); log != "" {
				t.Errorf("%s says %s", v.me.Name, log)
			}
			v.end()
		}
	})
}

// TestFailingBoard: a machine serves where a store takes or gives no announcements for a
// reason that does not pass, and says so once. What it can compare, it does, and the rest
// once the store has recovered.
func TestFailingBoard(t *testing.T) {
	full := errors.New("OOM command not allowed")
	const warning, again = "machines cannot compare their settings", "machines can compare their settings again"
	for name, fails := range map[string]struct{ put, all error }{
		"full": {put: full}, "no right to read": {all: full}, "no right": {full, full},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				database, sessions := newBoard(), newBoard()
				first := newVirtual("one", database, sessions)
				if err := first.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5*beatEvery + beatEvery/3)
				sessions.fail(fails.put, fails.all)
				all := []*virtual{first}
				for _, name := range []string{"two", "three"} {
					v := newVirtual(name, database, sessions, func(s *settings) {
						if name == "three" {
							s.SecondFactor = "required"
						}
					})
					began := time.Now()
					if err := v.run(t.Context()); err != nil || time.Since(began) != 0 {
						t.Fatalf("%s joins after %v: %v", name, time.Since(began), err)
					}
					all = append(all, v)
				}
				refused := newVirtual("four", database, sessions, func(s *settings) { s.PublicURL = "https://else.example" })
				if err := refused.run(t.Context()); !errors.Is(err, errDiffers) {
					t.Errorf("the database shows that it differs: %v", err)
				}
				time.Sleep(20*beatEvery + beatEvery/3)
				sessions.fail(nil, nil)
				time.Sleep(10 * beatEvery)
				for _, v := range all {
					log, differ := v.log.String(), 0
					if v.me.Name == "three" {
						differ = 2 // from one and two, which were there before
					}
					if strings.Count(log, warning) != 1 || strings.Count(log, again) != 1 || strings.Count(log, "--second-factor is") != differ || strings.Count(log, "\n") != 2+differ {
						t.Errorf("%s: %s", v.me.Name, log)
					}
					v.end()
				}
			})
		})
	}
}

// TestFailingAlone: a machine whose only shared store can be read after it has joined says
// then how the others differ.
func TestFailingAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		database := newBoard()
		first := newVirtual("one", database, nil)
		if err := first.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		database.fail(nil, errors.New("permission denied"))
		second := newVirtual("two", database, nil, func(s *settings) {
			s.SecondFactor, s.PublicURL = "required", "https://else.example"
		})
		if err := second.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * beatEvery)
		database.fail(nil, nil)
		time.Sleep(5 * beatEvery)
		if log := second.log.String(); strings.Count(log, "--second-factor is") != 1 || strings.Count(log, "--public-url is") != 1 || strings.Count(log, "\n") != 4 {
			t.Errorf("the log: %s", log)
		}
		if log := first.log.String(); strings.Count(log, "--public-url is") != 1 || strings.Count(log, "\n") != 3 {
			t.Errorf("the log of the first one: %s", log)
		}
		second.end()
		first.end()
	})
}

// TestSameName: two machines that run under one name, as clones do, say how they differ.
// One of that name that was killed is this machine before, and is not mentioned.
func TestSameName(t *testing.T) {
	for name, killed := range map[string]bool{"running": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				database, sessions := newBoard(), newBoard()
				first := newVirtual("web:9000", database, sessions)
				if err := first.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10*beatEvery + beatEvery/3)
				if killed {
					first.kill()
				}
				second := newVirtual("web:9000", database, sessions, func(s *settings) { s.SecondFactor, s.Idle = "required", time.Minute })
				began := time.Now()
				if err := second.run(t.Context()); err != nil || time.Since(began) != 0 {
					t.Fatalf("it joins after %v: %v", time.Since(began), err)
				}
				time.Sleep(20 * beatEvery)
				log := first.log.String() + second.log.String()
				want := 1
				if killed {
					want = 0
				}
				if strings.Count(log, "--second-factor is") != want || strings.Count(log, "\n") != want {
					t.Errorf("the logs: %s", log)
				}
				second.end()
				if !killed {
					first.end()
				}
			})
		})
	}
}

// TestSilentOnce: the start waits only once for machines that do not run, and the file of
// SQLite tells which one was this machine itself.
func TestSilentOnce(t *testing.T) {
	const once = (maxRechecks - 1) * recheckEvery
	for name, tt := range map[string]struct {
		second func(first *virtual, sessions *memoryBoard) *virtual
		wait   time.Duration
		lives  bool // the first one was not killed
		fails  bool
		told   bool // later, by both
	}{
		"itself": {
			second: func(first *virtual, sessions *memoryBoard) *virtual {
				return newVirtual("one", nil, sessions).on(first)
			},
		},
		"itself, with another URL": {
			second: func(first *virtual, sessions *memoryBoard) *virtual {
				return newVirtual("one", nil, sessions, func(s *settings) { s.PublicURL = "https://else.example" }).on(first)
			},
		},
		"its name, with another file": {
			second: func(_ *virtual, sessions *memoryBoard) *virtual { return newVirtual("one", nil, sessions) },
			wait:   once,
		},
		"its file, with another name": {
			second: func(first *virtual, sessions *memoryBoard) *virtual {
				return newVirtual("two", nil, sessions).on(first)
			},
			wait: once,
		},
		"a copy of its file": {
			second: func(first *virtual, sessions *memoryBoard) *virtual {
				return newVirtual("two", nil, sessions).on(first)
			},
			lives: true, fails: true,
		},
		"a clone, with its name and a copy of its file": {
			second: func(first *virtual, sessions *memoryBoard) *virtual {
				return newVirtual("one", nil, sessions).on(first)
			},
			lives: true, told: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sessions := newBoard()
				first := newVirtual("one", nil, sessions)
				if err := first.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10*beatEvery + beatEvery/3)
				if !tt.lives {
					first.kill()
				}
				second := tt.second(first, sessions)
				began := time.Now()
				err := second.run(t.Context())
				took := time.Since(began)
				if tt.fails != errors.Is(err, errDiffers) || !tt.fails && (err != nil || took != tt.wait) {
					t.Fatalf("it joins after %v: %v", took, err)
				}
				waits := 0
				if tt.wait > 0 {
					waits = 1
				}
				if log := second.log.String(); !tt.fails && strings.Count(log, "\n") != waits {
					t.Errorf("the log: %s", log)
				}
				time.Sleep(10 * beatEvery)
				for _, v := range []*virtual{first, second} {
					if n := strings.Count(v.log.String(), "promises are broken"); (n == 1) != tt.told || n > 1 {
						t.Errorf("it tells %d times: %s", n, v.log.String())
					}
				}
				second.stop()
				<-second.done
				if tt.lives {
					first.end()
				}
			})
		})
	}
}

// TestClocksOfMachines: a clock that differs is told of by those who see it, in one line.
func TestClocksOfMachines(t *testing.T) {
	for by, want := range map[time.Duration]string{
		0: "", time.Second: "", -time.Second: "",
		45 * time.Second:  `^\S+ level=WARN msg="another machine's clock is more than 10s ahead of this one's" machine=two\n$`,
		-45 * time.Second: `^\S+ level=WARN msg="another machine's clock is more than 10s behind this one's" machine=two\n$`,
		2 * time.Minute:   `^\S+ level=ERROR msg="another machine's clock is more than 1m0s ahead of this one's: [^"]*" machine=two\n$`,
		-2 * time.Minute:  `^\S+ level=ERROR msg="another machine's clock is more than 1m0s behind this one's: [^"]*" machine=two\n$`,
	} {
		synctest.Test(t, func(t *testing.T) {
			database := newBoard()
			one := newVirtual("one", database, nil)
			if err := one.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			two := newVirtual("two", &shifted{database, by}, nil)
			if err := two.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20*beatEvery + beatEvery/2)
			if log := one.log.String(); want == "" && log != "" || !regexp.MustCompile(want).MatchString(log) {
				t.Errorf("%v: %s", by, log)
			}
			one.end()
			two.end()
		})
	}
}

// shifted is a board as it is written by a machine whose clock differs.
type shifted struct {
	*memoryBoard
	by time.Duration
}

var timeField = regexp.MustCompile(`"time":"([^"]*)"`)

func (b *shifted) Put(ctx context.Context, name, text string) error {
	at, err := time.Parse(time.RFC3339Nano, timeField.FindStringSubmatch(text)[1])
	if err != nil {
		return err
	}
	return b.memoryBoard.Put(ctx, name, timeField.ReplaceAllString(text, `"time":"`+at.Add(b.by).Format(time.RFC3339Nano)+`"`))
}

// TestServeDiffers: real machines with other stores, on real servers. One that is refused
// does no harm, neither to the others nor to who is signed in there.
func TestServeDiffers(t *testing.T) {
	pg, otherPG, redis, otherRedis := service.Postgres(t), service.Postgres(t), service.Redis(t), service.Redis(t)
	listen := "localhost:" + freePort(t)
	public := "http://" + listen
	base := []string{"--metrics=off", "--database=" + pg.URL(), "--sessions=redis://" + redis.Addr, "--public-url=" + public}
	first := serving(t, t.TempDir(), append(base, "--listen="+listen)...)
	v := visitor.New(t, public)
	v.Open(first.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")

	_, port, err := net.SplitHostPort(redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Host = "localhost:" + u.Port()
	start := func(args []string) *child {
		return launched(t, gatehouse(t, append(append([]string{"serve", "--captcha=off", "--listen=127.0.0.1:0"}, base...), args...)...))
	}
	end := func(name string, c *child) {
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if status := c.ends(t); status != 0 {
			t.Errorf("%s: status %d: %s", name, status, c.said.String())
		}
	}
	var wg sync.WaitGroup
	for name, tt := range map[string]struct {
		args []string
		says string // when it ends; it stays otherwise
	}{
		"the same":                 {},
		"the same, by other names": {args: []string{"--database=" + u.String(), "--sessions=redis://localhost:" + port}},
		"another Redis": {
			args: []string{"--sessions=redis://" + otherRedis.Addr},
			says: `--sessions is "redis://` + otherRedis.Addr + `" here and "redis://` + redis.Addr + `" there`,
		},
		"another database of Redis": {args: []string{"--sessions=redis://" + redis.Addr + "/1"}, says: `--sessions is "redis://` + redis.Addr + `/1" here`},
		"no Redis":                  {args: []string{"--sessions="}, says: `--sessions is "in the database" here`},
		"another database":          {args: []string{"--database=" + otherPG.URL()}, says: `--database is "` + otherPG.URL() + `" here`},
		"a file":                    {args: []string{"--database=gatehouse.db"}, says: `--database is "gatehouse.db" here`},
		"another URL":               {args: []string{"--public-url=https://else.example"}, says: `--public-url is "https://else.example" here and "` + public + `" there`},
	} {
		wg.Go(func() {
			c := start(tt.args)
			if tt.says != "" {
				status := c.ends(t)
				said := c.said.String()
				if _, after, ok := strings.Cut(said, "gatehouse: other machines have other settings"); status != 1 || !ok || !strings.Contains(after, tt.says) {
					t.Errorf("%s: status %d: %s", name, status, said)
				}
				return
			}
			c.awaitSite(t)
			end(name, c)
			if said := c.said.String(); strings.Contains(said, "level=WARN") || strings.Contains(said, "level=ERROR") {
				t.Errorf("%s: %s", name, said)
			}
		})
	}
	wg.Wait()
	// Those that join all the same, one after the other: each would warn of the others.
	for _, tt := range []struct{ arg, log string }{
		{"--second-factor=required", `level=WARN .*--second-factor is .*required.* here and .*optional.* there`},
		{"--sessions=redis://" + otherRedis.Addr + "/1", `level=ERROR .*--sessions is`},
	} {
		c := start([]string{tt.arg, "--differing-settings=warn"})
		c.awaitSite(t)
		c.says(t, tt.log)
		end(tt.arg, c)
	}
	v.Open("/manager").Shows("/manager", "alex", "This device")
	// None has left anything behind but the one that is there.
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first.ends(t)
	pool, err := (&server{settings: settings{Database: pg.URL()}, log: slog.New(slog.DiscardHandler)}).openDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left, err := (records{pool.people}).All(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Ended, the machines may all have others.
	c := serving(t, t.TempDir(), "--listen=127.0.0.1:0", "--metrics=off", "--database="+pg.URL(), "--sessions=redis://"+otherRedis.Addr, "--public-url=https://else.example")
	if said := c.said.String(); strings.Contains(said, "level=") {
		t.Errorf("it says %s", said)
	}
}

// TestRecords: what machines leave among the records of people is no person.
func TestRecords(t *testing.T) {
	store := new(account.Memory)
	r := records{store}
	people, err := account.New(account.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b"} {
		if err := r.Put(t.Context(), "one", text); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := r.All(t.Context()); err != nil || !maps.Equal(all, map[string]string{"one": "b"}) {
		t.Errorf("%v, %v", all, err)
	}
	for p, err := range people.List(t.Context(), "") {
		t.Errorf("%+v, %v", p, err)
	}
	for range 2 {
		if err := r.Remove(t.Context(), "one"); err != nil {
			t.Error(err)
		}
	}
	if all, err := r.All(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}
