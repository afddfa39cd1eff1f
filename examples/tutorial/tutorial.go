// Package tutorial is a small site that shows what a session is: a container of
// values on the server, behind a cookie. It signs two people in, asks visitors
// to read a picture, and takes no forms but its own.
//
//	GET  /index?u=alex   signs alex (or eric) in
//	GET  /manager        says who is signed in
//	GET  /check_code     draws a picture and keeps its code in the session
//	GET  /login          a form with the picture; POST compares the code
//	GET  /csrf           a form with a token; POST arrives only with it
//
// /index and /manager print the whole container to standard output. To see into
// it is the point here, and no example to follow: it holds what visitors are to
// read from a picture. `gatehouse demo` serves the site.
//
// The pages are in this file, what stands before them is in site.go.
package tutorial

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
	"github.com/seed-64ad3862/gatehouse/session"
)

// What a session holds. The code is used up by the first answer, right or
// wrong, and good for nothing after CheckCodeUntil.
var (
	IsLogin        = session.NewKey[bool]("is_login")
	Name           = session.NewKey[string]("name")
	CheckCode      = session.NewKey[string]("CheckCode")
	CheckCodeUntil = session.NewKey[time.Time]("CheckCodeUntil")
)

const codeLife = 5 * time.Minute

func (a *app) index(_ http.Header, r *http.Request, s *session.Session, arg arguments) (string, error) {
	u := arg["u"]
	known := u == "alex" || u == "eric"
	if known {
		s.SetOwner(u) // under a new identifier: whoever planted the old one has nothing
		IsLogin.Set(s, true)
		Name.Set(s, u)
		if err := s.Commit(r.Context()); err != nil { // now, so that the container shows it
			return "", err
		}
	}
	a.printContainer(r.Context())
	if !known {
		return "请登录", nil
	}
	return "cookie设置成功了", nil
}

func (a *app) manager(_ http.Header, r *http.Request, s *session.Session, _ arguments) (string, error) {
	a.printContainer(r.Context())
	if yes, _ := IsLogin.Get(s); !yes {
		return "登录失败", nil
	}
	name, _ := Name.Get(s)
	return template.HTMLEscapeString(name) + "登录成功", nil
}

func (a *app) picture(h http.Header, _ *http.Request, s *session.Session, arg arguments) (string, error) {
	form := a.light
	if arg["theme"] == "dark" {
		form = a.dark
	}
	code := captcha.NewCode(5)
	CheckCode.Set(s, code)
	CheckCodeUntil.Set(s, time.Now().Add(codeLife).UTC().Truncate(time.Second))
	var seed [32]byte
	rand.Read(seed[:])
	picture, err := form.Append(nil, code, seed)
	h.Set("Content-Type", form.MediaType())
	return string(picture), err
}

func (a *app) loginForm(_ http.Header, r *http.Request, _ *session.Session, _ arguments) (string, error) {
	return a.render(r, "login.html", view{})
}

func (a *app) login(_ http.Header, r *http.Request, s *session.Session, arg arguments) (string, error) {
	until, _ := CheckCodeUntil.Take(s)
	code, ok, err := CheckCode.Consume(r.Context(), s) // of two guesses at once only one gets it
	if err != nil {
		return "", err
	}
	if !ok || time.Now().After(until) || !captcha.Match(code, arg["code"]) {
		return a.render(r, "login.html", view{Status: "验证码错误", User: arg["user"]})
	}
	return "验证码正确", nil
}

func (a *app) csrfForm(_ http.Header, r *http.Request, _ *session.Session, _ arguments) (string, error) {
	return a.render(r, "csrf.html", view{})
}

func (a *app) csrfPost(http.Header, *http.Request, *session.Session, arguments) (string, error) {
	return "csrf.post", nil
}

// view is what the pages show.
type view struct {
	Token        template.HTML // the hidden field
	Status, User string
}

// render begins a session if there is none: the token belongs to one.
func (a *app) render(r *http.Request, page string, v view) (string, error) {
	var err error
	if v.Token, err = a.csrf.Input(r); err != nil {
		return "", err
	}
	var b strings.Builder
	err = a.views.ExecuteTemplate(&b, page, v)
	return b.String(), err
}

// printContainer writes one line of JSON: the values of each session, by handle.
func (a *app) printContainer(ctx context.Context) {
	container := make(map[session.Handle]map[string]json.RawMessage)
	for info, err := range a.sessions.List(ctx, session.Query{All: true, Fields: true}) {
		if err != nil { // the visitor's answer does not depend on it
			a.log.ErrorContext(ctx, "tutorial: container", "error", err)
			return
		}
		values := make(map[string]json.RawMessage)
		for _, f := range info.Fields {
			values[f.Key] = json.RawMessage(f.Value)
		}
		container[info.Handle] = values
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := json.NewEncoder(a.out).Encode(container); err != nil {
		a.log.ErrorContext(ctx, "tutorial: container", "error", err)
	}
}
