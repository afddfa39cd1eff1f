// Package tornado reads and writes the wire formats of the Tornado web
// framework, for programs that move from it to Go or share a host with it.
//
// # XSRF tokens
//
// [XSRF.Check] answers as Tornado's check_xsrf_cookie does, with the same text
// for the log. It compares a field with a cookie, and a pair like that proves
// nothing against whoever can plant a cookie, from a sibling domain or over
// plain HTTP (OWASP Cross-Site Request Forgery Prevention Cheat Sheet, "Naive
// Double-Submit Cookie Pattern"). It is therefore something to ask for in
// addition to package csrf, never in place of it: [csrf.Protection] does not
// know this package, and nothing here makes it let a request through.
//
// # Signed values
//
// [Signer] is set_secure_cookie and get_secure_cookie. The values are signed,
// not encrypted, and one that was copied stays good until it expires: what must
// end at sign-out belongs in a session.
//
// # Old versions
//
// Both formats have a version 1, which Tornado still reads by default. Here it
// is read only where [XSRF.AcceptV1] or [SignerConfig.V1Secret] ask for it.
//
// # Where Tornado is laxer
//
// Everything Tornado writes is read. What it reads but never writes, or reads
// to somebody's harm, is refused:
//
//   - a version 1 token that is not hexadecimal, which Tornado compares as text,
//     so that any word will do on both sides;
//   - a mask that is not four bytes long;
//   - a version 1 signed value whose timestamp holds anything but digits, as one
//     does when letters of the payload slid into it under a valid signature;
//     Tornado answers 500 to that;
//   - numbers with signs, blanks, underscores or leading zeros.
//
// # Moving a program
//
// Tornado's get_argument takes the last value of a repeated name, from query and
// body together, without surrounding blanks; [http.Request.FormValue] takes the
// first as it stands. [http.Request.Cookie] does not see a cookie whose value
// has octal escapes; neither tokens nor signed values ever do.
//
// All functions and methods may be used concurrently.
//
// [csrf.Protection]: https://pkg.go.dev/github.com/seed-64ad3862/gatehouse/csrf#Protection
package tornado
