package coprocessor

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func ask(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Monitor(false).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// metric is the value of a line of /metrics, -1 where there is none.
func metric(t *testing.T, s *Server, name string) float64 {
	t.Helper()
	_, body := ask(t, s, "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return -1
}

func TestMonitor(t *testing.T) {
	s, stop := start(t, func(o *Options) { o.KeyMemory = 1 })
	h := s.prepare(integer.Plain(integer.Uint8, 200), integer.Plain(integer.Uint8, 100))
	spec := spec(t, "input a = 0x"+h[0]+"\ninput b = 0x"+h[1]+"\nc = add(a, b)\nd = add(c, b)\nunused = sub(a, b)\noutput d")
	job := s.run("done", spec)
	if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
		t.Fatal(job)
	}
	if _, err := s.CoprocessorClient.GetJob(t.Context(), &tacitv1.GetJobRequest{Id: "none"}); code(err) != codes.NotFound {
		t.Fatal(err)
	}
	spent := float64(job.Nodes[0].Bootstraps + job.Nodes[1].Bootstraps)
	for name, want := range map[string]float64{
		`tacit_jobs{state="succeeded"}`:                                                          1,
		`tacit_jobs{state="queued"}`:                                                             0,
		`tacit_node_seconds_count{op="add",type="euint8"}`:                                       2,
		`tacit_node_seconds_count{op="sub",type="euint8"}`:                                       -1,
		`tacit_bootstraps_total`:                                                                 spent,
		`tacit_prepared_keys`:                                                                    1,
		`tacit_key_requests_total{result="miss"}`:                                                1,
		`tacit_key_prepare_seconds_count`:                                                        1,
		`tacit_job_wait_seconds_count`:                                                           1,
		`tacit_call_errors_total{reason="UNKNOWN_JOB"}`:                                          1,
		`tacit_grpc_seconds_count{code="NotFound",method="/tacit.v1.Coprocessor/GetJob"}`:        1,
		`tacit_grpc_seconds_count{code="OK",method="/tacit.v1.Coprocessor/SubmitJob"}`:           1,
		`tacit_grpc_seconds_count{code="OK",method="/tacit.v1.Coprocessor/UploadEvaluationKey"}`: 1,
	} {
		if got := metric(t, s.Server, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if used, limit := metric(t, s.Server, "tacit_store_bytes"), metric(t, s.Server, "tacit_store_limit_bytes"); used <= 0 || limit < used {
		t.Errorf("%v bytes stored, of %v", used, limit)
	}
	batches := metric(t, s.Server, "tacit_batches_total")
	if batches < 1 || batches > spent {
		t.Errorf("%v batches for %v bootstraps", batches, spent)
	}
	if code, body := ask(t, s.Server, "/readyz"); code != 200 {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body := ask(t, s.Server, "/"); code != 200 || !strings.Contains(body, ">succeeded<") {
		t.Errorf("page: %d %s", code, body)
	}

	// A key that is evicted takes what it has counted with it into the total.
	s.engines.mu.Lock()
	s.engines.evict(0)
	s.engines.mu.Unlock()
	if got := metric(t, s.Server, "tacit_bootstraps_total"); got != spent {
		t.Errorf("%v bootstraps after an eviction, want %v", got, spent)
	}
	if got := metric(t, s.Server, "tacit_prepared_keys"); got != 0 {
		t.Errorf("%v keys after an eviction", got)
	}
	stop()
	if code, _ := ask(t, s.Server, "/readyz"); code != 503 {
		t.Errorf("readyz of a server that has stopped: %d", code)
	}
	if code, _ := ask(t, s.Server, "/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
}

// TestMonitorCounts what becomes of attempts.
func TestMonitorCounts(t *testing.T) {
	s, _ := start(t)
	s.submit("long", s.long())
	s.waitState("long", tacitv1.JobState_JOB_STATE_RUNNING)
	s.cancel("long")
	s.waitFor("long", func(*tacitv1.Job) bool {
		return metric(t, s.Server, `tacit_job_seconds_count{outcome="stopped"}`) == 1
	})
}

func TestReadyBeforeRun(t *testing.T) {
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Params: testKeys().Secret.Parameters(), Backend: backend})
	if err != nil {
		t.Fatal(err)
	}
	if err := (source{s}).Ready(t.Context()); !errors.Is(err, errNotServing) {
		t.Errorf("before Run: %v", err)
	}
	s.serving.Store(true)
	if err := (source{s}).Ready(t.Context()); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := (source{s}).Ready(t.Context()); err == nil || errors.Is(err, errNotServing) {
		t.Errorf("with the store closed: %v", err)
	}
}
