package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/clock"
)

// Machines that share a store are one site, and only with the same settings. Each writes
// an announcement to every shared store (PostgreSQL, Redis) every few seconds, and compares
// its settings with the announcements of the others: before it joins, and while it runs.
//
// Addresses do not prove that two machines use the same store: one store has several
// spellings, and localhost is another host on each machine. Content does not prove it
// either: a copy of a store has it too. What proves it is that each machine reads there the
// heartbeats that the other says it has written there.

// An agreement is how much it matters that a setting is the same on all machines.
type agreement int

const (
	own   agreement = iota // may differ
	alike                  // a difference is a warning: users notice it, or get the weaker of both
	equal                  // a difference is an error: it breaks promises
)

// agreements has each setting.
var agreements = map[string]agreement{
	"listen": own, "insecure-http": own, "trusted-proxy": own, "database-password-file": own, "sessions-password-file": own,
	"views": own, "static": own, "tls-cert": own, "tls-key": own, "acme-host": own, "acme-email": own, "acme-directory": own,
	"acme-root": own, "acme-cache": own, "smtp-password-file": own, "metrics": own, "log-format": own, "log-level": own,
	"differing-settings": own, "database-size": own,

	"site": alike, "home": alike, "captcha": alike, "second-factor": alike, "password-length": alike, "idle": alike,
	"absolute": alike, "smtp": alike, "mail-from": alike, "audit-retention": alike,

	"public-url": equal, databaseStore: equal, sessionsStore: equal,
}

// consequences are those of a difference in a setting that must be equal.
var consequences = map[string]string{
	"public-url":  "cookies, passkeys and the check of where forms come from belong to one address",
	databaseStore: "each refuses the other's people, whose sessions are in one Redis",
	sessionsStore: "people are signed in on one and not on the other, and have twice as many attempts",
}

const (
	// beatEvery is the interval between two heartbeats. A machine whose heartbeat rises
	// is alive; clocks are not compared for that.
	beatEvery = 3 * time.Second
	// recheckEvery and maxRechecks bound how long a machine that starts waits for the next
	// heartbeat of another one whose settings differ, before it counts that as gone: five
	// heartbeats.
	recheckEvery = beatEvery / 12
	maxRechecks  = 5 * 12
	// forgetAfter is how long after its last heartbeat a machine's announcement is removed.
	forgetAfter = 2 * time.Minute
	// clockTolerance is by how much clocks may differ without a line in the log.
	clockTolerance = 10 * time.Second
)

// A machine is the announcement of one. It has no secrets.
type machine struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"` // for people
	Started  time.Time         `json:"started"`
	Time     time.Time         `json:"time"`   // of this heartbeat, by its clock
	Beat     int64             `json:"beat"`   // the heartbeat, which rises
	Joined   bool              `json:"joined"` // it has compared its settings after it was announced
	On       map[string]int64  `json:"on"`     // the stores that it shares, and the last heartbeat written to each
	Settings map[string]string `json:"settings"`
}

// earlier reports which of two machines that start together goes first.
func (m *machine) earlier(than *machine) bool {
	return cmp.Or(m.Started.Compare(than.Started), strings.Compare(m.ID, than.ID)) < 0
}

// A board keeps announcements: a store that several machines can share.
type board interface {
	Put(ctx context.Context, name, text string) error
	All(ctx context.Context) (map[string]string, error)
	Remove(ctx context.Context, name string) error
}

// records is a board in the store of accounts.
type records struct{ account.Store }

// machineKey is what the keys of machines begin with.
const machineKey = "serve/machine/"

// Put implements [board].
func (r records) Put(ctx context.Context, name, text string) error {
	return save(ctx, r.Store, machineKey+name, []byte(text))
}

// All implements [board].
func (r records) All(ctx context.Context) (map[string]string, error) {
	all := make(map[string]string)
	for f, err := range r.List(ctx, machineKey, "") {
		if err != nil {
			return nil, err
		}
		all[strings.TrimPrefix(f.Key, machineKey)] = string(f.Data)
	}
	return all, nil
}

// Remove implements [board].
func (r records) Remove(ctx context.Context, name string) error {
	old, err := r.Get(ctx, machineKey+name)
	if err == nil {
		err = r.Delete(ctx, old.ID, old.Version)
	}
	if errors.Is(err, account.ErrNotFound) || errors.Is(err, account.ErrConflict) { // it is gone, or there again
		return nil
	}
	return err
}

// A peer is another machine, as the last looks showed it.
type peer struct {
	machine
	shown map[string]int64 // its heartbeat on each of our boards at the last look; 0 if absent
	since map[string]int64 // its On when its heartbeat was last seen on that board, or at first
	was   map[string]int64 // its On at the look before

	first   int64     // its heartbeat at the first look
	changed time.Time // when its heartbeat last rose
	fresh   bool      // whether it rose at the last look

	gone   bool              // it was silent for all rechecks: it is not waited for again
	found  bool              // it was there first: its differences are for this machine to log
	warned bool              // warn has compared it
	told   map[string]string // differences that were logged, by message
	clock  int               // severity of its clock's difference that was logged: 0 to 2
}

// alive reports whether its heartbeat has risen since the first look.
func (p *peer) alive() bool { return p.Beat > p.first }

// hidden reports whether it says that it has written heartbeats to a store of that name
// that our store of that name does not have: it uses another one.
func (p *peer) hidden(store string) bool {
	next := p.since[store] + 1
	return p.was[store] >= next && p.shown[store] < next
}

// doubtful reports whether it may be hidden, as far as a single look shows.
func (p *peer) doubtful(store string) bool { return p.shown[store] < p.On[store] }

// A difference is a setting that differs between two machines.
type difference struct {
	setting       string
	here, there   string
	how           agreement
	toBeConfirmed bool // the next look decides
}

func (d difference) String() string {
	text := fmt.Sprintf("--%s is %q here and %q there", d.setting, d.here, d.there)
	if d.setting == "version" {
		text = fmt.Sprintf("the version is %q here and %q there", d.here, d.there)
	}
	if d.here == d.there {
		text = fmt.Sprintf("--%s is %q on both, and leads to two different ones", d.setting, d.here)
	}
	return text
}

// machines is what one machine knows of itself and of the others. It must not be used
// concurrently.
type machines struct {
	me      machine
	boards  map[string]board
	peers   map[string]*peer
	read    map[string]bool   // the boards that were read at least once
	failing map[string]action // what fails on a board, for a reason that does not pass
	s       *server
}

// An action is what a machine does to a board, as the log has it.
type action string

const (
	writes action = "write"
	reads  action = "read"
)

// newMachines returns this machine, before it has announced anything.
func (s *server) newMachines(l *listeners) *machines {
	host, err := os.Hostname()
	if err != nil {
		host = l.name()
	}
	m := &machines{
		me: machine{
			ID: rand.Text(), Name: net.JoinHostPort(host, l.port), Started: time.Now().UTC(),
			On: make(map[string]int64), Settings: s.shared(),
		},
		boards: make(map[string]board), peers: make(map[string]*peer), read: make(map[string]bool), failing: make(map[string]action), s: s,
	}
	if isPostgres(s.Database) { // machines do not share a file
		m.boards[databaseStore] = records{s.stores.people}
	}
	if s.stores.notes != nil {
		m.boards[sessionsStore] = s.stores.notes
	}
	for store := range m.boards {
		m.me.On[store] = 0
	}
	return m
}

// shared returns the settings to announce, all that should be the same, as text. Secrets
// are in files, and addresses with a password are refused before.
func (s *server) shared() map[string]string {
	all := make(map[string]string)
	v := reflect.ValueOf(s.settings)
	for f, value := range v.Fields() {
		if name := nameOf(f); agreements[name] != own {
			all[name] = fmt.Sprint(value.Interface())
		}
	}
	all["public-url"] = strings.ToLower(strings.TrimSuffix(s.PublicURL, "/"))
	if s.Sessions == "" {
		all[sessionsStore] = "in the database"
	}
	info, _ := debug.ReadBuildInfo()
	all["version"] = version(info)
	return all
}

// differences returns those to another machine.
func (m *machines) differences(p *peer) (all []difference) {
	for _, name := range sortedKeys(m.me.Settings) {
		d := difference{setting: name, here: m.me.Settings[name], there: p.Settings[name], how: agreements[name]}
		if name == "version" {
			d.how = alike
		}
		switch _, known := p.Settings[name]; {
		case !known: // another version does not have it, and the version itself differs
		case name == databaseStore || name == sessionsStore:
			if differs, confirmed := m.another(p, name); differs {
				d.toBeConfirmed = !confirmed
				all = append(all, d)
			}
		case d.here != d.there:
			all = append(all, d)
		}
	}
	return all
}

// another reports whether a machine that shares one of our stores uses another store of
// this name, and whether that is sure, given that it is alive.
func (m *machines) another(p *peer, store string) (differs, sure bool) {
	_, ours := m.boards[store]
	_, theirs := p.On[store]
	switch {
	case ours && theirs:
		return p.hidden(store) || p.doubtful(store), p.hidden(store)
	case !ours && !theirs:
		// Sessions are then in the database, which they share. Two files are never
		// the same.
		return store == databaseStore, true
	}
	return true, true
}

// withBoards calls f for each board, and waits while its store is away. A board that
// fails otherwise (its store is full, or a right is missing) is logged and left out. The
// error is that of the context.
func (m *machines) withBoards(ctx context.Context, act action, f func(ctx context.Context, store string, b board) error) error {
	for _, store := range sortedKeys(m.boards) {
		err := m.s.patiently(ctx, store, func(ctx context.Context) error { return m.try(ctx, store, f) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.report(ctx, store, act, err)
	}
	return nil
}

// boardTime bounds one call.
const boardTime = 10 * time.Second

// try calls f for one board.
func (m *machines) try(ctx context.Context, store string, f func(ctx context.Context, store string, b board) error) error {
	ctx, cancel := context.WithTimeout(ctx, boardTime)
	defer cancel()
	return f(ctx, store, m.boards[store])
}

// report logs that a board begins to fail for a reason that does not pass, and that it has
// recovered. The machine serves meanwhile, since its settings may well be those of the
// others; each heartbeat tries again.
func (m *machines) report(ctx context.Context, store string, act action, err error) {
	switch failing := m.failing[store]; {
	case err != nil && failing == "":
		m.failing[store] = act
		m.s.log.WarnContext(ctx, "machines cannot compare their settings", "store", store, "action", act, "error", oneLine(err))
	case err == nil && failing == act:
		delete(m.failing, store)
		m.s.log.InfoContext(ctx, "machines can compare their settings again", "store", store)
	}
}

// speak writes the announcement to one board.
func (m *machines) speak(ctx context.Context, store string, b board) error {
	m.me.Time = time.Now().UTC()
	text, err := json.Marshal(&m.me)
	if err != nil {
		return err
	}
	if err := b.Put(ctx, m.me.ID, string(text)); err != nil {
		return err
	}
	m.me.On[store] = m.me.Beat
	return nil
}

// A look is the announcements on all boards.
type look map[string]map[string]machine // by store and ID

func (l look) at(ctx context.Context, store string, b board) error {
	texts, err := b.All(ctx)
	if err != nil {
		return err
	}
	l[store] = make(map[string]machine)
	for id, text := range texts {
		var one machine
		if json.Unmarshal([]byte(text), &one) == nil && one.ID == id {
			l[store][id] = one
		}
	}
	return nil
}

// saw updates the peers from a look at the boards, of which one may be missing that fails.
// It returns the IDs of those without a heartbeat for [forgetAfter].
func (m *machines) saw(l look) (silent []string) {
	now := time.Now()
	found := !m.me.Joined // later ones have seen this machine
	for store := range l {
		found = found || !m.read[store]
		m.read[store] = true
	}
	newest := make(map[string]machine)
	for _, all := range l {
		for id, one := range all {
			if id == m.me.ID {
				continue
			}
			on := maps.Clone(one.On)
			if old, ok := newest[id]; ok {
				for store, n := range old.On {
					on[store] = max(on[store], n)
				}
				if old.Beat > one.Beat {
					one = old
				}
			}
			one.On = on
			newest[id] = one
		}
	}
	for id := range m.peers {
		if _, ok := newest[id]; !ok {
			delete(m.peers, id)
		}
	}
	for id, one := range newest {
		p, known := m.peers[id]
		if !known {
			p = &peer{first: one.Beat, found: found, since: maps.Clone(one.On), told: make(map[string]string)}
			m.peers[id] = p
		}
		if p.fresh = one.Beat != p.Beat; p.fresh {
			p.changed = now
		}
		p.was, p.shown = p.On, make(map[string]int64)
		p.machine = one
		for store := range m.boards {
			all, ok := l[store]
			if p.shown[store] = all[id].Beat; !ok {
				p.shown[store] = p.On[store] // a board that cannot be read hides nothing
			}
			if p.shown[store] >= max(p.was[store], 1) {
				p.since[store] = p.On[store]
			}
		}
		if now.Sub(p.changed) > forgetAfter {
			silent = append(silent, id)
		}
	}
	return silent
}

// errDiffers refuses a machine that would break promises together with others.
var errDiffers = errors.New("other machines have other settings")

// join compares this machine with the others, and then announces it. The error is
// errDiffers if they would break promises together, unless --differing-settings=warn.
//
// Machines that start at once may not see each other before they are announced. Of those
// the earliest stays: a later one that sees an earlier one gives way, and an earlier one
// waits until a later one has given way or has joined without having seen it. As each
// reads after it has written, at least one of two sees the other.
func (m *machines) join(ctx context.Context) error {
	if len(m.boards) == 0 {
		return nil
	}
	if err := m.takeOver(ctx); err != nil {
		return err
	}
	if err := m.agree(ctx, false); err != nil {
		return err
	}
	if err := m.announce(ctx); err != nil {
		m.leave(ctx)
		return err
	}
	for _, p := range m.byName() {
		m.warn(ctx, p, equal)
	}
	return nil
}

// A holder is the server that has the file of SQLite, in the record holderKey there.
type holder struct {
	ID   string `json:"id"` // of its announcement
	Name string `json:"name"`
}

const holderKey = "serve/holder"

// takeOver removes the announcement of the server that had the same file of SQLite, if
// that was killed: one process at a time has the file, so there is nothing to wait for.
// The error is that of the context.
//
// A copy of the file names a server that may well run. So the host and the port must be
// those of this machine, too; and if they are, of a clone, the next heartbeat of that
// server announces it again.
func (m *machines) takeOver(ctx context.Context) error {
	if isPostgres(m.s.Database) {
		return nil
	}
	var last holder
	r, err := m.s.stores.people.Get(ctx, holderKey)
	if err == nil {
		err = json.Unmarshal(r.Data, &last)
	}
	if err == nil && last.Name == m.me.Name {
		err := m.withBoards(ctx, writes, func(ctx context.Context, _ string, b board) error { return b.Remove(ctx, last.ID) })
		if err != nil {
			return err
		}
	}
	if err == nil || errors.Is(err, account.ErrNotFound) {
		var data []byte
		if data, err = json.Marshal(holder{m.me.ID, m.me.Name}); err == nil {
			err = save(ctx, m.s.stores.people, holderKey, data)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // a full disk, say; the server itself may not need to write
		m.s.log.WarnContext(ctx, "if this server is killed, its next start will wait for it", "error", oneLine(err))
	}
	return nil
}

func (m *machines) announce(ctx context.Context) error {
	if err := m.beat(ctx); err != nil {
		return err
	}
	if err := m.agree(ctx, true); err != nil {
		return err
	}
	m.me.Joined = true
	return m.beat(ctx)
}

// beat writes the next heartbeat to all boards.
func (m *machines) beat(ctx context.Context) error {
	m.me.Beat++
	return m.withBoards(ctx, writes, m.speak)
}

// agree compares this machine, which is announced or not, with the others. One whose
// settings break promises counts if it is alive: if its heartbeat rises. One whose does
// not in all rechecks is not waited for again.
func (m *machines) agree(ctx context.Context, announced bool) error {
	for looks := 1; ; looks++ {
		if announced { // the first of these announces that the one before is written
			if err := m.beat(ctx); err != nil {
				return err
			}
		}
		seen := make(look)
		if err := m.withBoards(ctx, reads, seen.at); err != nil {
			return err
		}
		m.saw(seen)
		var sure []string
		open := false
		for _, p := range m.byName() {
			grave, more := m.grave(p)
			if grave != "" && announced && !p.Joined && m.me.earlier(&p.machine) {
				grave, more = "", true // it gives way, or joins
			}
			open = open || more
			if grave != "" {
				sure = append(sure, grave)
			}
		}
		if looks >= maxRechecks {
			for _, p := range m.peers {
				p.gone = !p.alive()
			}
		}
		switch {
		case open && looks < maxRechecks:
			if looks == 4 { // a write that was in progress is done by now
				m.s.log.InfoContext(ctx, "another machine may have other settings, or have ended: looking")
			}
		case len(sure) == 0, m.s.DifferingSettings == differWarn: // then warn logs them
			return nil
		default:
			return fmt.Errorf("%w\n  %s\nGive all machines the same settings. To change one on purpose, stop all machines first (a killed one counts as gone after 15 s), or start each with --differing-settings=warn until all have the new one",
				errDiffers, strings.Join(sure, "\n  "))
		}
		select {
		case <-time.After(recheckEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// byName returns the others in the order of their names.
func (m *machines) byName() []*peer {
	return slices.SortedFunc(maps.Values(m.peers), func(a, b *peer) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
}

// grave returns the differences that break promises together with another machine, if
// that is alive, and whether there may be more, which the next look decides.
func (m *machines) grave(p *peer) (text string, more bool) {
	var all []string
	for _, d := range m.differences(p) {
		switch {
		case d.how != equal:
		case !p.alive():
			more = more || !p.gone
		case d.toBeConfirmed:
			more = true
		default:
			all = append(all, fmt.Sprintf("%s (%s): %v: %s", p.Name, ageOf(p), d, consequences[d.setting]))
		}
	}
	return strings.Join(all, "\n  "), more
}

// ageOf returns since when a machine runs.
func ageOf(p *peer) string { return "since " + p.Started.UTC().Format(time.RFC3339) }

// warn logs how another machine differs, once, in settings that must agree as far as most
// or less.
func (m *machines) warn(ctx context.Context, p *peer, most agreement) {
	if !p.alive() && p.Name == m.me.Name {
		return // this machine, before it was killed, or a clone, which will be alive
	}
	p.warned = true
	level := slog.LevelWarn
	var all []string
	for _, d := range m.differences(p) {
		if d.how > most {
			continue
		}
		if d.how == equal {
			if d.toBeConfirmed || !p.alive() {
				continue
			}
			level = slog.LevelError
		}
		all = append(all, d.String())
	}
	m.tell(ctx, level, p, "another machine has other settings", strings.Join(all, "; "))
}

// tell logs the differences of another machine, if they have changed.
func (m *machines) tell(ctx context.Context, level slog.Level, p *peer, text, what string) {
	if p.told[text] == what {
		return
	}
	p.told[text] = what
	if what != "" {
		m.s.log.Log(ctx, level, text, "machine", p.Name, "differences", what)
	}
}

// stay writes the heartbeats until the context ends, and logs machines that break promises
// together with this one.
func (m *machines) stay(ctx context.Context) {
	if len(m.boards) == 0 {
		return
	}
	defer m.leave(ctx)
	looked := time.Now()
	for tick := time.NewTicker(beatEvery); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
		m.me.Beat++
		seen := make(look)
		all := true
		for _, store := range sortedKeys(m.boards) {
			all = m.exchange(ctx, store, seen) && all
		}
		if !all {
			continue // an incomplete look proves nothing
		}
		before := looked
		looked = time.Now()
		silent := m.saw(seen)
		for _, p := range m.byName() {
			grave, _ := m.grave(p)
			m.tell(ctx, slog.LevelError, p, "another machine has other settings, and promises are broken", grave)
			if p.found && !p.warned && p.alive() {
				m.warn(ctx, p, alike)
			}
			m.compareClocks(ctx, p, before, looked)
		}
		m.forget(ctx, silent)
	}
}

// exchange writes a heartbeat to a board and reads the others'. It reports whether the store
// is there.
func (m *machines) exchange(ctx context.Context, store string, seen look) bool {
	for _, step := range []struct {
		act action
		f   func(ctx context.Context, store string, b board) error
	}{{writes, m.speak}, {reads, seen.at}} {
		err := m.try(ctx, store, step.f)
		if ctx.Err() != nil || m.s.away(store, err) { // which is logged by what needs the store
			return false
		}
		m.report(ctx, store, step.act, err)
	}
	return true
}

// compareClocks logs another machine's clock that differs: a heartbeat that is new at this
// look was written between the look before and now. A difference is logged again only when
// it has become worse, or was mended in between.
func (m *machines) compareClocks(ctx context.Context, p *peer, before, now time.Time) {
	if !p.fresh || !p.alive() {
		return
	}
	by, is := p.Time.Sub(now), "ahead of"
	if by < 0 {
		by, is = before.Sub(p.Time), "behind"
	}
	was := p.clock
	switch {
	case by < clockTolerance/2:
		p.clock = 0
	case by > clock.Skew:
		p.clock = 2
	case by > clockTolerance:
		p.clock = max(p.clock, 1)
	}
	if p.clock <= was {
		return
	}
	text, level := fmt.Sprintf("another machine's clock is more than %v %s this one's", clockTolerance, is), slog.LevelWarn
	if p.clock == 2 {
		text, level = fmt.Sprintf("another machine's clock is more than %v %s this one's: people are asked to sign in again and again", clock.Skew, is), slog.LevelError
	}
	m.s.log.Log(ctx, level, text, "machine", p.Name)
}

// forget removes announcements of machines that are gone.
func (m *machines) forget(ctx context.Context, ids []string) {
	for _, b := range m.boards {
		for _, id := range ids {
			ctx, cancel := context.WithTimeout(ctx, boardTime)
			_ = b.Remove(ctx, id) // the next look tries again
			cancel()
		}
	}
}

// leave removes the announcement of this machine, which ends.
func (m *machines) leave(ctx context.Context) {
	const leaveTime = 2 * time.Second
	for _, b := range m.boards {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
		_ = b.Remove(ctx, m.me.ID) // otherwise another machine removes it after forgetAfter
		cancel()
	}
}
