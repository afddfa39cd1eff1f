package tutorial

import (
	"bytes"
	"fmt"
	"image/gif"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-64ad3862/gatehouse/captcha"
)

// The contract, line by line.

func TestIndex(t *testing.T) {
	site, out := newSite(t)
	for _, name := range []string{"alex", "eric"} {
		v := &visitor{t: t, site: site}
		a := v.get("/index?u=" + name)
		check(t, name, a, 200, "cookie设置成功了")
		if got := a.header.Get("Content-Type"); got != "text/html; charset=UTF-8" {
			t.Errorf("Content-Type %q", got)
		}
		if got := out.last(t)[v.handle()]; len(got) != 2 || got["is_login"] != true || got["name"] != name {
			t.Errorf("the container has %v for %s", got, name)
		}
	}
	if got := len(out.last(t)); got != 2 {
		t.Errorf("the container has %d sessions, want 2", got)
	}
	for _, target := range []string{"/index", "/index?u=", "/index?u=Alex", "/index?u=mallory", "/index?u=alex&u=x", "/index?v=alex"} {
		v := &visitor{t: t, site: site}
		a := v.get(target)
		check(t, target, a, 200, "请登录")
		if a.header["Set-Cookie"] != nil {
			t.Errorf("%s: Set-Cookie %q", target, a.header["Set-Cookie"])
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 8 {
		t.Errorf("%d lines for 8 visits", got)
	}
}

func TestIndexLeavesSession(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	v.get("/index?u=alex")
	was := v.cookie
	check(t, "no name", v.get("/index"), 200, "请登录")
	check(t, "still signed in", v.get("/manager"), 200, "alex登录成功")
	if v.cookie != was || len(out.last(t)) != 1 {
		t.Errorf("the session changed: %v", out.last(t))
	}
}

func TestManager(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	a := v.get("/manager")
	check(t, "nobody", a, 200, "登录失败")
	if a.header["Set-Cookie"] != nil {
		t.Errorf("Set-Cookie %q", a.header["Set-Cookie"])
	}
	if len(out.last(t)) != 0 || out.String() != "{}\n" {
		t.Errorf("printed %q", out)
	}
	v.get("/login") // a session in which nobody is signed in
	check(t, "before sign-in", v.get("/manager"), 200, "登录失败")
	v.get("/index?u=alex")
	check(t, "alex", v.get("/manager"), 200, "alex登录成功")
	v.get("/index?u=eric")
	check(t, "eric", v.get("/manager"), 200, "eric登录成功")
	if got := len(out.last(t)); got != 1 {
		t.Errorf("%d sessions: alex's did not end", got)
	}
}

func TestCheckCode(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	codes, pictures := map[string]bool{}, map[string]bool{}
	var first string
	for i := range 10 {
		a := v.get("/check_code")
		if first == "" {
			first = v.cookie
		}
		if a.code != 200 || a.header.Get("Content-Type") != "image/gif" || a.header.Get("Cache-Control") != "no-store" ||
			a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Fatalf("%d %v", a.code, a.header)
		}
		if _, err := gif.Decode(strings.NewReader(a.body)); err != nil {
			t.Fatalf("not a GIF: %v", err)
		}
		code := v.code(out)
		if !regexp.MustCompile(`^[` + captcha.Alphabet + `]{4,}$`).MatchString(code) {
			t.Errorf("code %q", code)
		}
		codes[code], pictures[a.body] = true, true
		if i > 0 && a.header["Set-Cookie"] != nil {
			t.Errorf("another session: %q", a.header["Set-Cookie"])
		}
	}
	if len(codes) < 9 || len(pictures) != 10 || v.cookie != first || len(out.last(t)) != 1 {
		t.Errorf("10 visits: %d codes, %d pictures, %d sessions", len(codes), len(pictures), len(out.last(t)))
	}
	light, dark := v.get("/check_code").body, v.get("/check_code?theme=dark").body
	if brightness(t, light) < brightness(t, dark)+.1 { // parts of both are inverted
		t.Error("the dark picture is not darker")
	}
}

// brightness is the mean over the picture, of 1.
func brightness(t *testing.T, picture string) float64 {
	t.Helper()
	img, err := gif.Decode(strings.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0.0, 0
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			sum += float64(r+g+b) / 3 / 0xffff
			n++
		}
	}
	return sum / float64(n)
}

func TestLogin(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	page := v.get("/login")
	if page.code != 200 || page.header.Get("Content-Type") != "text/html; charset=UTF-8" || status(page.body) != "" {
		t.Errorf("%d %v status %q", page.code, page.header, status(page.body))
	}
	for _, want := range []string{`name="user"`, `name="pwd"`, `name="code"`, `src="/check_code"`, `name="_xsrf"`, `action="/login"`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	// The token is of the session that the page began.
	token := tokenField.FindStringSubmatch(page.body)[1]
	for _, typed := range []func(string) string{
		func(code string) string { return code },
		strings.ToLower,
		func(code string) string { return "  " + code + "\t " },
		func(code string) string { return "\u3000" + strings.ToLower(code) + "\n" },
	} {
		v.get("/check_code")
		code := v.code(out)
		check(t, "right", v.post("/login", "_xsrf", token, "user", "u", "pwd", "p", "code", typed(code)), 200, "验证码正确")
	}

	v.get("/check_code")
	a := v.post("/login", "_xsrf", token, "user", `<b>"alex`, "pwd", "secret", "code", "wrong")
	if a.code != 200 || status(a.body) != "验证码错误" || !strings.Contains(a.body, `name="code"`) || !tokenField.MatchString(a.body) {
		t.Errorf("wrong: %d %s", a.code, a.body)
	}
	if !strings.Contains(a.body, `value="&lt;b&gt;&#34;alex"`) || strings.Contains(a.body, "secret") {
		t.Errorf("the page gives back: %s", a.body)
	}
}

func TestCSRFPage(t *testing.T) {
	site, _ := newSite(t)
	v := &visitor{t: t, site: site}
	one, two := v.token(), v.token()
	if one == two {
		t.Error("two pages show one token, unmasked")
	}
	for range 2 { // as often as one likes, in both tabs
		check(t, "first tab", v.post("/csrf", "_xsrf", one), 200, "csrf.post")
		check(t, "second tab", v.post("/csrf", "_xsrf", two), 200, "csrf.post")
	}
	check(t, "none", v.post("/csrf"), 403, "403: Forbidden")
	for _, name := range []string{"X-Xsrftoken", "X-Csrftoken"} {
		check(t, name, v.do(v.request("POST", "/csrf", "", name, one)), 200, "csrf.post")
	}
}

func TestUnknownAndMethods(t *testing.T) {
	site, _ := newSite(t)
	v := &visitor{t: t, site: site}
	token := v.token()
	for _, path := range []string{"/", "/nowhere", "/Index", "/index/", "/login.html", "/views/login.html", "/Statics", "/statics/main.css", "//index", "/./index", "/csrf/.."} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "BREW"} {
			check(t, method+" "+path, v.do(v.request(method, path, "")), 404, "404: Not Found")
		}
	}
	const get, both = "GET, HEAD", "GET, HEAD, POST"
	for path, allow := range map[string]string{
		"/index": get, "/manager": get, "/check_code": get, "/login": both, "/csrf": both,
		"/robots.txt": get, "/favicon.ico": get, "/Statics/main.css": get,
	} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "BREW"} {
			check(t, "without token: "+method+" "+path, v.do(v.request(method, path, "")), 403, "")
			if method == "POST" && allow == both {
				continue
			}
			a := v.do(v.request(method, path, "", "X-Xsrftoken", token))
			check(t, method+" "+path, a, 405, "")
			if got := a.header.Get("Allow"); got != allow {
				t.Errorf("%s %s: Allow %q, want %q", method, path, got, allow)
			}
		}
		a := v.do(v.request("OPTIONS", path, ""))
		if a.code != 405 || a.header.Get("Allow") != allow {
			t.Errorf("OPTIONS %s: %d, Allow %q", path, a.code, a.header.Get("Allow"))
		}
		check(t, "HEAD "+path, v.do(v.request("HEAD", path, "")), 200, "")
	}
}

func TestArguments(t *testing.T) {
	site, out := newSite(t)
	in, no := "cookie设置成功了", "请登录"
	for target, want := range map[string]string{
		"/index?u=%20alex%09":                in,
		"/index?u=x&u=alex":                  in,
		"/index?u=alex&u=x":                  no,
		"/index?u=alex&u=":                   no,
		"/index?u=+%E3%80%80eric%C2%A0":      in,
		"/index?u=al%65x&other=%E4%B8%AD":    in,
		"/index?u=" + strings.Repeat("x", 8): no,
	} {
		check(t, target, (&visitor{t: t, site: site}).get(target), 200, want)
	}
	for _, target := range []string{"/index?u=%ff", "/index?u=alex&x=%c3%28", "/index?%ff=x", "/manager?x=%ed%a0%80", "/login?x=%fe", "/index?u=%zz", "/index?u=alex;u=x"} {
		check(t, target, (&visitor{t: t, site: site}).get(target), 400, "400: Bad Request")
	}

	// Query and body together: the body comes last.
	v := &visitor{t: t, site: site}
	token := v.token()
	fresh := func() string { v.get("/check_code"); return v.code(out) }
	code := fresh()
	check(t, "body after query", v.post("/login?code=wrong", "_xsrf", token, "code", code), 200, "验证码正确")
	code = fresh()
	check(t, "last of the body", v.post("/login", "_xsrf", token, "code", "wrong", "code", code), 200, "验证码正确")
	code = fresh()
	check(t, "query alone", v.post("/login?code="+code, "_xsrf", token), 200, "验证码正确")
	code = fresh()
	if a := v.post("/login?code="+code, "_xsrf", token, "code", "wrong"); status(a.body) != "验证码错误" {
		t.Errorf("query before body: %d %s", a.code, a.body)
	}
	check(t, "not UTF-8 in the body", v.post("/login", "_xsrf", token, "code", "\xff"), 400, "400: Bad Request")

	code = fresh()
	body, media := multipartForm("_xsrf", token, "code", "wrong", "code", " "+code+" ")
	check(t, "multipart", v.do(v.request("POST", "/login?code=wrong", body, "Content-Type", media)), 200, "验证码正确")
	body, media = multipartForm("_xsrf", token, "code", "\xff\xfe")
	check(t, "not UTF-8 in multipart", v.do(v.request("POST", "/login", body, "Content-Type", media)), 400, "400: Bad Request")
}

func TestStatics(t *testing.T) {
	site, _ := newSite(t)
	v := &visitor{t: t, site: site}
	page := v.get("/login").body
	links := regexp.MustCompile(`(?:href|src)="(/Statics/[^"?]+)\?v=([0-9a-f]{128})"`).FindAllStringSubmatch(page, -1)
	if len(links) != 3 {
		t.Fatalf("%d versioned links in %s", len(links), page)
	}
	for _, link := range links {
		a := v.get(link[1] + "?v=" + link[2])
		if got := a.header.Get("Cache-Control"); a.code != 200 || got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d, Cache-Control %q", link[1], a.code, got)
		}
		if a.header["Set-Cookie"] != nil || a.header["Vary"] != nil {
			t.Errorf("%s: %v", link[1], a.header)
		}
		a = v.get(link[1] + "?v=" + strings.Repeat("0", 128))
		if got := a.header.Get("Cache-Control"); a.code != 200 || got != "no-cache" {
			t.Errorf("%s with another version: %d, Cache-Control %q", link[1], a.code, got)
		}
	}
	if a := v.get("/robots.txt"); a.code != 200 || !strings.HasPrefix(a.body, "User-agent:") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("/robots.txt: %d %v", a.code, a.header)
	}
	if a := v.get("/favicon.ico"); a.code != 200 || !strings.HasPrefix(a.body, "\x00\x00\x01\x00") || a.header.Get("Content-Type") != "image/x-icon" {
		t.Errorf("/favicon.ico: %d %v", a.code, a.header)
	}
}

// Where the original is unsafe, row by row.

func TestIdentifier(t *testing.T) {
	site, _ := newSite(t)
	seen := map[string]bool{}
	for range 100 {
		v := &visitor{t: t, site: site}
		v.get("/index?u=alex")
		if seen[v.cookie] || !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(v.cookie) {
			t.Fatalf("identifier %q", v.cookie)
		}
		seen[v.cookie] = true
	}
}

func TestFixation(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	v.get("/check_code")
	planted, code := v.cookie, v.code(out)
	v.get("/index?u=alex")
	if v.cookie == planted {
		t.Fatal("the identifier is the one from before the sign-in")
	}
	thief := &visitor{t: t, site: site, cookie: planted}
	check(t, "with the old one", thief.get("/manager"), 200, "登录失败")
	if got := v.code(out); got != code || len(out.last(t)) != 1 {
		t.Errorf("the pending code is %q, was %q; %d sessions", got, code, len(out.last(t)))
	}
	// Also when signing in again.
	was := v.cookie
	v.get("/index?u=alex")
	thief.cookie = was
	check(t, "with the one between", thief.get("/manager"), 200, "登录失败")
}

func TestCookie(t *testing.T) {
	for _, test := range []struct {
		insecure bool
		want     string
	}{
		{true, `^__session__=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax$`},
		{false, `^__Host-__session__=[\w-]{43}; Path=/; Secure; HttpOnly; SameSite=Lax$`},
	} {
		site, _ := newSite(t, func(cfg *Config) { cfg.Insecure = test.insecure })
		for _, target := range []string{"/index?u=alex", "/login", "/csrf", "/check_code"} {
			a := (&visitor{t: t, site: site}).get(target)
			if c := a.header["Set-Cookie"]; len(c) != 1 || !regexp.MustCompile(test.want).MatchString(c[0]) {
				t.Errorf("%s: Set-Cookie %q, want %s", target, c, test.want)
			}
			if https := a.header.Get("Strict-Transport-Security") != ""; https == test.insecure {
				t.Errorf("%s: %v", target, a.header)
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Vary") != "Cookie" {
				t.Errorf("%s: %v", target, a.header)
			}
		}
	}
}

func TestCodeOnce(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	token := v.token()
	wrong := func(what string, pairs ...string) {
		t.Helper()
		a := v.post("/login", append([]string{"_xsrf", token}, pairs...)...)
		if a.code != 200 || status(a.body) != "验证码错误" {
			t.Errorf("%s: %d, status %q", what, a.code, status(a.body))
		}
	}
	wrong("before any picture", "code", "K7MPY")
	wrong("before any picture, empty", "code", "")
	v.get("/check_code")
	code := v.code(out)
	check(t, "right", v.post("/login", "_xsrf", token, "code", code), 200, "验证码正确")
	wrong("right again", "code", code)
	for what, pairs := range map[string][]string{
		"wrong": {"code", "wrong"}, "empty": {"code", ""}, "missing": nil, "long": {"code", strings.Repeat("x", 10000)},
		"blank": {"code", " \t"}, "Chinese": {"code", "验证码"}, "NUL": {"code", "\x00"},
	} {
		v.get("/check_code")
		code := v.code(out)
		wrong(what, pairs...)
		wrong("right after "+what, "code", code)
		if _, ok := out.last(t)[v.handle()]["CheckCode"]; !ok {
			continue
		}
		if got := v.code(out); got != "" {
			t.Errorf("%s: the container still has %q", what, got)
		}
	}
	// One picture after another: the last counts.
	v.get("/check_code")
	old := v.code(out)
	v.get("/check_code")
	wrong("of the picture before", "code", old)
}

func TestCodeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site, out := newSite(t)
		v := &visitor{t: t, site: site}
		token := v.token()
		try := func(after time.Duration) answer {
			v.get("/check_code")
			code := v.code(out)
			time.Sleep(after)
			return v.post("/login", "_xsrf", token, "code", code)
		}
		check(t, "in time", try(codeLife-2*time.Second), 200, "验证码正确")
		if a := try(codeLife + time.Second); a.code != 200 || status(a.body) != "验证码错误" {
			t.Errorf("too late: %d %s", a.code, a.body)
		}
		// And the session with all it holds.
		time.Sleep(31 * time.Minute)
		check(t, "session over", v.post("/login", "_xsrf", token, "code", "x"), 403, "403: Forbidden")
		v.get("/manager")
		if got := out.last(t); len(got) != 0 {
			t.Errorf("the container still has %v", got)
		}
	})
}

func TestCodeGuessedAtOnce(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	token := v.token()
	for range 20 {
		v.get("/check_code")
		code := v.code(out)
		var wg sync.WaitGroup
		right := make(chan bool, 16)
		for range 16 {
			wg.Go(func() {
				twin := &visitor{t: t, site: site, cookie: v.cookie}
				a := twin.post("/login", "_xsrf", token, "code", code)
				if a.code != 200 {
					t.Errorf("%d %s", a.code, a.body)
				}
				right <- a.body == "验证码正确"
			})
		}
		wg.Wait()
		close(right)
		n := 0
		for yes := range right {
			if yes {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("one code, 16 requests: right %d times", n)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	site, _ := newSite(t)
	v := &visitor{t: t, site: site}
	for _, target := range []string{"/index?u=alex", "/manager", "/check_code", "/login", "/csrf", "/nowhere", "/Statics/main.css", "/Statics/", "/robots.txt", "/index?u=%ff"} {
		h := v.get(target).header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s %q", target, name, got)
			}
		}
		csp := h.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", target, csp)
		}
		if h["Server"] != nil {
			t.Errorf("%s: Server %q", target, h["Server"])
		}
	}
	for _, page := range []string{"/login", "/csrf"} {
		if body := v.get(page).body; regexp.MustCompile(`(?i)<style|\son\w+=|style=|<script(>|[^>]*>[^<])`).MatchString(body) {
			t.Errorf("%s has an inline script or style: %s", page, body)
		}
	}
}

func TestContainerIsBounded(t *testing.T) {
	site, out := newSite(t)
	for i := range 15_000 {
		v := &visitor{t: t, site: site}
		if a := v.get("/csrf"); a.code != 200 {
			t.Fatalf("visitor %d: %d %s", i, a.code, a.body)
		}
	}
	(&visitor{t: t, site: site}).get("/manager")
	if n, size := len(out.last(t)), len(out.String()); n >= 15_000 || n < 1000 || size > 2*maxContainer {
		t.Errorf("the container has %d sessions, in %d bytes", n, size)
	}
}

// Bad input.

func TestBadCookies(t *testing.T) {
	site, _ := newSite(t)
	owner := &visitor{t: t, site: site}
	owner.get("/index?u=alex")
	token := owner.token()
	for what, cookies := range map[string][]string{
		"absent":       nil,
		"empty header": {""},
		"empty":        {"__session__="},
		"forged":       {"__session__=" + strings.Repeat("A", 43)},
		"MD5":          {"__session__=0cc175b9c0f1b6a831c399e269772661"},
		"doubled":      {"__session__=" + owner.cookie + "; __session__=" + owner.cookie},
		"two headers":  {"__session__=" + owner.cookie, "__session__=" + strings.Repeat("A", 43)},
		"100 kB":       {"__session__=" + strings.Repeat("A", 100_000)},
		"not ASCII":    {"__session__=验证码" + owner.cookie},
		"not UTF-8":    {"__session__=\xff\xfe"},
		"quoted":       {`__session__="` + owner.cookie + `"`},
		"octal":        {`__session__="\101\073\040` + owner.cookie + `"`},
		"NUL":          {"__session__=" + owner.cookie + "\x00"},
		"other case":   {"__SESSION__=" + owner.cookie},
		"https name":   {"__Host-__session__=" + owner.cookie},
		"no value":     {"__session__"},
		"10,000 pairs": {strings.Repeat("a=b; ", 10_000)},
	} {
		send := func(method, target, body string) answer {
			v := &visitor{t: t, site: site}
			r := v.request(method, target, body, "Content-Type", "application/x-www-form-urlencoded")
			r.Header["Cookie"] = cookies
			return v.do(r)
		}
		a := send("GET", "/manager", "")
		check(t, what, a, 200, "登录失败")
		if a.header["Set-Cookie"] != nil {
			t.Errorf("%s: Set-Cookie %q", what, a.header["Set-Cookie"])
		}
		a = send("GET", "/index?u=alex", "")
		check(t, what, a, 200, "cookie设置成功了")
		if c := a.header["Set-Cookie"]; len(c) != 1 || strings.Contains(c[0], "AAAAAAAA") || strings.Contains(c[0], owner.cookie) {
			t.Errorf("%s: Set-Cookie %q", what, c)
		}
		check(t, what, send("POST", "/csrf", "_xsrf="+token), 403, "403: Forbidden")
		for _, target := range []string{"/login", "/csrf", "/check_code", "/robots.txt"} {
			check(t, what+" "+target, send("GET", target, ""), 200, "")
		}
	}
	check(t, "the owner's", owner.get("/manager"), 200, "alex登录成功")
}

func TestBadTokens(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	good := v.token()
	other := (&visitor{t: t, site: site}).token()
	v.get("/check_code")
	code := v.code(out)
	for what, token := range map[string]string{
		"empty": "", "blank": " ", "word": "token", "cut": good[:len(good)-1], "longer": good + "A", "padded": good + "==",
		"changed": flip(good), "another session's": other, "swapped": good[43:] + good[:43], "line break": good[:40] + "\n" + good[40:],
		"not UTF-8": "\xff\xfe", "Chinese": "令牌", "NUL": good + "\x00", "zeros": strings.Repeat("A", 86),
		"Tornado v1": "0123456789abcdef0123456789abcdef", "Tornado v2": "2|5bb09a2b|6a81aa1a3ae5cb7a|1700000000", "60 kB": strings.Repeat("A", 60_000),
	} {
		check(t, what, v.post("/csrf", "_xsrf", token), 403, "403: Forbidden")
		body, media := multipartForm("_xsrf", token)
		check(t, what+", multipart", v.do(v.request("POST", "/csrf", body, "Content-Type", media)), 403, "403: Forbidden")
		if token != "" {
			check(t, what+", header", v.do(v.request("POST", "/csrf", "", "X-Xsrftoken", token)), 403, "403: Forbidden")
		}
		check(t, what+", login", v.post("/login", "_xsrf", token, "code", code), 403, "403: Forbidden")
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	send := func(target, body string, header ...string) answer {
		return v.do(v.request("POST", target, body, append(header, form...)...))
	}
	check(t, "in the query", send("/csrf?_xsrf="+good, ""), 403, "403: Forbidden")
	check(t, "not URL-encoded", send("/csrf", "_xsrf=%zz"), 400, "400: Bad Request")
	check(t, "cookie and field the same", send("/csrf", "_xsrf="+other, "Cookie", "_xsrf="+other), 403, "403: Forbidden")
	check(t, "two headers", send("/csrf", "", "X-Xsrftoken", good, "X-Xsrftoken", good), 403, "403: Forbidden")
	check(t, "another media type", v.do(v.request("POST", "/csrf", "_xsrf="+good, "Content-Type", "text/plain")), 403, "403: Forbidden")
	check(t, "JSON", v.do(v.request("POST", "/csrf", `{"_xsrf":"`+good+`"}`, "Content-Type", "application/json")), 403, "403: Forbidden")

	// A good token from elsewhere.
	for what, header := range map[string][]string{
		"cross-site":        {"Sec-Fetch-Site", "cross-site"},
		"a sibling":         {"Sec-Fetch-Site", "same-site"},
		"another Origin":    {"Origin", "http://attacker.example"},
		"https of the same": {"Origin", "https://example.com"},
		"Origin null":       {"Origin", "null"},
		"another Referer":   {"Referer", "http://attacker.example/"},
	} {
		check(t, what, send("/csrf", "_xsrf="+good, header...), 403, "403: Forbidden")
	}
	// From here, with it and without.
	for what, header := range map[string][]string{
		"same origin": {"Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"},
		"Origin":      {"Origin", "http://example.com"},
		"Referer":     {"Referer", "http://example.com/csrf"},
	} {
		check(t, what, send("/csrf", "_xsrf="+good, header...), 200, "csrf.post")
		check(t, what+" without a token", send("/csrf", "", header...), 403, "403: Forbidden")
	}
	// None of all this has used the code up.
	check(t, "the code", v.post("/login", "_xsrf", good, "code", code), 200, "验证码正确")
	// A sign-in ends the tokens from before.
	v.get("/index?u=alex")
	check(t, "from before the sign-in", v.post("/csrf", "_xsrf", good), 403, "403: Forbidden")
}

// flip changes one character.
func flip(s string) string {
	if s[50] == 'A' {
		return s[:50] + "B" + s[51:]
	}
	return s[:50] + "A" + s[51:]
}

func TestBadBodies(t *testing.T) {
	site, out := newSite(t)
	v := &visitor{t: t, site: site}
	token := v.token()
	const form, huge = "application/x-www-form-urlencoded", 2 * maxBody
	whole, media := multipartForm("_xsrf", token, "code", "x")
	large, largeMedia := multipartForm("_xsrf", token, "code", strings.Repeat("x", huge))
	late, lateMedia := multipartForm("code", strings.Repeat("x", huge), "_xsrf", token)
	parts, partsMedia := multipartForm(append([]string{"_xsrf", token}, make([]string, 2*1500)...)...)
	few, fewMedia := "", media
	for range 1500 {
		few += "--" + strings.TrimPrefix(media, "multipart/form-data; boundary=") + "\r\n\r\n\r\n"
	}
	many := strings.Repeat("a=&", 20_000)
	for _, test := range []struct {
		what, body string
		header     []string
		want       int
	}{
		{"over the bound", "_xsrf=" + token + "&code=" + strings.Repeat("x", huge), []string{"Content-Type", form}, 413},
		{"over the bound, token in the header", strings.Repeat("x", huge), []string{"Content-Type", form, "X-Xsrftoken", token}, 413},
		{"over the bound, no token", strings.Repeat("x", huge), []string{"Content-Type", form}, 413},
		{"over the bound, multipart", large, []string{"Content-Type", largeMedia}, 413},
		{"over the bound, multipart, token last", late, []string{"Content-Type", lateMedia}, 413},
		{"over the bound, no form", strings.Repeat("x", huge), []string{"Content-Type", "text/plain"}, 403},
		{"at the bound", pad("_xsrf="+token+"&code=", maxBody), []string{"Content-Type", form}, 200},
		{"one over", pad("_xsrf="+token+"&code=", maxBody+1), []string{"Content-Type", form}, 413},
		{"multipart cut short", whole[:len(whole)-10], []string{"Content-Type", media}, 400},
		{"multipart cut in the token", whole[:strings.Index(whole, token)+10], []string{"Content-Type", media}, 400},
		{"multipart without a boundary", whole, []string{"Content-Type", "multipart/form-data"}, 400},
		{"multipart with another boundary", whole, []string{"Content-Type", "multipart/form-data; boundary=x"}, 400},
		{"multipart, empty", "", []string{"Content-Type", media}, 400},
		{"multipart, rubbish", "\x00\xff rubbish", []string{"Content-Type", media, "X-Xsrftoken", token}, 400},
		{"multipart, header without end", "--" + media[strings.Index(media, "=")+1:] + "\r\nContent-Disposition: form-data", []string{"Content-Type", media, "X-Xsrftoken", token}, 200}, // to package multipart it ends there
		{"multipart, 1500 parts", parts, []string{"Content-Type", partsMedia}, 413},
		{"multipart, 1500 empty parts", few, []string{"Content-Type", fewMedia, "X-Xsrftoken", token}, 413},
		{"not a media type", "_xsrf=" + token, []string{"Content-Type", ";;;"}, 400},
		{"malformed pair", "_xsrf=" + token + "&code=%zz", []string{"Content-Type", form}, 400},
		{"semicolon", "_xsrf=" + token + "&code=a;b", []string{"Content-Type", form}, 400},
		{"20,000 pairs", "_xsrf=" + token + "&" + many[:60_000], []string{"Content-Type", form}, 400},
		{"empty", "", []string{"Content-Type", form}, 403},
		{"no type", "_xsrf=" + token, nil, 403},
	} {
		a := v.do(v.request("POST", "/login", test.body, test.header...))
		check(t, test.what, a, test.want, "")
		if test.want == 200 && status(a.body) != "验证码错误" {
			t.Errorf("%s: %s", test.what, a.body)
		}
	}
	// They left no file behind and broke nothing.
	v.get("/check_code")
	check(t, "afterwards", v.post("/login", "_xsrf", token, "code", v.code(out)), 200, "验证码正确")
}

// pad makes a body of n bytes.
func pad(start string, n int) string { return start + strings.Repeat("x", n-len(start)) }

func multipartForm(pairs ...string) (body, media string) {
	const boundary = "----------------boundary"
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, pairs[i], pairs[i+1])
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.String(), "multipart/form-data; boundary=" + boundary
}

func TestBadPaths(t *testing.T) {
	site, _ := newSite(t)
	server := httptest.NewServer(site)
	defer server.Close()
	for path, want := range map[string]int{
		"/Statics/":                                   403,
		"/Statics/.":                                  403,
		"/Statics/../tutorial.go":                     403,
		"/Statics/../../../../../../etc/passwd":       403,
		"/Statics/%2e%2e/tutorial.go":                 403,
		"/Statics/..%2f..%2fetc%2fpasswd":             403,
		"/Statics/%2e%2e%5c%2e%2e%5cetc":              403,
		"/Statics/x/../main.css":                      403,
		"/Statics/%252e%252e/tutorial.go":             404,
		"/Statics//etc/passwd":                        404,
		"/Statics/main.css%00":                        404,
		"/Statics/%00":                                404,
		"/Statics/main.css%00.png":                    404,
		"/Statics/%ff%fe":                             404,
		"/Statics/\xff\xfe":                           404,
		"/Statics/missing":                            404,
		"/Statics/main.css/":                          404,
		"/Statics/" + strings.Repeat("x", 5000):       404,
		"/Statics/" + strings.Repeat("x/", 5000):      404,
		"/Statics/" + strings.Repeat("%2e%2e/", 5000): 403,
		"/Statics/%zz":                                400,
		"/" + strings.Repeat("x", 5000):               404,
		"/%00":                                        404,
		"/index%00":                                   404,
		"/../index":                                   404,
		"/favicon.ico/":                               404,
		"/Statics/main.css":                           200,
		"/Statics/main%2ecss":                         200,
		"/favicon.ico":                                200,
	} {
		// As bytes: a client of this language would tidy the path up first.
		code, _ := raw(t, server, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if code != want {
			t.Errorf("GET %.60q: %d, want %d", path, code, want)
		}
	}
}

func TestStoreFails(t *testing.T) {
	store := &downStore{Store: newMemory()}
	var log lines
	site, out := newSite(t, func(cfg *Config) { cfg.Store = store; cfg.Logger = textLogger(&log) })
	v := &visitor{t: t, site: site}
	v.get("/index?u=alex")
	token := v.token()
	v.get("/check_code")
	code := v.code(out)

	store.down(true)
	for _, target := range []string{"/manager", "/index?u=eric", "/login", "/csrf", "/check_code"} {
		a := v.get(target)
		check(t, target, a, 503, "")
		if a.header["Set-Cookie"] != nil || a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" || strings.Contains(a.body, "down") {
			t.Errorf("%s: %v %s", target, a.header, a.body)
		}
	}
	for _, target := range []string{"/login", "/csrf"} {
		check(t, "POST "+target, v.post(target, "_xsrf", token, "code", code), 503, "")
	}
	for _, target := range []string{"/Statics/main.css", "/robots.txt", "/favicon.ico"} {
		check(t, target, v.get(target), 200, "")
	}
	check(t, "unknown", v.get("/nowhere"), 404, "")
	if n := strings.Count(log.String(), errDown.Error()); n == 0 || strings.Contains(log.String(), v.cookie) || strings.Contains(log.String(), code) {
		t.Errorf("the log: %s", log.String())
	}

	store.down(false)
	check(t, "again", v.get("/manager"), 200, "alex登录成功")

	// It can be read and not written to: nothing is half done.
	store.commit.Store(true)
	was := v.cookie
	for _, target := range []string{"/index?u=alex", "/index?u=eric", "/check_code"} {
		a := v.get(target)
		check(t, target, a, 503, "")
		if a.header["Set-Cookie"] != nil || strings.Contains(a.header.Get("Content-Type"), "image") {
			t.Errorf("%s: %v", target, a.header)
		}
	}
	check(t, "the code cannot be used up", v.post("/login", "_xsrf", token, "code", code), 503, "")
	check(t, "reading", v.get("/manager"), 200, "alex登录成功")
	store.commit.Store(false)
	check(t, "afterwards", v.post("/login", "_xsrf", token, "code", code), 200, "验证码正确")
	if v.cookie != was {
		t.Error("another session")
	}

	// Not being able to print is no reason not to answer.
	store.list.Store(true)
	log.b.Reset()
	check(t, "listing", v.get("/manager"), 200, "alex登录成功")
	if !strings.Contains(log.String(), "tutorial: container") {
		t.Errorf("the log: %s", log.String())
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{Origins: []string{"example.com"}}); err == nil {
		t.Error("an origin without a scheme was taken")
	}
	if _, err := New(Config{}); err != nil {
		t.Error(err)
	}
}

func TestPrintFails(t *testing.T) {
	var log lines
	site, _ := newSite(t, func(cfg *Config) { cfg.Out = closed{}; cfg.Logger = textLogger(&log) })
	check(t, "answer", (&visitor{t: t, site: site}).get("/manager"), 200, "登录失败")
	if !strings.Contains(log.String(), "tutorial: container") {
		t.Errorf("the log: %s", log.String())
	}
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, http.ErrServerClosed }

// FuzzSite sends anything anywhere: no answer is a 500, and nothing panics.
func FuzzSite(f *testing.F) {
	site, _ := newSite(f)
	owner := &visitor{t: f, site: site}
	token := owner.token()
	f.Add("GET", "/index", "u=alex", "", "", "", "")
	f.Add("POST", "/login", "", "application/x-www-form-urlencoded", "", "", "code=x&_xsrf="+token)
	f.Add("POST", "/csrf", "x=%ff", "multipart/form-data; boundary=b", "", token, "--b\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\nx\r\n--b--")
	f.Add("GET", "/Statics/../x", "v=1", "", `__session__="\073"`, "", "")
	f.Fuzz(func(t *testing.T, method, path, query, contentType, cookie, header, body string) {
		r := httptest.NewRequest("GET", "/", bytes.NewReader([]byte(body)))
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header = http.Header{"Content-Type": {contentType}, "X-Xsrftoken": {header}, "Cookie": {cookie, "__session__=" + owner.cookie}}
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
