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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a source that says what it is told to.
type fake struct {
	snapshot     Snapshot
	jobs         []Job
	ready, store error
}

func (f *fake) Identity() Identity {
	return Identity{Version: "v1", Backend: "portable", Parameters: "insecure", Workers: 3, Started: time.Now()}
}

func (f *fake) Snapshot() Snapshot { return f.snapshot }

func (f *fake) Recent(_ context.Context, n int) ([]Job, error) {
	return f.jobs[:min(n, len(f.jobs))], f.store
}

func (f *fake) Ready(context.Context) error { return f.ready }

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
		"tacit_bootstraps_total 30", "tacit_batches_total 10", "tacit_bootstraps_waiting 4",
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
		snapshot: Snapshot{Jobs: map[string]int{"queued": 17, "running": 23}, OldestQueued: now.Add(-90 * time.Second), Bootstraps: 7, Batches: 2,
			Devices: []accel.DeviceState{{Index: 4, Name: "<GPU>", Lost: true, Failures: 6}}},
		jobs: []Job{
			{ID: "<script>alert(1)</script>", State: "failed", Created: now, Started: now, Ended: now.Add(2 * time.Second), Attempts: 3, Reason: "NOISE_BOUND"},
			{ID: "waits", State: "queued", Created: now},
			{ID: "runs", State: "running", Created: now, Started: now.Add(-5 * time.Second)},
		},
	}
	h := Handler(f, NewMetrics(f), false)
	code, body, header := get(t, h, "GET", "/")
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d, %v", code, header)
	}
	for _, want := range []string{
		"portable, 3 workers", ">ready<", "17, the oldest for 1m30s", ">23<", ">3.50<", "7, 0 waiting", `GPU 4</th><td>&lt;GPU&gt;, <span class="bad">lost</span>, 6 failures<`,
		"&lt;script&gt;alert(1)&lt;/script&gt;", ">2s<", ">NOISE_BOUND<", ">5s<",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if strings.Contains(body, "<script") {
		t.Error("the page has a script")
	}

	f.snapshot, f.jobs, f.ready, f.store = Snapshot{}, nil, errors.New("<draining>"), errors.New("no answer")
	_, body, _ = get(t, h, "GET", "/")
	for _, want := range []string{"not ready: &lt;draining&gt;", "0, the oldest for none", "none yet", "does not answer: no answer", `colspan="6">none`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}
