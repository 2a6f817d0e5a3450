package acceltest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/internal/xof"
)

// rotations lists the tested shapes with the SHA-256 of the nine accumulators of
// rotationInput after the rotation. Those with N = 256 are compared with the
// model as well.
var rotations = []struct {
	spec   accel.RotatorSpec
	digest string
}{
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 3}, "23189cf1c1cba4602d3c0998dd56f00d325e681b9ac842e77e67328140ff7484"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 15, Levels: 2, Steps: 3}, "088b70aa996b8be82dc6e6400ae30e3724eee669bb67a6c0240b7681da63b5e2"},
	{accel.RotatorSpec{N: 256, Rank: 2, Q: Q, BaseLog: 17, Levels: 1, Steps: 3}, "9ce41d0cfdd403a97a60bb34e62043b3e0cb6b18211586ff9d7d7a791373be0f"},
	{accel.RotatorSpec{N: 256, Rank: 3, Q: Q, BaseLog: 17, Levels: 1, Steps: 2}, "d804f27b920a71fb63ee7f6107880e9abe473c179a5a5491724025c6ed37bf74"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 1, Levels: 3, Steps: 2}, "c79fe314542475f9b44ba1689654db59d34a196a43d4699d5854f8baec4582db"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 24, Levels: 2, Steps: 2}, "33ffee87cdfce36929384bf66e2639b8a25871eb0b3052680ae2434ce280bc21"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 48, Levels: 1, Steps: 2}, "f8f4a7bc933a944269e77b71edf26405729554e39c41089da7b4c6c52e2eb363"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 1, Levels: 1, Steps: 2}, "298db4e66205748aaba86ccb585cc6c30de2af8e6f63beaf4f67122d116a4233"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: 1<<48 - 1048575, BaseLog: 22, Levels: 1, Steps: 2}, "44d5f6edc52e1bf782aa5659047b1af42e201bcb9318b23251973941635424c9"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: smallRotatorModulus, BaseLog: 22, Levels: 1, Steps: 2}, "cce7e0c548bbb2ffebc76bf36627a72d3fd721a6f0c816e018e69f7127ade406"},
	{accel.RotatorSpec{N: 512, Rank: 3, Q: Q, BaseLog: 17, Levels: 1, Steps: 5}, "0abd04afccf6b6693e682a58ed123c1d63f8cfdafd0901b70d733166b2bd3a3d"},
	{accel.RotatorSpec{N: 512, Rank: 4, Q: Q, BaseLog: 22, Levels: 1, Steps: 5}, "51ff60d300af9ae768575e819d69f750579cbae2bf748ec577ee0b54fa05cdd5"},
	{accel.RotatorSpec{N: 1024, Rank: 2, Q: Q, BaseLog: 23, Levels: 1, Steps: 5}, "73847ff5514e4a1b942347b0d956f2e9d4a7ea6868e158d320827950432fee68"},
	{accel.RotatorSpec{N: 2048, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 20}, "25513c351e0dc0fc8ab5b3cb5622577ccd7a098993b9c0793a205b368ad4f83d"},
	{accel.RotatorSpec{N: 2048, Rank: 1, Q: Q, BaseLog: 12, Levels: 3, Steps: 5}, "a95968f0537fdb3a277f3aa44455fa08eb18f7ac0291a67dbbd8f32071804964"},
	{accel.RotatorSpec{N: 2048, Rank: 1, Q: smallRotatorModulus, BaseLog: 22, Levels: 1, Steps: 5}, "eff00b3a5552c217f1deae4bd6b6b1b1c6c8be2c6dda53b416524a6e3b82fe11"},
	{accel.RotatorSpec{N: 4096, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 3}, "da4ec753162f388143fc2b2aa687c937a81f7990771d8bd13aef5fcbfa6556be"},
	{accel.RotatorSpec{N: 8192, Rank: 1, Q: Q, BaseLog: 15, Levels: 2, Steps: 2}, "14e1e8bf35c7b6f8d8754a5e5ec1863070e7bb1f1e75cad6ec37c95cdad574bb"},
	{accel.RotatorSpec{N: 16384, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 1}, "abcf213bdf4c3361ac4c2914be904f2787f51300f8218e5bdb5ec461b9b351dd"},
	{accel.RotatorSpec{N: 65536, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 1}, "fd9df8c99e1825ed0f4f0722a21cedb6b2846c69b218423b947a1b8be3040e12"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 2, Mode: accel.Block, Terms: 2}, "3f191ee3587f576d46cc4cfa7110d635e8d4c6fc5552043fd5d2d371820545d5"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 21, Levels: 1, Steps: 2, Mode: accel.Block, Terms: 3}, "07ea8c93ca453c070042d64cd1381f740343fe50ade0b6aba7abe988d2bf4bf4"},
	{accel.RotatorSpec{N: 256, Rank: 2, Q: Q, BaseLog: 12, Levels: 2, Steps: 2, Mode: accel.Block, Terms: 4}, "6dd3ef8bb7eaf6a048d1599a8f18300d4136ca6ca2ae6de9d7c11ea33b262521"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 2, Mode: accel.Block, Terms: 1}, "ba16eee34bdb4e59d8033f1e77c8407d51597c4d64a2b53a356ba134ff59c91a"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 2, Mode: accel.Unrolled, Terms: 3}, "48c5fab27c815906a520a96cf3a26bbf993f9e23b3aee1d5d7c5974ce902d3c0"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 2, Mode: accel.Unrolled, Terms: 7}, "53d6a196b95f3169f85b1b9040c225e2750183f5a79939f1287c9e325aedfe7c"},
	{accel.RotatorSpec{N: 256, Rank: 3, Q: Q, BaseLog: 8, Levels: 3, Steps: 2, Mode: accel.Unrolled, Terms: 1}, "f5630f895235dfbd4500458167051c2f91d81382ebad14922ec9aafb38832ecf"},
	{accel.RotatorSpec{N: 256, Rank: 1, Q: smallRotatorModulus, BaseLog: 22, Levels: 1, Steps: 2, Mode: accel.Unrolled, Terms: 7}, "983979197d92ba1438aff0545550ab88a2c531e5a040787f53eb4d3ad722e6ac"},
	{accel.RotatorSpec{N: 512, Rank: 3, Q: Q, BaseLog: 17, Levels: 1, Steps: 3, Mode: accel.Block, Terms: 3}, "bebd2949611bdcfeacb828218ef1c3b44279a3cf1b793a000038d95d73f55755"},
	{accel.RotatorSpec{N: 2048, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 7, Mode: accel.Block, Terms: 2}, "55555640399bbce8f062d91c9be5ad977c31edd40324c488c49dffb7d048a866"},
	{accel.RotatorSpec{N: 2048, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 7, Mode: accel.Block, Terms: 3}, "8e7cd0d26acd5ec76ba89d5f16d187fba6ce0ad68461af312b9539a05ab7a3d0"},
	{accel.RotatorSpec{N: 2048, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 7, Mode: accel.Unrolled, Terms: 3}, "76f64c112e467043651fe7411f3c7fbc92d3b611ed49275f47caa3da3806d8ed"},
	{accel.RotatorSpec{N: 2048, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 7, Mode: accel.Unrolled, Terms: 7}, "2579b0e7a4660a512ff58c96d770e15ff4f220b3431a0efaec52bcc254797fb0"},
}

// smallRotatorModulus is the smallest prime above 2^47 that is 1 modulo 2^17.
const smallRotatorModulus = 1<<47 + 1<<17 + 1

// rotationInput returns nine accumulators and their exponents. The first ones hold
// the extremes.
func rotationInput(spec accel.RotatorSpec) (acc [][]uint64, exps [][]uint32) {
	n, q := spec.N, spec.Q
	for t := range 9 {
		a := residues(fmt.Sprintf("accumulator %d", t), (spec.Rank+1)*n, q)
		e := make([]uint32, spec.Steps*spec.Exponents())
		xof.New(fmt.Sprintf("exponents %d", t)).Words(e)
		for i := range e {
			e[i] %= uint32(2 * n)
		}
		switch t {
		case 0:
			e[0] = 0
		case 1:
			e[0] = uint32(2*n - 1)
		case 2:
			e[0] = uint32(n)
		case 3: // X^n*a - a = -2a reaches every rounding of the edges
			e[0] = uint32(n)
			edges := []uint64{0, 1, q - 1, q / 2, q/2 + 1, q / 4, q/4 + 1, 1 << 24, 1<<24 - 1, 1<<24 + 1, 1 << 25, 3 << 24, q - 1<<24, q - 1<<24 - 1, q - 1<<24 + 1}
			for i := range a {
				a[i] = edges[i%len(edges)]
			}
		case 4: // the largest differences
			e[0] = 1
			for i := range a {
				a[i] = uint64(i%2) * (q / 2)
			}
		case 5:
			e[0] = uint32(n - 1)
			for i := range a {
				a[i] = q - 1
			}
		case 6:
			e[0] = uint32(n + 1)
		}
		acc, exps = append(acc, a), append(exps, e)
	}
	return acc, exps
}

// rotationKey fills row by row; in step 0 some rows are all q-1 or all zero.
func rotationKey(spec accel.RotatorSpec) func(i int, dst []uint64) {
	return func(i int, dst []uint64) {
		xof.New(fmt.Sprintf("GGSW %d", i)).Residues(dst, spec.Q)
		if i == 0 {
			for j := range spec.N {
				dst[j] = spec.Q - 1
				dst[len(dst)-1-j] = 0
			}
		}
	}
}

func runRotator(t *testing.T, b accel.Backend, small bool) {
	for _, c := range rotations {
		spec := c.spec
		if small && spec.N > 8192 {
			continue
		}
		t.Run(fmt.Sprintf("mode=%d.%d/n=%d/k=%d/q=%d/b=%d/l=%d", spec.Mode, spec.Terms, spec.N, spec.Rank, spec.Q, spec.BaseLog, spec.Levels), func(t *testing.T) {
			r, err := b.Rotator(spec, rotationKey(spec))
			if err != nil {
				t.Fatal(err)
			}
			in, exps := rotationInput(spec)
			singles := make([][]uint64, len(in))
			for i := range in {
				singles[i] = slices.Clone(in[i])
				r.Rotate(singles[i:i+1], exps[i:i+1])
			}
			wantDigest(t, "Rotate", slices.Concat(singles...), c.digest)
			for _, batch := range []int{0, 2, 3, 8, 9} {
				acc := make([][]uint64, batch)
				for i := range acc {
					acc[i] = slices.Clone(in[i])
				}
				r.Rotate(acc, exps[:batch])
				for i := range acc {
					wantEqual(t, fmt.Sprintf("ciphertext %d of a batch of %d", i, batch), acc[i], singles[i])
				}
			}
			if spec.N == 256 {
				for i := range in {
					want := slices.Clone(in[i])
					modelRotate(spec, want, exps[i])
					wantEqual(t, fmt.Sprintf("ciphertext %d", i), singles[i], want)
				}
			}
			// Only the residue of an exponent modulo 2N counts.
			high := slices.Clone(exps[0])
			for i := range high {
				high[i] += uint32(2*spec.N) * 5
			}
			acc := slices.Clone(in[0])
			r.Rotate([][]uint64{acc}, [][]uint32{high})
			wantEqual(t, "exponents above 2N", acc, singles[0])
		})
	}
	t.Run("Unsupported", func(t *testing.T) {
		good := rotations[0].spec
		for _, change := range []func(*accel.RotatorSpec){
			func(s *accel.RotatorSpec) { s.N = 128 },
			func(s *accel.RotatorSpec) { s.N = 0 },
			func(s *accel.RotatorSpec) { s.Q = 7681 },
			func(s *accel.RotatorSpec) { s.Q = Q - 2 },
			func(s *accel.RotatorSpec) { s.Q = largestPrime(49) },
			func(s *accel.RotatorSpec) { s.Q = largestPrime(47) },
			func(s *accel.RotatorSpec) { s.Rank = 0 },
			func(s *accel.RotatorSpec) { s.Rank = accel.MaxRank + 1 },
			func(s *accel.RotatorSpec) { s.BaseLog = 0 },
			func(s *accel.RotatorSpec) { s.BaseLog = 49 },
			func(s *accel.RotatorSpec) { s.Levels = 0 },
			func(s *accel.RotatorSpec) { s.Levels = 3 },
			func(s *accel.RotatorSpec) { s.BaseLog, s.Levels = 1<<62, 4 },
			func(s *accel.RotatorSpec) { s.Steps = 0 },
			func(s *accel.RotatorSpec) { s.Steps = accel.MaxSteps + 1 },
			func(s *accel.RotatorSpec) { s.Mode = accel.Unrolled + 1 },
			func(s *accel.RotatorSpec) { s.Mode = accel.Block },
			func(s *accel.RotatorSpec) { s.Mode, s.Terms = accel.Unrolled, accel.MaxTerms+1 },
			func(s *accel.RotatorSpec) { s.Terms = 1 },
		} {
			spec := good
			change(&spec)
			_, err := b.Rotator(spec, func(int, []uint64) { t.Error("key requested") })
			wantUnsupported(t, err, spec.N, spec.Q)
		}
	})
	t.Run("Misuse", func(t *testing.T) {
		spec := rotations[0].spec
		r, err := b.Rotator(spec, rotationKey(spec))
		if err != nil {
			t.Fatal(err)
		}
		acc, exps := make([]uint64, 2*spec.N), make([]uint32, spec.Steps)
		wantPanic(t, "accumulator", func() { r.Rotate([][]uint64{acc[1:]}, [][]uint32{exps}) })
		wantPanic(t, "exponents", func() { r.Rotate([][]uint64{acc}, [][]uint32{exps[1:]}) })
		wantPanic(t, "batch", func() { r.Rotate([][]uint64{acc}, nil) })
	})
	t.Run("Concurrent", func(t *testing.T) {
		spec := accel.RotatorSpec{N: 1024, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: 4}
		r, err := b.Rotator(spec, rotationKey(spec))
		if err != nil {
			t.Fatal(err)
		}
		in, exps := rotationInput(spec)
		want := make([][]uint64, len(in))
		for i := range in {
			want[i] = slices.Clone(in[i])
		}
		r.Rotate(want, exps)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				acc := [][]uint64{slices.Clone(in[g]), slices.Clone(in[g+1])}
				r.Rotate(acc, exps[g:g+2])
				if !slices.Equal(acc[0], want[g]) || !slices.Equal(acc[1], want[g+1]) {
					t.Error("concurrent rotation differs")
				}
			})
		}
		wg.Wait()
	})
}

// modelRotate follows the definition of accel.Rotator.Rotate step by step, with
// schoolbook products.
func modelRotate(spec accel.RotatorSpec, acc []uint64, exps []uint32) {
	n, q, k1 := spec.N, spec.Q, spec.Rank+1
	size := k1 * spec.Levels * k1 * n
	ggsw := make([]uint64, spec.GGSWs()*size)
	for i := range spec.Steps {
		rotationKey(spec)(i, ggsw)
		e := exps[i*spec.Exponents():][:spec.Exponents()]
		factor, rows, sum := slices.Clone(acc), ggsw, slices.Clone(acc)
		switch spec.Mode {
		case accel.CMux:
			for c := range k1 {
				copy(factor[c*n:][:n], modelRotateSub(acc[c*n:][:n], int(e[0]), q))
			}
		case accel.Block, accel.Unrolled:
			rows = modelCombine(spec, ggsw, e)
			if spec.Mode == accel.Unrolled {
				clear(sum)
			}
		}
		for c := range k1 {
			digits := modelDigits(spec, factor[c*n:][:n])
			for level := range spec.Levels {
				row := rows[(c*spec.Levels+level)*k1*n:]
				for o := range k1 {
					addNegacyclic(sum[o*n:][:n], digits[level], row[o*n:][:n], q)
				}
			}
		}
		copy(acc, sum)
	}
}

// modelCombine returns the combination of the ciphertexts of a step.
func modelCombine(spec accel.RotatorSpec, ggsw []uint64, exps []uint32) []uint64 {
	n, q := spec.N, spec.Q
	size := len(ggsw) / spec.GGSWs()
	out := make([]uint64, size)
	if spec.Mode == accel.Unrolled {
		copy(out, ggsw[:size])
		ggsw = ggsw[size:]
	}
	for _, e := range exps {
		for at := 0; at < size; at += n {
			term := modelRotateSub(ggsw[at:][:n], int(e), q)
			for j, x := range term {
				if spec.Mode == accel.Unrolled {
					x += ggsw[at+j] // X^e*a - a + a
				}
				out[at+j] = (out[at+j] + x) % q
			}
		}
		ggsw = ggsw[size:]
	}
	return out
}

// modelRotateSub returns X^e*a - a.
func modelRotateSub(a []uint64, e int, q uint64) []uint64 {
	n := len(a)
	out := make([]uint64, n)
	for j, x := range a {
		at := (j + e) % (2 * n)
		if at < n {
			out[at] = (out[at] + x) % q
		} else {
			out[at-n] = (out[at-n] + q - x) % q
		}
		out[j] = (out[j] + q - x) % q
	}
	return out
}

// modelDigits returns the digits of a polynomial, one slice of residues per level.
func modelDigits(spec accel.RotatorSpec, a []uint64) [][]uint64 {
	q := int64(spec.Q)
	bl := spec.BaseLog * spec.Levels
	base := int64(1) << spec.BaseLog
	digits := make([][]uint64, spec.Levels)
	for level := range digits {
		digits[level] = make([]uint64, len(a))
	}
	for j, x := range a {
		v := int64(x)
		if 2*v > q {
			v -= q
		}
		if bl < 48 {
			// Floor of (v + unit/2) / unit.
			unit := int64(1) << (48 - bl)
			v += unit / 2
			v = (v - (v%unit+unit)%unit) / unit
		}
		sign := int64(1)
		if v < 0 {
			sign, v = -1, -v
		}
		for level := spec.Levels - 1; level >= 0; level-- {
			d := v
			if level > 0 {
				d = v % base
				if 2*d > base {
					d -= base
				}
				v = (v - d) / base
			}
			digits[level][j] = uint64((sign*d + q) % q)
		}
	}
	return digits
}
