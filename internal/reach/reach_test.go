package reach_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/reach"
)

// handshake says what comes of a handshake at the address.
func handshake(t *testing.T, addr string, cfg *tls.Config) error {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: cfg}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return err
}

// serve has f serve each connection to the address that it returns.
func serve(t *testing.T, f func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c)
		}
	}()
	return l.Addr().String()
}

func TestPassing(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	secure.StartTLS()
	defer secure.Close()
	at := secure.Listener.Addr().String()

	nothing := serve(t, func(c net.Conn) { _ = c.Close() })
	cut := serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); _ = c.Close() })
	plain := serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<10))
		_, _ = io.WriteString(c, "-ERR unknown command\r\n")
		_ = c.Close()
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	_ = l.Close()
	silent := serve(t, func(net.Conn) {})
	_, timeout := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 50 * time.Millisecond}, Config: &tls.Config{}}).DialContext(t.Context(), "tcp", silent)

	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"nobody listens":         {handshake(t, free, &tls.Config{}), true},
		"closed at once":         {handshake(t, nothing, &tls.Config{}), true},
		"cut":                    {handshake(t, cut, &tls.Config{}), true},
		"silent":                 {timeout, true},
		"no such name":           {handshake(t, "host.invalid:1", &tls.Config{}), true},
		"deadline":               {context.DeadlineExceeded, true},
		"end":                    {fmt.Errorf("of %w", io.EOF), true},
		"unexpected end":         {fmt.Errorf("of %w", errors.Join(errors.New("x"), io.ErrUnexpectedEOF)), true},
		"no TLS there":           {handshake(t, plain, &tls.Config{}), false},
		"unknown authority":      {handshake(t, at, &tls.Config{}), false},
		"another name":           {handshake(t, at, &tls.Config{ServerName: "else.example", RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}), false},
		"no version in common":   {handshake(t, at, &tls.Config{MaxVersion: tls.VersionTLS12}), false}, //nolint:gosec // it is refused
		"refused beside no host": {errors.Join(handshake(t, free, &tls.Config{}), handshake(t, at, &tls.Config{})), false},
		"alert beside no host":   {errors.Join(handshake(t, free, &tls.Config{}), handshake(t, at, &tls.Config{MaxVersion: tls.VersionTLS12})), false}, //nolint:gosec // it is refused
		"anything else":          {errors.New("password authentication failed"), false},
		"gone":                   {context.Canceled, false},
		"nothing":                {nil, false},
	} {
		if tt.err == nil && name != "nothing" {
			t.Errorf("%s: there is no error", name)
		}
		if got := reach.Passing(tt.err); got != tt.want {
			t.Errorf("%s: %v for %v", name, got, tt.err)
		}
	}
}
