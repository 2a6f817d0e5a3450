package bootstrap

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe"
)

// Packer packs LWE ciphertexts of the big key into GLWE ciphertexts by ring
// automorphisms (Chen, Dai, Kim, Song, "Efficient Homomorphic Conversion Between
// (Ring) LWE Ciphertexts", 2020/015, algorithms 1 to 3). Its arithmetic is exact:
// the same ciphertexts give the same bits on every backend. It is safe for
// concurrent use.
type Packer struct {
	params *fhe.Parameters
	ring   accel.Ring
	keys   [][]uint64 // of τ_1, τ_2, ...: k·levels rows of k+1 polynomials, transformed
	pool   sync.Pool  // *packing
}

// NewPacker prepares the packing keys. Those of a *fhe.KeyStream are read after the
// rest, so NewEvaluator must have run before. The error is a *fhe.ParametersError for
// parameters without packing keys, or that of the backend.
func NewPacker(key Key, backend accel.Backend) (*Packer, error) {
	p := key.Parameters()
	if !p.Packs() {
		return nil, noPacking(p)
	}
	l := p.Literal()
	n := l.PolynomialSize
	ring, err := backend.Ring(n, l.Modulus)
	if err != nil {
		return nil, fmt.Errorf("prepare the packing keys: %w", err)
	}
	pk := &Packer{params: p, ring: ring}
	for j := range p.PackingKeys() {
		rows := make([]uint64, l.Rank*l.PackingGadget.Levels*(l.Rank+1)*n)
		key.PackingRows(j, rows)
		for at := 0; at < len(rows); at += n {
			ring.NTT(rows[at:at+n], rows[at:at+n])
		}
		pk.keys = append(pk.keys, rows)
	}
	pk.pool.New = func() any { return newPacking(pk) }
	return pk, nil
}

func noPacking(p *fhe.Parameters) error {
	return &fhe.ParametersError{Name: p.Name(), Field: "PackingGadget", Reason: "the set has no packing keys"}
}

// Pack packs at most fhe.MaxSlots ciphertexts, which keep their messages; their
// bounds become those of Parameters.PackedBound. Every group of up to N takes one key
// switch for each of its ciphertexts and log2(N) more.
func (pk *Packer) Pack(in []fhe.LWE) (*fhe.Packed, error) {
	if len(in) > fhe.MaxSlots {
		return nil, fmt.Errorf("pack %d ciphertexts: at most %d", len(in), fhe.MaxSlots)
	}
	return pk.params.NewPacked(pk.pack(in), len(in)), nil
}

// pack returns the GLWE ciphertext of each group.
func (pk *Packer) pack(in []fhe.LWE) (glwes [][]uint64) {
	n := pk.ring.N()
	s := pk.pool.Get().(*packing)
	defer pk.pool.Put(s)
	for len(in) > 0 {
		s.in = in[:min(len(in), n)]
		in = in[len(s.in):]
		out := make([]uint64, pk.params.BigDimension()+n)
		s.group(out)
		glwes = append(glwes, out)
	}
	s.in = nil
	return glwes
}

// packing is the memory of one call.
type packing struct {
	*Packer
	in    []fhe.LWE
	right [][]uint64 // of each level: the second of two ciphertexts that are merged
	auto  []uint64   // a ciphertext after an automorphism
	acc   []uint64   // a key switch's sum, transformed
	digit []uint64   // a polynomial of digits
	left  []uint64   // what is left of a polynomial's magnitudes to decompose
	sign  []uint64   // 1 where a coefficient of it is negative, else 0
}

func newPacking(pk *Packer) *packing {
	n := pk.ring.N()
	size := pk.params.BigDimension() + n
	s := &packing{
		Packer: pk, right: make([][]uint64, len(pk.keys)),
		auto: make([]uint64, size), acc: make([]uint64, size), digit: make([]uint64, n),
		left: make([]uint64, n), sign: make([]uint64, n),
	}
	for i := range s.right {
		s.right[i] = make([]uint64, size)
	}
	return s
}

// group packs s.in, at most N ciphertexts, into out. Ciphertext i of count comes to
// coefficient i·PackedStride(count).
func (s *packing) group(out []uint64) {
	levels := bits.Len(uint(len(s.in) - 1))
	s.merge(out, 0, levels)
	// What is left in other coefficients has trace zero: the trace over the
	// automorphisms that keep the multiples of the stride takes it out.
	for level := levels + 1; level <= len(s.keys); level++ {
		s.addAutomorphism(out, out, level)
	}
}

// merge sets out to a ciphertext of N^-1 2^level times the ciphertexts first,
// first+step, ... of s.in for step = 2^(levels-level), at the multiples of N/2^level
// in this order, and of junk in other coefficients (2020/015, algorithm 2).
func (s *packing) merge(out []uint64, first, level int) {
	if level == 0 {
		s.embed(out, s.in[first].Value)
		return
	}
	step := 1 << (bits.Len(uint(len(s.in)-1)) - level)
	s.merge(out, first, level-1)
	if first+step >= len(s.in) { // there is nothing in the other half
		s.addAutomorphism(out, out, level)
		return
	}
	right := s.right[level-1]
	s.merge(right, first+step, level-1)
	q := s.ring.Modulus()
	n := s.ring.N()
	shift := n >> level
	for at := 0; at < len(out); at += n {
		s.shift(s.digit, right[at:at+n], shift)
		for i, x := range s.digit {
			y := out[at+i]
			out[at+i], right[at+i] = fhe.AddMod(y, x, q), fhe.SubMod(y, x, q)
		}
	}
	s.addAutomorphism(out, right, level)
}

// embed sets out to a GLWE ciphertext whose phase has N^-1 times that of an LWE
// ciphertext in coefficient 0: the inverse of SampleExtract.
func (s *packing) embed(out, lwe []uint64) {
	n, size, q := s.ring.N(), len(lwe)-1, s.ring.Modulus()
	clear(out[size:])
	for u := 0; u < size; u += n {
		out[u] = divide(lwe[u], n, q)
		for i := 1; i < n; i++ {
			out[u+n-i] = fhe.SubMod(0, divide(lwe[u+i], n, q), q)
		}
	}
	out[size] = divide(lwe[size], n, q)
}

// divide returns x·n^-1 mod q for a power of two n <= 2^16 and q < 2^48 with q = 1 mod
// n: x + q·(-x mod n) is a multiple of n, below q·n <= 2^64.
func divide(x uint64, n int, q uint64) uint64 {
	m := uint64(n)
	return (x + q*(-x&(m-1))) / m
}

// shift sets dst = X^by·src for by in [0, N).
func (s *packing) shift(dst, src []uint64, by int) {
	q, n := s.ring.Modulus(), len(src)
	copy(dst[by:], src[:n-by])
	for i, x := range src[n-by:] {
		dst[i] = fhe.SubMod(0, x, q)
	}
}

// addAutomorphism adds to out the ciphertext of the phase of in after X -> X^(2^level+1),
// under the same key. out may be in.
func (s *packing) addAutomorphism(out, in []uint64, level int) {
	l := s.params.Literal()
	n, q := s.ring.N(), s.ring.Modulus()
	for at := 0; at < len(in); at += n {
		automorphism(s.auto[at:at+n], in[at:at+n], level, q)
	}
	clear(s.acc)
	row := s.keys[level-1]
	size := len(s.acc)
	for u := range l.Rank {
		s.magnitudes(s.auto[u*n : (u+1)*n])
		// Rows are consumed from the last level, that of the least digit.
		for j := l.PackingGadget.Levels; j >= 1; j-- {
			s.digits(j == 1)
			s.ring.NTT(s.digit, s.digit)
			r := row[(u*l.PackingGadget.Levels+j-1)*size:][:size]
			for at := 0; at < size; at += n {
				s.ring.MulAcc(s.acc[at:at+n], s.digit, r[at:at+n])
			}
		}
	}
	for at := 0; at < size; at += n {
		s.ring.INTT(s.acc[at:at+n], s.acc[at:at+n])
		for i, x := range s.acc[at : at+n] {
			out[at+i] = fhe.SubMod(out[at+i], x, q)
		}
	}
	body := out[size-n:]
	for i, x := range s.auto[size-n:] {
		body[i] = fhe.AddMod(body[i], x, q)
	}
}

// automorphism sets dst to src after X -> X^(2^level+1).
func automorphism(dst, src []uint64, level int, q uint64) {
	n := len(src)
	sign := bits.Len(uint(n)) - 1
	at, step := 0, 1<<level+1
	for _, x := range src {
		// X^(at) is -X^(at-n) from n on. No branch: it would be taken at random.
		dst[at&(n-1)] = pick(x, fhe.SubMod(0, x, q), uint64(at>>sign&1))
		at = (at + step) & (2*n - 1)
	}
}

// pick returns x if bit is 0 and y if it is 1.
func pick(x, y, bit uint64) uint64 { return x ^ (x^y)&-bit }

// magnitudes begins the gadget decomposition of a polynomial, with the digits that
// accel.Rotator.Rotate defines: s.left receives the rounded magnitudes and s.sign 1
// where they belong to a negative number, else 0.
func (s *packing) magnitudes(poly []uint64) {
	g, q := s.params.Literal().PackingGadget, s.ring.Modulus()
	drop := 48 - g.BaseLog*g.Levels
	// floor((c + half)/2^drop) for c = x, and for c = x - q < 0 the magnitude is
	// floor((q - x + 2^drop-1 - half)/2^drop).
	half := uint64(1) << drop >> 1
	below := uint64(1)<<drop - 1 - half
	for i, x := range poly {
		_, negative := bits.Sub64(q/2, x, 0)
		s.left[i] = pick(x+half, q-x+below, negative) >> drop
		s.sign[i] = negative
	}
}

// digits takes the next digits, from the least, of the polynomial that magnitudes was
// given, as residues, into s.digit. The last one takes what remains.
func (s *packing) digits(last bool) {
	log, q := s.params.Literal().PackingGadget.BaseLog, s.ring.Modulus()
	base := uint64(1) << log
	for i, left := range s.left {
		d := left
		if !last {
			d &= base - 1
			_, over := bits.Sub64(base/2, d, 0)
			d -= base & -over
			s.left[i] = left>>log + over
		}
		d = pick(d, -d, s.sign[i])
		s.digit[i] = d + q&-(d>>63) // d is in [-base/2, base/2], or what remains
	}
}
