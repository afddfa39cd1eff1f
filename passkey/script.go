package passkey

import (
	"embed"
	"net/http"

	"github.com/seed-64ad3862/gatehouse/internal/static"
)

//go:embed static
var files embed.FS

// Script returns a handler that serves the browser's part below the prefix, a path that
// begins and ends with a slash, and the address of it, which names its content and may
// be kept by caches for ever:
//
//	scripts, module, err := passkey.Script("/passkey/")
//	mux.Handle("/passkey/", scripts)
//
// It is an ES module. A page's own script imports it:
//
//	import * as passkey from "/passkey/passkey.js?v=…";
//	if (passkey.supported()) {
//		const response = await passkey.create(options);  // of BeginRegistration, parsed
//		const response = await passkey.get(options);     // of BeginSignIn or BeginConfirmation
//	}
//	if (await passkey.conditional()) {                 // autofill: the page has an
//		const response = await passkey.get(options, {  // <input autocomplete="username webauthn">,
//			conditional: true, signal,                 // and waits here until it is used
//		});
//	}
//	await passkey.unknown(options, response);          // after ErrUnknown
//
// What create and get return goes to the methods that finish, as JSON. They throw what
// the browser does, by name: NotAllowedError if the person refuses or does nothing for
// long, InvalidStateError if the authenticator has a passkey of theirs already,
// AbortError if a later call took the place of autofill, and whatever reason the signal
// has. The page must have come by HTTPS or from localhost, and a content security policy
// of script-src 'self' is enough.
func Script(prefix string) (scripts http.Handler, module string, err error) {
	return static.Module(prefix, files, "passkey.js")
}
