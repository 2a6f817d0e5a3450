package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// finished is a service and the receipt of a job that it computed.
func finished(t *testing.T) (*service, *tacitv1.Job, *receipt.Receipt) {
	t.Helper()
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 200), integer.Plain(integer.Uint8, 100))
	job := s.run("signed", spec(t, "input a = 0x"+h[0]+"\ninput b = 0x"+h[1]+"\nc = add(a, b)\nd = lt(a, 7)\nunused = add(b, 1)\noutput c, d"))
	if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
		t.Fatalf("%v: %v", job.State, job.Error)
	}
	r, err := receipt.Decode(job.Receipt.GetContainer())
	if err != nil {
		t.Fatal(err)
	}
	return s, job, r
}

// audit is what recomputes the job of finished on the portable backend.
func (s *service) audit(id string) Audit {
	s.t.Helper()
	backend, err := cpu.Open("portable")
	if err != nil {
		s.t.Fatal(err)
	}
	spec, err := s.CoprocessorClient.GetJobSpec(s.t.Context(), &tacitv1.GetJobSpecRequest{Id: id})
	if err != nil {
		s.t.Fatal(err)
	}
	return Audit{
		Params: testKeys().Secret.Parameters(), Backend: backend, Key: bytes.NewReader(evaluationKey(s.t)), Spec: spec,
		Record: s.ciphertexts.Get,
	}
}

func TestReceipt(t *testing.T) {
	s, job, r := finished(t)
	info, err := s.CoprocessorClient.GetInfo(t.Context(), &tacitv1.GetInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify([32]byte(info.ServiceKey)); err != nil {
		t.Error(err)
	}
	key := testKeys().Secret.ID()
	fingerprint := testKeys().Secret.Parameters().Fingerprint()
	if r.JobID != "signed" || r.EngineVersion != "test" || r.Backend != info.Backend || r.KeyID != key || r.Fingerprint != fingerprint ||
		!bytes.Equal(r.SpecDigest[:], job.SpecDigest) || len(r.Inputs) != 2 || len(r.Outputs) != 2 {
		t.Errorf("receipt %+v", r)
	}
	for i, out := range job.Results {
		if !bytes.Equal(out.Handle, r.Outputs[i].Handle[:]) || !bytes.Equal(out.Digest, r.Outputs[i].Digest[:]) {
			t.Errorf("output %d: %x is not the result %v", i, r.Outputs[i], out)
		}
	}
	for _, in := range r.Inputs {
		if record, err := s.ciphertexts.Get(t.Context(), in.Handle); err != nil || sha256.Sum256(record) != in.Digest {
			t.Errorf("input %x: %v", in.Handle, err)
		}
	}
	if want := describeReceipt(r); !proto.Equal(job.Receipt, want) {
		t.Errorf("the fields are not those of the container: %v, want %v", job.Receipt, want)
	}
	if _, err := s.CoprocessorClient.GetJobSpec(t.Context(), &tacitv1.GetJobSpecRequest{Id: "none"}); code(err) != codes.NotFound {
		t.Errorf("the spec of no job: %v", err)
	}
}

// TestRecompute computes a job again on a processor that it was not computed on.
func TestRecompute(t *testing.T) {
	s, _, r := finished(t)
	for _, name := range []string{"portable", ""} {
		a := s.audit("signed")
		var err error
		if a.Backend, err = cpu.Open(name); err != nil {
			t.Fatal(err)
		}
		if err := Recompute(t.Context(), r, a); err != nil {
			t.Errorf("backend %q: %v", name, err)
		}
	}
}

func TestRecomputeFinds(t *testing.T) {
	s, _, genuine := finished(t)
	for want, change := range map[string]func(*receipt.Receipt, *Audit){
		"parameters":        func(r *receipt.Receipt, _ *Audit) { r.Fingerprint[0]++ },
		"spec":              func(_ *receipt.Receipt, a *Audit) { a.Spec.Nodes[0].Op = tacitv1.Op_OP_SUB.Enum() },
		"key id":            func(r *receipt.Receipt, _ *Audit) { r.KeyID[0]++ },
		"inputs":            func(r *receipt.Receipt, _ *Audit) { r.Inputs = r.Inputs[:1] },
		"handle of input 1": func(r *receipt.Receipt, _ *Audit) { r.Inputs[1].Handle[5]++ },
		"input 0":           func(r *receipt.Receipt, _ *Audit) { r.Inputs[0].Digest[5]++ },
		"input 1": func(r *receipt.Receipt, a *Audit) {
			a.Record = swapped(a.Record, r.Inputs[1].Handle, r.Inputs[0].Handle)
		},
		"outputs":            func(r *receipt.Receipt, _ *Audit) { r.Outputs = append(r.Outputs, receipt.Item{}) },
		"handle of output 0": func(r *receipt.Receipt, _ *Audit) { r.Outputs[0].Handle[31]++ },
		"output 1":           func(r *receipt.Receipt, _ *Audit) { r.Outputs[1].Digest[31]++ },
	} {
		r := *genuine
		r.Inputs, r.Outputs = slices.Clone(r.Inputs), slices.Clone(r.Outputs)
		a := s.audit("signed")
		change(&r, &a)
		var e *AuditError
		if err := Recompute(t.Context(), &r, a); !errors.As(err, &e) || e.What != want || e.Said == e.Got {
			t.Errorf("%s: %v", want, err)
		}
		if want == "spec" || want == "input 1" {
			continue // the receipt itself is genuine
		}
		if err := r.Verify(genuine.ServiceKey); !errors.As(err, new(*receipt.SignatureError)) {
			t.Errorf("%s: the signature holds: %v", want, err)
		}
	}

	a := s.audit("signed")
	a.Key = bytes.NewReader(otherKey(t))
	if err := Recompute(t.Context(), genuine, a); err == nil || errors.As(err, new(*AuditError)) {
		t.Errorf("another key: %v", err)
	}
	a = s.audit("signed")
	a.Key = bytes.NewReader(evaluationKey(t)[:1000])
	if err := Recompute(t.Context(), genuine, a); !errors.As(err, new(*codec.TruncatedError)) {
		t.Errorf("half a key: %v", err)
	}
	a = s.audit("signed")
	a.Record = func(context.Context, [32]byte) ([]byte, error) { return []byte("no ciphertext"), nil }
	if err := Recompute(t.Context(), genuine, a); !errors.Is(err, codec.ErrMagic) && !errors.As(err, new(*codec.TruncatedError)) {
		t.Errorf("no ciphertexts: %v", err)
	}
	a = s.audit("signed")
	a.Limits = graph.DefaultLimits()
	a.Limits.MaxBootstraps = 1
	if err := Recompute(t.Context(), genuine, a); !errors.As(err, new(*graph.Error)) {
		t.Errorf("over the limits: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Recompute(ctx, genuine, s.audit("signed")); !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop: %v", err)
	}
}

// swapped answers for one handle with the record of another.
func swapped(get func(context.Context, [32]byte) ([]byte, error), asked, given [32]byte) func(context.Context, [32]byte) ([]byte, error) {
	return func(ctx context.Context, h [32]byte) ([]byte, error) {
		if h == asked {
			h = given
		}
		return get(ctx, h)
	}
}

// TestServiceKey: the key stays when the service does not, and is nobody else's.
func TestServiceKey(t *testing.T) {
	dir := t.TempDir()
	in := func(o *Options) { o.Dir = dir }
	s, stop := start(t, in)
	h := s.prepare(integer.Plain(integer.Bool, 1))
	before := s.run("before", spec(t, "input a = 0x"+h[0]+"\nb = not(a)\noutput b"))
	stop()
	path := filepath.Join(dir, "service.key")
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	s, stop = start(t, in)
	after := s.get("before")
	if !proto.Equal(before.Receipt, after.Receipt) {
		t.Errorf("the receipt changed: %v, was %v", after.Receipt, before.Receipt)
	}
	if key := receipt.PublicKey(s.signer.file.Get()); !bytes.Equal(key[:], before.Receipt.ServiceKey) {
		t.Errorf("the service signs as %x, before as %x", key, before.Receipt.ServiceKey)
	}
	stop()

	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir, Params: s.opts.Params, Backend: s.opts.Backend}); !errors.As(err, new(*receipt.KeyError)) {
		t.Errorf("a damaged key: %v", err)
	}
	if hex.EncodeToString(before.Receipt.KeyId) != fhe.KeyID(testKeys().Secret.ID()).String() {
		t.Errorf("key id %x", before.Receipt.KeyId)
	}
}
