package main

import (
	"context"
	"fmt"

	gorilla "github.com/gorilla/sessions"
)

// A rival is a site that keeps sessions, or a floor.
type rival struct {
	name string
	site site
	bare bool // it has no sessions
}

func rivals() ([]rival, error) {
	hold := func() {}
	ours, err := ourSite(hold)
	if err != nil {
		return nil, err
	}
	return []rival{
		{nameBare, bareSite(false), true},
		{nameContext, bareSite(true), true},
		{nameByHand, handSite(), false},
		{nameOurs, ours, false},
		{nameScs, scsSite(hold), false},
		{nameCookie, gorillaSite(gorilla.NewCookieStore(secret), hold), false},
		{nameGorillaMem, gorillaSite(newGorillaMemory(), hold), false},
		{nameFiberBare, bareFiber(), true},
		{nameFiber, newFiber(hold), false},
	}, nil
}

// contenderFor does one kind of request on a rival.
func contenderFor(v rival, path, want string) (contender, error) {
	var cookie string
	c := contender{name: v.name}
	fresh := func() (err error) {
		if !v.bare && path != pathNothing {
			cookie, err = begin(v.site)
		}
		return err
	}
	if err := fresh(); err != nil {
		return c, fmt.Errorf("%s: %w", v.name, err)
	}
	c.run = func(n int) { v.site.repeat(path, cookie, want, n) }
	if f, ok := v.site.(*fiberSite); ok {
		c.after = func() {
			f.forget()
			if err := fresh(); err != nil {
				panic(err)
			}
		}
	}
	return c, nil
}

func benchSessions(_ context.Context, cfg config, r *report) error {
	r.title("Sessions in memory, one request")
	r.text("Every site holds one session of 100 bytes: one key and its string. All have the settings they have by themselves and a store in memory; the answer goes to a writer that throws it away, the request is a copy of the same one each time. A ballast of %d MiB without pointers stands for a server's heap, the same for all, with GOGC at its default: else the collector would run thousands of times a second.", ballastBytes>>20)
	r.text("gorilla/sessions has no store in memory: CookieStore keeps everything in a signed cookie (nothing on the server, so nothing that can be ended there), and “map as store” is ours for it, as fast as we know how. It does nothing at all where the handler does not ask. fiber runs on fasthttp, not net/http: its handler is called with a `fasthttp.RequestCtx`, and only the difference to bare fiber says something about its sessions. “By hand” is a cookie, a map and a mutex without expiry or any promise.")
	for _, op := range []struct{ path, title, want string }{
		{pathNothing, "A request that never touches the session (anonymous)", ""},
		{pathRead, "Read one key of an existing session", payload},
		{pathWrite, "Read one key and write another", payload},
	} {
		vs, err := rivals()
		if err != nil {
			return err
		}
		var cs []contender
		for _, v := range vs {
			c, err := contenderFor(v, op.path, op.want)
			if err != nil {
				return err
			}
			cs = append(cs, c)
		}
		results := measure(cs, cfg)
		r.printf("### %s\n\n", op.title)
		r.costTable(cs, results, nameOurs)
		ours := results[nameOurs].median()
		goal := map[string]struct {
			cpu, allocs float64
		}{pathNothing: {150, 3}, pathRead: {1000, 6}, pathWrite: {1800, 12}}[op.path]
		rival := results[nameScs].median()
		r.atMost(op.title+": CPU", ours.cpu, goal.cpu, duration, "scs "+duration(rival.cpu))
		r.atMost(op.title+": allocations", ours.allocs, goal.allocs, count, "scs "+count(rival.allocs))
	}
	return nil
}
