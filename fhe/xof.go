package fhe

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha3"
	"encoding/binary"
	"math/bits"
	"sync"
)

// SeedSize is the length of every seed in bytes.
const SeedSize = 32

// deriveSeed returns SHAKE256(seed ‖ label ‖ index), the seed of one purpose.
func deriveSeed(seed [SeedSize]byte, label string, index uint64) [SeedSize]byte {
	h := sha3.NewSHAKE256()
	h.Write(seed[:])
	h.Write(binary.LittleEndian.AppendUint64([]byte(label), index))
	var out [SeedSize]byte
	h.Read(out[:])
	return out
}

// stream is an AES-256-CTR key stream under a derived seed. Every residue takes
// its own 128-bit block, so that the i-th residue of a stream never depends on
// how the ones before it were sampled.
type stream struct {
	ctr  cipher.Stream
	buf  []byte
	have []byte // unread tail of buf
}

const (
	streamBuffer = 4096 // bytes
	residueBlock = 16   // bytes that one residue takes
)

func newStream(seed [SeedSize]byte, label string, index uint64) *stream {
	return newStreamOver(make([]byte, streamBuffer), seed, label, index)
}

// newStreamOver is newStream with a buffer.
func newStreamOver(buf []byte, seed [SeedSize]byte, label string, index uint64) *stream {
	key := deriveSeed(seed, label, index)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a 32-byte key is always accepted
	}
	return &stream{ctr: cipher.NewCTR(block, make([]byte, aes.BlockSize)), buf: buf}
}

// maskBuffers are buffers of streams that are public.
var maskBuffers = sync.Pool{New: func() any { return new([streamBuffer]byte) }}

// maskResidues fills dst with the first residues of a stream that is public, as masks
// are.
func maskResidues(dst []uint64, seed [SeedSize]byte, label string, index, q uint64) {
	buf := maskBuffers.Get().(*[streamBuffer]byte)
	defer maskBuffers.Put(buf)
	newStreamOver(buf[:min(len(dst)*residueBlock, streamBuffer)], seed, label, index).residues(dst, q)
}

// next returns the next n bytes, n a divisor of the buffer's length, valid until the
// next call.
func (s *stream) next(n int) []byte {
	if len(s.have) < n {
		clear(s.buf)
		s.ctr.XORKeyStream(s.buf, s.buf)
		s.have = s.buf
	}
	b := s.have[:n]
	s.have = s.have[n:]
	return b
}

// residues fills dst with residues floor(x·q/2^128) of 128-bit blocks x. For
// q < 2^48 the distribution is within 2^-80 of uniform.
func (s *stream) residues(dst []uint64, q uint64) {
	for i := range dst {
		b := s.next(residueBlock)
		lo, hi := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		carryHi, _ := bits.Mul64(lo, q)
		top, low := bits.Mul64(hi, q)
		_, carry := bits.Add64(low, carryHi, 0)
		dst[i] = top + carry
	}
}

// words fills dst with uniform 32-bit words.
func (s *stream) words(dst []uint32) {
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint32(s.next(4))
	}
}

// masks fills dst with 0 or 2^64-1, each with probability one half.
func (s *stream) masks(dst []uint64) {
	for i := range dst {
		dst[i] = -uint64(s.next(1)[0] & 1)
	}
}

// blocks fills dst with blocks of the given size of which at most one mask is
// 2^64-1, the others 0: none or any one of them, each with the same probability
// to within 2^-60. It takes no branch on what it draws.
func (s *stream) blocks(dst []uint64, size int) {
	for at := 0; at < len(dst); at += size {
		which, _ := bits.Mul64(binary.LittleEndian.Uint64(s.next(8)), uint64(size+1))
		for j := range size {
			diff := which ^ uint64(j)
			dst[at+j] = -(1 - (diff|-diff)>>63)
		}
	}
}

// tuniform samples TUniform(b): the sum of a uniform integer of b+1 bits and one
// more bit, less 2^b. It takes b+2 bits and no branch.
func (s *stream) tuniform(b int) int64 {
	r := binary.LittleEndian.Uint64(s.next(8))
	return int64(r&(2<<b-1)) + int64(r>>63) - 1<<b
}
