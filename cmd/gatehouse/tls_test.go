package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/internal/visitor"
)

// selfSigned writes a certificate for localhost.
func selfSigned(t testing.TB, dir string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"key.pem": {Type: "PRIVATE KEY", Bytes: private}, "cert.pem": {Type: "CERTIFICATE", Bytes: der},
	} {
		var b bytes.Buffer
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestServeTLS: with a certificate the site is https, its cookies are for that, and
// a certificate that is replaced is used.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	cert := selfSigned(t, dir, 1)
	c := serving(t, dir, "--listen=localhost:0", "--metrics=off", "--tls-cert=cert.pem", "--tls-key=key.pem")
	if !strings.HasPrefix(c.url, "https://localhost:") {
		t.Fatalf("the site is at %s", c.url)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	v := visitor.New(t, c.url)
	v.Client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager")
	if v.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no Strict-Transport-Security")
	}
	next := selfSigned(t, dir, 2)
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(filepath.Join(dir, "cert.pem"), later, later); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(c.url, "https://")
	for range 600 {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is looked at
		if err != nil {
			t.Fatal(err)
		}
		got := conn.ConnectionState().PeerCertificates[0].SerialNumber
		conn.Close()
		if got.Cmp(next.SerialNumber) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the certificate was not read again: %s", c.said.String())
}

// TestServeACME: a certificate is made before anybody comes, by an authority that comes
// to look, is there after a restart without the authority, and is for no other name.
func TestServeACME(t *testing.T) {
	dir, port := t.TempDir(), freePort(t)
	selfSigned(t, dir, 1)
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	authority := service.ACME(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), number)
	args := []string{
		"--listen=localhost:" + port, "--metrics=off", "--acme-host=gate.example", "--acme-email=who@example.com",
		"--acme-directory=" + authority.Directory(), "--acme-root=cert.pem",
	}
	c := serving(t, dir, args...)
	if c.url != "https://gate.example:"+port {
		t.Fatalf("the site is at %s", c.url)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority.Root()) {
		t.Fatal("the authority has no root")
	}
	here := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "localhost:"+port)
	}
	v := visitor.New(t, c.url)
	v.Client.Transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: here, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}
	for range 3000 { // it is made beside
		if strings.Contains(c.said.String(), "there is a certificate") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	v.Open(c.link).Send("", "name", "alex", "new", goodPassword, "again", goodPassword).Shows("/manager", "alex")

	presented := func(name string) (*x509.Certificate, error) {
		conn, err := tls.Dial("tcp", "localhost:"+port, &tls.Config{ServerName: name, RootCAs: roots})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0], nil
	}
	first, err := presented("gate.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := presented("other.example"); err == nil {
		t.Error("there is a certificate for another name")
	}
	if info, err := os.Stat(filepath.Join(dir, "gatehouse-certificates")); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the folder of keys: %v, %v", info, err)
	}
	c.end(t)
	authority.Stop()

	serving(t, dir, args...)
	if again, err := presented("gate.example"); err != nil || !again.Equal(first) {
		t.Errorf("after a restart: %v", err)
	}
	v.Open("/manager").Shows("/manager", "alex")
}
