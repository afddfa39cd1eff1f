package csrf_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/seed-64ad3862/gatehouse/csrf"
	"github.com/seed-64ad3862/gatehouse/store/memory"
)

// BenchmarkCheck is what this layer adds to a POST: the session is loaded
// before, since the request would load it anyway.
func BenchmarkCheck(b *testing.B) {
	m := newSessions(b, memory.New(memory.Config{}))
	p := newProtection(b, csrf.Config{
		Sessions: m, Origins: []string{"https://app.example"}, TrustedOrigins: []string{"https://partner.example"},
	})
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token, err := p.Token(r)
		if err != nil {
			b.Fatal(err)
		}
		run := func(name string, header http.Header) {
			post := request("POST", "/", nil, header).WithContext(r.Context())
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Check(post); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("SecFetchSite", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://app.example"}})
		run("SecFetchSiteTrusted", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://partner.example"}})
		run("Origin", http.Header{"Origin": {"https://app.example"}})
		run("Referer", http.Header{"Referer": {"https://app.example/form"}})
		run("Token", http.Header{"X-Csrf-Token": {token}})
		run("TokenThirdHeader", http.Header{"X-Csrftoken": {token}})
	})).ServeHTTP(httptest.NewRecorder(), request("GET", "/", nil, nil))
}

func BenchmarkToken(b *testing.B) {
	m := newSessions(b, memory.New(memory.Config{}))
	p := newProtection(b, csrf.Config{Sessions: m})
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Token(r); err != nil {
				b.Fatal(err)
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), request("GET", "/", nil, nil))
}
