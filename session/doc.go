// Package session gives a web application values that live on the server
// behind a cookie.
//
// # Use
//
// A [Key] is a typed name, made once as a package variable. A [Manager] is
// middleware; inside its handler, [Manager.Load] gives the request's [Session]:
//
//	var Name = session.NewKey[string]("name")
//
//	sessions, err := session.New(session.Config{Store: memory.New(memory.Config{})})
//	http.ListenAndServe("localhost:8080", sessions.Handler(app))
//
//	s, err := sessions.Load(r.Context()) // the one step that can fail
//	name, ok := Name.Get(s)
//	Name.Set(s, "alex")
//
// Load reads the store once, on first use; a request that never calls it costs
// two small allocations and touches nothing. Set, Delete, Renew and the other
// changes are gathered, and are committed in one step before the header of the
// answer goes out, whichever way the handler sends it. A client that has the
// answer can rely on what the handler stored.
//
// # Concurrent requests
//
// What is committed is a [Delta]: the keys that this request set or deleted and
// nothing else. Requests that run side by side on one session therefore keep
// each other's keys. On the same key the last commit wins; [Key.Update] is
// read-modify-write, and [Key.Consume] takes a value that exactly one request
// may have.
//
// A commit names a record that must exist. A request that was on its way when
// the session ended, by sign-out, by expiry or by an administrator, cannot
// bring it back: its commit fails with [ErrEnded].
//
// # Identifiers
//
// The cookie holds 256 random bits and nothing else. The store sees only their
// SHA-256, the [ID]; whoever reads the store or a backup of it cannot sign in
// with what is found there. Logs and listings show the [Handle], the first
// eight bytes of the ID. An identifier that the store does not know is never
// adopted: the first Set then begins a session under a new one.
//
// With [Config.Keys], an anonymous session that holds no value has no record: a
// MAC in its cookie proves that the identifier is one of ours. A visitor who only
// looks at pages, forms with tokens included, stores nothing.
//
// [Session.Renew] replaces the identifier in one atomic step, and
// [Session.SetOwner], which signs a person in, does so by itself. There is no
// grace for the old one: that would reopen session fixation
// (OWASP Session Management Cheat Sheet, "Renew the Session ID After Any
// Privilege Level Change"). A sign-in depends on the credentials, not on the
// session before it: if that has been renewed or ended meanwhile, by the same form
// sent twice, SetOwner begins a new one.
//
// # Two clocks
//
// A session ends when it has been idle for [Config.Idle], and when it is
// [Config.Absolute] old, whichever comes first. Being read keeps it alive at the
// price of at most one small write a minute, so it may end up to a minute
// before its idle time is quite over. A page that polls loads it by
// [Manager.LoadPassive] and does not keep it alive. [Config.MaxIdle] and
// [Config.MaxAbsolute] are upper bounds, also for sessions that exist: a request
// that loads one which is over by them ends it for good, and one that stores
// something or keeps it alive stores the lower times. A session without such a
// request has its former times when the bounds are raised again. A sign-in begins
// with what is configured then.
//
// # When a handler fails
//
// If a session cannot be stored, the client gets an error page in the place of the
// answer, also if the handler then panics, as [net/http/httputil.ReverseProxy] does
// when its writes are refused. If the handler panics for other reasons, what it has
// not committed is dropped. A recoverer belongs outside of [Manager.Handler]. Where it
// is inside, as that of a framework may have to be, [Manager.DiscardOnPanic] belongs
// inside of it. [net/http.TimeoutHandler] belongs inside.
//
// # Cookie
//
// The zero Config gives `__Host-session; Path=/; Secure; HttpOnly;
// SameSite=Lax` (RFC 6265bis section 4.1.3.2). A request that carries the cookie
// twice is treated as one without, and [Rejected] is observed: a sibling domain or a
// plain-HTTP page may have planted one of them, and nothing tells which. A value that
// is not of the form of ours is another program's, and does not count.
package session
