package redis_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/seed-64ad3862/gatehouse/internal/service"
	"github.com/seed-64ad3862/gatehouse/session"
	"github.com/seed-64ad3862/gatehouse/store/redis"
)

// opened is what comes of opening a store at an address.
func opened(t *testing.T, address string) error {
	t.Helper()
	opt, err := rueidis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	store, err := redis.Open(ctx, redis.Config{Client: opt})
	if err == nil {
		store.Close()
	}
	return err
}

// keyPair writes a certificate that no client knows, and its key, into the folder.
func keyPair(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestAway: what passes by itself is told from what only another setting mends.
func TestAway(t *testing.T) {
	check := func(name, address string, want bool, says ...string) {
		t.Helper()
		err := opened(t, address)
		if err == nil {
			t.Errorf("%s: there is no error", name)
			return
		}
		if got := redis.Away(err); got != want {
			t.Errorf("%s: away %v: %v", name, got, err)
		}
		for _, text := range says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: no %q in %v", name, text, err)
			}
		}
	}
	server := service.Redis(t, "--databases", "2", "--maxclients", "20")
	c, err := net.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	// Not at its start: who looks whether it is up has no password.
	if _, err = io.WriteString(c, "CONFIG SET requirepass right\r\n"); err == nil {
		_, err = c.Read(make([]byte, 5))
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := opened(t, "redis://:right@"+server.Addr); err != nil || redis.Away(nil) {
		t.Fatal(err)
	}
	check("no password", "redis://"+server.Addr, false, "NOAUTH")
	check("wrong password", "redis://:wrong@"+server.Addr, false, "WRONGPASS")
	check("wrong user", "redis://else:right@"+server.Addr, false, "WRONGPASS")
	check("no such database", "redis://:right@"+server.Addr+"/5", false, "out of range")
	check("TLS where there is none", "rediss://:right@"+server.Addr, false, "redis://")
	check("no such name", "redis://host.invalid:6379", true)

	var held []net.Conn
	for range 20 { // but for one that looks whether it is there
		c, err := net.Dial("tcp", server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	for _, c := range held[:19] { // so that they have been accepted
		if _, err := c.Write([]byte("AUTH right\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	check("no more connections", "redis://:right@"+server.Addr, true)
	for _, c := range held {
		_ = c.Close()
	}
	server.Pause()
	check("paused", "redis://:right@"+server.Addr, true)
	server.Resume()
	server.Stop()
	check("down", "redis://:right@"+server.Addr, true)
	check("down, by TLS", "rediss://:right@"+server.Addr, true)

	cert, key := keyPair(t, t.TempDir())
	for _, clients := range []string{"no", "yes"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		secure := l.Addr().String()
		_, port, err := net.SplitHostPort(secure)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		service.Redis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", clients)
		check("TLS is missing, clients "+clients, "redis://"+secure, false, "rediss://")
		check("unknown authority, clients "+clients, "rediss://"+secure, false, "certificate")
	}
}

// TestAwayWrites: a server that refuses writes until its replicas or its disk are back is
// away, and reads are served. One whose memory is full, or whose user lacks a right, is
// not away: waiting does not mend that.
func TestAwayWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		args  []string
		begin func(t *testing.T, ask func(words ...string) error)
		says  string
		away  bool
	}{
		"no replicas": {args: []string{"--min-replicas-to-write", "1"}, says: "NOREPLICAS", away: true},
		"no disk": {
			args: []string{"--dir", dir, "--save", "3600 1"},
			begin: func(t *testing.T, ask func(words ...string) error) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				eventually(t, "a snapshot that fails", func() bool {
					_ = ask("BGSAVE")
					err := ask("PING")
					return err != nil && strings.HasPrefix(err.Error(), "MISCONF")
				})
			},
			says: "MISCONF", away: true,
		},
		"memory full": {args: []string{"--maxmemory", "1mb", "--maxmemory-policy", "noeviction"}, says: "OOM"},
		"no right": {
			begin: func(t *testing.T, ask func(words ...string) error) {
				if err := ask("ACL", "SETUSER", "default", "resetkeys", "~gatehouse:s:*"); err != nil {
					t.Fatal(err)
				}
			},
			says: "NOPERM",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := service.Redis(t, tt.args...)
			c := raws(t, server.Addr)
			if tt.begin != nil {
				tt.begin(t, func(words ...string) error {
					return c.Do(t.Context(), c.B().Arbitrary(words...).Build()).Error()
				})
			}
			s, err := redis.Open(t.Context(), redis.Config{Client: rueidis.ClientOption{InitAddress: []string{server.Addr}}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			err = s.Notes().Put(t.Context(), "a", "text")
			if err == nil || !strings.Contains(err.Error(), tt.says) || redis.Away(err) != tt.away {
				t.Errorf("Put: away %v: %v; want %s, away %v", redis.Away(err), err, tt.says, tt.away)
			}
			_, err = s.Load(t.Context(), newID())
			if !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Load: %v", err)
			}
			// Commits go through a script, in which a server may word it otherwise.
			err = s.Commit(t.Context(), newID(), &session.Delta{Create: true, Seen: time.Now(), Idle: time.Hour, Expires: time.Now().Add(time.Hour)})
			if tt.away && (err == nil || !redis.Away(err)) {
				t.Errorf("Commit: %v", err)
			}
		})
	}
}
