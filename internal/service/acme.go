package service

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

// An ACMEServer is an authority for tests: Pebble, which is strict, and the name
// server by which it finds every name on this machine.
type ACMEServer struct {
	*Server
	management string
}

// ACME starts one. Its own certificate is that of the two files, for localhost, and
// to look whether a name is somebody's it comes to tlsPort (RFC 8737).
func ACME(t T, cert, key string, tlsPort int) *ACMEServer {
	t.Helper()
	program, dns := find(t, "pebble"), find(t, "pebble-challtestsrv")
	names := &Server{
		name: dns,
		args: func(port string) []string {
			return []string{"-dns01", "127.0.0.1:" + port, "-management", freeAddr(t), "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""}
		},
		ready: func(ctx context.Context, s *Server) error { return dial(ctx, s.Addr) },
		stop:  syscall.SIGTERM, kill: syscall.SIGKILL,
	}
	names.launch(t)
	names.open()
	a := &ACMEServer{management: freeAddr(t)}
	a.Server = &Server{
		name: program,
		args: func(port string) []string {
			text, err := json.Marshal(map[string]any{"pebble": map[string]any{
				"listenAddress": net.JoinHostPort("127.0.0.1", port), "managementListenAddress": a.management,
				"certificate": cert, "privateKey": key, "httpPort": 1, "tlsPort": tlsPort,
			}})
			if err == nil {
				err = os.WriteFile(filepath.Join(a.Dir, "config.json"), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			return []string{"-config", "config.json", "-dnsserver", names.Addr}
		},
		ready: func(ctx context.Context, s *Server) error { return dial(ctx, s.Addr) },
		env:   []string{"PEBBLE_VA_NOSLEEP=1"},
		stop:  syscall.SIGTERM, kill: syscall.SIGKILL,
	}
	a.launch(t)
	a.open()
	return a
}

// Directory is where clients begin (RFC 8555, section 7.1.1).
func (a *ACMEServer) Directory() string { return "https://localhost:" + a.port() + "/dir" }

// Root returns the certificate, as PEM, by which those that it gives are checked. It
// is another one after each start.
func (a *ACMEServer) Root() []byte {
	a.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // a process of our own, on this machine
	}}
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, "https://"+a.management+"/roots/0", http.NoBody)
	if err != nil {
		a.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		a.t.Fatalf("service: the authority's root: %s, %v", res.Status, err)
	}
	return b
}

func dial(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
