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

// keySwitcherPaired is the accel.KeySwitcher whose kernels multiply pairs of 16-bit
// digits with the halves of pairs of key words. All digits of a ciphertext form one
// sequence, NIn*Levels long and padded to pairs.
type keySwitcherPaired struct {
	spec  accel.KeySwitchSpec
	mask  modulusSwitch // to BaseLog*Levels bits
	body  modulusSwitch // to 32 bits
	pairs int
	// key holds for each 32 columns, each pair of digits and each half of the columns
	// the low halves of 16 pairs of words, then the high ones.
	key     []int16
	scratch sync.Pool // *pairedScratch
}

// pairedScratch grows with the batch.
type pairedScratch struct {
	digits  []uint32 // of one coefficient
	packed  []uint32 // pairs of digits: by group of ciphertexts, pair and ciphertext
	sums    []uint32 // 2*pairedColumns words for each ciphertext
	ordered []int    // the group size of each group
}

func newKeySwitcherPaired(spec accel.KeySwitchSpec, rows func(i int, dst []uint32)) *keySwitcherPaired {
	width := spec.NOut + 1
	chunks := (width + pairedColumns - 1) / pairedColumns
	k := &keySwitcherPaired{
		spec:  spec,
		mask:  newModulusSwitch(spec.Q, spec.BaseLog*spec.Levels),
		body:  newModulusSwitch(spec.Q, 32),
		pairs: (spec.NIn*spec.Levels + 1) / 2,
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
			for _, group := range s.ordered {
				kernel := vnniKeySwitch1
				switch group {
				case 2:
					kernel = vnniKeySwitch2
				case 4:
					kernel = vnniKeySwitch4
				}
				kernel(&sums[0], key, &packed[tile*group], pairs)
				sums, packed = sums[group*2*pairedColumns:], packed[group*k.pairs:]
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

// pack splits the batch into groups of 4, 2 and 1 ciphertexts and writes their digits.
func (k *keySwitcherPaired) pack(s *pairedScratch, in [][]uint64) {
	if size := len(in) * k.pairs; cap(s.packed) < size {
		s.packed = make([]uint32, size)
		s.sums = make([]uint32, len(in)*2*pairedColumns)
	}
	s.packed, s.sums = s.packed[:len(in)*k.pairs], s.sums[:len(in)*2*pairedColumns]
	clear(s.packed)
	s.ordered = s.ordered[:0]
	packed := s.packed
	for len(in) > 0 {
		group := 1
		switch {
		case len(in) >= 4:
			group = 4
		case len(in) >= 2:
			group = 2
		}
		s.ordered = append(s.ordered, group)
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
