package coprocessor

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// atPlace has something done at the next passing of a place where a process may be killed.
func atPlace(t *testing.T) (next func(place string, do func())) {
	type step struct {
		place string
		do    func()
	}
	var now atomic.Pointer[step]
	failpoint.Hook = func(name string) {
		if s := now.Load(); s != nil && s.place == name && now.CompareAndSwap(s, nil) {
			s.do()
		}
	}
	t.Cleanup(func() { failpoint.Hook = nil })
	return func(place string, do func()) { now.Store(&step{place, do}) }
}

// Results that are stored when their job is cancelled, or its worker ends, before the job
// is done have an owner, at once or when the store is collected; and what is stored of
// such a job apart from its record is collected.
func TestResultsOfJobsThatAreCutOff(t *testing.T) {
	next := atPlace(t)
	g := guard(t)
	alice, bob := g.user("alice"), g.user("bob")
	cancel := func(id string) func() {
		return func() {
			if _, err := g.queue.Cancel(t.Context(), "alice."+id); err != nil {
				t.Error(err)
			}
		}
	}
	seen := func(s *service, h []byte) bool {
		t.Helper()
		r, err := s.CoprocessorClient.StatCiphertexts(t.Context(), &tacitv1.StatCiphertextsRequest{Handles: [][]byte{h}})
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Ciphertexts) == 1
	}
	submit := func(id, expression string) (result []byte) {
		t.Helper()
		sp := spec(t, g.sum(expression))
		result = alice.outputs(sp)[0]
		alice.submit(id, sp)
		return result
	}

	next(failpoint.StoreAfter, cancel("cancelled"))
	result := submit("cancelled", "add(a, 77)")
	alice.waitState("cancelled", tacitv1.JobState_JOB_STATE_CANCELLED)
	for !seen(alice, result) { // the worker goes on to this when it is told
		if t.Context().Err() != nil {
			t.Fatal("the result of a cancelled job has no owner")
		}
	}

	next(failpoint.StoreAfter, func() { panic("cut off") })
	result = submit("cut-off", "add(a, 78)")
	alice.waitState("cut-off", tacitv1.JobState_JOB_STATE_FAILED)
	if there, err := g.ciphertexts.Exists(t.Context(), [32]byte(result)); err != nil || !there {
		t.Fatalf("the result is not stored: %v", err)
	}
	if seen(alice, result) {
		t.Error("a result that is not owned is seen")
	}
	g.collectOnce(t.Context())
	if !seen(alice, result) || seen(bob, result) {
		t.Errorf("after a collection, alice sees the result: %t, bob: %t", seen(alice, result), seen(bob, result))
	}

	next(failpoint.CommitBefore, cancel("uncommitted"))
	large := "add(a, 79)" // whose result does not lie in the record: it reports on all nodes
	for i := range 100 {
		large += fmt.Sprintf("\nnode_%s_%d = add(a, %d)", strings.Repeat("x", 50), i, i)
	}
	submit("uncommitted", large)
	alice.waitState("uncommitted", tacitv1.JobState_JOB_STATE_CANCELLED)
	sweep := func(want int, age time.Duration, dry bool) {
		t.Helper()
		if n, err := g.queue.Sweep(t.Context(), age, dry); err != nil || n != want {
			t.Errorf("%d parts, %v, want %d", n, err, want)
		}
	}
	sweep(0, time.Hour, false) // it may be about to be recorded
	sweep(1, 0, true)
	sweep(1, 0, false)
	sweep(0, 0, false)
	// What is in use stays.
	if job := alice.get("done"); len(job.Results) != 1 || job.Receipt == nil {
		t.Errorf("%v", job)
	}
	if _, err := alice.CoprocessorClient.GetJobSpec(t.Context(), &tacitv1.GetJobSpecRequest{Id: "uncommitted"}); code(err) != codes.OK {
		t.Error(err)
	}
}
