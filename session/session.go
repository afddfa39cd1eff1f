package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A Session is one request's view of a session: as it was when loaded, with the
// changes that this request makes. It may be used concurrently by the
// goroutines of the request, and not after the handler has returned.
//
// Changes are committed before the header of the answer goes, all in one step,
// or by [Session.Commit]. A handler that panics commits nothing.
type Session struct {
	m *Manager
	x *exchange

	mu   sync.Mutex
	now  time.Time // of the request, for its clocks
	live bool      // the store has rec
	rec  Record
	done *Delta // committed, but not yet in rec.Fields: mostly nobody asks again

	// value is the cookie's value that belongs to rec.ID, or to the session
	// that is to be created. Empty: there is none.
	value string

	*changes // &unchanged, or made by change

	ended    bool     // the store has it no more, as a commit found out
	reported []string // unreadable keys
	secrets  bool     // the answer may show what was made of a Secret

	// What the header has to say when it goes, and whether it has gone.
	setsCookie  bool
	cookieValue string // empty: forget the cookie
	sent        bool

	loading boundContext
	header  [2]string // room for two header values
}

// changes are what a request has done to its session since the last commit. If
// the session has a value and is not live, it is to be created besides.
type changes struct {
	pending   []Field // Value empty: delete
	buf       [2]Field
	newValue  string // unless empty, rec is to be renamed to newID
	newID     ID
	dead      ID // unless zero, to be deleted first
	deadOwner string
	restart   bool
	idle      time.Duration
	absolute  time.Duration
	owner     *string
	labels    []Label
	err       error // a value that cannot be stored; the commit fails with it
	delta     Delta // made of all these
}

// unchanged is what most requests share; it is never written to.
var unchanged changes

// change returns what can be written to.
func (s *Session) change() *changes {
	if s.changes == &unchanged {
		s.changes = new(changes)
	}
	return s.changes
}

// invalid notes that the commit must fail. The first reason counts.
func (s *Session) invalid(err error) {
	if err != nil && s.err == nil {
		s.change().err = err
	}
}

// load fills the session from what the request carries.
func (s *Session) load(ctx context.Context) error {
	value, err := s.m.cookie.read(s.x.r.Header)
	if err != nil {
		s.m.observe(ctx, Event{Kind: Rejected, Err: err})
		return nil
	}
	if value == "" {
		return nil
	}
	id := idOf(value)
	s.loading = boundContext{Context: ctx, start: s.now, timeout: s.m.cfg.Timeout}
	rec, err := s.m.store.Load(&s.loading, id)
	s.loading.stop()
	if ctx.Err() == nil { // else it may be the visitor who went away
		s.m.noted(ctx, s.now, err)
	}
	if errors.Is(err, ErrNotFound) {
		return nil // and the foreign identifier is not adopted
	}
	if err != nil {
		err = fmt.Errorf("session: load: %w", err)
		if ctx.Err() == nil {
			s.m.failed(ctx, id.Handle(), err)
		}
		return err
	}
	// The store promises this; a clock that is off there must not open a door
	// here.
	if !s.now.Before(rec.Deadline()) {
		return nil
	}
	s.rec, s.value, s.live = rec, value, true
	return nil
}

// Exists reports whether the request has a session that is kept, or is about to
// be: one that was loaded, or that a change has begun, and that has not been
// destroyed.
func (s *Session) Exists() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value != ""
}

// IsNew reports whether the session began in this request and is not yet
// stored.
func (s *Session) IsNew() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value != "" && !s.live
}

// Handle returns the session's handle, zero if there is no session. After
// [Session.Renew] it is the new one.
func (s *Session) Handle() Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newValue != "" {
		return s.newID.Handle()
	}
	return s.rec.ID.Handle()
}

// Owner returns who is signed in, or "".
func (s *Session) Owner() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != nil {
		return *s.owner
	}
	return s.rec.Owner
}

// Label returns the value of the label of this name, or "".
func (s *Session) Label(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, labels := range [][]Label{s.labels, s.rec.Labels} {
		for _, l := range labels {
			if l.Name == name {
				return l.Value
			}
		}
	}
	return ""
}

// Created returns when the session's clocks started: when it began, or when
// [Session.SetOwner] signed its owner in. It is zero if there is no session
// that is stored.
func (s *Session) Created() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Created
}

// Deadline returns when the session ends if nothing more happens, as it was
// when loaded; zero if there is no session that is stored.
func (s *Session) Deadline() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Deadline()
}

// Secret returns a secret that belongs to the session and its present
// identifier, for the purpose: tokens in forms are made of it. It is derived
// from the cookie, not stored; another purpose has another secret, and so has
// the session after Renew, SetOwner or Destroy. If there is no session, one
// begins. The answer is kept out of every cache, whatever Cache-Control the
// handler sets: it may show what was made of the secret.
func (s *Session) Secret(purpose string) [32]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.secrets = true
	if s.newValue != "" {
		return secretOf(s.newValue, purpose)
	}
	return secretOf(s.value, purpose)
}

// SetOwner says who is signed in, and so signs that person in: the session gets
// a new identifier, and its clocks start anew. What an anonymous session holds
// stays. If there is no session, one begins.
//
// A session never changes hands: if it has another owner, it ends, and a new
// one begins with nothing in it. With an empty owner, SetOwner ends the session
// of whoever was signed in and begins none.
//
// An owner is up to 255 bytes of UTF-8 without control characters: an account's
// lasting number rather than a name that may change. Another makes the commit
// fail.
func (s *Session) SetOwner(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.rec.Owner
	if s.owner != nil {
		was = *s.owner
	}
	idle, absolute := s.idle, s.absolute // what was asked for is for the new one too
	if was != "" && was != owner {
		s.destroy()
	}
	if owner == "" {
		return
	}
	s.begin()
	s.renew()
	s.invalid(checkName(owner))
	c := s.change()
	c.owner, c.restart = &owner, true
	c.idle, c.absolute = idle, absolute
}

// SetLabel gives the session a label by which it can be listed and ended, in
// place of the one of that name; an empty value removes it. If there is no
// session, one begins, unless the value is empty. Names and values are up to 255
// bytes of UTF-8 without control characters; others make the commit fail.
func (s *Session) SetLabel(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == "" && s.value == "" {
		return
	}
	if name == "" {
		s.invalid(fmt.Errorf("%w: a label without a name", ErrValue))
	}
	s.invalid(checkName(name))
	s.invalid(checkName(value))
	s.begin()
	c := s.change()
	for i := range c.labels {
		if c.labels[i].Name == name {
			c.labels[i].Value = value
			return
		}
	}
	c.labels = append(c.labels, Label{name, value})
}

// SetTimeouts gives this session its own two clocks in place of [Config.Idle]
// and [Config.Absolute]; zero leaves one as it is. The absolute one counts from
// [Session.Created]. It begins no session: where there is none, or none yet, it
// is for the one that the request begins. Negative ones make the commit fail.
func (s *Session) SetTimeouts(idle, absolute time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if idle < 0 || absolute < 0 {
		s.invalid(fmt.Errorf("%w: timeouts %v and %v", ErrValue, idle, absolute))
	}
	c := s.change()
	if idle != 0 {
		c.idle = idle
	}
	if absolute != 0 {
		c.absolute = absolute
	}
}

// Renew gives the session a new identifier. The old one is unknown from the
// moment of the commit, also to requests that are under way. Call it when what
// the visitor may do changes; SetOwner calls it. Without a session it does
// nothing.
func (s *Session) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew()
}

func (s *Session) renew() {
	if s.live && s.newValue == "" {
		c := s.change()
		c.newValue, c.newID = newValue()
	} else if s.value != "" && !s.live {
		// Never sent to anybody, but its Secret may have been used.
		s.value, s.rec.ID = newValue()
	}
}

// Destroy ends the session: sign-out. What it held is gone from this request at
// once, and from the store with the commit; a request under way cannot bring it
// back. A later Set begins another session.
func (s *Session) Destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.destroy()
}

func (s *Session) destroy() {
	dead, owner := s.dead, s.deadOwner
	if s.live && !s.ended {
		dead, owner = s.rec.ID, s.rec.Owner
	}
	s.live, s.ended, s.value, s.rec, s.done, s.changes = false, false, "", Record{}, nil, &unchanged
	if dead != (ID{}) {
		c := s.change()
		c.dead, c.deadOwner = dead, owner
	}
}

// begin makes an identifier for a session that is to be created, unless there
// is a session.
func (s *Session) begin() {
	if s.value == "" {
		s.value, s.rec.ID = newValue()
	}
}

func (s *Session) get(key string) string {
	if key == "" {
		panic(zeroKey)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current(key)
}

// current returns the value as the request sees it, "" if absent.
func (s *Session) current(key string) string {
	for i := range s.pending {
		if s.pending[i].Key == key {
			return s.pending[i].Value
		}
	}
	return s.stored(key)
}

// stored returns the value as it was in the store, "" if absent.
func (s *Session) stored(key string) string {
	fields := s.fields()
	for i := range fields {
		if fields[i].Key == key {
			return fields[i].Value
		}
	}
	return ""
}

func (s *Session) fields() []Field {
	if s.done != nil {
		s.rec.Fields = MergeFields(s.rec.Fields, s.done.Set, s.done.Delete)
		s.done = nil
	}
	return s.rec.Fields
}

func (s *Session) set(key, raw string, err error) {
	if key == "" {
		panic(zeroKey)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.invalid(err)
		return
	}
	if raw == "" && s.value == "" {
		return // nothing to delete from
	}
	s.begin()
	s.put(key, raw)
}

func (s *Session) put(key, raw string) {
	c := s.change()
	for i := range c.pending {
		if c.pending[i].Key == key {
			c.pending[i].Value = raw
			return
		}
	}
	if c.pending == nil {
		c.pending = c.buf[:0]
	}
	c.pending = append(c.pending, Field{key, raw})
}

// unreadable reports a stored value that did not decode, without the decoder's
// own text, which quotes the value.
func (s *Session) unreadable(key, want string) {
	s.mu.Lock()
	again := slices.Contains(s.reported, key)
	if !again {
		s.reported = append(s.reported, key)
	}
	h := s.rec.ID.Handle()
	s.mu.Unlock()
	if again {
		return
	}
	ctx := s.x.ctx.Context
	err := fmt.Errorf("session: key %q: the stored value does not decode as %s", key, want)
	s.m.observe(ctx, Event{Kind: Unreadable, Handle: h, Err: err})
	s.m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "session: "+Unreadable.String(), slog.Any("session", h), slog.Any("error", err))
}

// Commit stores what has changed so far and does not wait for the header of the
// answer. Without changes it keeps the session alive, which a stream that stays
// open for longer than the idle time has to do now and then.
//
// What it asks the store for is not given up when ctx ends: somebody who signs
// out and closes the window is signed out. [Config.Timeout] bounds it.
//
// Its errors are [ErrEnded] if the session ended meanwhile, [ErrHeaderSent] if
// a cookie would have to be set and cannot be, [ErrValue] or [ErrTooLarge] if
// what the handler set cannot be stored, and the store's. After an error the
// changes are still pending; if they fail again before the header goes, an
// error page replaces the answer.
func (s *Session) Commit(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commitOrTouch(ctx, time.Now())
}

func (s *Session) commitOrTouch(ctx context.Context, now time.Time) error {
	if s.changed() {
		return s.commit(ctx)
	}
	s.touch(ctx, now)
	return nil
}

// changed reports whether there is anything to commit.
func (s *Session) changed() bool {
	if s.changes == &unchanged {
		return s.value != "" && !s.live
	}
	return len(s.pending) > 0 || s.newValue != "" || s.dead != ID{} || s.value != "" && !s.live ||
		s.owner != nil || len(s.labels) > 0 || s.err != nil || s.live && (s.idle != 0 || s.absolute != 0)
}

// commit is where every change goes through. s.mu is held.
func (s *Session) commit(ctx context.Context, conditions ...Field) error {
	if !s.changed() {
		return nil
	}
	if s.err != nil {
		return s.err
	}
	if s.ended {
		return ErrEnded
	}
	needsCookie := s.newValue != "" || s.value != "" && !s.live
	if needsCookie && s.sent {
		return ErrHeaderSent
	}
	if err := s.fits(); err != nil {
		return err
	}
	if len(s.labels) > 0 && len(MergeLabels(s.rec.Labels, s.labels)) > maxLabels {
		return fmt.Errorf("%w: more than %d labels", ErrValue, maxLabels)
	}
	now := time.Now()

	// What the store is asked for must not be given up halfway because the
	// visitor went away: a sign-out holds although nobody waits for the page.
	bounded := detach(ctx, s.m.cfg.Timeout)
	defer bounded.stop()

	if s.dead != (ID{}) {
		err := s.m.store.Delete(bounded, s.dead)
		s.m.noted(ctx, now, err)
		if errors.Is(err, ErrNotFound) {
			// Another request ended it, or renewed it: then it lives on under
			// an identifier that is not known here, and nobody must be told
			// that it has ended.
			return ErrEnded
		}
		if err != nil {
			return fmt.Errorf("session: end: %w", err)
		}
		s.m.observe(ctx, Event{Kind: Ended, Reason: SignedOut, Handle: s.dead.Handle(), Owner: s.deadOwner})
		s.setCookie("")
		if s.value == "" {
			s.changes = &unchanged
			return nil
		}
		s.dead, s.deadOwner = ID{}, ""
	}

	d := s.makeDelta(now, conditions)
	err := s.m.store.Commit(bounded, s.rec.ID, d)
	s.m.noted(ctx, now, err)
	if err != nil {
		if !d.Create && errors.Is(err, ErrNotFound) {
			s.ended = true
			return ErrEnded
		}
		return fmt.Errorf("session: commit: %w", err)
	}
	s.committed(ctx, d)
	// A Max-Age follows the clock as far as it can.
	if needsCookie || s.m.cookie.persistent && !d.Expires.IsZero() {
		s.setCookie(s.value)
	}
	return nil
}

// setCookie notes what the header has to say. After it has gone, nobody comes
// here but for a cookie that can stay as it is.
func (s *Session) setCookie(value string) {
	s.setsCookie, s.cookieValue = true, value
}

// fits checks the bound on a session's values, as this request sees them.
func (s *Session) fits() error {
	if len(s.pending) == 0 {
		return nil
	}
	size, was := 0, 0
	for _, f := range s.pending {
		if f.Value != "" {
			size += len(f.Key) + len(f.Value)
		}
	}
	for _, f := range s.fields() {
		was += len(f.Key) + len(f.Value)
		if !slices.ContainsFunc(s.pending, func(p Field) bool { return p.Key == f.Key }) {
			size += len(f.Key) + len(f.Value)
		}
	}
	// One that is too large already, because of requests side by side or a
	// bound that was lowered, may shrink.
	if size > s.m.cfg.MaxBytes && size > was {
		return fmt.Errorf("%w: %d bytes, Config.MaxBytes is %d", ErrTooLarge, size, s.m.cfg.MaxBytes)
	}
	return nil
}

func (s *Session) makeDelta(now time.Time, conditions []Field) *Delta {
	s.fields() // makes way for this one
	d := &s.change().delta
	*d = Delta{Create: !s.live, Rename: s.newID, If: conditions, Seen: now, Owner: s.owner, Labels: s.labels, Restart: s.restart}
	deletes := false
	for _, f := range s.pending {
		deletes = deletes || f.Value == ""
	}
	if !deletes {
		d.Set = s.pending
	} else {
		for _, f := range s.pending {
			if f.Value != "" {
				d.Set = append(d.Set, f)
			} else {
				d.Delete = append(d.Delete, f.Key)
			}
		}
	}
	d.Idle = s.idle
	if d.Create && d.Idle == 0 {
		d.Idle = s.m.cfg.Idle
	}
	created := s.rec.Created
	if d.Create || d.Restart {
		created = now
	}
	switch {
	case s.absolute != 0:
		d.Expires = created.Add(s.absolute)
	case d.Create:
		d.Expires = created.Add(s.m.cfg.Absolute)
	case d.Restart:
		d.Expires = created.Add(s.rec.Expires.Sub(s.rec.Created))
	}
	return d
}

// committed makes the session what the store has now.
func (s *Session) committed(ctx context.Context, d *Delta) {
	before := s.rec.ID
	if d.Rename != (ID{}) {
		s.rec.ID, s.value = d.Rename, s.newValue
	}
	if d.Create || d.Restart {
		s.rec.Created = d.Seen
	}
	if d.Seen.After(s.rec.Seen) {
		s.rec.Seen = d.Seen
	}
	if d.Idle != 0 {
		s.rec.Idle = d.Idle
	}
	if !d.Expires.IsZero() {
		s.rec.Expires = d.Expires
	}
	if d.Owner != nil {
		s.rec.Owner = *d.Owner
	}
	s.rec.Labels = MergeLabels(s.rec.Labels, d.Labels)
	s.done = d
	s.live = true
	s.changes = &unchanged

	switch {
	case d.Create:
		s.m.observe(ctx, Event{Kind: Created, Handle: s.rec.ID.Handle(), Owner: s.rec.Owner})
	case d.Rename != ID{}:
		s.m.observe(ctx, Event{Kind: Renewed, Handle: s.rec.ID.Handle(), Previous: before.Handle(), Owner: s.rec.Owner})
	}
}

// swap replaces the value of the key by f of it and commits, again and again
// until no other request changed the key in between. An empty value is an
// absent one; where there is none and f gives none, nothing is committed.
func (s *Session) swap(ctx context.Context, key string, f func(raw string) (string, error)) error {
	if key == "" {
		panic(zeroKey)
	}
	for {
		s.mu.Lock()
		base, cur := s.stored(key), s.current(key)
		s.mu.Unlock()
		next, err := f(cur) // without the lock: f may look at other keys
		if err != nil {
			return err
		}
		if done, err := s.swapTo(ctx, key, base, cur, next); done || err != nil {
			return err
		}
	}
}

func (s *Session) swapTo(ctx context.Context, key, base, cur, next string) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored(key) != base || s.current(key) != cur {
		return false, ctx.Err() // another goroutine of this request was faster
	}
	if cur == "" && next == "" {
		return true, nil
	}
	began := s.value == ""
	s.begin()
	undo := slices.Clone(s.pending)
	s.put(key, next)
	if s.live {
		err = s.commit(ctx, Field{key, base})
	} else {
		err = s.commit(ctx) // nobody else knows it
	}
	if err == nil {
		return true, nil
	}
	// What is pending is committed again when the header goes, and then
	// without the condition: this must not be.
	s.change().pending = undo
	if began && !s.live {
		s.value, s.rec.ID = "", ID{}
	}
	if !errors.Is(err, ErrConflict) {
		return true, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	bounded := bound(ctx, s.m.cfg.Timeout)
	defer bounded.stop()
	rec, err := s.m.store.Load(bounded, s.rec.ID)
	if ctx.Err() == nil {
		s.m.noted(ctx, bounded.start, err)
	}
	if errors.Is(err, ErrNotFound) {
		s.ended = true
		return false, ErrEnded
	}
	if err != nil {
		return false, fmt.Errorf("session: load: %w", err)
	}
	s.rec, s.done = rec, nil
	return false, nil
}

// touch keeps a session alive that is only read.
func (s *Session) touch(ctx context.Context, now time.Time) {
	if !s.live || s.ended {
		return
	}
	// A minute, or less for a session whose idle time is counted in minutes.
	step := min(s.m.touchStep, s.rec.Idle/8)
	if now.Sub(s.rec.Seen) < step || !s.m.firstTouch(s.rec.ID, now, step) {
		return
	}
	bounded := detach(ctx, s.m.cfg.Timeout)
	defer bounded.stop()
	err := s.m.store.Commit(bounded, s.rec.ID, &Delta{Seen: now})
	s.m.noted(ctx, bounded.start, err)
	switch {
	case err == nil:
		s.rec.Seen = now
	case !errors.Is(err, ErrNotFound):
		// The visitor's answer does not depend on it.
		s.m.failed(ctx, s.rec.ID.Handle(), fmt.Errorf("session: touch: %w", err))
	}
}

// firstTouch reports whether no other request of this process has touched the
// session in this step of time: requests that arrive together would otherwise
// all find it due. A slot that two sessions share costs a write, no more.
func (m *Manager) firstTouch(id ID, now time.Time, step time.Duration) bool {
	slot := &m.touched[id[31]]
	mark := uint64(id[30])<<56 | uint64(id[29])<<48 | uint64(id[28])<<40 | uint64(now.UnixNano()/int64(max(step, 1)))&(1<<40-1)
	old := slot.Load()
	return old != mark && (slot.CompareAndSwap(old, mark) || slot.Load() != mark)
}
