package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/seed-64ad3862/gatehouse/session"
)

// A class says which writes give way when there is little space.
type class int

const (
	// essential are users, their sessions and spent challenges: they get the last page.
	essential class = iota
	// logged are audit events, which strangers cause too.
	logged
	// anonymous are sessions that have no owner, of which a stranger can make any
	// number. They are refused while there is still space for the others.
	anonymous
	classes
)

const (
	unlimited = 1<<32 - 2 // pages, which is SQLite's own limit

	// sparePages is how many a change may take for the tree of each index.
	sparePages = 8

	// rowBytes is what a session takes in addition to its texts, with its indexes, about.
	rowBytes = 400

	// fewAnonymous is how many anonymous sessions, each of fewBytes at most, are no
	// flood: a sign-in may need one, however full the disk is. So many are left even
	// where users need the space.
	fewAnonymous = 64
	fewBytes     = 2048

	// evictStep is how many anonymous sessions are looked at together. If all of them
	// are in use, the half that was not used for longest gives way.
	evictStep = fewAnonymous

	// maxEvictSteps bounds what one change does to make space.
	maxEvictSteps = 64

	// evictAfter is how long an anonymous session must not have been used to give way
	// before the others do. Use within the last minute may not have been written.
	evictAfter = 2 * time.Minute

	// maxEvicted is how many sessions that gave way are kept for the next sweep.
	maxEvicted = 4096

	// minWAL holds the pages of a small transaction.
	minWAL = 96 << 10

	// minEvery is after how many bytes the WAL is copied on a very small disk.
	minEvery = 64 << 10
)

// A space accounts for what the database may still take, and decides what happens when
// the disk is full. It belongs to the writer, whose turn is held while it is used.
//
// A database in WAL mode can lock itself up: if commits have added pages, and the disk
// has no space for them in the database's file, the WAL cannot be copied and so cannot be
// used again; with the disk full it cannot grow either. Nothing can be written then, not
// even that something is removed. Three rules prevent that. The pages that commits are
// ahead of the file are kept below the size of the reserve. The WAL's file has a least
// size from the beginning. And when the disk is found full, the WAL is copied, for which
// the reserve is given up as needed, and the database may not grow from then on: what is
// written takes pages that are free, and the same WAL again and again. For users it may
// still grow by what is left of the reserve.
type space struct {
	reserve  *reserve
	path     string
	log      *slog.Logger
	pageSize int64
	wal      int64 // least size of the WAL's file
	every    int   // bytes of writes after which the WAL is copied: see checkpointBytes
	shared   bool  // anonymous sessions get a share of the disk

	most int64 // pages that are configured
	hard int64 // pages the database may have: max_page_count
	soft int64 // pages it may have for anonymous sessions

	granted int64 // pages of hard that are for users, out of the reserve

	used    int64 // pages, when they were last counted
	written int64 // bytes since then: about a page for each that was taken, or more
	ahead   int64 // bytes written since it was last seen how far commits are ahead of the file

	tight bool  // the disk was found full
	cause error // an I/O error for want of space, of a quota or a limit say; nil: there is none

	grace   time.Duration // evictAfter
	warned  time.Time     // when it was last logged that anonymous sessions give way
	evicted evicted
}

// evicted are the sessions that gave way since the last sweep.
type evicted struct {
	mu      sync.Mutex
	records []session.Record // without fields, maxEvicted at most
	total   int              // since the store was opened
}

func (e *evicted) add(records []session.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.total += len(records)
	e.records = append(e.records, records[:min(len(records), maxEvicted-len(e.records))]...)
}

// next takes one of them, and reports whether there was one.
func (e *evicted) next() (r session.Record, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.records)
	if n == 0 {
		e.records = nil
		return session.Record{}, false
	}
	r = e.records[n-1]
	e.records = e.records[:n-1]
	return r, true
}

func (e *evicted) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total
}

// newSpace returns the account of a store that has its lock. It gives up as much of the
// reserve as it takes to open the database: SQLite makes files next to it.
func newSpace(s *Store, cfg *Config) (*space, error) {
	sp := &space{
		reserve: &s.lock.reserve, path: s.path, log: s.log, pageSize: pageBytes, every: minEvery,
		most: unlimited, hard: unlimited, soft: unlimited, used: unlimited,
		shared: s.own, grace: evictAfter,
	}
	if err := sp.reserve.open(s.lock.f); err != nil {
		return nil, err
	}
	sp.measure()
	sp.ahead = sp.reserve.want // the process before may have left a WAL
	sp.wal = max(sp.reserve.want/portions, minWAL)
	const shm = 64 << 10
	for !sp.reserve.spare(max(sp.wal-fileSize(sp.path+"-wal"), 0)+shm) && sp.reserve.give() {
	}
	return sp, nil
}

// unknownTotal is the total where the system does not tell.
const unknownTotal = math.MaxInt64

// total is what the disk has left, and what the database has of it.
func (sp *space) total() int64 {
	total, err := available(filepath.Dir(sp.path))
	if err != nil {
		return unknownTotal
	}
	for _, suffix := range []string{"", "-wal", ".lock"} {
		total += fileSize(sp.path + suffix)
	}
	return total
}

// fileSize returns the size of a file, 0 if there is none.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// measure looks how much space there is. Sizes only grow, since a full disk looks like a
// small one. Anonymous sessions may fill the database up to half of the disk, and the pages
// that it has anyway: users may have filled more than half, or other files.
func (sp *space) measure() {
	total := sp.total()
	sp.every = int(min(max(total/16, int64(sp.every)), checkpointBytes))
	sp.reserve.resize(total / 8)
	if sp.shared && total != unknownTotal {
		sp.soft = max((total-sp.reserve.want)/2, fileSize(sp.path)) / sp.pageSize
	}
}

// walLimit is what the WAL's file is cut back to if it has grown larger.
func walLimit(every int) int64 { return maxWAL / checkpointBytes * int64(every) }

// limit is how many pages the database may have for writes of this class.
func (sp *space) limit(c class) int64 {
	kept := min(max(sp.hard/16, sparePages), 1024)
	switch {
	case c == anonymous:
		return min(sp.soft, sp.hard-sp.granted-kept)
	case c == logged && !sp.tight:
		return min(sp.soft+sp.soft/2, sp.hard-kept/2)
	}
	return sp.hard
}

// full is the error of writes that have no space.
func (sp *space) full() error {
	if sp.cause != nil {
		return fmt.Errorf("%w: %w", session.ErrFull, sp.cause)
	}
	return session.ErrFull
}

// restore makes the reserve whole if it can, and reports whether it is whole and the disk
// has space for more.
func (sp *space) restore() bool {
	largest := max(fileSize(sp.path), fileSize(sp.path+"-wal"))
	sp.cause = nil
	return sp.reserve.restore(largest)
}

// maybeFull reports whether an error may be for want of space. Of quotas and limits of
// the system, SQLite says that there is an I/O error.
func maybeFull(err error) bool {
	switch code(err) {
	case codeTooBig:
		return false
	case codeIOErr:
		return true
	}
	return errors.Is(err, session.ErrFull)
}

// limitSpace brings the limits into force, when the database is open.
func (w *writer) limitSpace(maxBytes int64) error {
	sp := w.space
	if err := w.conn.scan("PRAGMA page_size", &sp.pageSize); err != nil {
		return err
	}
	if maxBytes > 0 {
		sp.most = max(maxBytes/sp.pageSize, 1)
	}
	if err := w.setLimit(sp.most); err != nil {
		return err
	}
	if err := w.measure(); err != nil {
		return err
	}
	if err := w.extendWAL(); err != nil {
		sp.log.Warn("sqlite: the WAL has not the size that it should have in case the disk is full", "error", err)
	}
	if !sp.restore() {
		w.copyWAL(w.check.restart)
		return w.tighten()
	}
	w.settle(0)
	return nil
}

// measure looks how much space there is, and sets the sizes accordingly.
func (w *writer) measure() error {
	before := w.space.every
	if w.space.measure(); w.space.every != before {
		w.check.every = w.space.every
	}
	return w.conn.exec(fmt.Sprintf("PRAGMA journal_size_limit = %d", walLimit(w.space.every)))
}

func (w *writer) setLimit(pages int64) error {
	w.space.hard = pages
	return w.conn.exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
}

// extendWAL gives the WAL's file its least size. What follows the last frame is nothing
// to SQLite. The transaction keeps other writers away.
func (w *writer) extendWAL() error {
	if _, err := w.st.begin.exec(); err != nil {
		return err
	}
	defer w.rollback()
	f, err := os.OpenFile(w.space.path+"-wal", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() < w.space.wal {
		_, err = f.WriteAt(make([]byte, w.space.wal-info.Size()), info.Size())
	}
	return err
}

// relieve does what can be done after a transaction that may have found no space, and
// reports whether to try again. The first time that is to copy the WAL, which can be
// used again then. If that was not enough, the database may grow for one job alone
// although the disk is full.
func (w *writer) relieve(t *tx, cause error, again, alone bool) bool {
	sp := w.space
	if sp.restore() {
		return sp.tight && w.loosen() == nil // or it is the configured limit
	}
	if code(cause) == codeIOErr {
		if !noSpace(sp.reserve.err) { // the disk is broken, not full
			return false
		}
		sp.cause = cause
	}
	if !w.copyWAL(w.check.restart) {
		return false
	}
	if !sp.tight && w.tighten() != nil {
		return false
	}
	return !again || alone && w.grant(t)
}

// copyWAL copies the WAL into the database's file in this way, gives up the reserve for
// that as needed, and reports whether it could.
func (w *writer) copyWAL(copying func() error) bool {
	for {
		err := copying()
		if err == nil {
			return true
		}
		if !maybeFull(err) || !w.space.reserve.give() {
			return false
		}
	}
}

// tighten forbids the database to grow.
func (w *writer) tighten() error {
	sp := w.space
	var pages int64
	if err := w.conn.scan("PRAGMA page_count", &pages); err != nil {
		return err
	}
	if err := w.setLimit(min(pages, sp.most)); err != nil {
		return err
	}
	sp.tight, sp.granted = true, 0
	sp.log.Warn("sqlite: the disk is full: anonymous sessions give way, users are served from the space that the store has reserved", "database", sp.path)
	return nil
}

// loosen lets the database grow again. It may be called in a transaction.
func (w *writer) loosen() error {
	sp := w.space
	if err := w.setLimit(sp.most); err != nil {
		return err
	}
	sp.tight, sp.granted = false, 0
	sp.measure()
	sp.log.Info("sqlite: the disk has space again", "database", sp.path)
	return nil
}

// grant gives up a portion of the reserve for a job, and lets the database grow by half
// of it: the other half is for the WAL. The last portion is kept to copy the WAL, and to
// open the database.
func (w *writer) grant(t *tx) bool {
	sp := w.space
	least := sp.reserve.want / portions
	if t.class != essential {
		least *= 2
	}
	left := sp.reserve.has - least
	if left <= 0 || int64(t.need) > left/2 || !sp.reserve.give() {
		return false
	}
	more := min(max(sp.reserve.want/portions/2/sp.pageSize, 1), sp.most-sp.hard)
	sp.granted += more
	return w.setLimit(sp.hard+more) == nil
}

// settle makes sure, after a commit, that the database's file will have space for what
// has been added.
func (w *writer) settle(bytes int) {
	sp := w.space
	sp.written += int64(bytes)
	sp.ahead += int64(bytes)
	if !sp.tight && sp.ahead < sp.reserve.want/8 {
		return
	}
	sp.ahead = 0
	var pages int64
	if w.conn.scan("PRAGMA page_count", &pages) != nil {
		return
	}
	switch ahead := pages*sp.pageSize - fileSize(sp.path); {
	case ahead > sp.reserve.want/4, sp.tight && ahead > 0:
		w.copyWAL(w.check.pass) // others may be reading: that is no reason to wait
		if !sp.tight && sp.reserve.has < sp.reserve.want && !sp.restore() {
			_ = w.tighten() // or the next transaction does
		}
	case ahead > sp.reserve.want/8:
		w.check.soon()
	}
}

// maxBytes is how much a transaction of several jobs may write, about: what it adds must
// fit into the reserve, together with what others have added that is not copied yet.
func (sp *space) maxBytes() int { return int(min(sp.reserve.want/4, maxBatchBytes)) }

// canCopy reports whether there is space to copy what a transaction writes. Most of them are
// small enough for the reserve. The others need twice their size, in the WAL and in the
// database's file.
func (sp *space) canCopy(bytes int) bool {
	return int64(bytes) <= sp.reserve.want/2 || sp.reserve.spare(2*int64(bytes))
}

// refresh looks how the disk is now.
func (w *writer) refresh() {
	w.turn.Lock()
	defer w.turn.Unlock()
	_ = w.measure() // or it is tried again
	if w.space.reserve.has < w.space.reserve.want || w.space.tight || w.space.cause != nil {
		if w.space.restore() && w.space.tight {
			_ = w.loosen() // likewise
		}
	}
}

// place makes space for what a row takes more than the old one did, or answers
// [session.ErrFull].
func (t *tx) place(old, r *row, created bool) error {
	bytes := r.texts() - old.texts()
	if created {
		bytes += rowBytes
	}
	if bytes <= 0 {
		return nil
	}
	c := essential
	if r.Owner == "" {
		c = anonymous
	}
	err := t.claim(c, bytes, old.key())
	if errors.Is(err, session.ErrFull) && rowBytes+r.texts() <= fewBytes {
		return t.placeSmall(old.key(), err)
	}
	return err
}

// errLater is the answer of a job that may be done in a transaction after this one.
var errLater = errors.New("no session can give way in this transaction")

// placeSmall lets a small anonymous session in for which no pages are free, or answers
// full: there are only a few, or another gives way for it. What that leaves need not be a
// whole page, but the next ones find it.
func (t *tx) placeSmall(except int64, full error) error {
	found, err := t.firstAnonymous(fewAnonymous)
	if err != nil {
		return err
	}
	if len(found) == fewAnonymous {
		if t.gaveWay == 0 {
			if _, err := t.evict(except, true); err != nil {
				return err
			}
		}
		switch {
		case t.gaveWay > 0:
			t.gaveWay--
		case len(t.changed) > 1:
			return errLater // of those that this transaction has changed, some may
		default:
			return full
		}
	}
	t.class = essential
	return nil
}

// claim makes space for so many bytes more of this class, about, or answers
// [session.ErrFull]. Anonymous sessions give way, except the one with this key: see
// evict. What is essential is tried in any case, and audit events too when the disk is
// full: they have their own share of the reserve.
func (t *tx) claim(c class, bytes int, except int64) error {
	sp := t.w.space
	t.need, t.class = bytes, c
	pages := int64(bytes)/sp.pageSize*5/4 + sparePages
	fits := func() bool {
		return sp.limit(c)-sp.used-(sp.written+int64(t.bytes-t.counted))/sp.pageSize >= pages
	}
	if fits() {
		return nil
	}
	// Of the jobs of a transaction, the first has tried everything.
	if least := t.refused[c]; least == 0 || pages < least {
		if err := t.countPages(); err != nil || fits() {
			return err
		}
		if sp.tight && sp.restore() {
			if err := t.w.loosen(); err != nil || fits() {
				return err
			}
		}
		// A step frees some pages, unless the sessions lie apart.
		for range min(2*pages, maxEvictSteps) {
			n, err := t.evict(except, c != logged)
			if err == nil && n > 0 {
				err = t.countPages()
			}
			if err != nil || fits() {
				return err
			}
			if n == 0 {
				break
			}
		}
		t.refused[c] = pages
	}
	if c == essential || c == logged && sp.tight {
		return nil // SQLite may find space, or the reserve has some
	}
	sp.warn()
	return sp.full()
}

// countPages counts the pages that are in use, for the whole of the transaction so far.
func (t *tx) countPages() error {
	if t.err != nil {
		return t.err
	}
	sp := t.w.space
	var pages, free int64
	if t.err = t.w.conn.scan("PRAGMA page_count", &pages); t.err == nil {
		t.err = t.w.conn.scan("PRAGMA freelist_count", &free)
	}
	sp.used, sp.written, t.counted = pages-free, 0, t.bytes
	return t.err
}

// evict removes some of the anonymous sessions that are due first, and returns how many:
// those that are over or have not been used for a while. If there is none, and others are
// to give way too, it removes those that were not used for longest, whatever their age,
// but for the last few. The index is in the order of deadlines, which is that of use for
// sessions with one idle time; where use has moved a deadline since, the index learns it
// here. Sessions of this transaction stay.
func (t *tx) evict(except int64, others bool) (n int, err error) {
	budget := t.step() - len(t.evicted)
	keys, err := t.firstAnonymous(evictStep)
	if err != nil || budget <= 0 && t.w.space.tight {
		return 0, err
	}
	now := time.Now()
	var used []*row
	for _, key := range keys {
		r, err := t.head(key)
		switch {
		case errors.Is(err, errDamaged): // the sweep says so
		case err != nil:
			return n, err
		case r == nil || key == except || t.changed[key]:
		case r.live(now) && now.Sub(r.Seen) <= t.w.space.grace:
			used = append(used, r)
		case n < budget || !t.w.space.tight:
			if err := t.giveWay(r); err != nil {
				return n, err
			}
			n++
		}
	}
	if n == 0 && others && len(keys) == evictStep {
		slices.SortStableFunc(used, func(a, b *row) int { return a.Seen.Compare(b.Seen) })
		half := (len(used) + 1) / 2
		if t.w.space.tight {
			half = min(half, budget)
		}
		for _, r := range used[:half] {
			if err := t.giveWay(r); err != nil {
				return n, err
			}
			n++
		}
		used = used[half:]
	}
	for _, r := range used {
		if r.due < r.Deadline().UnixMilli() {
			if err := t.postpone(r.key()); err != nil {
				return n, err
			}
		}
	}
	if n > 0 {
		t.w.space.warn()
	}
	return n, nil
}

// giveWay removes an anonymous session for want of space.
func (t *tx) giveWay(r *row) error {
	err := t.remove(r)
	if err == nil {
		rec := r.Record
		rec.Fields = nil
		t.evicted = append(t.evicted, rec)
		t.gaveWay++
	}
	return err
}

// firstAnonymous returns the keys of anonymous sessions, so many at most: those that are
// due first.
func (t *tx) firstAnonymous(limit int) (keys []int64, err error) {
	if t.err == nil {
		keys, t.err = all(t.w.st.due, scanOne[int64], math.MaxInt64, limit)
	}
	return keys, t.err
}

// warn logs that there is no space for anonymous sessions, once in a while.
func (sp *space) warn() {
	if now := time.Now(); now.Sub(sp.warned) > time.Minute {
		sp.warned = now
		sp.log.Warn("sqlite: there is no space for all anonymous sessions: those not used for longest give way", "database", sp.path, "since_start", sp.evicted.count())
	}
}
