//go:build amd64 && !purego

package cpu

import (
	"sync"

	"github.com/tacit-fhe/tacit/accel"
)

const (
	// maxPairedBaseLog is the largest digit base whose digits, up to half of it in
	// magnitude, are signed words of 16 bits.
	maxPairedBaseLog = 15
	// pairedColumns is the number of output columns that a kernel keeps in registers.
	pairedColumns = 32
	// pairedTile is the number of pairs of digits for which a batch goes through the key
	// before it moves on: 128 KiB of key, which stay in the second-level cache.
	pairedTile = 512
)

// keySwitchKernel adds the products of pairs of digits of a group of ciphertexts with
// the key to their sums.
type keySwitchKernel func(acc *uint32, key *int16, digits *uint32, pairs int)

// The kernels of an instruction set, the largest group of ciphertexts first.
var (
	avx512KeySwitchKernels = []keySwitchGroup{{4, vnniKeySwitch4}, {2, vnniKeySwitch2}, {1, vnniKeySwitch1}}
	avx2KeySwitchKernels   = []keySwitchGroup{{1, avx2KeySwitch}}
)

// keySwitchGroup is a kernel and the number of ciphertexts it takes.
type keySwitchGroup struct {
	size   int
	kernel keySwitchKernel
}

// keySwitcherPaired is the accel.KeySwitcher whose kernels multiply pairs of 16-bit
// digits with the halves of pairs of key words. All digits of a ciphertext form one
// sequence, NIn*Levels long and padded to pairs.
type keySwitcherPaired struct {
	spec    accel.KeySwitchSpec
	kernels []keySwitchGroup
	mask    modulusSwitch // to BaseLog*Levels bits
	body    modulusSwitch // to 32 bits
	pairs   int
	// key holds for each 32 columns, each pair of digits and each half of the columns
	// the low halves of 16 pairs of words, then the high ones.
	key     []int16
	scratch sync.Pool // *pairedScratch
}

// pairedScratch grows with the batch.
type pairedScratch struct {
	digits []uint32         // of one coefficient
	packed []uint32         // pairs of digits: by group of ciphertexts, pair and ciphertext
	sums   []uint32         // 2*pairedColumns words for each ciphertext
	groups []keySwitchGroup // how the batch is cut
}

func newKeySwitcherPaired(spec accel.KeySwitchSpec, rows func(i int, dst []uint32), kernels []keySwitchGroup) *keySwitcherPaired {
	width := spec.NOut + 1
	chunks := (width + pairedColumns - 1) / pairedColumns
	k := &keySwitcherPaired{
		spec:    spec,
		kernels: kernels,
		mask:    newModulusSwitch(spec.Q, spec.BaseLog*spec.Levels),
		body:    newModulusSwitch(spec.Q, 32),
		pairs:   (spec.NIn*spec.Levels + 1) / 2,
	}
	k.key = make([]int16, chunks*k.pairs*4*pairedColumns)
	hugePages(k.key)
	k.scratch.New = func() any { return &pairedScratch{digits: make([]uint32, spec.Levels)} }
	parallel(spec.NIn, func(next func() (int, bool)) {
		in := make([]uint32, spec.Levels*width)
		for i, ok := next(); ok; i, ok = next() {
			rows(i, in)
			for level := range spec.Levels {
				pair, half := (i*spec.Levels+level)/2, (i*spec.Levels+level)%2
				for m, word := range in[level*width:][:width] {
					chunk, part, lane := m/pairedColumns, m%pairedColumns/16, m%16
					at := ((chunk*k.pairs+pair)*2+part)*64 + 2*lane + half
					lo := int16(word)
					k.key[at], k.key[at+32] = lo, int16((word-uint32(lo))>>16)
				}
			}
		}
	})
	return k
}

func (k *keySwitcherPaired) Switch(out [][]uint32, in [][]uint64) {
	checkSwitch(k.spec, out, in)
	s := k.scratch.Get().(*pairedScratch)
	k.pack(s, in)
	for chunk := 0; chunk*pairedColumns <= k.spec.NOut; chunk++ {
		clear(s.sums)
		for tile := 0; tile < k.pairs; tile += pairedTile {
			pairs := min(pairedTile, k.pairs-tile)
			key := &k.key[(chunk*k.pairs+tile)*4*pairedColumns]
			sums, packed := s.sums, s.packed
			for _, g := range s.groups {
				g.kernel(&sums[0], key, &packed[tile*g.size], pairs)
				sums, packed = sums[g.size*2*pairedColumns:], packed[g.size*k.pairs:]
			}
		}
		for t := range out {
			sums := s.sums[t*2*pairedColumns:][:2*pairedColumns]
			first := chunk * pairedColumns
			for m := range out[t][first:min(first+pairedColumns, len(out[t]))] {
				at := m/16*32 + m%16
				out[t][first+m] = -(sums[at] + sums[at+16]<<16)
			}
		}
	}
	for t := range out {
		out[t][k.spec.NOut] += k.body.round(in[t][k.spec.NIn])
	}
	k.scratch.Put(s)
}

// pack cuts the batch into groups, the largest first, and writes their digits.
func (k *keySwitcherPaired) pack(s *pairedScratch, in [][]uint64) {
	if size := len(in) * k.pairs; cap(s.packed) < size {
		s.packed = make([]uint32, size)
		s.sums = make([]uint32, len(in)*2*pairedColumns)
	}
	s.packed, s.sums = s.packed[:len(in)*k.pairs], s.sums[:len(in)*2*pairedColumns]
	clear(s.packed)
	s.groups = s.groups[:0]
	packed, kernels := s.packed, k.kernels
	for len(in) > 0 {
		for kernels[0].size > len(in) {
			kernels = kernels[1:]
		}
		group := kernels[0].size
		s.groups = append(s.groups, kernels[0])
		for t, lwe := range in[:group] {
			at := 0
			for _, a := range lwe[:k.spec.NIn] {
				switchDigits(s.digits, k.mask.round(a), k.spec.BaseLog)
				for _, d := range s.digits {
					packed[at/2*group+t] |= d & 0xffff << (16 * (at & 1))
					at++
				}
			}
		}
		in, packed = in[group:], packed[group*k.pairs:]
	}
}
