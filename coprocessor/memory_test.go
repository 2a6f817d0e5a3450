package coprocessor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// TestJobsOverMemory: a job that takes more memory than jobs may have is refused, for its
// inputs, for one operation and for what is kept between operations.
func TestJobsOverMemory(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.JobMemory = 16 << 20 })
	var values []integer.Scalar
	for range 130 {
		values = append(values, integer.Plain(integer.Uint64, 1))
	}
	h := s.prepare(values...)
	var inputs, casts, sums, kept strings.Builder
	for i := range h {
		fmt.Fprintf(&inputs, "input x%d = 0x%s\n", i, h[i])
		fmt.Fprintf(&casts, "y%d: ebool = cast(x%d)\n", i, i)
	}
	some := func(n int, name string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprint(name, i))
		}
		return strings.Join(list, ", ")
	}
	fmt.Fprintf(&sums, "a = sum(%s)\nb = sum(%s)\n", some(100, "x"), "x100, "+strings.Replace(some(130, "x"), some(101, "x")+", ", "", 1))
	fmt.Fprintf(&kept, "k0 = and(x0, x1)\n")
	for i := range 200 {
		fmt.Fprintf(&kept, "k%d = xor(x0, %d)\n", i+1, i)
	}
	fmt.Fprintf(&kept, "s0 = sum(%s)\n", some(100, "k"))
	fmt.Fprintf(&kept, "s1 = sum(s0, %s)\nl = xor(k0, k101)\no = sum(l, s1)\n", some(99, "k"))
	two := "input x0 = 0x" + h[0] + "\ninput x1 = 0x" + h[1] + "\n"
	for name, text := range map[string]string{
		"inputs":    inputs.String() + sums.String() + "output a, b",
		"operation": two + "w: euint256 = cast(x0)\nv: euint256 = cast(x1)\np = mul(w, v)\noutput p",
		"kept":      two + kept.String() + "output o",
	} {
		_, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: name, Spec: spec(t, text)})
		if got := refused(t, err); got != (refusal{codes.InvalidArgument, "LIMIT", ""}) || !strings.Contains(err.Error(), "16 are allowed") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if _, err := s.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: spec(t, text)}); refused(t, err).reason != "LIMIT" {
			t.Errorf("%s: estimated: %v", name, err)
		}
	}
	// One after the other, the same operations fit.
	chain := two + "k0 = xor(x0, x1)\n"
	for i := range 200 {
		chain += fmt.Sprintf("k%d = xor(k%d, %d)\n", i+1, i, i+1)
	}
	if job := s.run("chain", spec(t, chain+"output k200")); job.State != succeeded {
		t.Error(job.Error)
	}
	wide := two
	for i := range 40 {
		wide += fmt.Sprintf("k%d = mul(x0, %d)\n", i, 2*i+3)
	}
	if job := s.run("wide", spec(t, wide+"a = sum("+some(40, "k")+")\noutput a")); job.State != succeeded || s.decrypt(job.Results[0].Handle) != "euint64:1680" {
		t.Error(job.Error)
	}
}

// TestVectorJobsOverMemory is TestJobsOverMemory for vectors.
func TestVectorJobsOverMemory(t *testing.T) {
	keys := vectorKeys["bgv-13"]()
	size := keys.Secret.Parameters().CiphertextMemory()
	s, _ := start(t, func(o *Options) { o.JobMemory = 12 * size })
	inputs := s.vectors(keys, must(leveled.NewEncryptor(keys.Secret).Integers([]int64{1, 2})))
	job := func(text string) *tacitv1.JobSpec { return specUnder(t, fhe.KeyID(keys.Secret.ID()), inputs+text) }
	if job := s.run("sum", job("b = add(a, a)\noutput b")); job.State != succeeded {
		t.Error(job.Error)
	}
	_, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "kept", Spec: job("b = add(a, a)\nc = neg(a)\nd = neg(b)\n" +
		"e = sub(b, c)\nf = sub(c, d)\ng = add(e, f)\nh = neg(g)\noutput b, c, d, e, f, g, h")})
	if refused(t, err).reason != "LIMIT" {
		t.Errorf("seven results: %v", err)
	}
}

// TestRecordsOverMemory: the inputs of one spec are not all read into memory, however many.
func TestRecordsOverMemory(t *testing.T) {
	integers, err := integer.New(testKeys().Secret.Parameters(), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := newEstimator(integers, nil)
	record := encrypted(t, "one", integer.Plain(integer.Uint8, 1))
	e.size = maxRecords - len(record)
	if _, err := e.stored(graph.Handle{1}, record, integers.Parameters()); err != nil {
		t.Error(err)
	}
	if _, err := e.stored(graph.Handle{2}, record, integers.Parameters()); err == nil || faultOf(err).reason != "LIMIT" {
		t.Errorf("one more: %v", err)
	}
}

// TestJobsWaitForMemory: a job for which there is no memory now waits, and can be cancelled.
// The jobs of one principal take half of it at most.
func TestJobsWaitForMemory(t *testing.T) {
	g := guard(t)
	g.grant(evaluation(g.key()), "bob", tacitv1.Right_RIGHT_COMPUTE)
	alice, bob := g.user("alice"), g.user("bob")
	release, err := g.memory.take(t.Context(), "alice", g.opts.JobMemory/2-1<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"waits", "cancelled"} {
		alice.submit(id, spec(t, g.sum("add(a, b)\nd = add(c, 1)")+", d"))
		alice.waitState(id, tacitv1.JobState_JOB_STATE_RUNNING)
	}
	alice.cancel("cancelled")
	if job := bob.run("beside", spec(t, "b: euint8 = trivial_encrypt(5)\noutput b")); job.State != succeeded {
		t.Error(job)
	}
	if job := alice.get("waits"); job.State != tacitv1.JobState_JOB_STATE_RUNNING || job.SpentBootstraps != 0 {
		t.Errorf("%v", job)
	}
	release()
	if job := alice.waitState("waits", succeeded); alice.decrypt(job.Results[1].Handle) != "euint8:13" {
		t.Error(job)
	}
	for deadline := time.Now().Add(10 * time.Second); !g.memory.all.TryAcquire(g.opts.JobMemory); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("memory was not given back")
		}
	}
	// What the others have taken is all there is.
	if _, ok := g.memory.tryTake("bob", 1); ok || !g.memory.share("bob").TryAcquire(g.opts.JobMemory/2) {
		t.Error("more is taken than there is, or what was not taken is kept")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.memory.take(ctx, "carol", 1); err == nil || !g.memory.share("carol").TryAcquire(g.opts.JobMemory/2) {
		t.Errorf("nobody waits any more: %v", err)
	}
}

// TestRoom runs random graphs whose nodes end in a random order: what they take stays within
// what they take in order and what is allowed ahead, and all of them end.
func TestRoom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	op, typ := tacitv1.Op_OP_ADD.Enum(), tacitv1.Type_TYPE_EUINT8.Enum()
	for range 300 {
		spec := &tacitv1.JobSpec{KeyId: make([]byte, 32)}
		for i := range 1 + r.IntN(60) {
			n := &tacitv1.Node{Op: op, Type: typ}
			for range 2 {
				if i > 0 && r.IntN(4) > 0 {
					n.Inputs = append(n.Inputs, &tacitv1.Input{Value: &tacitv1.Input_Node{Node: uint32(r.IntN(i))}})
				} else {
					h := [32]byte{byte(r.Uint32()), byte(i)}
					n.Inputs = append(n.Inputs, &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: h[:]}})
				}
			}
			spec.Nodes = append(spec.Nodes, n)
			if r.IntN(3) == 0 {
				spec.Outputs = append(spec.Outputs, &tacitv1.Output{Node: proto.Uint32(uint32(i)), Handle: named(fmt.Sprint(i))})
			}
		}
		spec.Outputs = append(spec.Outputs, &tacitv1.Output{Node: proto.Uint32(uint32(len(spec.Nodes) - 1)), Handle: named("last")})
		g, err := graph.Validate(t.Context(), spec, func(context.Context, graph.Handle) (graph.Ciphertext, error) {
			return graph.Ciphertext{Type: *typ}, nil
		}, func(int, graph.Node) (graph.Cost, error) {
			return graph.Cost{Working: int64(r.IntN(100)), Result: int64(r.IntN(100))}, nil
		}, graph.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		p := newPlan(g, nil)
		inOrder, most := p.demand()
		ahead := int64(r.IntN(int(2 * inOrder)))
		room := newRoom(p, ahead)
		waiting, dependents := make([]int, g.Len()), make([][]int, g.Len())
		var ready, running []int
		for _, i := range p.order {
			for _, j := range p.operands(i) {
				waiting[i]++
				dependents[j] = append(dependents[j], i)
			}
			if waiting[i] == 0 {
				ready = append(ready, i)
			}
		}
		for ended := 0; ended < len(p.order); ended++ {
			for len(ready) > 0 {
				at := room.next(ready)
				if at < 0 {
					break
				}
				room.begin(ready[at])
				running = append(running, ready[at])
				ready = append(ready[:at:at], ready[at+1:]...)
				if room.held > min(inOrder+ahead, most) {
					t.Fatalf("%d bytes, %d in order and %d ahead, at most %d", room.held, inOrder, ahead, most)
				}
			}
			if len(running) == 0 {
				t.Fatal("nothing can begin")
			}
			k := r.IntN(len(running))
			i := running[k]
			running = append(running[:k:k], running[k+1:]...)
			room.end(i)
			for _, d := range dependents[i] {
				if waiting[d]--; waiting[d] == 0 {
					ready = append(ready, d)
				}
			}
		}
	}
}
