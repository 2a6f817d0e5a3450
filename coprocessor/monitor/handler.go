package monitor

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// askTimeout bounds what a request asks of the store.
	askTimeout = 3 * time.Second
	// recentJobs is how many jobs the page lists.
	recentJobs = 25
	// maxRequests bounds the requests that are answered at a time.
	maxRequests = 16
)

//go:embed status.html
var statusHTML string

var statusPage = template.Must(template.New("status").Parse(statusHTML))

// page is what the status page shows.
type page struct {
	Identity
	Snapshot
	Now      time.Time
	NotReady error
	Queued   int
	Running  int
	Oldest   string
	Fill     string // bootstraps per batch
	Uptime   string
	Recent   []line
	Lost     error // why Recent cannot be shown
}

type line struct {
	Job
	When, Took string
}

// Handler answers GET requests: the page at /, /metrics, /healthz, which says that
// the process lives, /readyz, which says that it takes work, and with profiling
// also /debug/pprof/.
func Handler(s Source, m *Metrics, profiling bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxRequests, Timeout: askTimeout}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
		defer cancel()
		if err := s.Ready(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { serveStatus(w, r, s) })
	if profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// NewServer is an HTTP server that slow clients cannot hold for long.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		// A profile takes 30 s unless it is told otherwise.
		WriteTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

func serveStatus(w http.ResponseWriter, r *http.Request, s Source) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	now := time.Now()
	p := page{Identity: s.Identity(), Snapshot: s.Snapshot(), Now: now.UTC(), NotReady: s.Ready(ctx), Fill: "none yet", Oldest: "none"}
	p.Queued, p.Running = p.Jobs["queued"], p.Jobs["running"]
	p.Uptime = now.Sub(p.Started).Round(time.Second).String()
	if !p.OldestQueued.IsZero() {
		p.Oldest = age(p.OldestQueued, now).Round(time.Second).String()
	}
	if p.Batches > 0 {
		p.Fill = fmt.Sprintf("%.2f", float64(p.Bootstraps)/float64(p.Batches))
	}
	jobs, err := s.Recent(ctx, recentJobs)
	p.Lost = err
	for _, j := range jobs {
		l := line{Job: j, When: j.Created.UTC().Format(time.DateTime)}
		switch {
		case j.Started.IsZero():
		case j.Ended.IsZero():
			l.Took = age(j.Started, now).Round(time.Second).String()
		default:
			l.Took = j.Ended.Sub(j.Started).Round(time.Millisecond).String()
		}
		p.Recent = append(p.Recent, l)
	}
	var b bytes.Buffer
	if err := statusPage.Execute(&b, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	b.WriteTo(w)
}
