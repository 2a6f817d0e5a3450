package suite

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
)

// FuzzParse reads what may be files of results. What is accepted can be written and
// read again.
func FuzzParse(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	f.Add([]byte(`{"schema": 1}`))
	f.Add([]byte(`{"schema": 1, "records": [{"workload": "votes", "items": 1, "threads": 1, "trials": 1, "seconds": {"compute": [1]}}]}`))
	f.Add([]byte(`{"schema": 2, "records": [{"workload": "votes", "items": 1, "threads": 1, "trials": 1, "rounds": [{"seconds": {"compute": [1]}, "reference_seconds": [1]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			if !errors.As(err, new(*FormError)) {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// FuzzDecodeBits reads what may be responses of bits.
func FuzzDecodeBits(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		f.Fatal(err)
	}
	keys, err := fhe.GenerateKeys(f.Context(), p, [fhe.SeedSize]byte{1}, backend(f), nil)
	if err != nil {
		f.Fatal(err)
	}
	packer, err := bootstrap.NewPacker(keys.Evaluation, backend(f))
	if err != nil {
		f.Fatal(err)
	}
	list := keys.Secret.Encrypt([fhe.SeedSize]byte{2}, []int64{0, parity.Half, parity.Half})
	var bits []fhe.LWE
	for i := range list.Len() {
		bits = append(bits, list.LWE(p, i, parity.Half))
	}
	data, err := encodeBits(p, packer, bits)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		bits, err := decodeBits(p, data)
		if err != nil {
			return
		}
		for _, c := range bits {
			if len(c.Value) != p.BigDimension()+1 {
				t.Errorf("a ciphertext of %d residues", len(c.Value))
			}
			for _, x := range c.Value {
				if x >= p.Modulus() {
					t.Fatalf("the residue %d", x)
				}
			}
		}
	})
}
