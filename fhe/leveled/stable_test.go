package leveled

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
)

// TestExpansionsAreStable pins what seeds expand to. Were the expansion of secret keys or of uniform halves to change,
// here or in lattigo, no stored object could be read any more.
func TestExpansionsAreStable(t *testing.T) {
	var seed [SeedSize]byte
	for i := range seed {
		seed[i] = byte(i)
	}
	digest := func(rows ...[][]uint64) string {
		h := sha256.New()
		for _, r := range rows {
			for _, row := range r {
				for _, x := range row {
					h.Write(binary.LittleEndian.AppendUint64(nil, x))
				}
			}
		}
		return hex.EncodeToString(h.Sum(nil)[:16])
	}
	for name, want := range map[string][2]string{
		"bgv-13":  {"b95f999f1ec90ac6af8e4842864d78fb", "6e471507ddaf408562d5d80579e1c24d"},
		"bfv-14":  {"93226298cbee4cbae8cb3433962023d5", "c5dc1ba112592605a404db0db9ef67b5"},
		"ckks-13": {"e8ddc6a08e37bfa3d1cd48a6d36988e5", "f5acf9299e4b2ef796a070a8769464fd"},
	} {
		p := must(ByName(name))
		sk := newSecretKey(p, seed, KeyID{})
		if got := digest(sk.key.Value.Q.Coeffs, sk.key.Value.P.Coeffs); got != want[0] {
			t.Errorf("%s: the secret key expands to %s, want %s", name, got, want[0])
		}
		part := part{element: relinearization, seed: seed, key: &rlwe.EvaluationKey{GadgetCiphertext: *rlwe.NewGadgetCiphertext(p.rlwe, 1, p.rlwe.MaxLevelQ(), p.rlwe.MaxLevelP(), 0)}}
		p.expandPart(part)
		var rows [][][]uint64
		for _, d := range part.key.Value {
			rows = append(rows, d[0][1].Q.Coeffs, d[0][1].P.Coeffs)
		}
		if got := digest(rows...); got != want[1] {
			t.Errorf("%s: a switching key expands to %s, want %s", name, got, want[1])
		}
	}
}

// TestPolynomialShapes evaluates polynomials with zeros in all places.
func TestPolynomialShapes(t *testing.T) {
	s := use(t, "ckks-14")
	x := make([]float64, s.p.Slots())
	for i := range x {
		x[i] = 2*rand.Float64() - 1
	}
	a := must(s.sk.Reals(x))
	for _, degree := range []int{1, 2, 7, 16} {
		for shape, keep := range map[string]func(k int) bool{
			"zero": func(int) bool { return false },
			"top":  func(k int) bool { return k == degree },
			"odd":  func(k int) bool { return k%2 == 1 },
			"even": func(k int) bool { return k%2 == 0 },
			"tiny": func(int) bool { return true },
		} {
			f := Polynomial{Coeffs: make([]float64, degree+1), Chebyshev: degree%2 == 0, A: -1, B: 1}
			for k := range f.Coeffs {
				if keep(k) {
					f.Coeffs[k] = rand.Float64() - 0.5
				}
				if shape == "tiny" {
					f.Coeffs[k] *= 1e-300
				}
			}
			c, err := s.eval.Polynomial(a, f)
			if err != nil {
				t.Fatalf("degree %d, %s: %v", degree, shape, err)
			}
			most := 16 * math.Exp2(s.p.LogError(c.noise))
			for j, got := range must(s.dec.Reals(c)) {
				if math.Abs(got-f.At(x[j])) > most {
					t.Fatalf("degree %d, %s: %v at %v, want %v", degree, shape, got, x[j], f.At(x[j]))
				}
			}
		}
	}
}
