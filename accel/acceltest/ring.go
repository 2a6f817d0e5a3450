package acceltest

import (
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/internal/xof"
)

// rings lists the tested rings with the SHA-256 of the NTT of a known input.
// The moduli are Tacit's own, the largest below 2^50 and below 2^49 that is 1
// modulo 2^17, the next one below Tacit's, and small ones.
var rings = []struct {
	n      int
	q      uint64
	digest string
}{
	{256, Q, "03801111242683f7dbbdc929992a24111c22c87a7093193fed15ec7c69b6d66d"},
	{512, Q, "0e7b41155cac08e927e50005365fdfb408c36c0a1d33b4785c6bfdf69a9db357"},
	{1024, Q, "752419265ccb3ea4057dc814534cc499df1d55a5b354503f032b72cb6dcef012"},
	{2048, Q, "8641dfa0d126025194ff8b8c67f3af4b988564d58ce86d190b7593a7a05eb121"},
	{4096, Q, "6214504f742762c475b43988a969ca74ed0ef14b3e84f850d830ad81138253bd"},
	{8192, Q, "f2e6debd9298931ba6c8f0bd3eeac08c778600dae03de3aa0f8757ace6ad89ae"},
	{16384, Q, "18bb5e3f4ea446b87cdd3c6280a2d0d233809c422175e50f2319871c88d37f24"},
	{32768, Q, "83fedbcc8c7e5d07846c336e3294807bbb672a812462f96f1aae2d15530ea448"},
	{65536, Q, "90be0b883bdc11f7c0deb57205340658b14208e11501e92c1a54a168d86625de"},
	{256, 7681, "9e04788d9410760487286a55c3658df7b7e01c67e238d96a839ee8cb0e1944d7"},
	{2048, 12289, "bcf27bac9f00ccf41a5ee35e044e73cd61b517a953e54e7b2bbb8863fc8fc918"},
	{65536, 786433, "ceb75d0461aef44d27af2a9cd085113e984014a08a247015672b895d29a5e989"},
	{2048, 1<<48 - 1048575, "cb63d2bc5562171f74538678357e12ed3044257027bc5ea34ed468683bfe03cd"},
	{256, largestPrime(50), "47db7ccfc6d5632a535d4109316667787011b03dd1baed0572667200495ca5d3"},
	{2048, largestPrime(50), "fae7a4ee5f9d07102a6dc4dfa246fce613b43c64f9979b12188fbc500e07e536"},
	{8192, largestPrime(50), "48b9b47751803ac8cc3f90735c29da18dcf04bb66e7fa382f5fb915d4a95e114"},
	{16384, largestPrime(50), "80ede2bc0fe13ebf16a92aa7e4a9273b9261bdb6b2327f5ecba39c0c4b217a20"},
	{65536, largestPrime(50), "1b2bbd40edd0aec6422f2130363b5cfd3c19a225514880975418e678947c3961"},
	{1024, largestPrime(49), "3b7581cb5e22611a247b0c18c86fb9323bc959ff4964b371c7a762053d7a61ad"},
	{32768, largestPrime(49), "0a322b9a4441292c459dd9c115016925ed8c13bf9d7e5292d6ec6817cf50613f"},
	{2048, largestPrime(40), "9aed982a16854c0d7240e631d27edb8b7116831a7132fd3311cef181ff5d9127"},
}

// largestPrime returns the largest prime below 2^size that is 1 modulo 2^17.
func largestPrime(size uint) uint64 {
	q := uint64(1)<<size - 1<<17 + 1
	for !new(big.Int).SetUint64(q).ProbablyPrime(0) {
		q -= 1 << 17
	}
	return q
}

func runRing(t *testing.T, b accel.Backend) {
	for _, c := range rings {
		t.Run(fmt.Sprintf("n=%d/q=%d", c.n, c.q), func(t *testing.T) {
			r, err := b.Ring(c.n, c.q)
			if err != nil {
				t.Fatal(err)
			}
			if r.N() != c.n || r.Modulus() != c.q {
				t.Fatalf("ring has n=%d, q=%d", r.N(), r.Modulus())
			}
			in := residues("NTT", c.n, c.q)
			out := make([]uint64, c.n)
			r.NTT(out, in)
			wantDigest(t, "NTT", out, c.digest)
			checkRingAt(t, r, in)
			edges := make([]uint64, c.n)
			for _, pattern := range [][]uint64{{0}, {1}, {c.q - 1}, {c.q - 1, 0}, {0, c.q - 1, c.q - 1}, {c.q / 2, c.q/2 + 1}} {
				for i := range edges {
					edges[i] = pattern[i%len(pattern)]
				}
				checkRingAt(t, r, edges)
			}
			clear(edges)
			edges[0] = 1
			r.NTT(out, edges)
			wantEqual(t, "NTT of 1", out, slices.Repeat([]uint64{1}, c.n))
			checkMulAcc(t, r)
		})
	}
	t.Run("Convolution", func(t *testing.T) {
		for _, q := range []uint64{7681, Q, largestPrime(50)} {
			r, err := b.Ring(256, q)
			if err != nil {
				t.Fatal(err)
			}
			checkConvolution(t, r)
		}
	})
	t.Run("Unsupported", func(t *testing.T) {
		for _, c := range []struct {
			n int
			q uint64
		}{
			{0, Q}, {-2048, Q}, {128, Q}, {2047, Q}, {131072, Q}, // dimension
			{2048, 0}, {2048, 1}, {2048, Q - 2}, {2048, 7681}, // not 1 mod 2n
			{256, 513 * 1025}, {2048, 4097 * 4097}, // composite
			{2048, 1<<50 + 1<<17 + 1}, {2048, 1<<64 - 1<<32 + 1}, // too large
		} {
			_, err := b.Ring(c.n, c.q)
			wantUnsupported(t, err, c.n, c.q)
		}
	})
	t.Run("Misuse", func(t *testing.T) {
		r, err := b.Ring(256, Q)
		if err != nil {
			t.Fatal(err)
		}
		good, short := make([]uint64, 256), make([]uint64, 255)
		wantPanic(t, "NTT", func() { r.NTT(short, good) })
		wantPanic(t, "NTT", func() { r.NTT(good, short) })
		wantPanic(t, "INTT", func() { r.INTT(short, short) })
		wantPanic(t, "MulAcc", func() { r.MulAcc(good, good, short) })
	})
	t.Run("Concurrent", func(t *testing.T) {
		r, err := b.Ring(2048, Q)
		if err != nil {
			t.Fatal(err)
		}
		in := residues("NTT", 2048, Q)
		want := make([]uint64, 2048)
		r.NTT(want, in)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				out := make([]uint64, 2048)
				for range 8 {
					r.NTT(out, in)
					if !slices.Equal(out, want) {
						t.Error("concurrent NTT differs")
					}
					r.INTT(out, out)
					if !slices.Equal(out, in) {
						t.Error("concurrent INTT differs")
					}
				}
			})
		}
		wg.Wait()
	})
}

// checkRingAt compares the NTT of in with its definition at a few points, checks
// that the source is left alone, that the inverse gives in again, and that both may
// work in place.
func checkRingAt(t *testing.T, r accel.Ring, in []uint64) {
	t.Helper()
	n, q := r.N(), r.Modulus()
	src := slices.Clone(in)
	out := make([]uint64, n)
	r.NTT(out, src)
	wantEqual(t, "source of NTT", src, in)
	rng := xof.New("points")
	for _, j := range []int{0, n - 1, int(rng.Uint64() % uint64(n))} {
		if want := evaluate(in, j, q); out[j] != want {
			t.Fatalf("NTT: value %d is %d, want %d", j, out[j], want)
		}
	}
	r.NTT(src, src)
	wantEqual(t, "NTT in place", src, out)
	back := make([]uint64, n)
	r.INTT(back, src)
	wantEqual(t, "INTT", back, in)
	wantEqual(t, "source of INTT", src, out)
	r.INTT(src, src)
	wantEqual(t, "INTT in place", src, in)
}

// evaluate returns Σ a[i]*x^i mod q at the point x of output j by Horner's rule.
func evaluate(a []uint64, j int, q uint64) uint64 {
	n := len(a)
	bq := new(big.Int).SetUint64(q)
	psi := new(big.Int)
	minusOne := new(big.Int).SetUint64(q - 1)
	for g := int64(2); ; g++ {
		psi.Exp(big.NewInt(g), new(big.Int).SetUint64((q-1)/uint64(2*n)), bq)
		if new(big.Int).Exp(psi, big.NewInt(int64(n)), bq).Cmp(minusOne) == 0 {
			break
		}
	}
	reversed := bits.Reverse64(uint64(j)) >> (64 - (bits.Len(uint(n)) - 1))
	x := new(big.Int).Exp(psi, new(big.Int).SetUint64(2*reversed+1), bq)
	sum, c := new(big.Int), new(big.Int)
	for i := n - 1; i >= 0; i-- {
		sum.Mul(sum, x).Add(sum, c.SetUint64(a[i])).Mod(sum, bq)
	}
	return sum.Uint64()
}

// checkMulAcc compares MulAcc with math/big, aliased and not.
func checkMulAcc(t *testing.T, r accel.Ring) {
	t.Helper()
	n, q := r.N(), r.Modulus()
	acc, a, b := residues("acc", n, q), residues("a", n, q), residues("b", n, q)
	edges := []uint64{0, 1, q - 1}
	for i := range 27 {
		acc[i], a[i], b[i] = edges[i%3], edges[i/3%3], edges[i/9]
	}
	mulAcc := func(acc, a, b []uint64) []uint64 {
		bq, p := new(big.Int).SetUint64(q), new(big.Int)
		out := make([]uint64, n)
		for i := range out {
			p.SetUint64(a[i]).Mul(p, new(big.Int).SetUint64(b[i])).Add(p, new(big.Int).SetUint64(acc[i]))
			out[i] = p.Mod(p, bq).Uint64()
		}
		return out
	}
	want, wantSelf := mulAcc(acc, a, b), mulAcc(a, a, a)
	r.MulAcc(acc, a, b)
	wantEqual(t, "MulAcc", acc, want)
	r.MulAcc(a, a, a)
	wantEqual(t, "MulAcc of one slice", a, wantSelf)
}

// checkConvolution compares a product in the evaluation domain with the schoolbook.
func checkConvolution(t *testing.T, r accel.Ring) {
	t.Helper()
	n, q := r.N(), r.Modulus()
	a, b := residues("a", n, q), residues("b", n, q)
	want := make([]uint64, n)
	addNegacyclic(want, a, b, q)
	got := make([]uint64, n)
	r.NTT(a, a)
	r.NTT(b, b)
	r.MulAcc(got, a, b)
	r.INTT(got, got)
	wantEqual(t, "product", got, want)
}

// addNegacyclic adds a*b mod (X^n+1, q) to acc.
func addNegacyclic(acc, a, b []uint64, q uint64) {
	n := len(acc)
	for i, x := range a {
		for j, y := range b {
			hi, lo := bits.Mul64(x, y)
			_, p := bits.Div64(hi, lo, q)
			if i+j < n {
				acc[i+j] = (acc[i+j] + p) % q
			} else {
				acc[i+j-n] = (acc[i+j-n] + q - p) % q
			}
		}
	}
}
