package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-64ad3862/gatehouse/account"
	"github.com/seed-64ad3862/gatehouse/internal/clientaddr"
	"github.com/seed-64ad3862/gatehouse/internal/logtext"
	"github.com/seed-64ad3862/gatehouse/session"
)

// metrics are what Prometheus is told. All labels are of small, fixed sets.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	events   *prometheus.CounterVec
	sessions *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_requests_total", Help: "Requests by page and class of status.",
		}, []string{"page", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_request_seconds", Help: "How long requests take, by page.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}, []string{"page"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_events_total", Help: "What the log is told, by kind.",
		}, []string{"kind"}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_session_events_total", Help: "What happens to sessions, by kind and reason.",
		}, []string{"kind", "reason"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.events, m.sessions,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) account(k account.Kind) { m.events.WithLabelValues(string(k)).Inc() }

func (m *metrics) session(_ context.Context, e session.Event) {
	reason := ""
	if e.Kind == session.Ended {
		reason = e.Reason.String()
	}
	m.sessions.WithLabelValues(e.Kind.String(), reason).Inc()
}

// watch counts requests, and logs them.
func (s *server) watch(next http.Handler, proxies clientaddr.Trusted) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		out := &recorder{ResponseWriter: w, status: http.StatusOK}
		page, method, path := pageOf(r.URL.Path), logtext.Cut(r.Method, 40), logtext.Cut(r.URL.Path, 256)
		defer func() {
			took := time.Since(start)
			s.metrics.requests.WithLabelValues(page, strconv.Itoa(out.status/100)+"xx").Inc()
			s.metrics.duration.WithLabelValues(page).Observe(took.Seconds())
			s.log.DebugContext(r.Context(), "request", "method", method, "path", path, "status", out.status, "took", took, "addr", proxies.Of(r))
		}()
		next.ServeHTTP(out, r)
	})
}

// recorder notes the status.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.wrote && status >= http.StatusOK {
		r.status, r.wrote = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	return r.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// publicPath is the path without tokens, which nobody who reads a log may have. Paths
// that are not quite those of a link count as well: what they lead to, or what somebody
// has pasted wrongly, has the same token in it. Others are returned as they are.
func publicPath(p string) string {
	parts := strings.Split(path.Clean("/"+p), "/")
	for i, part := range parts[:len(parts)-1] {
		if strings.EqualFold(part, "setup") || strings.EqualFold(part, "recover") {
			return strings.Join(append(parts[:i+1], "…"), "/")
		}
	}
	return p
}

// pageOf is the page that a path belongs to, of a small number.
func pageOf(path string) string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "", "index", "login", "logout", "confirm", "setup", "recover", "check_code", "passkey", "Statics", "robots.txt":
		return "/" + first
	case "manager":
		second, _, _ := strings.Cut(rest, "/")
		switch second {
		case "people", "sessions", "log":
			return "/manager/" + second
		}
		return "/manager"
	}
	return "other"
}

// noMetrics is the value of --metrics by which there are none.
const noMetrics = "off"

// operator serves what is for operators and not for visitors, on a listener of its
// own, and says where. It comes before the stores, so that it can tell which is away.
func (s *server) operator(ctx context.Context) error {
	if s.Metrics == noMetrics {
		return nil
	}
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Metrics)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--metrics %s is in use, by another program or by --listen: choose another address, such as 127.0.0.1:9002, or off", s.Metrics)
	case err != nil:
		return fmt.Errorf("--metrics: choose another address, or off: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.readyz)
	lines := new(logtext.Limiter)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: lines.ErrorLog(s.log),
	}
	go func() { _ = server.Serve(socket) }() // until it is closed
	s.onClose(func() {
		_ = server.Close()
		lines.Close(context.Background(), s.log)
	})
	at := "http://" + socket.Addr().String()
	s.note(fmt.Sprintf("Metrics and health are at %s.\n", at), "metrics and health are served", "url", at)
	return nil
}
