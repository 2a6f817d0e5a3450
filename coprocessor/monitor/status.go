package monitor

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

const (
	recentJobs  = 25              // that the page lists
	maxReasons  = 8               // of errors that it lists
	sampleEvery = 5 * time.Second // for rates; the page asks for itself as often
)

//go:embed status.html
var statusHTML string

var statusPage = template.Must(template.New("status").Funcs(template.FuncMap{"size": size, "percent": percent, "count": count}).Parse(statusHTML))

// page is what the status page shows.
type page struct {
	Identity
	Snapshot
	Stored
	store.Space
	Now, Uptime string
	NotReady    error
	Lost        error // why Stored cannot be shown
	Oldest      string
	Rate        float64 // bootstraps a second
	Fill        float64 // bootstraps per pass over a key; 0 when there was none
	Window      string  // that Rate and Fill are over
	Memory      int64   // of the process, in bytes
	Evicted     int64
	Failures    []reason // of attempts at jobs
	Refused     []reason // of calls
	Lines       []line   // of Recent
}

// Trouble says that something is wrong that does not go away by itself.
func (p page) Trouble() bool {
	return p.Damaged > 0 || p.Truncated > 0 || slices.ContainsFunc(p.Devices, func(d accel.DeviceState) bool { return d.Lost })
}

// line is a job with times for people.
type line struct {
	Job
	When, Ago, Took string
}

// reason is how often something happened since the start.
type reason struct {
	Name  string
	Count int64
}

// status serves the page.
type status struct {
	source  Source
	metrics *Metrics

	mu    sync.Mutex
	since [2]sample // the older one is at least sampleEvery old, once the page is asked for often enough
}

// sample is what was counted at a time.
type sample struct {
	at                  time.Time
	bootstraps, batches int64
}

func newStatus(s Source, m *Metrics) *status {
	start := sample{at: s.Identity().Started}
	return &status{source: s, metrics: m, since: [2]sample{start, start}}
}

// rates are bootstraps a second and per batch since an earlier time.
func (s *status) rates(now sample) (rate, fill float64, window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.at.Sub(s.since[1].at) >= sampleEvery {
		s.since[0], s.since[1] = s.since[1], now
	}
	from := s.since[0]
	window = now.at.Sub(from.at)
	if window > 0 {
		rate = float64(now.bootstraps-from.bootstraps) / window.Seconds()
	}
	if n := now.batches - from.batches; n > 0 {
		fill = float64(now.bootstraps-from.bootstraps) / float64(n)
	}
	return rate, fill, window
}

func (s *status) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	now := time.Now()
	p := page{Identity: s.source.Identity(), Snapshot: s.source.Snapshot(), Now: now.UTC().Format(time.DateTime), NotReady: s.source.Ready(ctx)}
	p.Uptime = span(now.Sub(p.Started))
	if !p.OldestQueued.IsZero() {
		p.Oldest = span(age(p.OldestQueued, now))
	}
	var window time.Duration
	p.Rate, p.Fill, window = s.rates(sample{now, p.Bootstraps, p.Batches})
	p.Window = span(window)
	p.count(s.metrics)
	if p.Space, p.Lost = s.source.Space(ctx); p.Lost == nil {
		p.Stored, p.Lost = s.source.Stored(ctx, recentJobs)
	}
	for _, j := range p.Recent {
		l := line{Job: j, When: j.Created.UTC().Format(time.DateTime) + " UTC", Ago: ago(age(j.Created, now))}
		switch {
		case j.Started.IsZero():
		case j.Ended.IsZero():
			l.Took = span(age(j.Started, now))
		default:
			l.Took = span(j.Ended.Sub(j.Started))
		}
		p.Lines = append(p.Lines, l)
	}
	var b bytes.Buffer
	if err := statusPage.Execute(&b, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	b.WriteTo(w)
}

// count reads what the metrics have counted. What cannot be read is not shown.
func (p *page) count(m *Metrics) {
	families, _ := m.registry.Gather()
	for _, f := range families {
		switch f.GetName() {
		case "tacit_job_errors_total":
			p.Failures = reasons(f)
		case "tacit_call_errors_total":
			p.Refused = reasons(f)
		case "tacit_key_evictions_total":
			p.Evicted = int64(f.GetMetric()[0].GetCounter().GetValue())
		case "process_resident_memory_bytes":
			p.Memory = int64(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
}

// reasons are those that have happened, the most frequent first.
func reasons(f *dto.MetricFamily) (out []reason) {
	for _, m := range f.GetMetric() {
		if n := int64(m.GetCounter().GetValue()); n > 0 {
			out = append(out, reason{m.GetLabel()[0].GetValue(), n})
		}
	}
	slices.SortFunc(out, func(a, b reason) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name)) })
	return out[:min(len(out), maxReasons)]
}

// span is a time for people: seconds to one digit below ten, then the two largest units.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// ago is how long something is past, in its largest unit.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d d ago", int(d.Hours())/24)
}

// size is a number of bytes for people.
func size(bytes int64) string {
	switch f := float64(bytes); {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", f/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.0f MiB", f/(1<<20))
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// percent is the share of a part.
func percent(part, whole int64) int {
	if whole <= 0 {
		return 0
	}
	return int(min(max(100*float64(part)/float64(whole), 0), 100))
}

// count is a number for people, with thin spaces between thousands.
func count(n any) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
