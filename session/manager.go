package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
	"github.com/seed-64ad3862/gatehouse/internal/outage"
)

// Errors of [Manager] and [Session]. Those of [Store] pass through, wrapped.
var (
	// ErrEnded says that the session ended, or got another identifier, while
	// the request was under way. What the request changed is not stored.
	ErrEnded = errors.New("session: ended while the request was under way")
	// ErrHeaderSent says that a change needs a cookie to be set and that the
	// header of the answer has gone. The change is not stored.
	ErrHeaderSent = errors.New("session: the header has been sent, the cookie cannot be set any more")
	// ErrValue says that a value cannot be stored: it does not encode as JSON,
	// or an owner or label is too long.
	ErrValue = errors.New("session: not a value that can be stored")
	// ErrTooLarge says that the values of a session exceed [Config.MaxBytes].
	ErrTooLarge = errors.New("session: values too large")
	// ErrRefused is what a handler gets that writes a body after its answer
	// has been replaced by an error page.
	ErrRefused = errors.New("session: the answer was replaced because the session could not be stored")
)

// Config configures a [Manager]. Only Store is required; every other zero value
// is the secure one.
type Config struct {
	Store Store

	// Insecure is for development over plain HTTP: the cookie has neither the
	// prefix __Host- nor the attribute Secure. Browsers keep no Secure cookie from
	// an http:// origin, but for localhost, and Safari not even from there.
	Insecure bool

	// Name is the cookie's name without prefix, "session" if empty.
	Name string

	// SameSite is Lax if zero. None needs https.
	SameSite http.SameSite

	// Persistent gives the cookie a Max-Age, so that it outlives the browser.
	// NIST SP 800-63B-4 section 5.1.1 advises against it.
	Persistent bool

	// FormerNames are full names that the cookie had before, such as "session"
	// for a site that has gone from Insecure to https. A request without a session
	// under the cookie's present name is read under these, and its session gets a
	// new identifier under the present name. For one to two minutes the former
	// identifier still leads to the new one, for requests that the browser sent
	// before it had the new cookie, and then to nothing; a sign-in, Renew or
	// sign-out ends that at once. Where several machines share a store, that needs
	// Keys. A name without a prefix lets others plant a cookie, as Insecure does:
	// give it for as long as old sessions last.
	FormerNames []string

	// Partitioned gives the cookie the attribute of this name (CHIPS): where the
	// site is embedded in others, each of them has a session of its own. That
	// needs SameSite None too. Browsers keep a cookie with it apart from one
	// without, and send both: to switch it on or off, change Name as well, and give
	// the present one as a former name.
	Partitioned bool

	// Keys, if any, keep those who only look out of the store: an anonymous
	// session that holds no value has no record, and its identifier is proven by
	// a MAC with the first key. The others verify too, so that keys can change.
	// Each is 32 random bytes or more, the same on all machines and kept while
	// sessions are: without its key, a page that is open loses its forms' tokens.
	Keys [][]byte

	// Idle and Absolute are the two clocks: 30 minutes and 24 hours if zero.
	// [Session.SetTimeouts] changes them for one session until its next sign-in.
	Idle, Absolute time.Duration

	// MaxIdle and MaxAbsolute are the most that SetTimeouts may ask for: Idle and
	// Absolute if zero. They bound sessions that exist, too: one that was made
	// under longer times ends by these.
	MaxIdle, MaxAbsolute time.Duration

	// Timeout bounds each call to the store but for listings, 5 seconds if
	// zero. A store that does not heed its context is not bounded.
	Timeout time.Duration

	// MaxBytes bounds the keys and values of one session, 64 KiB if zero, so
	// that what a visitor can make an application store has an end. Each
	// request looks at its own changes: several at once may exceed it by what
	// they set, and what exceeds it may still shrink.
	MaxBytes int

	// Error answers a request whose session could not be loaded or stored.
	// Whatever the handler had put into the header, but for security headers,
	// has been taken out, and what was there before it is as it was. If nil,
	// [Error] answers.
	Error func(w http.ResponseWriter, r *http.Request, err error)

	// Observe, unless nil, is called for each [Event], on the goroutine of the
	// request and concurrently. It must neither block nor use the request's
	// session.
	Observe func(ctx context.Context, e Event)

	// Logger gets what nobody else may notice: a failing store, a change that
	// came too late, a value that does not decode. Its handler must not use
	// the request's session. Lines that clients can cause are counted when they
	// repeat, see [Manager.FlushLog]; Observe gets each. [slog.Default] if nil.
	Logger *slog.Logger
}

// A Manager gives requests their sessions. It may be used concurrently, and
// needs no closing; [Manager.FlushLog] is for the end of the program.
type Manager struct {
	cfg    Config
	store  Store
	lister Lister // nil if the store is none
	cookie cookie

	outage outage.Outage
	lines  logtext.Limiter

	anonymous  *anonymousKeys // nil: every session has a record
	formerKeys [][]byte       // of identifiers that follow from former ones

	sweeper   Sweeper // nil if the store is none
	sweepAt   atomic.Int64
	sweeping  atomic.Bool
	touched   [256]atomic.Uint64
	touchStep time.Duration
}

// sweepEvery is how often a Sweeper is called while there are requests.
const sweepEvery = time.Minute

// New returns a Manager, or says what is wrong with the Config.
func New(cfg Config) (*Manager, error) {
	if cfg.Store == nil {
		return nil, errors.New("session: Config.Store is needed; memory.New makes one")
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"Idle", &cfg.Idle, 30 * time.Minute},
		{"Absolute", &cfg.Absolute, 24 * time.Hour},
		{"Timeout", &cfg.Timeout, 5 * time.Second},
		{"MaxIdle", &cfg.MaxIdle, 0},
		{"MaxAbsolute", &cfg.MaxAbsolute, 0},
	} {
		if *d.value < 0 {
			return nil, fmt.Errorf("session: Config.%s is negative: %v", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	cfg.MaxIdle, cfg.MaxAbsolute = cmp.Or(cfg.MaxIdle, cfg.Idle), cmp.Or(cfg.MaxAbsolute, cfg.Absolute)
	if cfg.MaxIdle < cfg.Idle || cfg.MaxAbsolute < cfg.Absolute {
		return nil, fmt.Errorf("session: Config.MaxIdle %v and MaxAbsolute %v are less than Idle %v and Absolute %v",
			cfg.MaxIdle, cfg.MaxAbsolute, cfg.Idle, cfg.Absolute)
	}
	if cfg.MaxBytes < 0 {
		return nil, fmt.Errorf("session: Config.MaxBytes is negative: %d", cfg.MaxBytes)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 10
	}
	if cfg.Error == nil {
		cfg.Error = Error
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	m := &Manager{cfg: cfg, store: cfg.Store, touchStep: time.Minute}
	var err error
	if m.cookie, err = newCookie(cfg); err != nil {
		return nil, err
	}
	if m.anonymous, err = newAnonymousKeys(cfg, m.cookie.name); err != nil {
		return nil, err
	}
	m.formerKeys = newFormerKeys(cfg)
	// Asked once: what a store can do does not change.
	m.lister, _ = cfg.Store.(Lister)
	m.sweeper, _ = cfg.Store.(Sweeper)
	m.sweepAt.Store(time.Now().Add(sweepEvery).UnixNano())
	return m, nil
}

// Error is the answer to a request whose session could not be loaded or stored:
// 409 Conflict if the session ended meanwhile, 503 Service Unavailable if the
// store failed or is full, 500 if the handler stored what cannot be stored. The
// client learns nothing else.
func Error(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case errors.Is(err, ErrEnded):
		http.Error(w, "The session has ended. Load the page again.", http.StatusConflict)
	case errors.Is(err, ErrValue), errors.Is(err, ErrTooLarge), errors.Is(err, ErrHeaderSent):
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
	}
}

// Handler returns the middleware: inside next, [Manager.Load] works. Inside
// another Handler of the same Manager it does nothing.
//
// When next panics, what was not committed before is not stored, and what was
// is: its cookie goes out with the answer of a handler outside that recovers. A
// panic that something inside next recovers from is none here: inside of that,
// [Manager.DiscardOnPanic] sees it. A panic after the answer had to be replaced by an error
// page ends here and goes to the log, or the client would not get the page; so
// does the [http.ErrAbortHandler] of a handler that could not write, as
// [net/http/httputil.ReverseProxy].
//
// [http.TimeoutHandler] belongs inside. When its time is over, nothing of the
// handler is stored that was not committed before. For that, a handler inside it
// takes its session from its own request, by [Manager.Load] or [Manager.With]: a
// *Session that middleware outside has loaded and handed on says nothing of the
// time. An answer of 503 Service Unavailable after the deadline of a context that
// the session was loaded with counts as the TimeoutHandler's; a handler that means
// it calls [Session.Commit] before. From outside it may drop the answer, and the
// cookie with it, to a request that has just got another identifier.
func (m *Manager) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(contextKey{m}) != nil {
			next.ServeHTTP(w, r)
			return
		}
		x := &exchange{m: m}
		x.ctx = requestContext{r.Context(), x}
		x.w.rw, x.w.x, x.w.outer = w, x, fieldsOf(w.Header())
		x.r = r.WithContext(&x.ctx)
		returned := false
		defer func() {
			switch {
			case returned:
			case !x.w.whole:
				x.w.panicked()
			default:
				if problem := recover(); problem != nil && problem != any(http.ErrAbortHandler) { //nolint:errorlint // as net/http does
					const text = "session: the handler panicked after an error page had replaced its answer"
					m.lines.Log(r.Context(), m.cfg.Logger, slog.LevelError, text, text,
						slog.String("panic", logtext.Cut(fmt.Sprint(problem), maxError)), slog.String("stack", logtext.Cut(string(debug.Stack()), maxStack)))
				}
			}
		}()
		next.ServeHTTP(&x.w, x.r)
		x.w.end()
		returned = true
	})
}

// With returns a handler that loads the session for f, and answers with
// [Config.Error] if that fails. What f has not committed when it panics is dropped,
// whatever recovers from it.
func (m *Manager) With(f func(w http.ResponseWriter, r *http.Request, s *Session)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := m.Load(r.Context())
		if err != nil {
			m.Error(w, r, err)
			return
		}
		m.DiscardOnPanic(r.Context(), func() { f(w, r, s) })
	})
}

// Error answers with [Config.Error], for a handler whose [Manager.Load] failed.
func (m *Manager) Error(w http.ResponseWriter, r *http.Request, err error) {
	m.cfg.Error(w, r, err)
}

// Load returns the request's session. The first call in a request reads the
// store; the others return the same Session, or the same error. Where the
// request has no session, or names one that does not exist, the Session is
// empty and the first Set begins one.
//
// An error is the store's. Load panics if the context is not from inside
// [Manager.Handler].
func (m *Manager) Load(ctx context.Context) (*Session, error) {
	x, ok := ctx.Value(contextKey{m}).(*exchange)
	if !ok {
		panic("session: Load outside of Manager.Handler: wrap the handler with it")
	}
	return x.load(ctx)
}

// LoadPassive is Load for a request that does not show that the user is there,
// such as one of a page that asks for news by itself: it does not keep the
// session from being idle, whether it reads or changes something, unless it
// signs in.
func (m *Manager) LoadPassive(ctx context.Context) (*Session, error) {
	s, err := m.Load(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passive = true
	return s, nil
}

// DiscardOnPanic calls f and, if f panics, calls [Manager.Discard]. The panic goes
// on. It is for middleware inside of a recoverer that is inside of
// [Manager.Handler], as a framework's own are where Handler is around all of it.
// That the recoverer calls Discard is not enough: some let certain panics pass
// unseen, such as Gin's those of broken connections.
func (m *Manager) DiscardOnPanic(ctx context.Context, f func()) {
	returned := false
	defer func() {
		if !returned {
			m.Discard(ctx)
		}
	}()
	f()
	returned = true
}

// Discard drops what the request has changed in its session and not committed,
// if it has loaded it: [Session.Discard] for middleware.
func (m *Manager) Discard(ctx context.Context) {
	if x, ok := ctx.Value(contextKey{m}).(*exchange); ok {
		if s := x.s.Load(); s != nil {
			s.Discard()
		}
	}
}

// limit lowers the record's times to what is configured, and reports whether they
// exceeded it.
func (m *Manager) limit(r *Record) (lowered bool) {
	if r.Idle > m.cfg.MaxIdle {
		r.Idle, lowered = m.cfg.MaxIdle, true
	}
	if last := r.Created.Add(m.cfg.MaxAbsolute); last.Before(r.Expires) {
		r.Expires, lowered = last, true
	}
	return lowered
}

// Info describes a session to those who watch over it.
type Info struct {
	Handle   Handle
	Owner    string // empty: nobody is signed in
	Labels   []Label
	Created  time.Time
	Seen     time.Time // to the minute
	Deadline time.Time // when it ends if nothing more happens
	Fields   []Field   // if the query asked for them; see [Key.From]
}

func info(r *Record) Info {
	return Info{r.ID.Handle(), r.Owner, r.Labels, r.Created, r.Seen, r.Deadline(), r.Fields}
}

// List yields the sessions that the query selects, in no particular order. An
// error, which ends the listing, is [ErrQuery], the store's, or
// [errors.ErrUnsupported] if the store cannot list.
func (m *Manager) List(ctx context.Context, q Query) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for r, err := range m.list(ctx, q) {
			if err != nil {
				yield(Info{}, fmt.Errorf("session: list: %w", err))
				return
			}
			if m.limit(&r) && !time.Now().Before(r.Deadline()) {
				continue
			}
			if !yield(info(&r), nil) {
				return
			}
		}
	}
}

func (m *Manager) list(ctx context.Context, q Query) iter.Seq2[Record, error] {
	err := q.validate()
	if err == nil && m.lister == nil {
		err = errors.ErrUnsupported
	}
	if err != nil {
		return func(yield func(Record, error) bool) { yield(Record{}, err) }
	}
	return m.lister.List(ctx, q)
}

// Find returns the session with this handle and its values, or [ErrNotFound].
func (m *Manager) Find(ctx context.Context, h Handle) (Info, error) {
	r, err := m.find(ctx, h)
	if err != nil {
		return Info{}, err
	}
	if m.limit(&r) && !time.Now().Before(r.Deadline()) {
		return Info{}, fmt.Errorf("session: find %v: %w", h, ErrNotFound)
	}
	return info(&r), nil
}

func (m *Manager) find(ctx context.Context, h Handle) (Record, error) {
	if m.lister == nil {
		return Record{}, fmt.Errorf("session: find %v: %w", h, errors.ErrUnsupported)
	}
	bounded := bound(ctx, m.cfg.Timeout)
	defer bounded.stop()
	r, err := m.lister.Find(bounded, h)
	if ctx.Err() == nil {
		m.noted(ctx, bounded.start, err)
	}
	if err != nil {
		return Record{}, fmt.Errorf("session: find %v: %w", h, err)
	}
	return r, nil
}

// End ends the session with this handle at once, also for requests that are
// under way: they cannot store anything in it any more. It answers
// [ErrNotFound] if there is none, or none any more under this handle: one that
// is renewed gets another.
func (m *Manager) End(ctx context.Context, h Handle) error {
	r, err := m.find(ctx, h)
	if err != nil {
		return err
	}
	return m.end(ctx, &r, Revoked)
}

func (m *Manager) end(ctx context.Context, r *Record, reason Reason) error {
	bounded := bound(ctx, m.cfg.Timeout)
	defer bounded.stop()
	err := m.store.Delete(bounded, r.ID)
	if ctx.Err() == nil {
		m.noted(ctx, bounded.start, err)
	}
	if err != nil {
		return fmt.Errorf("session: end %v: %w", r.ID.Handle(), err)
	}
	m.observe(ctx, Event{Kind: Ended, Reason: reason, Handle: r.ID.Handle(), Owner: r.Owner})
	return nil
}

// EndAll ends every session that the query selects, save those excepted, and
// returns how many. With an error some may have ended.
//
// It looks twice at least, and until it finds none, because one that is renewed
// meanwhile may escape a listing. One that gets its owner or label later is not
// concerned: to shut a person out, disable the sign-in first.
func (m *Manager) EndAll(ctx context.Context, q Query, except ...Handle) (int, error) {
	ended := 0
	for pass := 0; ; pass++ {
		found := 0
		for r, err := range m.list(ctx, q) {
			if err != nil {
				return ended, fmt.Errorf("session: end all: %w", err)
			}
			if slices.Contains(except, r.ID.Handle()) {
				continue
			}
			found++
			switch err := m.end(ctx, &r, Revoked); {
			case err == nil:
				ended++
			case !errors.Is(err, ErrNotFound):
				return ended, err
			}
		}
		if found == 0 && pass > 0 {
			return ended, nil
		}
	}
}

// Sweep removes the sessions whose time is over from the store and returns how
// many there were. A Manager does so by itself about once a minute while there
// are requests; call it where a store must shrink, or [Ended] must be observed,
// without any. A store that expires by itself has nothing to sweep: 0, nil.
func (m *Manager) Sweep(ctx context.Context) (int, error) {
	if m.sweeper == nil {
		return 0, nil
	}
	n := 0
	for r, err := range m.sweeper.Sweep(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				m.noted(ctx, time.Now(), err)
			}
			return n, fmt.Errorf("session: sweep: %w", err)
		}
		n++
		reason := Expired
		if time.Now().Before(r.Deadline()) {
			reason = Evicted
		}
		m.observe(ctx, Event{Kind: Ended, Reason: reason, Handle: r.ID.Handle(), Owner: r.Owner})
	}
	return n, nil
}

// sweepIfDue starts a sweep beside the request when the last is long ago: no
// goroutine waits, so none has to be stopped.
func (m *Manager) sweepIfDue(now time.Time) {
	if m.sweeper == nil || now.UnixNano() < m.sweepAt.Load() || !m.sweeping.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer m.sweeping.Store(false)
		m.sweepAt.Store(now.Add(sweepEvery).UnixNano())
		ctx, cancel := context.WithTimeout(context.Background(), sweepEvery)
		defer cancel()
		if _, err := m.Sweep(ctx); err != nil {
			m.failed(ctx, Handle{}, err)
		}
	}()
}
