package acceltest

import (
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/internal/xof"
)

// keySwitches lists the tested shapes with the SHA-256 of the nine outputs for
// keySwitchInput.
var keySwitches = []struct {
	spec   accel.KeySwitchSpec
	digest string
}{
	{accel.KeySwitchSpec{NIn: 256, NOut: 100, Q: Q, BaseLog: 2, Levels: 8}, "3ce42b0c80872fdea4dff53eb3bb103e1f5c4a65cf289f48f84ca254d12b9a08"},
	{accel.KeySwitchSpec{NIn: 257, NOut: 64, Q: Q, BaseLog: 3, Levels: 5}, "32836b8a4826d2be251940c8b298e7a238c7230756c8c741cd15964854f8cf3b"},
	{accel.KeySwitchSpec{NIn: 100, NOut: 1, Q: Q, BaseLog: 1, Levels: 1}, "1282c8b782acc607647bbdc0524ac10b95d99da7cdd0230517cf7863124203d2"},
	{accel.KeySwitchSpec{NIn: 100, NOut: 15, Q: Q, BaseLog: 1, Levels: 32}, "e395eb5740ac4b5345c396756f0ccdcc566ca2a0569a720c0cf56b667471bd3d"},
	{accel.KeySwitchSpec{NIn: 100, NOut: 16, Q: Q, BaseLog: 32, Levels: 1}, "b0ea49c03e2d56ff967b6affe581c33f102d356f1fd2a864f0a3f74800b99fa7"},
	{accel.KeySwitchSpec{NIn: 100, NOut: 17, Q: Q, BaseLog: 16, Levels: 2}, "26fd7245e318c9c37da378d03bd0d28eddc4aec445f263251f5ad226ab958d2e"},
	{accel.KeySwitchSpec{NIn: 100, NOut: 33, Q: Q, BaseLog: 4, Levels: 7}, "eeff63eca374725dfd889c06b4b202c31cbe23ac991886fa2eba2863ac5184f1"},
	{accel.KeySwitchSpec{NIn: 100, NOut: 40, Q: largestPrime(50), BaseLog: 4, Levels: 4}, "a5612a221a805646348c8b26f7c1e73b6dd8cc08dc6b1d939a2723fbc4211e16"},
	{accel.KeySwitchSpec{NIn: 100, NOut: 40, Q: 1<<32 + 1, BaseLog: 4, Levels: 8}, "071b34642f8a9bb76308de9a5ab077f371e30c0c3c6863b3d0b4459f595f8293"},
	{accel.KeySwitchSpec{NIn: 1, NOut: 5, Q: Q, BaseLog: 2, Levels: 3}, "3cc2d47ccd5617c01c096afadf511709fae1579b39fadf8a83189453cabe9bac"},
	{accel.KeySwitchSpec{NIn: 2048, NOut: 862, Q: Q, BaseLog: 2, Levels: 8}, "ec3c033e71ac2f35e387625f51e35571e2a3c616adf961653fe7dd37430b7677"},
}

// keySwitchInput returns nine ciphertexts. The coefficients of the first ones lie
// on the roundings of every digit boundary and next to them.
func keySwitchInput(spec accel.KeySwitchSpec) [][]uint64 {
	q := spec.Q
	bl := uint(spec.BaseLog * spec.Levels)
	in := make([][]uint64, 9)
	for t := range in {
		in[t] = residues(fmt.Sprintf("LWE %d", t), spec.NIn+1, q)
		if t >= 4 {
			continue
		}
		rng := xof.New(fmt.Sprintf("boundaries %d", t))
		for i := range in[t] {
			// About (m + 1/2)*q/2^bl, where the rounding changes, for a random m and
			// for those next to 0 and to the half.
			m := rng.Uint64() % (1 << bl)
			switch i % 4 {
			case 0:
				m = 1<<(bl-1) - 2 + m%4
			case 1:
				m %= 2
			}
			x := new(big.Int).SetUint64(2*m + 1)
			x.Mul(x, new(big.Int).SetUint64(q)).Rsh(x, bl+1)
			in[t][i] = (x.Uint64() + rng.Uint64()%3 + q - 1) % q
		}
	}
	in[8][0], in[8][spec.NIn] = q-1, q-1
	in[7][0], in[7][spec.NIn] = 0, 0
	in[6][0], in[6][spec.NIn] = q/2, q/2
	in[5][0], in[5][spec.NIn] = q/2+1, q/2+1
	return in
}

func keySwitchKey(i int, dst []uint32) { xof.New(fmt.Sprintf("rows %d", i)).Words(dst) }

func runKeySwitcher(t *testing.T, b accel.Backend, small bool) {
	for _, c := range keySwitches {
		spec := c.spec
		if small && spec.NIn > 1024 {
			continue
		}
		t.Run(fmt.Sprintf("%d-%d/q=%d/b=%d/l=%d", spec.NIn, spec.NOut, spec.Q, spec.BaseLog, spec.Levels), func(t *testing.T) {
			k, err := b.KeySwitcher(spec, keySwitchKey)
			if err != nil {
				t.Fatal(err)
			}
			in := keySwitchInput(spec)
			before := slices.Concat(in...)
			newOut := func(batch int) [][]uint32 {
				out := make([][]uint32, batch)
				for t := range out {
					out[t] = slices.Repeat([]uint32{0xdeadbeef}, spec.NOut+1)
				}
				return out
			}
			singles := newOut(len(in))
			for t := range in {
				k.Switch(singles[t:t+1], in[t:t+1])
			}
			wantDigest(t, "Switch", slices.Concat(singles...), c.digest)
			for _, batch := range []int{0, 2, 3, 8, 9} {
				out := newOut(batch)
				k.Switch(out, in[:batch])
				for i := range out {
					wantEqual(t, fmt.Sprintf("ciphertext %d of a batch of %d", i, batch), out[i], singles[i])
				}
			}
			wantEqual(t, "input", slices.Concat(in...), before)
			if spec.NIn < 2048 {
				for i := range in {
					wantEqual(t, fmt.Sprintf("ciphertext %d", i), singles[i], modelSwitch(spec, in[i]))
				}
			}
		})
	}
	t.Run("Unsupported", func(t *testing.T) {
		good := keySwitches[0].spec
		for _, change := range []func(*accel.KeySwitchSpec){
			func(s *accel.KeySwitchSpec) { s.NIn = 0 },
			func(s *accel.KeySwitchSpec) { s.NIn = accel.MaxLWE + 1 },
			func(s *accel.KeySwitchSpec) { s.NOut = 0 },
			func(s *accel.KeySwitchSpec) { s.NOut = -1 },
			func(s *accel.KeySwitchSpec) { s.NOut = accel.MaxLWE + 1 },
			func(s *accel.KeySwitchSpec) { s.Q = 1 << 50 },
			func(s *accel.KeySwitchSpec) { s.Q = 1<<32 - 1 },
			func(s *accel.KeySwitchSpec) { s.Q = 1 << 40 },
			func(s *accel.KeySwitchSpec) { s.BaseLog = 0 },
			func(s *accel.KeySwitchSpec) { s.BaseLog = 33 },
			func(s *accel.KeySwitchSpec) { s.Levels = 0 },
			func(s *accel.KeySwitchSpec) { s.Levels = 17 },
			func(s *accel.KeySwitchSpec) { s.BaseLog, s.Levels = 4, 1<<62 },
		} {
			spec := good
			change(&spec)
			_, err := b.KeySwitcher(spec, func(int, []uint32) { t.Error("key requested") })
			wantUnsupported(t, err, spec.NIn, spec.Q)
		}
	})
	t.Run("Misuse", func(t *testing.T) {
		spec := keySwitches[0].spec
		k, err := b.KeySwitcher(spec, keySwitchKey)
		if err != nil {
			t.Fatal(err)
		}
		in, out := make([]uint64, spec.NIn+1), make([]uint32, spec.NOut+1)
		wantPanic(t, "input", func() { k.Switch([][]uint32{out}, [][]uint64{in[1:]}) })
		wantPanic(t, "output", func() { k.Switch([][]uint32{out[1:]}, [][]uint64{in}) })
		wantPanic(t, "batch", func() { k.Switch([][]uint32{out}, nil) })
	})
	t.Run("Concurrent", func(t *testing.T) {
		spec := keySwitches[0].spec
		k, err := b.KeySwitcher(spec, keySwitchKey)
		if err != nil {
			t.Fatal(err)
		}
		in := keySwitchInput(spec)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				out := [][]uint32{make([]uint32, spec.NOut+1), make([]uint32, spec.NOut+1)}
				k.Switch(out, in[g:g+2])
				if !slices.Equal(out[0], modelSwitch(spec, in[g])) || !slices.Equal(out[1], modelSwitch(spec, in[g+1])) {
					t.Error("concurrent key switch differs")
				}
			})
		}
		wg.Wait()
	})
}

// modelSwitch follows the definition of accel.KeySwitcher.Switch.
func modelSwitch(spec accel.KeySwitchSpec, in []uint64) []uint32 {
	width := spec.NOut + 1
	out := make([]uint32, width)
	out[spec.NOut] = uint32(modelRound(in[spec.NIn], spec.Q, 32))
	rows := make([]uint32, spec.Levels*width)
	for i, a := range in[:spec.NIn] {
		keySwitchKey(i, rows)
		for level, d := range modelSwitchDigits(spec, a) {
			for m := range out {
				out[m] -= uint32(d) * rows[level*width+m]
			}
		}
	}
	return out
}

// modelSwitchDigits returns the digits of one coefficient, level 1 first.
func modelSwitchDigits(spec accel.KeySwitchSpec, a uint64) []int64 {
	bl := uint(spec.BaseLog * spec.Levels)
	v := modelRound(a, spec.Q, bl) % (1 << bl)
	if v > 1<<(bl-1) {
		v -= 1 << bl
	}
	sign := int64(1)
	if v < 0 {
		sign, v = -1, -v
	}
	base := int64(1) << spec.BaseLog
	digits := make([]int64, spec.Levels)
	for level := spec.Levels - 1; level > 0; level-- {
		d := v % base
		if 2*d > base {
			d -= base
		}
		v = (v - d) / base
		digits[level] = sign * d
	}
	digits[0] = sign * v
	return digits
}

// modelRound returns floor((x*2^w + (q-1)/2) / q).
func modelRound(x, q uint64, w uint) int64 {
	n := new(big.Int).SetUint64(x)
	n.Lsh(n, w).Add(n, new(big.Int).SetUint64((q-1)/2)).Div(n, new(big.Int).SetUint64(q))
	return n.Int64()
}
