package sqlite

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/seed-64ad3862/gatehouse/account"
)

const (
	// logStep is how many entries are read at once.
	logStep = 256

	// logWindow is how many are looked at for them: those of a rare kind may lie
	// far apart.
	logWindow = 16 * logStep
)

// Append implements [account.Log].
func (a accounts) Append(ctx context.Context, e account.Entry) error {
	addr := ""
	if e.Addr.IsValid() {
		addr = e.Addr.String()
	}
	return failAccount("append", a.s.writer.do(ctx, func(t *tx) error {
		if err := t.claim(logged, rowBytes+len(e.Name)+len(e.Agent)+len(e.Detail), 0); err != nil {
			return err
		}
		_, err := t.exec(t.w.st.append, e.Time.UnixMicro(), string(e.Kind), null(e.Person), e.Name, e.By, addr, e.Agent, e.Session, e.Detail)
		t.bytes += len(e.Name) + len(e.Agent) + len(e.Detail)
		return err
	}))
}

// Trim implements [account.Log], in steps, so that others get their turn.
func (a accounts) Trim(ctx context.Context, before time.Time) (total int, err error) {
	for {
		gone := int64(0)
		if err = ctx.Err(); err == nil {
			gone, err = do(ctx, a.s.writer, func(t *tx) (int64, error) {
				return t.count(t.w.st.trim, before.UnixMicro(), t.step())
			})
		}
		total += int(gone)
		if err != nil || gone == 0 {
			return total, failAccount("trim", err)
		}
	}
}

// Entries implements [account.Log]. It goes through the log in small steps; what is
// appended meanwhile is not among them.
func (a accounts) Entries(ctx context.Context, q account.LogQuery) iter.Seq2[account.Entry, error] {
	return func(yield func(account.Entry, error) bool) {
		l, err := a.listing(ctx, &q)
		for err == nil && l.before > l.oldest {
			var found []account.Entry
			if err = ctx.Err(); err == nil {
				err = a.s.read(ctx, func(r *reader) (err error) {
					found, err = l.step(r)
					return err
				})
			}
			if err != nil {
				break
			}
			for _, e := range found {
				if !yield(e, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(account.Entry{}, failAccount("entries", err))
		}
	}
}

// A listing is how far one has come.
type listing struct {
	*account.LogQuery
	oldest int64 // the number at which it ends
	before int64 // the number that the rest is smaller than
}

func (a accounts) listing(ctx context.Context, q *account.LogQuery) (listing, error) {
	l := listing{LogQuery: q}
	err := a.s.read(ctx, func(r *reader) (err error) {
		if l.oldest, err = first(all(r.st.oldest, scanOne[int64])); err == nil {
			l.before, err = first(all(r.st.newest, scanOne[int64]))
		}
		return err
	})
	l.before++
	if q.Before != 0 {
		l.before = min(l.before, q.Before)
	}
	return l, err
}

// step returns what follows. It may be nothing although more is to come.
func (l *listing) step(r *reader) (found []account.Entry, err error) {
	since, from := l.Since.UnixMicro(), l.oldest
	if l.Person != "" { // whose entries have an index
		found, err = all(r.st.entriesOf, scanEntry, l.Person, from, l.before, since, string(l.Kind), logStep)
	} else {
		from = max(from, l.before-logWindow)
		found, err = all(r.st.entries, scanEntry, from, l.before, since, string(l.Kind), logStep)
	}
	switch {
	case err != nil:
	case len(found) == logStep:
		l.before = found[logStep-1].Number
	default:
		l.before = from
	}
	if err == nil && len(found) == 0 && !l.Since.IsZero() && from > l.oldest {
		// Numbers go with time, but for clocks that are set: nothing says that an
		// older one is not of a later time, but the index by time.
		var more bool
		if more, err = first(all(r.st.later, scanOne[bool], since, from)); !more {
			l.before = l.oldest
		}
	}
	return found, err
}

// entryColumns are what scanEntry reads.
const entryColumns = "number, time, kind, coalesce(person, ''), name, done_by, addr, agent, session, detail"

func scanEntry(scan func(dest ...any) error) (e account.Entry, err error) {
	var us int64
	var addr string
	if err := scan(&e.Number, &us, &e.Kind, &e.Person, &e.Name, &e.By, &addr, &e.Agent, &e.Session, &e.Detail); err != nil {
		return account.Entry{}, err
	}
	e.Time = time.UnixMicro(us).UTC()
	if addr != "" {
		if e.Addr, err = netip.ParseAddr(addr); err != nil {
			return account.Entry{}, fmt.Errorf("%w: the address of entry %d: %w", errDamaged, e.Number, err)
		}
	}
	return e, nil
}
