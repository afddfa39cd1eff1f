// Package headers sets what tells browsers how to guard a page (OWASP HTTP Headers
// Cheat Sheet; ASVS 5.0, V3.4).
package headers

import "net/http"

// Policy is a Content-Security-Policy for pages whose scripts, styles and pictures
// are files of their own site, and that nobody frames. Without inline scripts and
// without eval there is nothing that an injection could run.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; " +
	"worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// Set sets all of them for a page that nobody else may keep. Insecure leaves out
// Strict-Transport-Security, for plain HTTP.
func Set(h http.Header, insecure bool) {
	h.Set("Content-Security-Policy", Policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin") // no-referrer would make the Origin of our own forms null
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if !insecure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}
