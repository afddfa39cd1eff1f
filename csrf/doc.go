// Package csrf refuses requests that another site made a visitor's browser
// send.
//
// # Use
//
// A [Protection] is middleware that stands inside the session's. It decides by
// what the browser says about where a request comes from, and where the browser
// says nothing, by a token that only the site's own pages hold:
//
//	protection, err := csrf.New(csrf.Config{
//		Origins:  []string{"https://app.example"},
//		Sessions: sessions,
//	})
//	http.ListenAndServe("localhost:8080", sessions.Handler(protection.Handler(app)))
//
//	input, err := protection.Input(r) // in each form: <input type="hidden" …>
//
// [Protection.Check] decides without answering. With a zero [Config], of the
// requests that may change something only those pass that a browser declares to
// be of the same origin.
//
// # The decision
//
//  1. GET, HEAD and OPTIONS pass, unless they ask for an upgrade: see below. They
//     must not change anything: sign-out, too, is a POST.
//  2. Sec-Fetch-Site (W3C Fetch Metadata Request Headers, section 2.3):
//     same-origin passes. Anything else but none is another origin, a sibling
//     domain included, and is refused unless Origin is one of
//     [Config.TrustedOrigins]. none says that no page began the request. One
//     that changes something is then a form sent again, by a reload or in a
//     restored window, and whose form that was, Origin says: none counts as
//     absent.
//  3. Origin, and if there is none Referer: passes if scheme, host and port are
//     those of [Config.Origins] or [Config.TrustedOrigins], and is refused
//     otherwise. The origin null is refused. Host is not consulted, as it has
//     no scheme and a proxy may have written it, and neither is X-Forwarded-*:
//     there is no proxy that would have to be trusted.
//  4. The token, if none of these headers is there: a program that is no
//     browser, or a very old one. Without a valid token the request is refused.
//
// A header that browsers send once and that is there twice is refused. With
// [Config.RequireToken] what passes in steps 2 and 3 needs a token as well.
//
// # WebSockets
//
// A WebSocket begins with a GET to which browsers add cookies, whatever page opens
// it. SameSite=Lax does not stop one from a sibling domain or from another port of
// the host. No preflight asks whether that page may. So a request that asks for an
// upgrade needs to be from here as well: one by a safe method with an Upgrade
// header, whatever the protocol (RFC 9110 section 7.8), and an extended CONNECT,
// as WebSockets over HTTP/2 (RFC 8441) and WebTransport are.
//
// Steps 2 and 3 decide. Browsers always send Origin with a handshake, not all send
// Sec-Fetch-Site (Firefox does, Chromium does not), and none sends Referer, which
// does not count here: without [Config.Origins] the handshakes of Chromium are
// refused. A page cannot add a token to a handshake, so that none is asked for,
// even with [Config.RequireToken]. A handshake without Origin and Sec-Fetch-Site
// passes: it is not a browser's, and what other programs send no page can forge.
//
// [Config.Exempt] lists the route of a WebSocket that any page may open.
//
// # Referrer-Policy
//
// A site whose pages say `Referrer-Policy: no-referrer` makes browsers send the
// origin null with its own forms (Fetch standard, "append a request Origin
// header"). Where they send no Sec-Fetch-Site those are refused. Say same-origin
// or strict-origin-when-cross-origin instead.
//
// # Tokens
//
// A token is derived from the secret in the session's cookie
// ([session.Session.Secret]) and under a mask of its own each time it is
// rendered, so that a compressed page does not give it away (BREACH). Nothing is
// stored for it: all tokens of a session, in any number of tabs, are good for as
// long as its cookie is, and a sign-in or sign-out, which changes the cookie, ends
// them.
//
// Two tabs that are opened at once without a cookie begin two sessions, and the
// browser keeps one. Where [session.Config.Keys] is set, the form of the other tab
// is good too, until the visitor signs in, if the browser says that it is sent
// from this site. Without Keys it is refused.
//
// A page that renders a token begins a session if there is none, so that forms
// before sign-in are protected too (OWASP Cross-Site Request Forgery Prevention
// Cheat Sheet, "Pre-Sessions"). A pair of cookie and token that somebody brought
// along proves nothing: the cookie must name a session that this server began.
//
// An answer that shows a token must not be cached. The session's middleware says
// no-store and Vary: Cookie on it, whatever Cache-Control the handler set.
//
// # Where the token is looked for
//
// The headers X-Csrf-Token, X-Xsrftoken and X-Csrftoken come first, and if one
// of them is there the body is not touched. Then the field [Config.Field] of a
// form in the body; the first one counts, as for [http.Request.FormValue] (in
// Tornado it is the last: with both at work, send one). Never the query, from where it would
// leak into logs and Referer headers.
//
// A handler then finds the body as if nobody had read it, and calls ParseForm,
// ParseMultipartForm or MultipartReader or forwards it as always. Of an
// urlencoded form all is held in memory meanwhile, up to [Config.BodyLimit]. Of
// a multipart form only what precedes the end of the token: put the field before
// the files, and an upload of any size streams through. Where the body must not
// be read at all, list the route in [Config.HeaderOnly].
//
// # The log
//
// A refusal is one line with the method, host and path of the request and the
// reason. What the client chose is cut to a few hundred bytes, and a text that was
// cut says how long it was. The query is left out.
//
// Refusals that repeat are counted. Of each of the errors of [Protection.Check]
// five are logged as they come, and then one a minute. One line says how many
// others there were:
//
//	level=WARN msg="csrf: refused" kind="csrf: cross-origin request" repeated=734 in=1m0s
//
// Nothing runs in the background: [Protection.Handler] writes that line with the
// first request that comes when a minute is over. A program that ends calls
// [Protection.FlushLog] for the last one. To see each refusal, use [Config.Deny].
//
// # Programs that are no browsers
//
// They send none of the headers and have no token. A route that takes its
// authority from something that browsers do not attach by themselves, such as a
// signature or a bearer token, belongs in [Config.Exempt].
//
// [session.Session.Secret]: https://pkg.go.dev/github.com/seed-64ad3862/gatehouse/session#Session.Secret
package csrf
