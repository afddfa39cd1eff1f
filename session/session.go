package session

import (
	"cmp"
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
	fresh bool // value began in this request and is in no cookie yet

	// proven: value needs no record, since Config.Keys prove it. A record
	// begins with the first value.
	proven bool

	*changes // &unchanged, or made by change

	ended       bool            // the store has it no more, as a commit found out
	abandoned   error           // why no more changes are stored
	passive     bool            // the request does not count as use
	lowered     bool            // the record's times exceed what is configured now
	former      string          // the cookie's name, if it is a former one
	reported    map[string]bool // unreadable keys
	underFormer bool            // rec has the identifier that the former cookie has
	secrets     bool            // the answer may show what was made of a Secret

	// What the header has to say when it goes, and whether it has gone.
	setsCookie  bool
	cookieValue string // empty: forget the cookie
	sent        bool

	index   index[Field] // of rec.Fields
	own     *Field       // the first of rec.Fields if that is a copy of ours
	size    int          // of these, in bytes
	loading boundContext
	header  [2]string // room for two header values
}

// changes are what a request has done to its session since the last commit. If
// the session has a value and is not live, it is to be created too.
type changes struct {
	pending  []Field // Value empty: delete
	index    index[Field]
	buf      [2]Field
	newValue string // unless empty, rec is to be renamed to newID
	newID    ID
	dead     *loaded // unless nil, to be deleted first
	derive   *[32]byte
	restart  bool
	follows  bool // newValue follows from that of the former cookie
	idle     time.Duration
	absolute time.Duration
	owner    *string
	labels   []Label
	labeled  index[Label]
	invalid  map[string]error // of keys, until they are set again; the commit fails
	delta    Delta            // made of all these
}

// loaded is a session as it was before Destroy.
type loaded struct {
	rec    Record
	done   *Delta
	value  string
	proven bool
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

// load fills the session from what the request carries, under the present name or,
// if there is nothing of ours, under a former one.
func (s *Session) load(ctx context.Context) error {
	s.loading = boundContext{Context: ctx, start: s.now, timeout: s.m.cfg.Timeout}
	defer s.loading.stop()
	var rejected error
	ours := false
	name, former := s.m.cookie.name, s.m.cookie.former
	for {
		value, err := readCookie(s.x.r.Header, name)
		if value != "" {
			ours = true
			formerName := name
			if name == s.m.cookie.name {
				formerName = ""
			}
			if found, err := s.adopt(value, formerName); found || err != nil {
				return err
			}
		}
		if errors.Is(err, errDuplicate) {
			s.m.observe(ctx, Event{Kind: Rejected, Err: err})
			return nil
		}
		rejected = cmp.Or(rejected, err)
		if len(former) == 0 {
			break
		}
		name, former = former[0], former[1:]
	}
	if rejected != nil && !ours {
		s.m.observe(ctx, Event{Kind: Rejected, Err: rejected})
	}
	return nil
}

// adopt makes the session the one of this identifier, and reports whether there is
// one. A foreign identifier is not adopted. Under a former name it may also be one that
// another request has just renewed.
func (s *Session) adopt(value, former string) (found bool, err error) {
	rec, lowered, err := s.find(&s.loading, idOf(value))
	renewed := false
	if former != "" && errors.Is(err, ErrNotFound) {
		var next string
		if rec, next, lowered, err = s.findSuccessor(&s.loading, value); err == nil {
			value, renewed = next, true
		}
	}
	switch {
	case errors.Is(err, ErrNotFound):
		if p, ok := s.m.anonymous.verify(value); ok && s.m.anonymous.current(p.issued, s.now) {
			s.value, s.rec.ID, s.proven = value, idOf(value), true
		}
		return s.proven, nil
	case err != nil:
		return false, err
	}
	s.rec, s.value, s.live, s.lowered = rec, value, true, lowered
	s.former, s.underFormer = former, former != "" && !renewed
	switch {
	case former == "" || s.x.w.going.Load():
	case renewed:
		s.setCookie(value)
	default:
		s.renewFormer()
	}
	return true, nil
}

// find returns the record, with its times as they are bounded now, and whether
// these are lower than its own, or ErrNotFound.
func (s *Session) find(bounded *boundContext, id ID) (rec Record, lowered bool, err error) {
	ctx := bounded.Context
	rec, err = s.m.store.Load(bounded, id)
	if ctx.Err() == nil { // else the client may have gone away
		s.m.noted(ctx, bounded.start, err)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return Record{}, false, err
	case err != nil:
		err = fmt.Errorf("session: load: %w", err)
		if ctx.Err() == nil {
			s.m.failed(ctx, id.Handle(), err)
		}
		return Record{}, false, err
	}
	lowered = s.m.limit(&rec)
	// The store promises this of its own times; a clock that is off there must
	// not open a door here.
	if !bounded.start.Before(rec.Deadline()) {
		if lowered {
			// Its record may not be over: raising the times again would bring it
			// back.
			if err := s.m.end(ctx, &rec, Expired); err != nil && !errors.Is(err, ErrNotFound) {
				s.m.failed(ctx, id.Handle(), err)
			}
		}
		return Record{}, false, ErrNotFound
	}
	return rec, lowered, nil
}

// Exists reports whether the request has a session: one that was loaded, or
// that a change has begun, and that has not been destroyed.
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
	return s.fresh
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
	if len(s.labels) > 0 {
		if i := s.labeled.find(s.labels, name); i >= 0 {
			return s.labels[i].Value
		}
	}
	for _, l := range s.rec.Labels { // maxLabels or less
		if l.Name == name {
			return l.Value
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
// begins; with [Config.Keys] that stores nothing. The answer is kept out of every cache, whatever Cache-Control the
// handler sets: it may show what was made of the secret.
func (s *Session) Secret(purpose string) [32]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.secrets = true
	value := s.value
	if s.newValue != "" {
		value = s.newValue
	}
	if p, ok := s.m.anonymous.verify(value); ok {
		return s.m.anonymous.secret(value, purpose, p)
	}
	return secretOf(value, purpose)
}

// SetOwner says who is signed in, and so signs that person in: the session gets
// a new identifier, and its two clocks restart, with [Config.Idle] and
// [Config.Absolute] unless the request calls SetTimeouts as well: what the session
// had before does not count, also where the same owner signs in again. What an
// anonymous session holds stays. If there is no session, one begins.
//
// A session never changes hands: if it has another owner, it ends, and a new
// one begins with nothing in it. With an empty owner, SetOwner ends the session
// of the signed-in user and begins none.
//
// A sign-in depends on the credentials that the handler has checked and not on
// the session before it: where that ended or was renewed while the request was
// under way, as by the same form sent twice, the owner gets a new session, with
// what this request has put into it.
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
	if s.newValue == "" || s.derive != nil || s.follows {
		s.newIdentifier()
	}
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
	s.begin()
	c := s.change()
	if i := c.labeled.find(c.labels, name); i >= 0 {
		c.labels[i].Value = value
		return
	}
	c.labels = append(c.labels, Label{name, value})
}

// SetTimeouts gives this session its own two clocks in place of [Config.Idle]
// and [Config.Absolute]; zero leaves one as it is. The absolute one counts from
// [Session.Created]. They last until the next sign-in. It begins no session: where
// there is none, or none yet, it is for the one that the request begins. Negative
// ones, and those that exceed [Config.MaxIdle] or [Config.MaxAbsolute], make the
// commit fail.
func (s *Session) SetTimeouts(idle, absolute time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
// the user may do changes; SetOwner calls it. Without a session it does
// nothing.
func (s *Session) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew()
}

func (s *Session) renew() {
	switch {
	case s.value == "" || s.newValue != "" && s.derive == nil && !s.follows:
	case s.proven && s.derive == nil:
		// If it is of this request, it was never sent, but its Secret may have
		// been used.
		s.value = ""
		s.begin()
	default:
		s.newIdentifier()
	}
}

// newIdentifier gives the session the identifier that the next commit makes or
// renames its record to: a random one, or the one that Derive asked for.
func (s *Session) newIdentifier() {
	value, id := newValue()
	if s.derive != nil {
		value, id = derivedValue(*s.derive)
	}
	if s.live {
		c := s.change()
		c.newValue, c.newID, c.follows = value, id, false
		return
	}
	s.value, s.rec.ID, s.fresh, s.proven = value, id, true, false
}

// Derive makes the identifier that the next Renew or SetOwner of this request
// gives follow from the key instead of from chance, so that the same request,
// sent again, finds by [Session.Resume] the session that the first one made:
// who sends a form twice reads the answer to the second.
//
// The key must be as hard to guess as an identifier: a MAC with a key that only
// servers have, over what no other request holds. It must be used for one
// identifier only, and not again when that session has ended.
func (s *Session) Derive(key [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change().derive = &key
}

// Resume makes the session whose identifier follows from the key, by
// [Session.Derive], the session of this request, whatever its cookie says, and
// reports whether there is one. What this request has changed before and not
// committed is dropped, and the answer sets the cookie.
//
// The errors are the store's, and [ErrHeaderSent].
func (s *Session) Resume(ctx context.Context, key [32]byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, id := derivedValue(key)
	bounded := bound(ctx, s.m.cfg.Timeout)
	defer bounded.stop()
	rec, err := s.m.store.Load(bounded, id)
	if ctx.Err() == nil {
		s.m.noted(ctx, bounded.start, err)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("session: resume: %w", err)
	case s.sent:
		return false, ErrHeaderSent
	}
	lowered := s.m.limit(&rec)
	if !s.now.Before(rec.Deadline()) {
		return false, nil
	}
	s.changes, s.done, s.ended = &unchanged, nil, false
	s.rec, s.value, s.live, s.lowered = rec, value, true, lowered
	s.fresh, s.proven = false, false
	s.setCookie(value)
	return true, nil
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
	dead, derive := s.dead, s.derive
	if s.live && !s.ended || s.proven && !s.fresh {
		dead = &loaded{s.rec, s.done, s.value, s.proven}
	}
	s.live, s.ended, s.proven, s.fresh = false, false, false, false
	s.value, s.rec, s.done, s.changes = "", Record{}, nil, &unchanged
	if dead != nil || derive != nil {
		c := s.change()
		c.dead, c.derive = dead, derive
	}
}

// Discard drops what this request has changed and not yet committed, values that
// cannot be stored among them: the session is as it was loaded, or last
// committed. It is for a handler that gives up halfway, such as one that
// recovers from a panic inside [Manager.Handler].
func (s *Session) Discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discard()
}

func (s *Session) discard() {
	dead := s.dead
	s.changes = &unchanged
	switch {
	case dead != nil:
		s.rec, s.done, s.value, s.proven = dead.rec, dead.done, dead.value, dead.proven
		s.live, s.fresh = !dead.proven, false
	case s.fresh:
		s.value, s.rec.ID, s.fresh, s.proven = "", ID{}, false, false
	}
}

// begin makes an identifier for a session that is to be created, unless there
// is a session.
func (s *Session) begin() {
	if s.value != "" {
		return
	}
	s.fresh = true
	if s.m.anonymous != nil {
		s.value, s.rec.ID = s.m.anonymous.issue(s.now)
		s.proven = true
	} else {
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
	if len(s.pending) > 0 {
		if i := s.changes.index.find(s.pending, key); i >= 0 {
			return s.pending[i].Value
		}
	}
	return s.stored(key)
}

// stored returns the value as it was in the store, "" if absent.
func (s *Session) stored(key string) string {
	fields := s.fields()
	if i := s.index.find(fields, key); i >= 0 {
		return fields[i].Value
	}
	return ""
}

// fields returns the values as they were in the store. One that is empty is absent.
func (s *Session) fields() []Field {
	if d := s.done; d != nil {
		s.done = nil
		if len(s.rec.Fields) <= few {
			s.rec.Fields = MergeFields(s.rec.Fields, d.Set, d.Delete)
			return s.rec.Fields
		}
		// Many are merged in place: a request that commits many times would copy
		// and index all of them each time. The store's own must not be changed.
		if !s.owned() {
			s.rec.Fields = slices.Clone(s.rec.Fields)
			s.size = sizeOf(s.rec.Fields)
		}
		for _, f := range d.Set {
			s.merge(f)
		}
		for _, key := range d.Delete {
			s.merge(Field{Key: key})
		}
		s.own = &s.rec.Fields[0]
	}
	return s.rec.Fields
}

// owned reports whether rec.Fields is ours to change, and size its size.
func (s *Session) owned() bool { return len(s.rec.Fields) > 0 && s.own == &s.rec.Fields[0] }

// merge puts a field into rec.Fields, which are ours.
func (s *Session) merge(f Field) {
	i := s.index.find(s.rec.Fields, f.Key)
	if i < 0 {
		if f.Value != "" {
			s.rec.Fields = append(s.rec.Fields, f)
			s.size += f.size()
		}
		return
	}
	s.size += f.size() - s.rec.Fields[i].size()
	s.rec.Fields[i].Value = f.Value
}

// size returns what the field counts for [Config.MaxBytes], 0 if it is absent.
func (f Field) size() int {
	if f.Value == "" {
		return 0
	}
	return len(f.Key) + len(f.Value)
}

func sizeOf(fields []Field) (size int) {
	for i := range fields {
		size += fields[i].size()
	}
	return size
}

func (s *Session) set(key, raw string, err error) {
	if key == "" {
		panic(zeroKey)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		c := s.change()
		if c.invalid == nil {
			c.invalid = make(map[string]error)
		}
		c.invalid[key] = err
		return
	}
	delete(s.invalid, key)
	if raw == "" && s.value == "" {
		return // nothing to delete from
	}
	s.begin()
	s.put(key, raw)
}

func (s *Session) put(key, raw string) {
	c := s.change()
	if i := c.index.find(c.pending, key); i >= 0 {
		c.pending[i].Value = raw
		return
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
	again := s.reported[key]
	if s.reported == nil {
		s.reported = make(map[string]bool)
	}
	s.reported[key] = true
	h := s.rec.ID.Handle()
	s.mu.Unlock()
	if again {
		return
	}
	ctx := s.x.ctx.Context
	err := fmt.Errorf("session: key %q: the stored value does not decode as %s", key, want)
	e := Event{Kind: Unreadable, Handle: h, Err: err}
	s.m.observe(ctx, e)
	s.m.log(ctx, slog.LevelWarn, e.Kind.String(), e)
}
