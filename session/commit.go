package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Commit stores what has changed so far and does not wait for the header of the
// answer. Without changes it keeps the session alive, which a stream that stays
// open for longer than the idle time has to do now and then.
//
// What it asks the store for is not given up when ctx ends: a user who signs out
// and closes the window is signed out. [Config.Timeout] bounds it. A change of
// identifier is the exception, since its cookie can no longer reach the client:
// once the request's context has ended, it is refused.
//
// Its errors are [ErrEnded] if the session ended meanwhile, [ErrHeaderSent] if
// a cookie would have to be set and cannot be, [ErrValue] or [ErrTooLarge] if
// what the handler set cannot be stored, the request's context's, and the
// store's. After an error the changes are still pending, and can be taken back by
// setting them again or by [Session.Discard]; if they fail again before the
// header goes, an error page replaces the answer.
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
		return s.fresh
	}
	return s.fresh || s.newValue != "" || s.dead != nil || len(s.invalid) > 0 || s.hasContent() ||
		len(s.pending) > 0 && s.value != "" || s.live && (s.idle != 0 || s.absolute != 0)
}

// hasContent reports whether the changes put anything into a session.
func (s *Session) hasContent() bool {
	return s.owner != nil || len(s.labels) > 0 || slices.ContainsFunc(s.pending, func(f Field) bool { return f.Value != "" })
}

// needsCookie reports whether the commit gives the session an identifier that
// the client does not have.
func (s *Session) needsCookie() bool { return s.newValue != "" || s.fresh }

// commit is where every change goes through. s.mu is held. The conditions must
// hold in the store, or the error is ErrConflict.
func (s *Session) commit(ctx context.Context, conditions ...Field) error {
	if !s.changed() {
		return nil
	}
	if err := s.committable(); err != nil {
		return err
	}
	now := time.Now()

	// What the store is asked for must not be given up halfway because the
	// client went away: a sign-out holds although no client waits for the page.
	bounded := detach(ctx, s.m.cfg.Timeout)
	defer bounded.stop()

	if s.dead != nil {
		if err := s.commitEnd(bounded); err != nil {
			return err
		}
		if s.value == "" {
			s.changes = &unchanged
			return nil
		}
	}
	if s.proven && !s.live && !s.hasContent() {
		// The cookie is all that there is of it.
		if s.fresh {
			s.fresh = false
			s.setCookie(s.value)
		}
		if s.changes != &unchanged {
			s.pending = nil // deletions
		}
		return nil
	}

	needsCookie := s.needsCookie()
	d := s.makeDelta(now, conditions)
	err := s.m.store.Commit(bounded, s.rec.ID, d)
	s.m.noted(ctx, now, err)
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound) && !d.Create:
		if s.former != "" && s.onlyRenews() {
			s.ended = true
			s.changes = &unchanged // a concurrent request was first
			return nil
		}
		if s.underFormer {
			if found, err := s.follow(bounded); err != nil {
				return err
			} else if found {
				return s.commit(ctx, conditions...)
			}
		}
		if s.signsIn() {
			s.startOver()
			return s.commit(ctx)
		}
		s.ended = true
		return ErrEnded
	case errors.Is(err, ErrExists) && (s.derive != nil || s.follows):
		// The key was used before.
		s.derive = nil
		s.newIdentifier()
		return s.commit(ctx, conditions...)
	case errors.Is(err, ErrExists) && d.Create && !s.fresh:
		// A concurrent request made the record of the same proven session.
		if err := s.reload(ctx); err != nil {
			return err
		}
		return s.commit(ctx, conditions...)
	default:
		return fmt.Errorf("session: commit: %w", err)
	}
	s.committed(ctx, d)
	// A Max-Age follows the clock as far as it can.
	if needsCookie || s.m.cookie.persistent && !d.Expires.IsZero() {
		s.setCookie(s.value)
	}
	return nil
}

// committable returns why the changes cannot be stored, whatever the store says.
func (s *Session) committable() error {
	if s.abandoned != nil {
		return s.abandoned
	}
	if err := s.valid(); err != nil {
		return err
	}
	if s.ended && !s.signsIn() {
		return ErrEnded
	}
	if s.needsCookie() && s.sent {
		return ErrHeaderSent
	}
	if s.derive == nil && (s.newValue != "" || s.dead != nil && s.value != "") {
		if err := s.x.ctx.Err(); err != nil {
			return fmt.Errorf("session: the identifier is not changed, the client cannot learn of it any more: %w", err)
		}
	}
	return nil
}

// valid checks what the handler has set.
func (s *Session) valid() error {
	for _, err := range s.invalid {
		return err
	}
	if s.owner != nil {
		if err := checkName(*s.owner); err != nil {
			return err
		}
	}
	for _, l := range s.labels {
		if l.Name == "" && l.Value != "" {
			return fmt.Errorf("%w: a label without a name", ErrValue)
		}
		for _, text := range []string{l.Name, l.Value} {
			if err := checkName(text); err != nil {
				return err
			}
		}
	}
	if len(s.labels) > 0 && len(MergeLabels(s.rec.Labels, s.labels)) > maxLabels {
		return fmt.Errorf("%w: more than %d labels", ErrValue, maxLabels)
	}
	for _, limit := range []struct {
		name        string
		asked, most time.Duration
	}{{"MaxIdle", s.idle, s.m.cfg.MaxIdle}, {"MaxAbsolute", s.absolute, s.m.cfg.MaxAbsolute}} {
		if limit.asked < 0 || limit.asked > limit.most {
			return fmt.Errorf("%w: SetTimeouts of %v: Config.%s is %v", ErrValue, limit.asked, limit.name, limit.most)
		}
	}
	return s.fits()
}

// fits checks the bound on a session's values, as this request sees them.
func (s *Session) fits() error {
	if len(s.pending) == 0 {
		return nil
	}
	fields, size := s.fields(), sizeOf(s.pending)
	was := s.size
	if s.owned() {
		size += was
		for _, f := range s.pending {
			if i := s.index.find(fields, f.Key); i >= 0 {
				size -= fields[i].size()
			}
		}
	} else {
		was = 0
		for _, f := range fields {
			was += f.size()
			if s.changes.index.find(s.pending, f.Key) < 0 {
				size += f.size()
			}
		}
	}
	// One that is too large already, because of requests side by side or a
	// bound that was lowered, may shrink.
	if size > s.m.cfg.MaxBytes && size > was {
		return fmt.Errorf("%w: %d bytes, Config.MaxBytes is %d", ErrTooLarge, size, s.m.cfg.MaxBytes)
	}
	return nil
}

// signsIn reports whether the changes sign a user in.
func (s *Session) signsIn() bool { return s.owner != nil && *s.owner != "" }

// commitEnd deletes the session that Destroy ended.
func (s *Session) commitEnd(bounded *boundContext) error {
	dead := s.dead
	err := s.delete(bounded, &dead.rec)
	if errors.Is(err, ErrNotFound) && s.underFormer {
		err = s.deleteSuccessor(bounded, dead.value)
	}
	if errors.Is(err, ErrNotFound) && !dead.proven && !s.signsIn() {
		// Another request ended it, or renewed it: then it lives on under an
		// identifier that is not known here, and the client must not be told
		// that it has ended.
		return ErrEnded
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	s.setCookie("")
	s.dead = nil
	return nil
}

// delete ends a session that the user leaves.
func (s *Session) delete(bounded *boundContext, rec *Record) error {
	ctx := bounded.Context
	err := s.m.store.Delete(bounded, rec.ID)
	s.m.noted(ctx, bounded.start, err)
	if err != nil {
		return fmt.Errorf("session: end: %w", err)
	}
	s.m.observe(ctx, Event{Kind: Ended, Reason: SignedOut, Handle: rec.ID.Handle(), Owner: rec.Owner})
	return nil
}

// startOver makes a sign-in begin a session of its own, where the one that it
// found has ended or been renewed.
func (s *Session) startOver() {
	s.rec, s.done = Record{}, nil
	s.live, s.ended, s.lowered = false, false, false
	s.newValue, s.newID, s.follows = "", ID{}, false
	s.newIdentifier()
}

// onlyRenews reports whether the changes are a new identifier and nothing else.
func (s *Session) onlyRenews() bool {
	return s.newValue != "" && s.dead == nil && len(s.pending) == 0 && len(s.invalid) == 0 && !s.hasContent() && s.idle == 0 && s.absolute == 0
}

// reload loads the record afresh. What is pending stays.
func (s *Session) reload(ctx context.Context) error {
	bounded := bound(ctx, s.m.cfg.Timeout)
	defer bounded.stop()
	rec, err := s.m.store.Load(bounded, s.rec.ID)
	if ctx.Err() == nil {
		s.m.noted(ctx, bounded.start, err)
	}
	if errors.Is(err, ErrNotFound) {
		s.ended = true
		return ErrEnded
	}
	if err != nil {
		return fmt.Errorf("session: load: %w", err)
	}
	s.lowered = s.m.limit(&rec)
	s.rec, s.done, s.live = rec, nil, true
	return nil
}

// setCookie notes what the header has to say. After it has gone, this is called
// only for a cookie that can stay as it is.
func (s *Session) setCookie(value string) {
	s.setsCookie, s.cookieValue = true, value
}

func (s *Session) makeDelta(now time.Time, conditions []Field) *Delta {
	s.fields() // makes way for this one
	d := &s.change().delta
	*d = Delta{Create: !s.live, Rename: s.newID, If: conditions, Seen: now, Owner: s.owner, Labels: s.labels, Restart: s.restart}
	if s.passive && !d.Create && !d.Restart {
		d.Seen = time.Time{}
	}
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
	switch {
	case d.Idle != 0:
	case d.Create, d.Restart:
		d.Idle = s.m.cfg.Idle
	case s.lowered:
		d.Idle = s.rec.Idle
	}
	created := s.rec.Created
	if d.Create || d.Restart {
		created = now
	}
	switch {
	case s.absolute != 0:
		d.Expires = created.Add(s.absolute)
	case d.Create, d.Restart:
		d.Expires = created.Add(s.m.cfg.Absolute)
	case s.lowered:
		d.Expires = s.rec.Expires
	}
	return d
}

// committed makes the session what the store has now.
func (s *Session) committed(ctx context.Context, d *Delta) {
	before := s.rec.ID
	if d.Rename != (ID{}) {
		s.rec.ID, s.value, s.underFormer = d.Rename, s.newValue, false
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
	s.live, s.fresh, s.proven, s.lowered = true, false, false, false
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
	if err = s.commit(ctx, Field{key, base}); err == nil {
		return true, nil
	}
	// What is pending is committed again when the header goes, and then
	// without the condition: this must not be.
	s.change().pending = undo
	if began && s.fresh {
		s.value, s.rec.ID, s.fresh, s.proven = "", ID{}, false, false
	}
	if !errors.Is(err, ErrConflict) {
		return true, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	return false, s.reload(ctx)
}

// touch keeps a session alive that is only read.
func (s *Session) touch(ctx context.Context, now time.Time) {
	if !s.live || s.ended || s.passive || s.abandoned != nil {
		return
	}
	// A minute, or less for a session whose idle time is counted in minutes.
	step := min(s.m.touchStep, s.rec.Idle/8)
	if now.Sub(s.rec.Seen) < step || !s.m.firstTouch(s.rec.ID, now, step) {
		return
	}
	bounded := detach(ctx, s.m.cfg.Timeout)
	defer bounded.stop()
	d := &Delta{Seen: now}
	if s.lowered {
		d.Idle, d.Expires = s.rec.Idle, s.rec.Expires
	}
	err := s.m.store.Commit(bounded, s.rec.ID, d)
	s.m.noted(ctx, bounded.start, err)
	switch {
	case err == nil:
		s.rec.Seen, s.lowered = now, false
	case !errors.Is(err, ErrNotFound):
		// The answer to the client does not depend on it.
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
