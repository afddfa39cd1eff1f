package pow

import (
	"embed"
	"net/http"

	"github.com/seed-64ad3862/gatehouse/internal/static"
)

//go:embed static
var files embed.FS

// Script returns a handler that serves the solver for browsers below the
// prefix, a path that begins and ends with a slash, and the solver's address,
// which names its content and may be kept by caches for ever:
//
//	scripts, solver, err := pow.Script("/pow/")
//	mux.Handle("/pow/", scripts)
//
// The solver is an ES module. A page's own script imports it:
//
//	import { solve } from "/pow/solve.js?v=…";
//	form.elements.altcha.value = await solve("/pow", {
//		signal,                          // of an AbortController, to cancel
//		progress: (tried, most) => {…},  // some ten times a second
//	});
//
// It works under a content security policy of script-src, worker-src and
// connect-src 'self'; under require-trusted-types-for 'script' it makes a policy
// with the name gatehouse-pow. Where it can have no workers it works in the page, in
// steps too small to be felt. As WebCrypto demands, the page must have come by
// HTTPS or from localhost.
func Script(prefix string) (scripts http.Handler, solver string, err error) {
	return static.Module(prefix, files, "solve.js")
}
