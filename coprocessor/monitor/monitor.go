// Package monitor shows operators what a service does: metrics for Prometheus,
// health for whoever starts and stops it, and a page for people. It reads and
// changes nothing. No plaintext, ciphertext or key passes through it; ids of
// jobs do, on the page alone.
package monitor

import (
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Identity is what does not change while a service runs.
type Identity struct {
	Version    string
	Role       string // all, api or worker
	Backend    string
	Parameters string
	Workers    int // cores that bootstrap
	Started    time.Time
}

// Snapshot is the state of a service at one moment.
type Snapshot struct {
	Jobs          map[string]int // by state
	Damaged       int            // jobs whose records are damaged, in none of the states
	Truncated     uint64         // changes that are gone from the ends of the store's files
	Backlog       int64          // bootstraps that jobs need which wait or are queued
	Draining      bool           // no job is started or taken here
	OldestQueued  time.Time      // when the job was submitted that has been queued for longest; zero when none is
	Bootstraps    int64          // ciphertexts bootstrapped since the start
	Batches       int64          // passes over a key for them
	Waiting       int            // ciphertexts that wait to be bootstrapped
	PreparedKeys  int
	PreparedBytes int64
	PreparedLimit int64 // bytes
	Uploads       int   // under way
	Devices       []accel.DeviceState
}

// Stored is what the store says.
type Stored struct {
	Recent      []Job // the newest jobs
	Paused      bool  // no job is started anywhere
	Quarantined int   // principals and keys whose jobs are not started
}

// Job is one line of the page.
type Job struct {
	ID, State  string
	Created    time.Time
	Started    time.Time // zero before the first attempt
	Ended      time.Time // zero before the end
	Bootstraps int64     // that it takes
	Attempts   int
	Reason     string // why it failed
}

// Source is what is shown. Its methods are called concurrently.
type Source interface {
	Identity() Identity
	Snapshot() Snapshot
	// Stored asks the store, also for the newest jobs, at most n.
	Stored(ctx context.Context, n int) (Stored, error)
	// Space asks the store how much room it takes.
	Space(ctx context.Context) (store.Space, error)
	// Ready says why the service takes no work now, or nil.
	Ready(ctx context.Context) error
}

// Metrics counts what happens. A Metrics is safe for concurrent use; the nil one
// counts nothing.
type Metrics struct {
	registry *prometheus.Registry

	wait, jobs  *prometheus.HistogramVec
	nodes       *prometheus.HistogramVec
	calls       *prometheus.HistogramVec
	jobErrors   *prometheus.CounterVec
	callErrors  *prometheus.CounterVec
	keyRequests *prometheus.CounterVec
	keyPrepare  prometheus.Histogram
	keyEvicted  prometheus.Counter
}

// Buckets in seconds: of operations and calls from a millisecond, of jobs up to
// the better part of an hour.
var (
	shortBuckets = prometheus.ExponentialBuckets(0.001, 4, 9)
	longBuckets  = prometheus.ExponentialBuckets(0.01, 4, 10)
)

// alarms are reasons that alert rules look for. They are counted from 0, so that
// the first one is an increase.
var alarms = []string{"DATA_LOSS", "PANIC", "RESULT_CONFLICT", "UNAVAILABLE"}

// NewMetrics returns metrics of a source, of the Go runtime and of the process.
func NewMetrics(s Source) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(v)
		return v
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.wait = histogram("tacit_job_wait_seconds", "Time from the submission of a job to the start of an attempt.", longBuckets)
	m.jobs = histogram("tacit_job_seconds", "Time of an attempt at a job, by how it ended.", longBuckets, "outcome")
	m.nodes = histogram("tacit_node_seconds", "Time of an operation that succeeded, by operation and type of the result.", shortBuckets, "op", "type")
	m.calls = histogram("tacit_grpc_seconds", "Time of a call, by method and status code; of a stream, to its end.", shortBuckets, "method", "code")
	m.jobErrors = counter("tacit_job_errors_total", "Attempts at jobs that failed, by reason.", "reason")
	m.callErrors = counter("tacit_call_errors_total", "Calls that were refused, by reason.", "reason")
	for _, reason := range alarms {
		m.jobErrors.WithLabelValues(reason)
		m.callErrors.WithLabelValues(reason)
	}
	m.keyRequests = counter("tacit_key_requests_total", "Uses of an evaluation key: hit when it was prepared, miss when it had to be.", "result")
	m.keyPrepare = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "tacit_key_prepare_seconds", Help: "Time to prepare an evaluation key.", Buckets: longBuckets,
	})
	m.keyEvicted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tacit_key_evictions_total", Help: "Prepared keys that made room for others.",
	})
	m.registry.MustRegister(m.keyPrepare, m.keyEvicted, &collector{s}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// JobStarted counts an attempt at a job that had waited for so long.
func (m *Metrics) JobStarted(waited time.Duration) {
	if m != nil {
		m.wait.WithLabelValues().Observe(waited.Seconds())
	}
}

// JobEnded counts the end of an attempt: succeeded, failed, retried, released or
// stopped.
func (m *Metrics) JobEnded(outcome string, took time.Duration) {
	if m != nil {
		m.jobs.WithLabelValues(outcome).Observe(took.Seconds())
	}
}

// JobError counts an attempt that failed.
func (m *Metrics) JobError(reason string) {
	if m != nil {
		m.jobErrors.WithLabelValues(reason).Inc()
	}
}

// Node counts an operation that succeeded.
func (m *Metrics) Node(op, typ string, took time.Duration) {
	if m != nil {
		m.nodes.WithLabelValues(op, typ).Observe(took.Seconds())
	}
}

// Call counts a call that ended with a status code.
func (m *Metrics) Call(method, code string, took time.Duration) {
	if m != nil {
		m.calls.WithLabelValues(method, code).Observe(took.Seconds())
	}
}

// CallError counts a call that was refused.
func (m *Metrics) CallError(reason string) {
	if m != nil {
		m.callErrors.WithLabelValues(reason).Inc()
	}
}

// KeyRequest counts a use of an evaluation key, that was prepared or was not.
func (m *Metrics) KeyRequest(prepared bool) {
	if m == nil {
		return
	}
	result := "miss"
	if prepared {
		result = "hit"
	}
	m.keyRequests.WithLabelValues(result).Inc()
}

// KeyPrepared counts the preparation of an evaluation key.
func (m *Metrics) KeyPrepared(took time.Duration) {
	if m != nil {
		m.keyPrepare.Observe(took.Seconds())
	}
}

// KeyEvicted counts a prepared key that made room for another.
func (m *Metrics) KeyEvicted() {
	if m != nil {
		m.keyEvicted.Inc()
	}
}

// collector makes metrics of snapshots, one for each scrape.
type collector struct {
	source Source
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	buildInfo    = desc("tacit_build_info", "Always 1; what runs is in the labels.", "version", "go", "backend", "parameters")
	workers      = desc("tacit_workers", "Cores that bootstrap.")
	jobsByState  = desc("tacit_jobs", "Jobs in the store, by state.", "state")
	damagedJobs  = desc("tacit_jobs_damaged", "Jobs whose records are damaged, but for those that an administrator has discarded.")
	truncated    = desc("tacit_store_truncated_changes", "Changes that are gone because files of the store were cut off, until 'tacit store verify --accept-loss'.")
	queueAge     = desc("tacit_queue_oldest_seconds", "Age of the job that has been queued for longest; 0 when none is.")
	bootstraps   = desc("tacit_bootstraps_total", "Ciphertexts bootstrapped.")
	batches      = desc("tacit_batches_total", "Passes over a bootstrapping key; bootstraps per batch is how full batches are.")
	waiting      = desc("tacit_bootstraps_waiting", "Ciphertexts that wait to be bootstrapped.")
	preparedKeys = desc("tacit_prepared_keys", "Evaluation keys in memory, ready to compute.")
	preparedSize = desc("tacit_prepared_keys_bytes", "About how much memory the prepared keys take.")
	preparedMax  = desc("tacit_prepared_keys_limit_bytes", "How much of it may stay when the keys are not in use.")
	storeSize    = desc("tacit_store_bytes", "How much is stored; absent when the store does not answer.")
	storeMax     = desc("tacit_store_limit_bytes", "How much the store takes at most; 0 when there is no limit, or it is not known.")
	uploads      = desc("tacit_uploads", "Uploads under way.")
	deviceUp     = desc("tacit_device_up", "Whether a GPU computes: 0 when it is lost and the processor, or another one, does its work.", "device", "name")
	deviceFails  = desc("tacit_device_failures_total", "Batches and keys that a GPU could not take.", "device", "name")
	deviceKeys   = desc("tacit_device_keys_bytes", "Memory of a GPU that keys take.", "device", "name")
	deviceMemory = desc("tacit_device_memory_bytes", "Memory of a GPU.", "device", "name")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildInfo, workers, jobsByState, damagedJobs, truncated, queueAge, bootstraps, batches, waiting, preparedKeys, preparedSize, preparedMax, storeSize, storeMax, uploads,
		deviceUp, deviceFails, deviceKeys, deviceMemory} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	i, s := c.source.Identity(), c.source.Snapshot()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(buildInfo, 1, i.Version, runtime.Version(), i.Backend, i.Parameters)
	gauge(workers, float64(i.Workers))
	for state, n := range s.Jobs {
		gauge(jobsByState, float64(n), state)
	}
	gauge(damagedJobs, float64(s.Damaged))
	gauge(truncated, float64(s.Truncated))
	gauge(queueAge, age(s.OldestQueued, time.Now()).Seconds())
	gauge(waiting, float64(s.Waiting))
	gauge(preparedKeys, float64(s.PreparedKeys))
	gauge(preparedSize, float64(s.PreparedBytes))
	gauge(preparedMax, float64(s.PreparedLimit))
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	if space, err := c.source.Space(ctx); err == nil {
		gauge(storeSize, float64(space.Used))
		gauge(storeMax, float64(space.Limit))
	}
	gauge(uploads, float64(s.Uploads))
	for _, d := range s.Devices {
		up, labels := 1.0, []string{strconv.Itoa(d.Index), d.Name}
		if d.Lost {
			up = 0
		}
		gauge(deviceUp, up, labels...)
		gauge(deviceKeys, float64(d.KeyBytes), labels...)
		gauge(deviceMemory, float64(d.Memory), labels...)
		ch <- prometheus.MustNewConstMetric(deviceFails, prometheus.CounterValue, float64(d.Failures), labels...)
	}
	ch <- prometheus.MustNewConstMetric(bootstraps, prometheus.CounterValue, float64(s.Bootstraps))
	ch <- prometheus.MustNewConstMetric(batches, prometheus.CounterValue, float64(s.Batches))
}

// age is how long ago something was; 0 if it was never, or in the future.
func age(at, now time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(now.Sub(at), 0)
}
