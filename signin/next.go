package signin

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// localPath returns the path, with its query, that a text names on this site, and
// whether it does. What browsers take for another site is none: //host, /\host,
// anything with a scheme, a host, a user or characters that they drop. It is put
// together anew from its parts.
func localPath(s string) (string, bool) {
	if s == "" || len(s) > 2048 || s[0] != '/' || strings.HasPrefix(s, "//") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "", false
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || strings.ContainsAny(u.Path, "\\\x00\r\n\t") {
		return "", false
	}
	clean := path.Clean(u.Path)
	if strings.HasSuffix(u.Path, "/") && clean != "/" {
		clean += "/"
	}
	if strings.HasPrefix(clean, "//") {
		return "", false
	}
	return (&url.URL{Path: clean, RawQuery: u.RawQuery}).String(), true
}

// next is where a sign-in leads.
func (v *visit) next() string {
	if to, ok := localPath(v.r.FormValue("next")); ok {
		return to
	}
	return v.p.home
}

// hasPage reports whether a path of this site can be asked for with GET.
func (p *Pages) hasPage(path string) bool {
	u, err := url.Parse(path)
	if err != nil {
		return false
	}
	if p.cfg.Prefix != "" && !strings.HasPrefix(u.Path, p.cfg.Prefix+"/") {
		return true // the application's
	}
	_, pattern := p.mux.Handler(&http.Request{Method: http.MethodGet, URL: u, Host: p.origin.Host})
	return strings.HasPrefix(pattern, http.MethodGet+" ")
}

// samePage returns the path of an address of this site.
func (p *Pages) samePage(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || originOf(u) != originOf(p.origin) {
		return "", false
	}
	return localPath(u.RequestURI())
}
