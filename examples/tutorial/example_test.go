package tutorial_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"

	"github.com/seed-64ad3862/gatehouse/examples/tutorial"
)

// A visitor signs in. The browser holds a cookie that says nothing; who it is
// stands in the session.
func Example() {
	site, err := tutorial.New(tutorial.Config{Insecure: true, Out: io.Discard})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(site)
	defer server.Close()

	jar, _ := cookiejar.New(nil) // its only error is that of an option
	visitor := &http.Client{Jar: jar}
	for _, path := range []string{"/manager", "/index?u=mallory", "/index?u=alex", "/manager"} {
		res, err := visitor.Get(server.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Printf("%-17s %s\n", path, answer)
	}

	// Output:
	// /manager          登录失败
	// /index?u=mallory  请登录
	// /index?u=alex     cookie设置成功了
	// /manager          alex登录成功
}
