package coprocessor

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// vectorKeys are keys of the smallest set of each scheme, made once, and otherVectorKeys those
// that take their place.
var vectorKeys, otherVectorKeys = lazyVectorKeys(), lazyVectorKeys()

func lazyVectorKeys() map[string]func() *leveled.KeySet {
	keys := make(map[string]func() *leveled.KeySet)
	for _, name := range []string{"bgv-13", "bfv-13", "ckks-13"} {
		keys[name] = sync.OnceValue(func() *leveled.KeySet { return makeVectorKeys(name) })
	}
	return keys
}

func makeVectorKeys(name string) *leveled.KeySet {
	p, err := leveled.ByName(name)
	if err != nil {
		panic(err)
	}
	keys, err := leveled.GenerateKeys(p, leveled.KeySpec{Rotations: []int{1, 2, 4, 8}}, nil)
	if err != nil {
		panic(err)
	}
	return keys
}

// vectors uploads a key and vectors, and returns the text that names them a, b, ...
func (s *service) vectors(keys *leveled.KeySet, cts ...*leveled.Ciphertext) (inputs string) {
	s.t.Helper()
	var b bytes.Buffer
	if _, err := keys.Evaluation.WriteTo(&b); err != nil {
		s.t.Fatal(err)
	}
	info, err := s.sendKey(s.t.Context(), upload{content: b.Bytes()})
	if err != nil {
		s.t.Fatal(err)
	}
	if name := keys.Secret.Parameters().Name(); info.Parameters.GetName() != name {
		s.t.Errorf("the key has parameters %v, want %s", info.Parameters, name)
	}
	data, err := leveled.MarshalCiphertexts(cts...)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.sendList(s.t.Context(), upload{content: data})
	if err != nil {
		s.t.Fatal(err)
	}
	for i, c := range resp.Ciphertexts {
		inputs += fmt.Sprintf("input %c = 0x%x\n", 'a'+i, c.Handle)
	}
	return inputs
}

// record returns the record of a stored ciphertext.
func (s *service) record(handle []byte) []byte {
	s.t.Helper()
	stream, err := s.CoprocessorClient.FetchCiphertexts(s.t.Context(), &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{handle}})
	if err != nil {
		s.t.Fatal(err)
	}
	var data []byte
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return data
		}
		if err != nil {
			s.t.Fatal(err)
		}
		data = append(data, m.GetChunk()...)
	}
}

func (s *service) vector(handle []byte) *leveled.Ciphertext {
	s.t.Helper()
	list, err := leveled.UnmarshalCiphertexts(s.record(handle), nil)
	if err != nil || len(list) != 1 {
		s.t.Fatal(list, err)
	}
	return list[0]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestVectorJobs computes on vectors of every scheme through the service, checks values and receipts, and computes
// the jobs again.
func TestVectorJobs(t *testing.T) {
	s, _ := start(t)
	for name, test := range map[string]struct {
		text string
		want []float64
	}{
		"bgv-13": {`
product = mul(a, b)
small = rescale(product)
moved = rotate(small, 1)
sum = inner_sum(moved, 2)
twice = mul(sum, 2)
weighted: bgv = mul_plain(twice, [1, 10, -100, 1000])
shifted: bgv = add_plain(weighted, [5, 5])
less = sub(shifted, 7)
negative = neg(less)
output negative
`, []float64{-(2*(2*6+3*7) + 5 - 7), -(10*2*(3*7+4*8) + 5 - 7), 100*2*(4*8) + 7, 7}},
		"bfv-13": {`
product = mul(a, b)
square = mul(product, product)
total = inner_sum(square, 4)
more = add(total, a)
output more
`, []float64{25 + 144 + 441 + 1024 + 1, 144 + 441 + 1024 + 2, 441 + 1024 + 3, 1024 + 4}},
		"ckks-13": {`
product = mul(a, b)
small = rescale(product)
half: ckks = mul_plain(small, [0.5, 0.5, 0.5, 0.5])
again = rescale(half)
cubic: ckks = polynomial(again, [0.25, -1])
moved = rotate(cubic, -0)
output moved
`, []float64{0.25 - 0.25*0.5/2, 0.25 - 0.5*0.25/2, 0.25 + 0.75*1.0/2, 0.25 - 1*0.125/2}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{s.Server, s.CoprocessorClient, t, s.conn}
			keys := vectorKeys[name]()
			p := keys.Secret.Parameters()
			enc := leveled.NewPublicEncryptor(keys.Public)
			var a, b *leveled.Ciphertext
			if p.Scheme().Integers() {
				a, b = must(enc.Integers([]int64{1, 2, 3, 4})), must(enc.Integers([]int64{5, 6, 7, 8}))
			} else {
				a, b = must(enc.Reals([]float64{0.25, 0.5, -0.75, 1})), must(enc.Reals([]float64{0.5, 0.25, 1, 0.125}))
			}
			inputs := s.vectors(keys, a, b)
			spec := specUnder(t, keys.Secret.ID(), inputs+strings.ReplaceAll(test.text, "-0", "4096"))
			estimate, err := s.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: spec})
			if err != nil {
				t.Fatal(err)
			}
			job := s.run(name, spec)
			if job.State != succeeded {
				t.Fatalf("%v: %v", job.State, job.Error)
			}
			if job.SpentBootstraps != estimate.Bootstraps || estimate.Bootstraps == 0 {
				t.Errorf("spent %d, estimated %d", job.SpentBootstraps, estimate.Bootstraps)
			}
			if got := job.Results[0].GetType(); got != vectorType(p) {
				t.Errorf("result of type %v", got)
			}
			for _, n := range job.Nodes {
				if n.Log2FailureProbability != nil {
					t.Errorf("a failure probability of vectors: %v", n)
				}
			}
			ct := s.vector(job.Results[0].Handle)
			if ct.KeyID() != keys.Secret.ID() || ct.Fresh() || ct.Length() != 4 {
				t.Errorf("result under %v, fresh %v, length %d", ct.KeyID(), ct.Fresh(), ct.Length())
			}
			var got []float64
			dec, tolerance := leveled.NewDecryptor(keys.Secret), 0.0
			if p.Scheme().Integers() {
				for _, v := range must(dec.Integers(ct)) {
					got = append(got, float64(v))
				}
			} else {
				got, tolerance = must(dec.Reals(ct)), 1e-4
			}
			for i, want := range test.want {
				if math.Abs(got[i]-want) > tolerance {
					t.Errorf("slot %d is %v, want %v", i, got[i], want)
				}
			}
			// The same job again makes the same bytes, here and for whoever checks the receipt.
			r, err := receipt.Decode(job.Receipt.GetContainer())
			if err != nil {
				t.Fatal(err)
			}
			if r.Fingerprint != p.Fingerprint() {
				t.Error("the receipt names other parameters")
			}
			var key bytes.Buffer
			must(keys.Evaluation.WriteTo(&key))
			audit := Audit{
				Params: s.opts.Params, Backend: s.opts.Backend, Key: bytes.NewReader(key.Bytes()), Spec: spec,
				Record: func(_ context.Context, h [32]byte) ([]byte, error) { return s.record(h[:]), nil },
			}
			if err := Recompute(t.Context(), r, audit); err != nil {
				t.Error(err)
			}
			lie := *r
			lie.Outputs = []receipt.Item{r.Outputs[0]}
			lie.Outputs[0].Digest[0] ^= 1
			audit.Key = bytes.NewReader(key.Bytes())
			if err := Recompute(t.Context(), &lie, audit); err == nil {
				t.Error("another digest was confirmed")
			}
		})
	}
}

// TestVectorJobsRefused expects that what cannot be computed is refused before any work, with the node that is
// at fault.
func TestVectorJobsRefused(t *testing.T) {
	s, _ := start(t)
	bgv, ckks := vectorKeys["bgv-13"](), vectorKeys["ckks-13"]()
	x := must(leveled.NewEncryptor(bgv.Secret).Integers([]int64{1, 2}))
	y := must(leveled.NewEncryptor(ckks.Secret).Reals([]float64{1, 0.5}))
	ints, reals := s.vectors(bgv, x), s.vectors(ckks, y)
	deep := "x0 = mul(a, a)\n"
	for i := range 5 {
		deep += fmt.Sprintf("x%d = mul(x%d, x%d)\n", i+1, i, i)
	}
	for _, test := range []struct {
		inputs, text, place, reason string
	}{
		{ints, deep + "output x5", "nodes[2]", "NOISE_BOUND"},
		{ints, "b = rescale(a)\nc = rescale(b)\nd = rescale(c)\ne = rescale(d)\noutput e", "nodes[3]", "NO_LEVEL"},
		{reals, "b = mul(a, a)\nc = add(b, a)\noutput c", "nodes[1]", "SCALE_MISMATCH"},
		{reals, "b: ckks = polynomial(a, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17])\noutput b", "nodes[0]", "NO_LEVEL"},
		{reals, "b: ckks = chebyshev(a, [1])\noutput b", "nodes[0]", "SCALAR_RANGE"},
		{reals, "b: ckks = mul_plain(a, [1e300])\noutput b", "nodes[0]", "SCALAR_RANGE"},
		{reals, "b = swap_rows(a)\noutput b", "nodes[0]", "TYPE_MISMATCH"},
		{reals, "b = bootstrap(a)\noutput b", "nodes[0]", "TYPE_MISMATCH"},
		{ints, "b: bgv = mul_plain(a, [70000])\noutput b", "nodes[0]", "SCALAR_RANGE"},
		{ints, "b = inner_sum(a, 3)\noutput b", "nodes[0]", "SCALAR_RANGE"},
		{ints, "b: bgv = polynomial(a, [1, 2])\noutput b", "nodes[0]", "TYPE_MISMATCH"},
		{ints, "b = lt(a, a)\noutput b", "nodes[0].inputs[0]", "TYPE_MISMATCH"},
	} {
		id := bgv.Secret.ID()
		if test.inputs == reals {
			id = ckks.Secret.ID()
		}
		_, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "x", Spec: specUnder(t, id, test.inputs+test.text)})
		if f := jobErrorOf(err); f.GetPlace() != test.place || f.GetReason() != test.reason {
			t.Errorf("%s: got %v, want %s at %s", test.text, err, test.reason, test.place)
		} else if n := strings.Count(err.Error(), "nodes["); n != 1 {
			t.Errorf("the place is named %d times: %v", n, err)
		}
	}
	// A rotation for which the key has nothing is found when the node runs, and not tried again.
	job := s.run("rotation", specUnder(t, bgv.Secret.ID(), ints+"b = rotate(a, 16)\noutput b"))
	if job.State != failed || job.Error.GetReason() != "KEY_LACKS_PART" || job.Error.GetPlace() != "nodes[0]" || job.Attempts != 1 {
		t.Errorf("%v: %v", job.State, job.Error)
	}
	// Uploads: computed vectors, and vectors of another set than the key's.
	data := must(leveled.MarshalCiphertexts(must(leveled.NewEvaluator(bgv.Evaluation).Rotate(x, 1))))
	if _, err := s.sendList(t.Context(), upload{content: data}); code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "fresh") {
		t.Errorf("a computed vector: %v", err)
	}
	data = must(leveled.MarshalCiphertexts(x))
	h := testKeys().Secret.ID()
	s.prepare(integer.Plain(integer.Uint8, 1))
	copy(data[48:], h[:]) // the key id; the container's digest no longer fits
	if _, err := s.sendList(t.Context(), upload{content: data}); code(err) == codes.OK {
		t.Error("a damaged container was accepted")
	}
	// Integers and vectors side by side in one service.
	handles := s.prepare(integer.Plain(integer.Uint8, 3))
	job = s.run("integers", spec(t, "input a = 0x"+handles[0]+"\nb = add(a, 1)\noutput b"))
	if job.State != succeeded || s.decrypt(job.Results[0].Handle) != "euint8:4" {
		t.Errorf("%v: %v", job.State, job.Error)
	}
	// A spec that mixes them names two keys.
	handle := strings.TrimPrefix(strings.TrimSpace(strings.SplitN(ints, "=", 2)[1]), "0x")
	if _, err := hex.DecodeString(handle); err != nil {
		t.Fatal(err)
	}
	mixed := spec(t, "input a = 0x"+handles[0]+"\ninput v = 0x"+handle+"\nb = add(a, v)\noutput b")
	_, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "mixed", Spec: mixed})
	if f := jobErrorOf(err); f.GetReason() != string(graph.KeyMismatch) {
		t.Errorf("mixed: %v", err)
	}
}

// jobErrorOf is the JobError among the details of a call's status, or nil.
func jobErrorOf(err error) *tacitv1.JobError {
	for _, d := range status.Convert(err).Details() {
		if e, ok := d.(*tacitv1.JobError); ok {
			return e
		}
	}
	return nil
}

// TestMaxKey expects that the bound of evaluation keys is what the options say.
func TestMaxKey(t *testing.T) {
	var key bytes.Buffer
	must(vectorKeys["bfv-13"]().Evaluation.WriteTo(&key))
	for _, room := range []int64{-1, 0} {
		s, stop := start(t, func(o *Options) { o.MaxKey = int64(key.Len()) + room })
		info, err := s.CoprocessorClient.GetInfo(t.Context(), &tacitv1.GetInfoRequest{})
		if err != nil || info.Limits.MaxEvaluationKeySize != uint64(int64(key.Len())+room) {
			t.Errorf("limits %v, %v", info.GetLimits(), err)
		}
		_, err = s.sendKey(t.Context(), upload{content: key.Bytes()})
		if room < 0 && (code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "header.size")) || room == 0 && err != nil {
			t.Errorf("a limit %d bytes off: %v", room, err)
		}
		stop()
	}
}
