package monitor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a source that says what it is told to.
type fake struct {
	snapshot     Snapshot
	stored       Stored
	space        store.Space
	ready, store error
}

func (f *fake) Identity() Identity {
	return Identity{Version: "v1", Role: "all", Backend: "portable", Parameters: "insecure", Workers: 3, Started: time.Now()}
}

func (f *fake) Snapshot() Snapshot { return f.snapshot }

func (f *fake) Stored(_ context.Context, n int) (Stored, error) {
	s := f.stored
	s.Recent = s.Recent[:min(n, len(s.Recent))]
	return s, f.store
}

func (f *fake) Ready(context.Context) error { return f.ready }

func (f *fake) Space(context.Context) (store.Space, error) { return f.space, f.store }

func get(t *testing.T, h http.Handler, method, path string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body), w.Header()
}

func TestMetrics(t *testing.T) {
	f := &fake{snapshot: Snapshot{
		Jobs: map[string]int{"queued": 2, "done": 5}, OldestQueued: time.Now().Add(-time.Hour),
		Bootstraps: 30, Batches: 10, Waiting: 4, PreparedKeys: 1, PreparedBytes: 3 << 20, PreparedLimit: 8 << 20, Uploads: 6,
		Devices: []accel.DeviceState{{Index: 0, Name: "A", KeyBytes: 5, Memory: 7}, {Index: 2, Name: "B", Lost: true, Failures: 3}},
	}}
	f.space = store.Space{Used: 9, Limit: 20}
	m := NewMetrics(f)
	m.JobStarted(20 * time.Millisecond)
	m.JobEnded("succeeded", time.Second)
	m.JobError("NOISE_BOUND")
	m.Node("add", "euint8", 30*time.Millisecond)
	m.Node("add", "euint8", 30*time.Millisecond)
	m.Call("/tacit.v1.Coprocessor/GetJob", "OK", time.Millisecond)
	m.CallError("UNKNOWN_JOB")
	m.KeyRequest(true)
	m.KeyRequest(false)
	m.KeyPrepared(time.Second)
	code, body, _ := get(t, Handler(f, m, false), "GET", "/metrics")
	if code != 200 {
		t.Fatalf("%d: %s", code, body)
	}
	for _, want := range []string{
		`tacit_build_info{backend="portable",go="go`, `parameters="insecure",version="v1"} 1`, "tacit_workers 3",
		`tacit_jobs{state="queued"} 2`, `tacit_jobs{state="done"} 5`, "tacit_queue_oldest_seconds 36",
		"tacit_store_bytes 9", "tacit_store_limit_bytes 20", "tacit_bootstraps_total 30", "tacit_batches_total 10", "tacit_bootstraps_waiting 4",
		"tacit_prepared_keys 1", "tacit_prepared_keys_bytes 3.145728e+06", "tacit_prepared_keys_limit_bytes 8.388608e+06", "tacit_uploads 6",
		`tacit_device_up{device="0",name="A"} 1`, `tacit_device_up{device="2",name="B"} 0`, `tacit_device_failures_total{device="2",name="B"} 3`,
		`tacit_device_keys_bytes{device="0",name="A"} 5`, `tacit_device_memory_bytes{device="0",name="A"} 7`,
		`tacit_job_wait_seconds_bucket{le="0.04"} 1`, `tacit_job_seconds_count{outcome="succeeded"} 1`,
		`tacit_job_errors_total{reason="NOISE_BOUND"} 1`, `tacit_node_seconds_count{op="add",type="euint8"} 2`,
		`tacit_grpc_seconds_bucket{code="OK",method="/tacit.v1.Coprocessor/GetJob",le="0.001"} 1`,
		`tacit_call_errors_total{reason="UNKNOWN_JOB"} 1`,
		`tacit_key_requests_total{result="hit"} 1`, `tacit_key_requests_total{result="miss"} 1`, "tacit_key_prepare_seconds_count 1",
		"go_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	f.snapshot.OldestQueued = time.Time{}
	if _, body, _ = get(t, Handler(f, m, false), "GET", "/metrics"); !strings.Contains(body, "tacit_queue_oldest_seconds 0\n") {
		t.Error("an empty queue has an age")
	}
	f.store = errors.New("no answer")
	if code, body, _ = get(t, Handler(f, m, false), "GET", "/metrics"); code != 200 || strings.Contains(body, "tacit_store_bytes ") {
		t.Errorf("%d: the size of a store that does not answer", code)
	}
}

// TestNil: code that is given no metrics need not ask whether it was.
func TestNil(t *testing.T) {
	var m *Metrics
	m.JobStarted(1)
	m.JobEnded("", 1)
	m.JobError("")
	m.Node("", "", 1)
	m.Call("", "", 1)
	m.CallError("")
	m.KeyRequest(true)
	m.KeyPrepared(1)
}

func TestHealth(t *testing.T) {
	f := &fake{ready: errors.New("draining")}
	h := Handler(f, NewMetrics(f), false)
	if code, body, _ := get(t, h, "GET", "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %s", code, body)
	}
	if code, body, _ := get(t, h, "GET", "/readyz"); code != 503 || body != "draining\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
	f.ready = nil
	if code, body, _ := get(t, h, "GET", "/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("readyz: %d %s", code, body)
	}
}

func TestRoutes(t *testing.T) {
	f := &fake{}
	for _, profiling := range []bool{false, true} {
		h := Handler(f, NewMetrics(f), profiling)
		for path, want := range map[string]int{"/": 200, "/metrics": 200, "/other": 404, "/debug/pprof/": 404, "/debug/pprof/heap": 404} {
			if profiling && strings.HasPrefix(path, "/debug") {
				want = 200
			}
			if code, _, _ := get(t, h, "GET", path); code != want {
				t.Errorf("profiling %v: %s: %d, want %d", profiling, path, code, want)
			}
			if code, _, _ := get(t, h, "POST", path); code != 405 && want != 404 {
				t.Errorf("POST %s: %d", path, code)
			}
		}
	}
}

func TestPage(t *testing.T) {
	now := time.Now()
	f := &fake{
		snapshot: Snapshot{
			Jobs: map[string]int{"queued": 1700, "running": 23, "failed": 4}, OldestQueued: now.Add(-90 * time.Second), Bootstraps: 7, Batches: 2, Backlog: 12345678,
			Damaged: 3, Truncated: 9, PreparedKeys: 2, PreparedBytes: 256 << 20, PreparedLimit: 1 << 30,
			Devices: []accel.DeviceState{{Index: 4, Name: "<GPU>", Lost: true, Failures: 6, KeyBytes: 1 << 30, Memory: 80 << 30}},
		},
		stored: Stored{
			Quarantined: 2, Paused: true,
			Recent: []Job{
				{ID: "<script>alert(1)</script>", State: "failed", Created: now, Started: now, Ended: now.Add(2 * time.Second), Attempts: 3, Reason: `NOISE_BOUND"><img src=x onerror=alert(1)>`},
				{ID: "waits", State: "queued", Created: now.Add(-time.Hour)},
				{ID: "runs", State: "running", Created: now, Started: now.Add(-5 * time.Second), Bootstraps: 4096},
			},
		},
	}
	f.space = store.Space{Used: 3 << 30, Limit: 4 << 30}
	m := NewMetrics(f)
	m.JobError("<b>")
	m.CallError("UNKNOWN_JOB")
	m.CallError("UNKNOWN_JOB")
	h := Handler(f, m, false)
	code, body, header := get(t, h, "GET", "/")
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d, %v", code, header)
	}
	for _, want := range []string{
		"portable, 3 workers", "paused: no jobs are started", ">1\u202f700<", "the oldest for 1 min 30 s", ">23<", ">3.5<", ">12\u202f345\u202f678<", "4 failed",
		"3 damaged jobs", "9 changes of the store are gone", "GPU 4 is lost", `&lt;GPU&gt;, <span class="bad">lost</span>, <span class="warn">6 failures</span>, keys 1.0 GiB of 80.0 GiB<`,
		"keys in memory: 2, 256 MiB of 1.0 GiB", `value="25"`, "stored: 3.0 GiB of 4.0 GiB", `value="75"`, "2 principals and keys in quarantine",
		"<dt>job: &lt;b&gt;</dt>", "<dt>call: UNKNOWN_JOB</dt><dd>2</dd>",
		"&lt;script&gt;alert(1)&lt;/script&gt;", ">2.0 s<", "NOISE_BOUND&#34;&gt;&lt;img", ">5.0 s<", ">1 h ago<", ">4\u202f096<",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	for _, never := range []string{"<script", "<img", "<link", "http://", "https://", "url(", "@import"} {
		if strings.Contains(body, never) {
			t.Errorf("the page has %s", never)
		}
	}

	f.snapshot, f.stored, f.ready, f.store = Snapshot{}, Stored{}, errors.New("<draining>"), errors.New("no <answer>")
	_, body, _ = get(t, Handler(f, NewMetrics(f), false), "GET", "/")
	for _, want := range []string{"not ready: &lt;draining&gt;", "nobody waits", ">–<", "does not answer: no &lt;answer&gt;", "none yet", `class="good">none<`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if strings.Contains(body, `class="alarm"`) {
		t.Error("an alarm without trouble")
	}
	f.snapshot, f.space, f.ready, f.store = Snapshot{Draining: true}, store.Space{Used: 5 << 20}, nil, nil
	if _, body, _ = get(t, h, "GET", "/"); !strings.Contains(body, "draining: takes and starts no jobs") || !strings.Contains(body, "stored: 5 MiB<") {
		t.Errorf("draining, without a limit: %s", body)
	}
}

// TestRates: they are those since the last but one time that the page was asked for.
func TestRates(t *testing.T) {
	start := time.Now()
	s := &status{since: [2]sample{{at: start}, {at: start}}}
	for i, c := range []struct {
		after               time.Duration
		bootstraps, batches int64
		rate, fill          float64
		window              time.Duration
	}{
		{0, 0, 0, 0, 0, 0},
		{10 * time.Second, 100, 10, 10, 10, 10 * time.Second},
		{15 * time.Second, 200, 20, 20, 10, 5 * time.Second},
		{17 * time.Second, 240, 20, 20, 14, 7 * time.Second}, // too soon after the last
		{20 * time.Second, 240, 20, 8, 0, 5 * time.Second},
		{25 * time.Second, 240, 20, 0, 0, 5 * time.Second},
	} {
		rate, fill, window := s.rates(sample{start.Add(c.after), c.bootstraps, c.batches})
		if rate != c.rate || fill != c.fill || window != c.window {
			t.Errorf("%d: %v, %v over %v, want %+v", i, rate, fill, window, c)
		}
	}
}

func TestForPeople(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{span(1234 * time.Millisecond), "1.2 s"}, {span(59 * time.Second), "59 s"}, {span(61 * time.Second), "1 min 1 s"},
		{span(2*time.Hour + 3*time.Minute), "2 h 3 min"}, {span(50 * time.Hour), "2 d 2 h"},
		{ago(59 * time.Second), "59 s ago"}, {ago(119 * time.Minute), "1 h ago"}, {ago(61 * time.Second), "1 min ago"}, {ago(49 * time.Hour), "2 d ago"},
		{size(0), "0 KiB"}, {size(5 << 20), "5 MiB"}, {size(3 << 29), "1.5 GiB"},
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1\u202f000"}, {count(-1234567), "-1\u202f234\u202f567"}, {count(-100), "-100"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	for _, c := range []struct{ part, whole, want int64 }{{1, 4, 25}, {0, 0, 0}, {9, 4, 100}, {-1, 4, 0}} {
		if got := percent(c.part, c.whole); got != int(c.want) {
			t.Errorf("%d of %d: %d", c.part, c.whole, got)
		}
	}
}
