// Package signin has the pages by which people sign in, and look after their
// accounts, for any program:
//
//	pages, err := signin.New(ctx, signin.Config{
//		Sessions:  sessions,                    // a *session.Manager
//		People:    people,                      // an *account.Directory
//		PublicURL: "https://app.example",
//		Prefix:    "/auth",
//	})
//	mux.Handle("/auth/", pages)
//	mux.Handle("/", pages.Require(app))         // and signin.PersonFrom(r.Context())
//	http.ListenAndServe("localhost:8080", sessions.Handler(mux))
//
// # Pages
//
// Below the prefix there are
//
//	/index                   a home page that says who is signed in
//	/login                   name, password and captcha; or a passkey, without a name
//	/login/code              the second factor: a code of the authenticator, or of recovery
//	/second                  where one is got, or shown; see [Config.RequireSecondFactor]
//	/logout                  takes a POST
//	/manager                 one's own account: sessions, password, passkeys, authenticator, codes
//	/manager/people          for administrators: people
//	/manager/sessions        for administrators: all sessions
//	/manager/log             for administrators: what has happened
//	/confirm                 asks again before something that matters
//	/setup/TOKEN             makes the first administrator; see [Pages.SetupURL]
//	/recover, /recover/TOKEN a link by mail, and the choice of another password
//	/check_code/             the captcha
//	/Statics/                style, scripts, pictures
//
// in English and Simplified Chinese, light and dark, from 360 pixels on. All but
// passkeys and work in the place of the captcha goes without JavaScript.
//
// # Signing in
//
// The captcha is looked at first, then the budgets of package throttle, then the
// password, which takes as long for names that do not exist. What was wrong is not
// told: an unknown name, a disabled person and a wrong password get one answer at
// one price. A second factor, where there is one, is asked for in a session that
// belongs to nobody yet: nobody is half signed in.
//
// A passkey, which verifies its holder by itself, is two factors at once.
//
// # Sessions
//
// A session's owner is [account.Person.ID]. It gets a new identifier at sign-in.
// Who changes a password or a factor is asked whether other sessions are to end.
// Those that are to end are removed, and are over for these pages and for
// [Pages.Require] even if they could not be (see [account.Person.Epoch]); a program
// that looks at the owner of a session alone does not see that.
// What matters needs a confirmation that is not older than ten minutes: see
// [Config.StepUp].
package signin
