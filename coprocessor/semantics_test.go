package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/accel/cuda/cudatest"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const (
	queued    = tacitv1.JobState_JOB_STATE_QUEUED
	running   = tacitv1.JobState_JOB_STATE_RUNNING
	succeeded = tacitv1.JobState_JOB_STATE_SUCCEEDED
	failed    = tacitv1.JobState_JOB_STATE_FAILED
	cancelled = tacitv1.JobState_JOB_STATE_CANCELLED
)

// named is a handle of a client's own choice.
func named(label string) []byte {
	h := sha256.Sum256([]byte("named " + label))
	return h[:]
}

func (s *service) stat(handle []byte) *tacitv1.CiphertextInfo {
	s.t.Helper()
	resp, err := s.CoprocessorClient.StatCiphertexts(s.t.Context(), &tacitv1.StatCiphertextsRequest{Handles: [][]byte{handle}})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(resp.Missing) > 0 {
		return nil
	}
	return resp.Ciphertexts[0]
}

func TestSubmitIsIdempotent(t *testing.T) {
	s, good := small(t)
	first := make([]*tacitv1.Job, 8)
	var wg sync.WaitGroup
	for i := range first {
		wg.Go(func() {
			var err error
			if first[i], err = s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "a", Spec: good()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	done := s.run("a", good())
	if done.State != succeeded || done.Attempts != 1 {
		t.Fatalf("%v", done)
	}
	for _, job := range append(first, s.submit("a", good())) {
		if !proto.Equal(job.CreateTime, done.CreateTime) || !bytes.Equal(job.SpecDigest, done.SpecDigest) {
			t.Errorf("another job: %v", job)
		}
	}
	if again := s.submit("a", good()); !proto.Equal(again, s.get("a")) {
		t.Errorf("a submission answers %v", again)
	}
	list, err := s.CoprocessorClient.ListJobs(t.Context(), &tacitv1.ListJobsRequest{})
	if err != nil || len(list.Jobs) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	digest := graph.SpecDigest(good())
	if !bytes.Equal(done.SpecDigest, digest[:]) {
		t.Errorf("the digest of the spec is %x", done.SpecDigest)
	}
	// The same computation under another id has the same results.
	if other := s.run("b", good()); !slices.EqualFunc(other.Results, done.Results, func(a, b *tacitv1.CiphertextInfo) bool { return proto.Equal(a, b) }) {
		t.Errorf("%v, and %v under another id", done.Results, other.Results)
	}
}

func TestUploadsAreIdempotent(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	key := evaluationKey(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			info, err := s.sendKey(ctx, upload{content: key})
			id := testKeys().Secret.ID()
			if err != nil || !bytes.Equal(info.KeyId, id[:]) || info.Size != uint64(len(key)) {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
	wg.Wait()
	// What a header says of a key that is there is not repeated.
	id := sha256.Sum256(key)
	if info, err := s.sendKey(ctx, upload{header: id[:], size: 7, content: key[:7]}); err != nil || info.Size != uint64(len(key)) {
		t.Errorf("%v, %v", info, err)
	}
	// An upload that was overtaken by another one is read to its end.
	p, err := s.partials.begin(ctx, partialName{"another", id}, uint64(len(key)), 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.readKey(id, &partialReader{all: s.partials, p: p, in: bytes.NewReader(key)}); err != nil {
		t.Error(err)
	}
	if err := s.keys.PutFile(ctx, id, p.file, p.n); err != nil {
		t.Error(err)
	}
	s.partials.end(p, false)
	if list, err := s.CoprocessorClient.ListKeys(ctx, &tacitv1.ListKeysRequest{}); err != nil || len(list.Keys) != 1 || list.Keys[0].Size != uint64(len(key)) {
		t.Errorf("%v, %v", list, err)
	}

	data := encrypted(t, "idempotent", integer.Plain(integer.Uint16, 1), integer.Plain(integer.Bool, 1), integer.Plain(integer.Uint16, 1))
	first, err := s.sendList(ctx, upload{content: data})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := s.sendList(ctx, upload{content: data})
		if err != nil || !proto.Equal(again, first) {
			t.Errorf("%v, %v, want %v", again, err, first)
		}
	}
	other := encrypted(t, "idempotent too", integer.Plain(integer.Uint16, 1))
	second, err := s.sendList(ctx, upload{content: other})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range append(first.Ciphertexts, second.Ciphertexts...) {
		if seen[string(c.Handle)] {
			t.Errorf("handle %x twice", c.Handle)
		}
		seen[string(c.Handle)] = true
		if !proto.Equal(s.stat(c.Handle), c) {
			t.Errorf("stored as %v, described as %v", c, s.stat(c.Handle))
		}
	}
	if got := s.decrypt(first.Ciphertexts[1].Handle); got != "ebool:true" {
		t.Errorf("an upload decrypts to %s", got)
	}
	// A list of nothing is a list.
	none := encrypted(t, "none")
	if resp, err := s.sendList(ctx, upload{content: none}); err != nil || len(resp.Ciphertexts) != 0 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestWaitTimeout(t *testing.T) {
	s, good := small(t)
	s.submit("long", s.long())
	s.waitState("long", running)
	for _, timeout := range []time.Duration{0, time.Nanosecond, 50 * time.Millisecond} {
		begin := time.Now()
		job, err := s.CoprocessorClient.WaitJob(t.Context(), &tacitv1.WaitJobRequest{Id: "long", Timeout: durationpb.New(timeout)})
		if err != nil || job.State != running || len(job.Nodes) != 2000 {
			t.Fatalf("after %v: %v, %v", timeout, job.GetState(), err)
		}
		if took := time.Since(begin); took < timeout || took > timeout+5*time.Second {
			t.Errorf("waited %v for %v", took, timeout)
		}
	}
	// The client's own deadline is another matter.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.CoprocessorClient.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: "long"}); code(err) != codes.DeadlineExceeded {
		t.Errorf("past the deadline: %v", err)
	}
	done := s.run("a", good())
	for _, timeout := range []*durationpb.Duration{nil, durationpb.New(0), durationpb.New(time.Hour)} {
		if job, err := s.CoprocessorClient.WaitJob(t.Context(), &tacitv1.WaitJobRequest{Id: "a", Timeout: timeout}); err != nil || !proto.Equal(job, done) {
			t.Errorf("%v, %v, want %v", job, err, done)
		}
	}
	s.cancel("long")
}

// watch reads the events of a job to their end and checks their order: the job
// first and last, its states in order, and no event that says nothing new.
func (s *service) watch(id string) (events []*tacitv1.JobEvent, err error) {
	s.t.Helper()
	stream, err := s.CoprocessorClient.WatchJob(s.t.Context(), &tacitv1.WatchJobRequest{Id: id})
	if err != nil {
		return nil, err
	}
	nodes := map[uint32]*tacitv1.NodeReport{}
	var state tacitv1.JobState
	for {
		e, err := stream.Recv()
		if err != nil {
			if err == io.EOF && (len(events) == 0 || events[len(events)-1].GetJob() == nil || state < succeeded) {
				s.t.Errorf("the last event is not the job: %v", events[len(events)-1])
			}
			return events, err
		}
		switch {
		case e.GetJob() != nil:
			job := e.GetJob()
			if job.Id != id || job.State <= state {
				s.t.Errorf("%v after %v", job.State, state)
			}
			state = job.State
			for _, n := range job.Nodes {
				nodes[n.Node] = n
			}
		case len(events) == 0:
			s.t.Errorf("the first event is not the job: %v", e)
		case proto.Equal(nodes[e.GetNode().Node], e.GetNode()):
			s.t.Errorf("nothing new: %v", e)
		default:
			nodes[e.GetNode().Node] = e.GetNode()
		}
		events = append(events, e)
	}
}

func TestWatch(t *testing.T) {
	s, good := small(t, func(o *Options) { o.ConcurrentJobs = 1 })
	s.submit("first", s.long())
	s.waitState("first", running)

	// From queued to the end, seen by several.
	s.submit("watched", s.sums(60))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			events, err := s.watch("watched")
			if err != io.EOF {
				t.Errorf("%v", err)
				return
			}
			if events[0].GetJob().State != queued {
				t.Errorf("the first event: %v", events[0])
			}
			ended := 0
			for _, e := range events {
				if n := e.GetNode(); n != nil && n.State == tacitv1.NodeState_NODE_STATE_SUCCEEDED {
					ended++
					if n.Bootstraps == 0 || n.Depth == 0 || n.Duration.AsDuration() <= 0 || n.Label == "" || n.Log2FailureProbability == nil {
						t.Errorf("a node has ended: %v", n)
					}
				}
			}
			if ended == 0 {
				t.Errorf("no progress in %d events", len(events))
			}
			if last := events[len(events)-1].GetJob(); !proto.Equal(last, s.get("watched")) || last.State != succeeded || len(last.Results) != 1 {
				t.Errorf("the last event: %v", last)
			}
		})
	}
	time.Sleep(20 * time.Millisecond) // the watchers are there before the worker is
	wg.Go(func() {
		if events, err := s.watch("first"); err != io.EOF || events[len(events)-1].GetJob().State != cancelled {
			t.Errorf("%v", err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	s.cancel("first")
	wg.Wait()

	// Of a job that has ended there is one event.
	s.run("done", good())
	for _, id := range []string{"watched", "first", "done"} {
		if events, err := s.watch(id); err != io.EOF || len(events) != 1 {
			t.Errorf("%s: %d events, %v", id, len(events), err)
		}
	}
}

func TestCancel(t *testing.T) {
	s, good := small(t, func(o *Options) { o.ConcurrentJobs = 1 })
	long := s.long()
	long.Outputs[0].Handle = named("never")
	s.submit("long", long)
	s.submit("queued", good())
	s.submit("next", good())
	s.waitFor("long", func(j *tacitv1.Job) bool { return j.Nodes[0].State == tacitv1.NodeState_NODE_STATE_SUCCEEDED })
	if job := s.cancel("queued"); job.State != cancelled || job.StartTime != nil || job.EndTime == nil || job.Attempts != 0 {
		t.Errorf("cancelled while queued: %v", job)
	}
	begin := time.Now()
	job := s.cancel("long")
	if job.State != cancelled || job.Attempts != 1 || job.EndTime == nil || job.Error != nil || len(job.Results) > 0 {
		t.Errorf("cancelled while running: %v", job)
	}
	if job.Nodes[0].State != tacitv1.NodeState_NODE_STATE_SUCCEEDED {
		t.Errorf("the node that had ended: %v", job.Nodes[0])
	}
	for _, n := range job.Nodes {
		if n.State == tacitv1.NodeState_NODE_STATE_RUNNING {
			t.Errorf("a node of a cancelled job runs: %v", n)
		}
	}
	next := s.waitState("next", succeeded)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the worker was free after %v", took)
	}
	if s.stat(named("never")) != nil {
		t.Error("the result of a cancelled job is stored")
	}
	// The end is the end, but for what the worker had spent when it was told.
	for id, want := range map[string]*tacitv1.Job{"long": job, "next": next} {
		again := s.cancel(id)
		if again.SpentBootstraps < want.SpentBootstraps {
			t.Errorf("%d bootstraps were spent, and then %d", want.SpentBootstraps, again.SpentBootstraps)
		}
		want.SpentBootstraps = again.SpentBootstraps
		if !proto.Equal(again, want) {
			t.Errorf("%v, cancelled again: %v", want, again)
		}
	}
	if job := s.get("queued"); job.Attempts != 0 {
		t.Errorf("a cancelled job has run: %v", job)
	}
	if again := s.submit("long", long); again.State != cancelled {
		t.Errorf("submitted again: %v", again.State)
	}
}

func TestListPages(t *testing.T) {
	s, good := small(t)
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprint("z", 9-i)) // by submission, not by name
		s.run(want[i], good())
	}
	ctx := t.Context()
	for size, pages := range map[uint32]int{0: 1, 1: 7, 3: 3, 7: 1, 1 << 31: 1} {
		var got []string
		token := ""
		for n := 1; ; n++ {
			resp, err := s.CoprocessorClient.ListJobs(ctx, &tacitv1.ListJobsRequest{PageSize: size, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, job := range resp.Jobs {
				got = append(got, job.Id)
				full := s.get(job.Id)
				if len(job.Nodes) > 0 || job.State != full.State || !proto.Equal(job.EndTime, full.EndTime) ||
					len(job.SpecDigest) > 0 && !bytes.Equal(job.SpecDigest, full.SpecDigest) {
					t.Errorf("listed as %v, read as %v", job, full)
				}
			}
			if token = resp.NextPageToken; token == "" {
				if n != pages {
					t.Errorf("%d pages of %d", n, size)
				}
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", size, got)
		}
	}

	if _, err := s.sendKey(ctx, upload{content: otherKey(t)}); err != nil {
		t.Fatal(err)
	}
	var keys [][]byte
	for token := ""; ; {
		resp, err := s.CoprocessorClient.ListKeys(ctx, &tacitv1.ListKeysRequest{PageSize: 1, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range resp.Keys {
			keys = append(keys, k.KeyId)
		}
		if token = resp.NextPageToken; token == "" {
			break
		}
	}
	if len(keys) != 2 || bytes.Compare(keys[0], keys[1]) >= 0 {
		t.Errorf("keys %x", keys)
	}
}

// Results are inputs of later jobs, under derived handles and under names that
// the client chose.
func TestJobsOnResults(t *testing.T) {
	s, good := small(t)
	first := s.run("first", good())
	second := s.run("second", spec(t, fmt.Sprintf("input x = 0x%x\ninput ge = 0x%x\nz = select(ge, 7, x)\nn = neg(x)\noutput z as 0x%x, n",
		first.Results[0].Handle, first.Results[1].Handle, named("z"))))
	if second.State != succeeded || !bytes.Equal(second.Results[0].Handle, named("z")) {
		t.Fatalf("%v", second)
	}
	// Within a spec, too, a name stands for the node.
	third := s.run("third", spec(t, fmt.Sprintf("input z = 0x%x\ninput n = 0x%x\nu = add(z, 1) as 0x%x\nv = xor(n, u)\nw = not(v)\noutput u, w as 0x%x",
		named("z"), second.Results[1].Handle, named("u"), named("w"))))
	if third.State != succeeded {
		t.Fatalf("%v", third)
	}
	for label, want := range map[string]string{"z": "euint8:7", "u": "euint8:8", "w": fmt.Sprint("euint8:", ^(uint8(256-44) ^ 8))} {
		if got := s.decrypt(named(label)); got != want {
			t.Errorf("%s is %s, want %s", label, got, want)
		}
		if s.stat(named(label)) == nil {
			t.Errorf("%s is not stored", label)
		}
	}
	// What is no output is not stored.
	if n := len(third.Results); n != 2 {
		t.Errorf("%d results", n)
	}
}

// One name for two different results is an alarm: the second job fails, and what
// the first stored stays.
func TestResultConflict(t *testing.T) {
	s, good := small(t)
	add, sub, same := good(), good(), good()
	for _, spec := range []*tacitv1.JobSpec{add, sub, same} {
		spec.Outputs[0].Handle = named("result")
	}
	sub.Nodes[0].Op = tacitv1.Op_OP_SUB.Enum()
	if job := s.run("add", add); job.State != succeeded {
		t.Fatalf("%v", job)
	}
	want := s.stat(named("result"))
	job := s.run("sub", sub)
	if job.State != failed || job.Attempts != 1 || job.Error.GetReason() != "RESULT_CONFLICT" || codes.Code(job.Error.GetCode()) != codes.Internal {
		t.Errorf("%v", job)
	}
	if !strings.Contains(job.Error.GetMessage(), fmt.Sprintf("%x", named("result"))) {
		t.Errorf("the error does not name the handle: %v", job.Error)
	}
	if got := s.stat(named("result")); !proto.Equal(got, want) || s.decrypt(named("result")) != "euint8:44" {
		t.Errorf("the stored ciphertext has changed: %v, %v", want, got)
	}
	if job := s.run("same", same); job.State != succeeded {
		t.Errorf("the same result again: %v", job)
	}
}

// replaceEngine puts a slot in the place of a key's engine until the test ends or
// back is called.
func (s *service) replaceEngine(id fhe.KeyID, slot *slot) (back func()) {
	e := s.engines
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.byID[id]
	e.byID[id] = slot
	back = sync.OnceFunc(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.byID, id)
		if before != nil {
			e.byID[id] = before
		}
	})
	s.t.Cleanup(back)
	return back
}

func readySlot(e engine, err error) *slot {
	s := &slot{ready: make(chan struct{}), engine: e, err: err}
	close(s.ready)
	return s
}

// underOther uploads the other key and a ciphertext of it, and returns a spec
// that doubles it.
func (s *service) underOther(x uint64) *tacitv1.JobSpec {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := s.sendKey(ctx, upload{content: otherKey(s.t)}); err != nil {
		s.t.Fatal(err)
	}
	sk := otherKeys().Secret
	data := encryptedUnder(s.t, sk, fmt.Sprint("other ", x), integer.Plain(integer.Uint8, x))
	resp, err := s.sendList(ctx, upload{content: data})
	if err != nil {
		s.t.Fatal(err)
	}
	return specUnder(s.t, sk.ID(), fmt.Sprintf("input a = 0x%x\nx = add(a, a)\noutput x", resp.Ciphertexts[0].Handle))
}

// A panic in an operation fails its job, with the node it was in, and no other.
func TestPanic(t *testing.T) {
	s, good := small(t)
	bad := s.underOther(5)
	integers, err := integer.New(s.opts.Params, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The zero Batcher has no engine to ask.
	back := s.replaceEngine(otherKeys().Secret.ID(), readySlot(&integerEngine{params: s.opts.Params, batcher: new(bootstrap.Batcher), integers: integers, nodes: 1}, nil))
	s.submit("bystander", s.sums(10))
	for i := range 6 {
		job := s.run(fmt.Sprint("bad-", i), bad)
		if job.State != failed || job.Attempts != 1 || job.Error.GetReason() != "PANIC" || job.Error.GetPlace() != "nodes[0]" ||
			codes.Code(job.Error.GetCode()) != codes.Internal || strings.Contains(job.Error.GetMessage(), ".go:") {
			t.Errorf("%v", job)
		}
		if job.Nodes[0].State != tacitv1.NodeState_NODE_STATE_FAILED {
			t.Errorf("the node that panicked: %v", job.Nodes[0])
		}
	}
	if job := s.run("good", good()); job.State != succeeded {
		t.Errorf("another job: %v", job)
	}
	if job := s.waitState("bystander", succeeded); job.Attempts != 1 {
		t.Errorf("%v", job)
	}
	back()
	job := s.run("now-good", bad)
	if job.State != succeeded || s.decryptUnder(otherKeys().Secret, job.Results[0].Handle) != "euint8:10" {
		t.Errorf("%v", job)
	}
}

// What may pass is tried again, a bounded number of times.
func TestRetry(t *testing.T) {
	s, good := small(t, func(o *Options) { o.MaxAttempts = 2 })
	id := testKeys().Secret.ID()
	back := s.replaceEngine(id, readySlot(nil, errors.New("the device is out of memory")))
	s.submit("a", good())
	s.waitFor("a", func(j *tacitv1.Job) bool { return j.State == queued && j.Attempts == 1 })
	if job := s.get("a"); job.Error != nil || job.EndTime != nil {
		t.Errorf("a job that is tried again: %v", job)
	}
	back()
	if job := s.waitState("a", succeeded); job.Attempts != 2 || job.Error != nil {
		t.Errorf("%v", job)
	}

	// The last attempt's error stays.
	s.replaceEngine(id, readySlot(nil, errors.New("the device is out of memory")))
	job := s.run("b", good())
	if job.State != failed || job.Attempts != 2 || job.Error.GetReason() != "UNAVAILABLE" || !strings.Contains(job.Error.GetMessage(), "out of memory") {
		t.Errorf("%v", job)
	}
}

// Stopping lets running jobs end within the drain timeout.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, func(o *Options) { o.Dir = dir })
	s.submit("a", s.sums(60))
	s.waitState("a", running)
	stop()
	stopped := time.Now()
	s, _ = start(t, func(o *Options) { o.Dir = dir })
	job := s.get("a")
	if job.State != succeeded || job.Attempts != 1 || job.EndTime.AsTime().After(stopped) {
		t.Fatalf("%v", job)
	}
	if got := s.decrypt(job.Results[0].Handle); got != "euint64:62" {
		t.Errorf("the result is %s", got)
	}
}

// What outlasts the drain is given back, and is not counted as an attempt.
func TestDrainGivesBack(t *testing.T) {
	dir := t.TempDir()
	change := func(o *Options) { o.Dir, o.DrainTimeout = dir, time.Millisecond }
	s, stop := start(t, change)
	s.submit("long", s.long())
	s.submit("a", s.sums(200))
	s.waitFor("a", func(j *tacitv1.Job) bool { return j.Nodes[0].State == tacitv1.NodeState_NODE_STATE_SUCCEEDED })
	begin := time.Now()
	stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	s, _ = start(t, change)
	s.cancel("long")
	job := s.waitState("a", succeeded)
	if job.Attempts != 1 || job.StartTime.AsTime().Before(begin) {
		t.Errorf("%v", job)
	}
	if got := s.decrypt(job.Results[0].Handle); got != "euint64:202" {
		t.Errorf("the result is %s", got)
	}
}

// A job that waits for its key to be prepared is given back too.
func TestDrainBeforeWork(t *testing.T) {
	dir := t.TempDir()
	change := func(o *Options) { o.Dir, o.DrainTimeout = dir, time.Millisecond }
	s, stop := start(t, change)
	s.prepare(integer.Plain(integer.Uint8, 1))
	pending := &slot{ready: make(chan struct{})}
	s.replaceEngine(testKeys().Secret.ID(), pending)
	s.submit("a", s.sums(1))
	s.waitState("a", running)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 5000 {
			if job, err := s.queue.Stat(context.Background(), "a"); err != nil || job.State != jobs.Running {
				break
			}
			time.Sleep(time.Millisecond)
		}
		pending.err = errors.New("too late")
		close(pending.ready)
	})
	stop()
	wg.Wait()
	s, _ = start(t, change)
	if job := s.waitFor("a", func(j *tacitv1.Job) bool { return j.State >= succeeded }); job.State != succeeded || job.Attempts != 1 {
		t.Errorf("%v", job)
	}
}

// More keys than are kept in memory at a time.
func TestKeysAreEvicted(t *testing.T) {
	s, good := small(t, func(o *Options) { o.KeyMemory = 1 })
	other := s.underOther(9)
	prepared := func() int {
		s.engines.mu.Lock()
		defer s.engines.mu.Unlock()
		return len(s.engines.byID)
	}
	specs := []*tacitv1.JobSpec{good(), other}
	keys := []*fhe.KeySet{testKeys(), otherKeys()}
	want := []string{"euint8:44", "euint8:18"}
	check := func(id string, i int, job *tacitv1.Job) {
		t.Helper()
		if job.State != succeeded || s.decryptUnder(keys[i%2].Secret, job.Results[0].Handle) != want[i%2] {
			t.Errorf("%s: %v", id, job)
		}
	}
	for i := range 6 {
		id := fmt.Sprint("one-", i)
		check(id, i, s.run(id, specs[i%2]))
		if n := prepared(); n != 1 {
			t.Errorf("%d keys are prepared", n)
		}
	}
	for i := range 12 {
		s.submit(fmt.Sprint("many-", i), specs[i%2])
	}
	for i := range 12 {
		id := fmt.Sprint("many-", i)
		check(id, i, s.waitState(id, succeeded))
	}
	if n := prepared(); n != 1 {
		t.Errorf("%d keys are prepared at the end", n)
	}
}

// Keys that are evicted leave the memory of GPUs at once, which is a limit of its own.
func TestKeysLeaveTheDevice(t *testing.T) {
	if testing.Short() {
		t.Skip("some seconds of emulation")
	}
	d := cudatest.NewDriver(1)
	d.Properties[0].Memory = 2 * bootstrap.PreparedSize(testKeys().Secret.Parameters()) // of which one key gets its part
	backend := cudatest.Open(t, d, nil)
	s, _ := small(t, func(o *Options) { o.Backend = backend })
	s.underOther(9)
	held := func() int64 { return backend.DeviceStates()[0].KeyBytes }
	var one int64
	for i, id := range []fhe.KeyID{testKeys().Secret.ID(), otherKeys().Secret.ID(), testKeys().Secret.ID()} {
		_, release, err := s.engines.acquire(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			one = held()
		}
		if got := held(); got != one || got == 0 {
			t.Errorf("key %d: %d bytes on the device, want %d", i, got, one)
		}
		release()
	}
	for name, want := range map[string]float64{
		`tacit_prepared_keys_limit_bytes`:                         float64(backend.KeyMemory()),
		`tacit_device_up{device="0",name="PTX emulator"}`:         1,
		`tacit_device_keys_bytes{device="0",name="PTX emulator"}`: float64(one),
	} {
		if got := metric(t, s.Server, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	s.engines.close()
	if got := held(); got != 0 {
		t.Errorf("%d bytes on the device at the end", got)
	}
}

// Closing while a key that cannot be loaded is being prepared ends.
func TestCloseWhilePreparing(t *testing.T) {
	s, _ := start(t)
	e := newEngines(s.opts.Params, s.opts.Backend, s.keys, 1, 1, nil)
	var unknown fhe.KeyID
	pending := &slot{ready: make(chan struct{})}
	e.byID[unknown] = pending
	closed := make(chan struct{})
	go func() {
		e.close()
		close(closed)
	}()
	for e.mu.TryLock() { // until close waits, holding the lock
		e.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	go e.prepare(unknown, pending)
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("close hangs")
	}
	if !errors.As(pending.err, new(*store.KeyNotFoundError)) {
		t.Error(pending.err)
	}
}

// Values are let go once nobody reads them any more.
func TestValuesAreReleased(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 7), integer.Plain(integer.Uint8, 3))
	ctx := t.Context()
	// w is read twice by one node, skipped is read by none.
	g, records, err := s.validate(ctx, spec(t, "input a = 0x"+h[0]+"\ninput b = 0x"+h[1]+`
w = add(a, b)
x = add(w, w)
skipped = neg(x)
y = sub(x, b)
z = xor(y, w)
output x, z
`))
	if err != nil {
		t.Fatal(err)
	}
	engine, release, err := s.engines.acquire(ctx, g.KeyID())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	r := newRun(g, nil, engine, records, s.opts.Log)
	if err := r.load(); err != nil {
		t.Fatal(err)
	}
	outputs, err := r.execute(ctx, 4, 0)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[int]bool{1: true, 4: true}
	for i, v := range r.values {
		if (v != nil) != kept[i] || (r.readers[i] > 0) != kept[i] {
			t.Errorf("node %d: value %v, %d readers", i, v != nil, r.readers[i])
		}
	}
	for i, want := range []string{"euint8:20", "euint8:27"} {
		list, err := integer.UnmarshalList(outputs[i].Record, s.opts.Params)
		if err != nil {
			t.Fatal(err)
		}
		if got := integer.Decrypt(testKeys().Secret, list.Value(0)).String(); got != want {
			t.Errorf("output %d is %s, want %s", i, got, want)
		}
	}
	if state := r.snapshot()[2].State; state != tacitv1.NodeState_NODE_STATE_SKIPPED {
		t.Errorf("the node that nobody reads: %v", state)
	}
}
