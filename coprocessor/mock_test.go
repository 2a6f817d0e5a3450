package coprocessor

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

var mockKeys = sync.OnceValue(func() *fhe.KeySet {
	p, err := fhe.Preset(fhe.MockPreset)
	if err != nil {
		panic(err)
	}
	backend, err := cpu.New()
	if err != nil {
		panic(err)
	}
	keys, err := fhe.GenerateKeys(context.Background(), p, testSeed("mock"), backend, nil)
	if err != nil {
		panic(err)
	}
	return keys
})

func mock(o *Options) { o.Mock, o.Params = true, mockKeys().Secret.Parameters() }

// prepareMock uploads the key of a mock and values.
func (s *service) prepareMock(values ...integer.Scalar) (handles []string) {
	s.t.Helper()
	if _, err := s.sendKey(s.t.Context(), upload{content: containerOf(s.t, mockKeys())}); err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.sendList(s.t.Context(), upload{content: encryptedUnder(s.t, mockKeys().Secret, "mock", values...)})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range resp.Ciphertexts {
		handles = append(handles, hex.EncodeToString(c.Handle))
	}
	return handles
}

// TestMock: a mock computes what a service computes, at the same cost, says that it is
// one, and takes no real keys.
func TestMock(t *testing.T) {
	s, _ := start(t, mock)
	ctx := t.Context()
	info, err := s.CoprocessorClient.GetInfo(ctx, &tacitv1.GetInfoRequest{})
	if err != nil || !info.Mock || info.Backend != MockBackend || info.Parameters.Name != fhe.MockPreset {
		t.Errorf("%v, %v", info, err)
	}
	h := s.prepareMock(integer.Plain(integer.Uint64, 1000), integer.Plain(integer.Uint64, 250), integer.Plain(integer.Uint64, 300))
	text := "input from = 0x" + h[0] + "\ninput to = 0x" + h[1] + "\ninput amount = 0x" + h[2] + transfer
	job := s.run("transfer", specUnder(t, mockKeys().Secret.ID(), text))
	if job.State != succeeded {
		t.Fatalf("%v", job)
	}
	total := uint64(0)
	for _, n := range job.Nodes {
		total += n.Bootstraps
	}
	// The test preset has the same bounds and so the same costs as this.
	if total != 112 {
		t.Errorf("%d bootstraps, want 112", total)
	}
	for i, want := range []string{"ebool:true", "euint64:700", "euint64:550"} {
		list := s.fetchUnder(mockKeys().Secret.Parameters(), job.Results[i].Handle)
		if got := integer.Decrypt(mockKeys().Secret, list.Value(0)).String(); got != want {
			t.Errorf("result %d is %s, want %s", i, got, want)
		}
	}
	r, err := receipt.Decode(job.Receipt.Container)
	if err != nil || r.Backend != MockBackend {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.sendKey(ctx, upload{content: evaluationKey(t)}); refused(t, err).reason != "PARAMETERS_MISMATCH" {
		t.Errorf("a real key: %v", err)
	}
	real, _ := start(t)
	if _, err := real.sendKey(ctx, upload{content: containerOf(t, mockKeys())}); refused(t, err).reason != "PARAMETERS_MISMATCH" {
		t.Errorf("a mock's key: %v", err)
	}
	for _, change := range []func(*Options){
		func(o *Options) { o.Mock = true },
		func(o *Options) { o.Params = mockKeys().Secret.Parameters() },
	} {
		opts := Options{Dir: t.TempDir(), Params: testKeys().Secret.Parameters()}
		change(&opts)
		if _, err := Open(ctx, opts); !errors.As(err, new(*MockError)) {
			t.Errorf("%v", err)
		}
	}
}
