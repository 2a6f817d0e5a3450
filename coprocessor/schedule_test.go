package coprocessor

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const waiting = tacitv1.JobState_JOB_STATE_WAITING

// admin is the service as administrators call it.
func (s *service) admin() tacitv1.AdminClient { return tacitv1.NewAdminClient(s.conn) }

// request submits a job with options.
func (s *service) request(req *tacitv1.SubmitJobRequest) *tacitv1.Job {
	s.t.Helper()
	job, err := s.CoprocessorClient.SubmitJob(s.t.Context(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return job
}

// end waits for the end of a job.
func (s *service) end(id string) *tacitv1.Job {
	s.t.Helper()
	job, err := s.CoprocessorClient.WaitJob(s.t.Context(), &tacitv1.WaitJobRequest{Id: id, Timeout: durationpb.New(time.Minute)})
	if err != nil {
		s.t.Fatal(err)
	}
	return job
}

// outputs are the handles of the outputs of a spec.
func (s *service) outputs(spec *tacitv1.JobSpec) (handles [][]byte) {
	s.t.Helper()
	e, err := s.CoprocessorClient.EstimateJob(s.t.Context(), &tacitv1.EstimateJobRequest{Spec: spec})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range e.Outputs {
		handles = append(handles, o.Handle)
	}
	return handles
}

// retryDelay is when an error says to try again, or 0.
func retryDelay(t testing.TB, err error) time.Duration {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func expect(types map[string]tacitv1.Type) *tacitv1.MissingInputs {
	m := new(tacitv1.MissingInputs)
	for name, t := range types {
		m.Expected = append(m.Expected, &tacitv1.ExpectedInput{Handle: named(name), Type: t.Enum()})
	}
	return m
}

// adding is a spec that adds 1 to an input, by name, and names the result.
func adding(t testing.TB, input []byte, result string) *tacitv1.JobSpec {
	return spec(t, fmt.Sprintf("input x = 0x%x\ny = add(x, 1) as 0x%x\noutput y", input, named(result)))
}

func raw(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Jobs start by themselves when their inputs are there, in whatever order they
// come, also when the service is stopped in between.
func TestJobsWaitForInputs(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, func(o *Options) { o.Dir = dir })
	h := s.prepare(integer.Plain(integer.Uint8, 5))
	x := raw(t, h[0])

	// Nobody has heard of the input.
	_, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "second", Spec: adding(t, named("y1"), "y2")})
	if got := refused(t, err); got.code != codes.NotFound || got.reason != "UNKNOWN_HANDLE" || got.place != "nodes[0].inputs[0]" {
		t.Errorf("%+v", got)
	}
	// Its type is enough to wait for it.
	job := s.request(&tacitv1.SubmitJobRequest{Id: "second", Spec: adding(t, named("y1"), "y2"), MissingInputs: expect(map[string]tacitv1.Type{"y1": tacitv1.Type_TYPE_EUINT8})})
	if job.State != waiting || job.WaitDeadlineTime == nil || job.EstimatedBootstraps == 0 {
		t.Fatalf("%v", job)
	}
	// What a job is to make has a type.
	if job := s.submit("third", adding(t, named("y2"), "y3")); job.State != waiting {
		t.Fatalf("%v", job)
	}
	resp, err := s.CoprocessorClient.StatCiphertexts(t.Context(), &tacitv1.StatCiphertextsRequest{Handles: [][]byte{x, named("y2"), named("y4")}})
	if err != nil || len(resp.Ciphertexts) != 1 || len(resp.Missing) != 2 || len(resp.Pending) != 1 || !bytes.Equal(resp.Pending[0].Handle, named("y2")) ||
		resp.Pending[0].GetType() != tacitv1.Type_TYPE_EUINT8 {
		t.Errorf("%v, %v", resp, err)
	}
	fetch, err := s.CoprocessorClient.FetchCiphertexts(t.Context(), &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{named("y2")}})
	if err == nil {
		_, err = fetch.Recv()
	}
	if got := refused(t, err); got.reason != "PENDING_HANDLE" {
		t.Errorf("%+v", got)
	}
	stop()
	s, _ = start(t, func(o *Options) { o.Dir = dir })
	s.waitState("third", waiting)
	s.submit("first", adding(t, x, "y1"))
	for i, id := range []string{"first", "second", "third"} {
		job := s.end(id)
		if job.State != succeeded || job.Attempts != 1 {
			t.Fatalf("%v", job)
		}
		if got, want := s.decrypt(job.Results[0].Handle), fmt.Sprint("euint8:", 6+i); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	// Opting out is possible.
	_, err = s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "no", Spec: adding(t, named("y9"), "y10"),
		MissingInputs: &tacitv1.MissingInputs{Refuse: true, Expected: expect(map[string]tacitv1.Type{"y9": tacitv1.Type_TYPE_EUINT8}).Expected}})
	if got := refused(t, err); got.reason != "UNKNOWN_HANDLE" {
		t.Errorf("%+v", got)
	}
}

// A job whose input cannot come fails, and says where and why.
func TestInputsThatDoNotCome(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.ConcurrentJobs = 1 })
	h := s.prepare(integer.Plain(integer.Uint8, 5), integer.Plain(integer.Uint16, 5))
	s.submit("busy", s.long())
	s.waitState("busy", running)
	s.submit("a", adding(t, raw(t, h[0]), "a1"))
	s.submit("b", adding(t, named("a1"), "b1"))
	s.submit("c", spec(t, fmt.Sprintf("input p = 0x%s\ninput q = 0x%x\nz = add(p, q)\noutput z", h[0], named("b1"))))
	s.cancel("a")
	for id, place := range map[string]string{"b": "nodes[0].inputs[0]", "c": "nodes[0].inputs[1]"} {
		job := s.end(id)
		if e := job.Error; job.State != failed || e.GetReason() != "PRODUCER_FAILED" || e.Place != place || e.JobId != "a" ||
			!strings.Contains(e.Message, "job a") || !strings.Contains(e.Message, "was cancelled") || job.Attempts != 0 {
			t.Errorf("%v", job)
		}
	}
	// A job that has failed so is still that job.
	if again := s.submit("b", adding(t, named("a1"), "b1")); again.State != failed {
		t.Errorf("%v", again)
	}
	types := map[string]tacitv1.Type{"never": tacitv1.Type_TYPE_EUINT8}
	for id, req := range map[string]*tacitv1.SubmitJobRequest{
		"INPUT_TIMEOUT":     {MissingInputs: &tacitv1.MissingInputs{Timeout: durationpb.New(30 * time.Millisecond), Expected: expect(types).Expected}},
		"DEADLINE_EXCEEDED": {Deadline: durationpb.New(30 * time.Millisecond), MissingInputs: expect(types)},
	} {
		req.Id, req.Spec = id, adding(t, named("never"), id)
		s.request(req)
		if job := s.end(id); job.State != failed || job.Error.GetReason() != id || codes.Code(job.Error.Code) != codes.DeadlineExceeded || job.Attempts != 0 {
			t.Errorf("%v", job)
		}
	}
	// A job that is queued past its deadline is not started, one that runs is stopped.
	s.request(&tacitv1.SubmitJobRequest{Id: "late", Spec: adding(t, raw(t, h[0]), "late1"), Deadline: durationpb.New(30 * time.Millisecond)})
	if job := s.end("late"); job.Error.GetReason() != "DEADLINE_EXCEEDED" || job.Attempts != 0 {
		t.Errorf("%v", job)
	}
	s.cancel("busy")
	s.request(&tacitv1.SubmitJobRequest{Id: "slow", Spec: s.long(), Deadline: durationpb.New(time.Second)})
	if job := s.end("slow"); job.Error.GetReason() != "DEADLINE_EXCEEDED" || job.Attempts != 1 {
		t.Errorf("%v, %d attempts", job.Error, job.Attempts)
	}

	// Circles are found.
	s.request(&tacitv1.SubmitJobRequest{Id: "x", Spec: adding(t, named("p"), "q"), MissingInputs: expect(map[string]tacitv1.Type{"p": tacitv1.Type_TYPE_EUINT8})})
	_, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "y", Spec: adding(t, named("q"), "p")})
	if got := refused(t, err); got.code != codes.FailedPrecondition || got.reason != "JOB_CYCLE" {
		t.Errorf("%+v", got)
	}
	// What comes is not what was expected.
	s.request(&tacitv1.SubmitJobRequest{Id: "surprised", Spec: adding(t, named("wide"), "wide1"), MissingInputs: expect(map[string]tacitv1.Type{"wide": tacitv1.Type_TYPE_EUINT8})})
	s.submit("wide", spec(t, fmt.Sprintf("input w = 0x%s\nv = add(w, 1000) as 0x%x\nnarrow = eq(v, 1) as 0x%x\noutput v, narrow", h[1], named("other"), named("wide"))))
	if job := s.end("surprised"); job.State != failed || job.Error.GetReason() != "TYPE_MISMATCH" || job.Error.Place == "" {
		t.Errorf("%v", job)
	}
	for name, req := range map[string]*tacitv1.SubmitJobRequest{
		"deadline":                        {Deadline: durationpb.New(-1)},
		"priority":                        {Priority: 101},
		"missing_inputs.timeout":          {MissingInputs: &tacitv1.MissingInputs{Timeout: durationpb.New(0)}},
		"missing_inputs.expected[0].type": {MissingInputs: &tacitv1.MissingInputs{Expected: []*tacitv1.ExpectedInput{{Handle: named("p")}}}},
	} {
		req.Id, req.Spec = "bad", adding(t, raw(t, h[0]), "bad")
		if _, err := s.CoprocessorClient.SubmitJob(t.Context(), req); refused(t, err).place != name || code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A job of one principal may wait for what is another's, and starts when it may
// compute on it.
func TestWaitingForRights(t *testing.T) {
	g := guard(t)
	alice, bob := g.as(g.token("alice")), g.as(g.token("bob"))
	if _, err := alice.CoprocessorClient.Grant(t.Context(), &tacitv1.GrantRequest{
		Resource: evaluation(g.key()), Grant: &tacitv1.PrincipalRights{Principal: "bob", Rights: []tacitv1.Right{tacitv1.Right_RIGHT_COMPUTE}},
	}); err != nil {
		t.Fatal(err)
	}
	h := g.handle(0)
	read := spec(t, fmt.Sprintf("input x = 0x%x\ny = add(x, 1)\noutput y", h))
	if _, err := bob.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "j", Spec: read}); code(err) != codes.NotFound {
		t.Errorf("%v", err)
	}
	info, err := alice.CoprocessorClient.StatCiphertexts(t.Context(), &tacitv1.StatCiphertextsRequest{Handles: [][]byte{h}})
	if err != nil {
		t.Fatal(err)
	}
	bob.request(&tacitv1.SubmitJobRequest{Id: "j", Spec: read, MissingInputs: &tacitv1.MissingInputs{
		Expected: []*tacitv1.ExpectedInput{{Handle: h, Type: info.Ciphertexts[0].Type}}}})
	bob.waitState("j", waiting)
	if _, err := alice.CoprocessorClient.Grant(t.Context(), &tacitv1.GrantRequest{
		Resource: ciphertext(h), Grant: &tacitv1.PrincipalRights{Principal: "bob", Rights: []tacitv1.Right{tacitv1.Right_RIGHT_COMPUTE}},
	}); err != nil {
		t.Fatal(err)
	}
	if job := bob.end("j"); job.State != succeeded {
		t.Errorf("%v", job)
	}
}

// The same expression is computed once in a job, and not at all when its result is
// stored; estimates say so.
func TestSameExpressionOnce(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 5), integer.Plain(integer.Uint8, 9))
	inputs := fmt.Sprintf("input a = 0x%s\ninput b = 0x%s\n", h[0], h[1])
	twice := spec(t, inputs+"p = add(a, b)\nq = add(a, b)\nx = mul(p, a)\ny = mul(q, a)\nz = sub(x, y)\nunused = mul(b, b)\noutput z, q as 0x"+hex.EncodeToString(named("q")))
	once := spec(t, inputs+"p = add(a, b)\nx = mul(p, a)\nz = sub(x, x)\noutput z")
	estimate := func(spec *tacitv1.JobSpec) *tacitv1.EstimateJobResponse {
		t.Helper()
		e, err := s.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := estimate(twice)
	if want := estimate(once); e.Bootstraps != want.Bootstraps || e.Depth != want.Depth || e.Bootstraps == 0 {
		t.Errorf("%d bootstraps in %d, want %d in %d", e.Bootstraps, e.Depth, want.Bootstraps, want.Depth)
	}
	digest := graph.SpecDigest(twice)
	if !bytes.Equal(e.SpecDigest, digest[:]) || len(e.Outputs) != 2 || e.Outputs[0].GetType() != tacitv1.Type_TYPE_EUINT8 ||
		e.Nodes[1].SameAs == nil || *e.Nodes[1].SameAs != 0 || e.Nodes[5].Needed || len(e.Missing) != 0 {
		t.Errorf("%v", e)
	}
	job := s.run("twice", twice)
	if job.State != succeeded || job.EstimatedBootstraps != e.Bootstraps || job.SpentBootstraps != e.Bootstraps {
		t.Fatalf("%d estimated, %d spent, want %d: %v", job.EstimatedBootstraps, job.SpentBootstraps, e.Bootstraps, job.Error)
	}
	for i, n := range job.Nodes {
		if same := i == 1 || i == 3; same != (n.SameAs != nil) || same && (n.Bootstraps != 0 || n.State != tacitv1.NodeState_NODE_STATE_SUCCEEDED) {
			t.Errorf("%v", n)
		}
	}
	if got := s.decrypt(job.Results[0].Handle); got != "euint8:0" {
		t.Errorf("%s", got)
	}
	if got := s.decrypt(named("q")); got != "euint8:14" {
		t.Errorf("%s", got)
	}
	// Another job finds what is under a derived handle.
	again := s.run("again", spec(t, inputs+"p = add(a, b)\nx = mul(p, a)\nz = sub(x, x)\nw = add(p, 1)\noutput z, w"))
	if again.State != succeeded || !bytes.Equal(again.Results[0].Digest, job.Results[0].Digest) {
		t.Fatalf("%v", again)
	}
	for i, want := range []tacitv1.NodeState{2: tacitv1.NodeState_NODE_STATE_SUCCEEDED, 1: tacitv1.NodeState_NODE_STATE_SKIPPED,
		0: tacitv1.NodeState_NODE_STATE_SUCCEEDED, 3: tacitv1.NodeState_NODE_STATE_SUCCEEDED} {
		if n := again.Nodes[i]; n.State != want || n.Reused != (i == 2) {
			t.Errorf("%v", n)
		}
	}
}

// A result does not depend on whether what it is computed from was stored before:
// either the handle is another one, or the bits are the same.
func TestStoredAndComputedOperands(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 5))
	first := s.run("first", spec(t, "input a = 0x"+h[0]+"\np = mul(a, 3)\noutput p"))
	stored := s.run("stored", spec(t, fmt.Sprintf("input p = 0x%x\nq = mul(p, 7)\noutput q", first.Results[0].Handle)))
	inline := s.run("inline", spec(t, "input a = 0x"+h[0]+"\np = mul(a, 3)\nq = mul(p, 7)\nr = xor(q, 1)\noutput q, r"))
	if stored.State != succeeded || inline.State != succeeded {
		t.Fatalf("%v, %v", stored.Error, inline.Error)
	}
	if got := s.decrypt(inline.Results[0].Handle); got != "euint8:105" {
		t.Errorf("%s", got)
	}
	if bytes.Equal(stored.Results[0].Handle, inline.Results[0].Handle) != bytes.Equal(stored.Results[0].Digest, inline.Results[0].Digest) {
		t.Errorf("%x has two digests", stored.Results[0].Handle)
	}
	// A service that has not stored it computes the same.
	other, _ := start(t)
	other.prepare(integer.Plain(integer.Uint8, 5))
	fresh := other.run("inline", spec(t, "input a = 0x"+h[0]+"\np = mul(a, 3)\nq = mul(p, 7)\nr = xor(q, 1)\noutput q, r"))
	for i, r := range fresh.Results {
		if !bytes.Equal(r.Handle, inline.Results[i].Handle) || !bytes.Equal(r.Digest, inline.Results[i].Digest) {
			t.Errorf("result %d: %v, and elsewhere %v", i, inline.Results[i], r)
		}
	}
}

// When a name is taken nothing of the job is stored.
func TestConflictStoresNothing(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 5))
	s.run("taken", adding(t, raw(t, h[0]), "taken"))
	job := s.run("late", spec(t, fmt.Sprintf("input a = 0x%s\np = add(a, 2) as 0x%x\nq = add(a, 3) as 0x%x\noutput p, q", h[0], named("free"), named("taken"))))
	if job.State != failed || job.Error.Reason != "RESULT_CONFLICT" {
		t.Fatalf("%v", job)
	}
	if _, err := s.ciphertexts.Stat(t.Context(), [32]byte(named("free"))); err == nil {
		t.Error("a result of a job that failed is stored")
	}
}

func TestEstimateMissing(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 5))
	text := fmt.Sprintf("input a = 0x%s\ninput p = 0x%x\ninput q = 0x%x\nx = add(p, q)\ny = add(a, p)\noutput x, y", h[0], named("p"), named("q"))
	e, err := s.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: spec(t, text), Expected: expect(map[string]tacitv1.Type{"p": tacitv1.Type_TYPE_EUINT8}).Expected})
	if err != nil || len(e.Missing) != 2 || !bytes.Equal(e.Missing[1].Handle, named("q")) || e.Missing[1].Type != nil || e.Missing[0].GetType() != tacitv1.Type_TYPE_EUINT8 ||
		len(e.Nodes) != 0 || len(e.SpecDigest) != 32 {
		t.Errorf("%v, %v", e, err)
	}
	e, err = s.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: spec(t, text),
		Expected: expect(map[string]tacitv1.Type{"p": tacitv1.Type_TYPE_EUINT8, "q": tacitv1.Type_TYPE_EUINT8}).Expected})
	if err != nil || len(e.Missing) != 2 || len(e.Nodes) != 2 || e.Bootstraps == 0 {
		t.Errorf("%v, %v", e, err)
	}
	if _, err := s.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{}); refused(t, err).reason != "BAD_KEY_ID" {
		t.Errorf("%v", err)
	}
}

// Encodings of one spec are one job.
func TestSpecsAreComparedByMeaning(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 5))
	one, other := adding(t, raw(t, h[0]), "z"), adding(t, raw(t, h[0]), "z")
	other.Nodes[0].Inputs[1] = &tacitv1.Input{Value: &tacitv1.Input_Scalar{Scalar: []byte{0, 0, 1}}}
	first := s.run("j", one)
	if again := s.submit("j", other); again.State != succeeded || !bytes.Equal(again.SpecDigest, first.SpecDigest) {
		t.Errorf("%v", again)
	}
	other.Nodes[0].Inputs[1] = &tacitv1.Input{Value: &tacitv1.Input_Scalar{Scalar: []byte{2}}}
	if _, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "j", Spec: other}); code(err) != codes.AlreadyExists {
		t.Errorf("%v", err)
	}
}

func TestAdmin(t *testing.T) {
	ctx := t.Context()
	s, good := small(t, func(o *Options) { o.MaxAttempts = 1 })
	state := func(st *tacitv1.ServiceStatus, err error) *tacitv1.ServiceStatus {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := state(s.admin().Pause(ctx, &tacitv1.PauseRequest{})); !st.Paused || st.Draining {
		t.Errorf("%v", st)
	}
	s.submit("held", good())
	if st := state(s.admin().GetStatus(ctx, &tacitv1.GetStatusRequest{})); !st.Paused || st.Backlog == 0 || st.RunningHere != 0 {
		t.Errorf("%v", st)
	}
	if job := s.get("held"); job.State != queued {
		t.Errorf("%v", job)
	}
	key := testKeys().Secret.ID()
	quarantine := &tacitv1.QuarantineRequest{Subject: &tacitv1.QuarantineRequest_KeyId{KeyId: key[:]}}
	for range 2 {
		if st := state(s.admin().Quarantine(ctx, quarantine)); len(st.QuarantinedKeys) != 1 || !bytes.Equal(st.QuarantinedKeys[0], key[:]) {
			t.Errorf("%v", st)
		}
	}
	state(s.admin().Resume(ctx, &tacitv1.ResumeRequest{}))
	_, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "new", Spec: good()})
	if got := refused(t, err); got.reason != "QUARANTINED" || got.code != codes.FailedPrecondition {
		t.Errorf("%+v", got)
	}
	if job := s.get("held"); job.State != queued {
		t.Errorf("%v", job)
	}
	if st := state(s.admin().Release(ctx, &tacitv1.ReleaseRequest{Subject: &tacitv1.ReleaseRequest_KeyId{KeyId: key[:]}})); len(st.QuarantinedKeys) != 0 {
		t.Errorf("%v", st)
	}
	if job := s.end("held"); job.State != succeeded {
		t.Errorf("%v", job)
	}

	// A process that drains finishes what it has, and takes nothing.
	s.submit("runs", s.sums(30))
	s.waitState("runs", running)
	if st := state(s.admin().Drain(ctx, &tacitv1.DrainRequest{})); !st.Draining || st.RunningHere != 1 {
		t.Errorf("%v", st)
	}
	_, err = s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "new", Spec: good()})
	if got := refused(t, err); got.reason != "DRAINING" || got.code != codes.Unavailable {
		t.Errorf("%+v", got)
	}
	if job := s.end("runs"); job.State != succeeded {
		t.Errorf("%v", job)
	}
	state(s.admin().Resume(ctx, &tacitv1.ResumeRequest{}))
	if job := s.run("new", good()); job.State != succeeded {
		t.Errorf("%v", job)
	}

	// Dead letters are listed, and may be tried again.
	state(s.admin().Pause(ctx, &tacitv1.PauseRequest{}))
	s.submit("dead", s.sums(2))
	s.submit("consumer", spec(t, fmt.Sprintf("input x = 0x%x\ny = add(x, 1)\noutput y", s.outputs(s.sums(2))[0])))
	state(s.admin().Drain(ctx, &tacitv1.DrainRequest{}))
	if _, err := s.queue.Hold(ctx, func(c *jobs.Control) { c.Paused = false }); err != nil {
		t.Fatal(err)
	}
	lease, err := s.queue.Claim(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Fail(ctx, refuse(codes.Unavailable, "UNAVAILABLE", "", "the store is away").note(), true); err != nil {
		t.Fatal(err)
	}
	if job := s.end("consumer"); job.Error.GetReason() != "PRODUCER_FAILED" || !strings.Contains(job.Error.Message, "the store is away (UNAVAILABLE)") {
		t.Errorf("%v", job.Error)
	}
	letters, err := s.admin().ListDeadLetters(ctx, &tacitv1.ListDeadLettersRequest{})
	if err != nil || len(letters.Jobs) != 1 || letters.Jobs[0].Id != "dead" || letters.Jobs[0].Error.Reason != "UNAVAILABLE" {
		t.Errorf("%v, %v", letters, err)
	}
	for _, id := range []string{"dead", "consumer"} {
		if job, err := s.admin().RetryJob(ctx, &tacitv1.RetryJobRequest{Id: id}); err != nil || job.EndTime != nil || job.Error != nil {
			t.Errorf("%v, %v", job, err)
		}
	}
	state(s.admin().Resume(ctx, &tacitv1.ResumeRequest{}))
	if job := s.end("consumer"); job.State != succeeded {
		t.Errorf("%v", job)
	}
	if _, err := s.admin().RetryJob(ctx, &tacitv1.RetryJobRequest{Id: "dead"}); refused(t, err).reason != "WRONG_STATE" {
		t.Errorf("%v", err)
	}
	for name, req := range map[string]*tacitv1.QuarantineRequest{
		"nothing":   {},
		"principal": {Subject: &tacitv1.QuarantineRequest_Principal{Principal: "no/name"}},
		"key":       {Subject: &tacitv1.QuarantineRequest_KeyId{KeyId: []byte{1}}},
	} {
		if _, err := s.admin().Quarantine(ctx, req); code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Administration is for administrators.
func TestAdminRole(t *testing.T) {
	g := guard(t)
	for name, want := range map[string]codes.Code{"alice": codes.PermissionDenied, "dave": codes.PermissionDenied, "eve": codes.Unauthenticated, "root": codes.OK} {
		c := tacitv1.NewAdminClient(authorized{g.conn, g.token(name)})
		_, err := c.Pause(t.Context(), &tacitv1.PauseRequest{})
		if code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.ListUsage(t.Context(), &tacitv1.ListUsageRequest{}); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Budgets and shares come from the file of callers.
func TestQuotas(t *testing.T) {
	g := guard(t)
	alice := g.as(g.token("alice"))
	e, err := alice.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: spec(t, g.sum("mul(a, b)"))})
	if err != nil {
		t.Fatal(err)
	}
	before, err := alice.CoprocessorClient.GetUsage(t.Context(), &tacitv1.GetUsageRequest{})
	if err != nil || before.Principal != "alice" || before.Used == 0 || before.Budget != 0 {
		t.Fatalf("%v, %v", before, err)
	}
	budget := int64(before.Used + e.Bootstraps)
	if err := access.SetQuota(g.path, "alice", access.Quota{Bootstraps: budget, Weight: 2}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); g.Callers.Quota("alice").Bootstraps == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the quota is not read")
		}
	}
	job := alice.run("paid", spec(t, g.sum("mul(a, b)")))
	if job.State != succeeded || job.SpentBootstraps != e.Bootstraps {
		t.Fatalf("%v", job)
	}
	_, err = alice.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "more", Spec: spec(t, g.sum("mul(b, a)"))})
	if got := refused(t, err); got.code != codes.ResourceExhausted || got.reason != "BUDGET_EXHAUSTED" {
		t.Errorf("%+v", got)
	}
	if d := retryDelay(t, err); d <= 0 || d > 24*time.Hour {
		t.Errorf("try again in %v", d)
	}
	if usage, err := alice.CoprocessorClient.GetUsage(t.Context(), &tacitv1.GetUsageRequest{}); err != nil || usage.Used != uint64(budget) || usage.Weight != 2 {
		t.Errorf("%v, %v", usage, err)
	}
}

// A feed of jobs is taken up where it ended.
// TestCancelledJobsPay: whoever cancels a job in the middle of an operation has used what it
// took until then.
func TestCancelledJobsPay(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint256, 12345), integer.Plain(integer.Uint256, 67))
	s.submit("long", spec(t, fmt.Sprintf("input a = 0x%s\ninput b = 0x%s\nq = div(a, b)\noutput q", h[0], h[1])))
	s.waitFor("long", func(j *tacitv1.Job) bool { return j.Nodes[0].State == tacitv1.NodeState_NODE_STATE_RUNNING })
	s.cancel("long")
	job := s.waitFor("long", func(j *tacitv1.Job) bool { return j.SpentBootstraps > 0 })
	if job.State != tacitv1.JobState_JOB_STATE_CANCELLED || job.SpentBootstraps >= job.EstimatedBootstraps {
		t.Errorf("%v, %d bootstraps of %d", job.State, job.SpentBootstraps, job.EstimatedBootstraps)
	}
}

func TestWatchJobs(t *testing.T) {
	s, good := small(t)
	s.run("a", good())
	read := func(cursor string, count int, states ...tacitv1.JobState) (ids []string, last string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stream, err := s.CoprocessorClient.WatchJobs(ctx, &tacitv1.WatchJobsRequest{Cursor: cursor, States: states})
		if err != nil {
			t.Fatal(err)
		}
		for range count {
			e, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			ids, last = append(ids, e.GetJob().Id+" "+e.GetJob().State.String()[len("JOB_STATE_"):]), e.Cursor
		}
		return ids, last
	}
	ids, cursor := read("", 1)
	if !slices.Equal(ids, []string{"a SUCCEEDED"}) {
		t.Errorf("%v", ids)
	}
	s.run("b", good())
	s.run("c", good())
	ids, _ = read(cursor, 2, succeeded)
	if !slices.Equal(ids, []string{"b SUCCEEDED", "c SUCCEEDED"}) {
		t.Errorf("%v", ids)
	}
	list, err := s.CoprocessorClient.ListJobs(t.Context(), &tacitv1.ListJobsRequest{NewestFirst: true, States: []tacitv1.JobState{succeeded}, PageSize: 2})
	if err != nil || len(list.Jobs) != 2 || list.Jobs[0].Id != "c" || list.NextPageToken == "" {
		t.Errorf("%v, %v", list, err)
	}
	for _, bad := range []string{"x", "-1"} {
		stream, err := s.CoprocessorClient.WatchJobs(t.Context(), &tacitv1.WatchJobsRequest{Cursor: bad})
		if err == nil {
			_, err = stream.Recv()
		}
		if refused(t, err).reason != "BAD_CURSOR" {
			t.Errorf("%v", err)
		}
	}
	if _, err := s.CoprocessorClient.ListJobs(t.Context(), &tacitv1.ListJobsRequest{States: []tacitv1.JobState{99}}); refused(t, err).place != "states[0]" {
		t.Errorf("%v", err)
	}
}

// The progress of the largest job that is allowed by default fits a note.
func TestProgressOfLargeJobs(t *testing.T) {
	var reports []*tacitv1.NodeReport
	for i := range graph.DefaultLimits().MaxNodes {
		p := -128.25
		reports = append(reports, &tacitv1.NodeReport{
			Node: uint32(i), Label: strings.Repeat("x", 128), State: tacitv1.NodeState_NODE_STATE_SUCCEEDED, Bootstraps: 100_000, Depth: 60_000,
			Duration: durationpb.New(1234567891 * time.Microsecond), Log2FailureProbability: &p,
		})
	}
	got := new(tacitv1.Job)
	if err := proto.Unmarshal(progressNote(reports), got); err != nil || len(got.Nodes) != len(reports) {
		t.Errorf("%d of %d nodes: %v", len(got.Nodes), len(reports), err)
	}
}
