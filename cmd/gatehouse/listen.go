package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/logtext"
)

// listeners are the sockets that one HOST:PORT stands for.
type listeners struct {
	host     string // as it was given
	port     string
	loopback bool // nobody but this machine reaches them
	tls      *tls.Config
	sockets  []net.Listener
}

// listen opens the sockets of an address. One that other machines reach is
// refused unless insecure: without TLS, cookies would travel in the clear.
//
// Where the host is a name, all of its addresses are listened on.
func listen(ctx context.Context, address string, insecure bool) (*listeners, error) {
	l, ips, err := resolve(ctx, address, insecure)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips {
		host := ip.String()
		if l.host == "" {
			host = "" // leaves it to net which family the machine has
		}
		var socket net.Listener
		socket, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, l.port))
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			continue // the name's other family will do
		}
		if err != nil {
			l.close()
			return nil, explain(err, address)
		}
		l.sockets = append(l.sockets, socket)
		// What the system chose for 0 is everybody's.
		l.port = strconv.Itoa(socket.Addr().(*net.TCPAddr).Port)
	}
	if len(l.sockets) == 0 {
		return nil, fmt.Errorf("--listen %s: %w", address, err)
	}
	return l, nil
}

// resolve is all of listen but the sockets, and returns what they would be for.
func resolve(ctx context.Context, address string, insecure bool) (*listeners, []netip.Addr, error) {
	l := &listeners{loopback: true}
	var err error
	if l.host, l.port, err = hostPort(ctx, "listen", address); err != nil {
		return nil, nil, err
	}
	var ips []netip.Addr
	switch l.host {
	case "":
		ips = []netip.Addr{netip.IPv6Unspecified()} // IPv4 as well
	case "localhost":
		// Browsers try both, whatever this machine's table says (RFC 6761
		// section 6.3). On one alone, another program could take the other.
		ips = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	default:
		if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", l.host); err != nil {
			return nil, nil, fmt.Errorf("--listen %s: %w", address, err)
		}
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
		l.loopback = l.loopback && ips[i].IsLoopback()
	}
	if !l.loopback && !insecure {
		return nil, nil, usageError{fmt.Errorf("--listen %s: other machines reach that address, and without TLS anybody on the way can read the cookies; "+
			"listen on localhost, or add --insecure-http to do it all the same", address)}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return l, slices.Compact(ips), nil
}

// hostPort takes the address of a setting apart.
func hostPort(ctx context.Context, setting, address string) (host, port string, err error) {
	if host, port, err = net.SplitHostPort(address); err != nil {
		return "", "", usageError{fmt.Errorf("--%s %q: give HOST:PORT, such as localhost:9000", setting, address)}
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return "", "", usageError{fmt.Errorf("--%s %s: %q is not a port, which is a number up to 65535", setting, address, port)}
	}
	return host, strconv.Itoa(n), nil
}

// explain says what to do about an address that cannot be had.
func explain(err error, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program: end that one, or choose another port, such as --listen localhost:8080", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s needs rights that this program has not: choose a port from 1024 on, such as --listen localhost:9000", address)
	}
	return fmt.Errorf("--listen %s: %w", address, err)
}

func (l *listeners) close() {
	for _, socket := range l.sockets {
		_ = socket.Close()
	}
}

// url is where to point a browser on this machine.
func (l *listeners) url() string { return l.urlFor(l.name()) }

// name is by what a browser on this machine finds it.
func (l *listeners) name() string {
	if ip, err := netip.ParseAddr(l.host); l.host == "" || err == nil && ip.IsUnspecified() {
		return "localhost"
	}
	return l.host
}

// urlFor is where browsers find it by that name.
func (l *listeners) urlFor(host string) string {
	scheme, usual := "http://", ":80"
	if l.tls != nil {
		scheme, usual = "https://", ":443"
	}
	return scheme + strings.TrimSuffix(net.JoinHostPort(host, l.port), usual) // which browsers leave away
}

// secure has the sockets speak TLS.
func (l *listeners) secure(cfg *tls.Config) {
	l.tls = cfg
	for i, socket := range l.sockets {
		l.sockets[i] = tls.NewListener(socket, cfg)
	}
}

// origins are what browsers call the addresses. A page of plain HTTP has no
// Sec-Fetch-Site unless it is on localhost, and then its forms count by these.
func (l *listeners) origins() []string {
	hosts := []string{l.host}
	if l.loopback {
		hosts = append(hosts, "localhost", "127.0.0.1", "::1")
	}
	for _, socket := range l.sockets {
		ip := socket.Addr().(*net.TCPAddr).IP
		hosts = append(hosts, ip.String())
		if !ip.IsUnspecified() {
			continue
		}
		hosts = append(hosts, "localhost")
		if name, err := os.Hostname(); err == nil {
			hosts = append(hosts, name)
		}
		addrs, _ := net.InterfaceAddrs()
		for _, addr := range addrs {
			if network, ok := addr.(*net.IPNet); ok {
				hosts = append(hosts, network.IP.String())
			}
		}
	}
	slices.Sort(hosts)
	var origins []string
	for _, host := range slices.Compact(hosts) {
		if host != "" {
			origins = append(origins, l.urlFor(host))
		}
	}
	return origins
}

// grace is how long requests have to finish when the program ends.
const grace = 10 * time.Second

// serve answers until the context ends, and then finishes what is under way.
func serve(ctx context.Context, h http.Handler, l *listeners, logger *slog.Logger) error {
	lines := new(logtext.Limiter)
	defer lines.Close(context.WithoutCancel(ctx), logger)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			lines.Flush(r.Context(), logger)
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          lines.ErrorLog(logger),
	}
	failed := make(chan error, len(l.sockets))
	for _, socket := range l.sockets {
		go func() { failed <- server.Serve(socket) }()
	}
	select {
	case err := <-failed:
		_ = server.Close()
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		logger.Warn("some requests were cut off", "after", grace)
		return server.Close()
	}
	return nil
}
