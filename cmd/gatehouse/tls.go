package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

// tls is how connections are secured; nil if they are not.
func (s *server) tls(ctx context.Context) (*tls.Config, error) {
	switch {
	case len(s.ACMEHost) > 0 && (s.TLSCert != "" || s.TLSKey != ""):
		return nil, usageError{errors.New("--acme-host and --tls-cert are two ways to the same end: give one")}
	case len(s.ACMEHost) > 0:
		return s.acme()
	case s.TLSCert == "" && s.TLSKey == "":
		return nil, nil
	case s.TLSCert == "" || s.TLSKey == "":
		return nil, usageError{errors.New("--tls-cert and --tls-key go together")}
	}
	c := &certificate{cert: s.TLSCert, key: s.TLSKey, log: s.log}
	if err := c.read(ctx); err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	return &tls.Config{GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}, nil
}

// acme has certificates made when the server begins, since a handshake does not wait
// for as long as that may take, or when they are asked for; and again a month before
// they end (RFC 8555, and RFC 8737: nothing but this listener is needed).
func (s *server) acme() (*tls.Config, error) {
	for _, host := range s.ACMEHost {
		if !strings.Contains(host, ".") || strings.ContainsAny(host, "*:/ ") || strings.ToLower(host) != host {
			return nil, usageError{fmt.Errorf("--acme-host %q is not like app.example", host)}
		}
	}
	if u, err := url.Parse(s.ACMEDirectory); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, usageError{fmt.Errorf("--acme-directory %q is not like https://ca.example/directory", s.ACMEDirectory)}
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(s.ACMEHost...), Email: s.ACMEEmail, Cache: autocert.DirCache(s.ACMECache),
		Client: &acme.Client{DirectoryURL: s.ACMEDirectory},
	}
	if s.ACMERoot != "" {
		text, err := os.ReadFile(s.ACMERoot)
		if err != nil {
			return nil, fmt.Errorf("--acme-root: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--acme-root: no certificate is in %s", s.ACMERoot)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		m.Client.HTTPClient = &http.Client{Transport: transport}
	}
	cfg := m.TLSConfig()
	cfg.MinVersion = tls.VersionTLS12
	// Each handshake says so, until there is one.
	lines := new(logtext.Limiter)
	s.onClose(func() { lines.Close(context.Background(), s.log) })
	missing := func(ctx context.Context, host string, err error) {
		lines.Log(ctx, s.log, slog.LevelWarn, host, "there is no certificate", slog.String("host", host), slog.Any("error", err))
	}
	cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := m.GetCertificate(hello)
		// Whoever asks for another name is not worth a line.
		if host := strings.ToLower(hello.ServerName); err != nil && slices.Contains(s.ACMEHost, host) {
			missing(hello.Context(), host, err)
		}
		return cert, err
	}
	s.certify = func(ctx context.Context) {
		for _, host := range s.ACMEHost {
			// As a browser of today asks for one.
			cert, err := m.GetCertificate(&tls.ClientHelloInfo{
				ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			})
			if err != nil { // it is tried again for whoever comes
				missing(ctx, host, err)
				continue
			}
			s.log.InfoContext(ctx, "there is a certificate", "host", host, "until", cert.Leaf.NotAfter)
		}
	}
	return cfg, nil
}

// A certificate is read again when its file has changed.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	now     *tls.Certificate
	changed time.Time // the file's
	looked  time.Time
}

// lookEvery is how long a certificate that was replaced stays in use.
const lookEvery = 5 * time.Second

func (c *certificate) read(ctx context.Context) error {
	info, err := os.Stat(c.cert)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	if c.now != nil {
		c.log.InfoContext(ctx, "the certificate was read again", "file", c.cert)
	}
	c.now, c.changed = &pair, info.ModTime()
	return nil
}

func (c *certificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > lookEvery {
		c.looked = now
		if info, err := os.Stat(c.cert); err != nil || !info.ModTime().Equal(c.changed) {
			// While the two files are being replaced they do not belong together:
			// the old ones are good until the new ones are.
			if err := c.read(hello.Context()); err != nil {
				c.log.WarnContext(hello.Context(), "the certificate could not be read again", "error", err)
			}
		}
	}
	return c.now, nil
}
