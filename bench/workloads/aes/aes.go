// Package aes computes AES-128 on encrypted blocks under an encrypted key
// (FIPS 197). Bits are those of package parity, so that ShiftRows, MixColumns and
// AddRoundKey are free and only the S-box spends bootstraps: parity.Bootstraps
// for each of the 160 bytes of a block, and for each of the 40 of the key.
package aes

import (
	"context"
	"math/bits"

	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/fhe"
)

// BlockSize is the number of bytes of a block and of a key.
const BlockSize = 16

const rounds = 10

// signs are the bits of a byte that enter the S-box as they are. MixColumns sums
// five S-box outputs for these, and for bits 1, 3 and 4, which the reduction
// polynomial touches, seven.
var signs = [4]int{2, 5, 6, 7}

// state is a block, in the order of its bytes.
type state [BlockSize]parity.Byte

// Evaluator encrypts blocks. It is immutable and safe for concurrent use if its
// Bootstrapper is.
type Evaluator struct {
	bits *parity.Evaluator
	sbox *parity.Table
	// keyLimit bounds the variance of the round key's bits: with them, four
	// sums of five S-box outputs and a number of four fit one bootstrap.
	keyLimit float64
}

// New returns an evaluator for a parameter set with 2 message and 2 carry bits,
// for others a *fhe.ParametersError.
func New(p *fhe.Parameters, boot parity.Bootstrapper) (*Evaluator, error) {
	e, err := parity.NewEvaluator(p, boot)
	if err != nil {
		return nil, err
	}
	box := sbox()
	table, err := e.NewTable(&box, signs)
	if err != nil {
		return nil, err
	}
	v := p.BootstrapVariance()
	return &Evaluator{e, table, (p.MaxVariance()-4*v)/4 - 5*v}, nil
}

// Key is an expanded key: eleven encrypted round keys.
type Key [rounds + 1]state

// read takes the 128 ciphertexts of a block apart.
func read(in []fhe.LWE) (s state) {
	for i, c := range in[:8*BlockSize] {
		s[i/8][i%8] = parity.New(c)
	}
	return s
}

// Expand expands a key, 128 ciphertexts of 0 or parity.Half, the bits of each byte
// from the least significant on (FIPS 197, section 5.2). The sums of its words
// grow from round to round; where they are too noisy for the S-box they are
// bootstrapped.
func (e *Evaluator) Expand(ctx context.Context, key []fhe.LWE) (*Key, error) {
	var k Key
	k[0] = read(key)
	constant := byte(1)
	for r := 1; r <= rounds; r++ {
		last := k[r-1][12:]
		word, err := e.bits.Lookup(ctx, e.sbox, []parity.Byte{last[1], last[2], last[3], last[0]})
		if err != nil {
			return nil, err
		}
		word[0] = xor(word[0], plain(constant))
		constant = double(constant)
		for i := range k[r] {
			before := word[i%4]
			if i >= 4 {
				before = k[r][i-4]
			}
			k[r][i] = xor(k[r-1][i], before)
		}
		if err := e.refresh(ctx, &k[r]); err != nil {
			return nil, err
		}
	}
	return &k, nil
}

// refresh bootstraps the bits of a round key that are over the limit and enter the
// S-box as they are.
func (e *Evaluator) refresh(ctx context.Context, s *state) error {
	var noisy []parity.Bit
	var places []*parity.Bit
	for i := range s {
		for _, at := range signs {
			if b := &s[i][at]; b.Variance() > e.keyLimit {
				noisy = append(noisy, *b)
				places = append(places, b)
			}
		}
	}
	if len(noisy) == 0 {
		return nil
	}
	fresh, err := e.bits.Refresh(ctx, noisy)
	if err != nil {
		return err
	}
	for i, b := range fresh {
		*places[i] = b
	}
	return nil
}

// Encrypt encrypts blocks (FIPS 197, section 5.1), each 128 ciphertexts as for
// Expand. Blocks go through every round together.
func (e *Evaluator) Encrypt(ctx context.Context, k *Key, blocks ...[]fhe.LWE) ([][]fhe.LWE, error) {
	states := make([]state, len(blocks))
	for i, b := range blocks {
		states[i] = addRoundKey(read(b), k[0])
	}
	for r := 1; r <= rounds; r++ {
		var in []parity.Byte
		for _, s := range states {
			in = append(in, s[:]...)
		}
		bytes, err := e.bits.Lookup(ctx, e.sbox, in)
		if err != nil {
			return nil, err
		}
		for i := range states {
			s := shiftRows(state(bytes[i*BlockSize:]))
			if r < rounds {
				s = mixColumns(s)
			}
			states[i] = addRoundKey(s, k[r])
		}
	}
	out := make([][]fhe.LWE, len(blocks))
	for i, s := range states {
		for _, b := range s {
			for _, bit := range b {
				out[i] = append(out[i], e.bits.Ciphertext(bit))
			}
		}
	}
	return out, nil
}

func addRoundKey(s, k state) state {
	for i := range s {
		s[i] = xor(s[i], k[i])
	}
	return s
}

// shiftRows rotates row i of the columns by i (section 5.1.2).
func shiftRows(s state) (out state) {
	for i := range out {
		out[i] = s[(i+4*(i%4))%BlockSize]
	}
	return out
}

// mixColumns multiplies every column with the circulant matrix of 2, 3, 1, 1
// (section 5.1.3).
func mixColumns(s state) (out state) {
	for i := range out {
		column := s[i/4*4 : i/4*4+4]
		next := func(j int) parity.Byte { return column[(i+j)%4] }
		out[i] = xor(times2(next(0)), times2(next(1)), next(1), next(2), next(3))
	}
	return out
}

// times2 multiplies by x modulo x^8 + x^4 + x^3 + x + 1 (section 4.2.1).
func times2(b parity.Byte) (out parity.Byte) {
	for i := range out {
		if i > 0 {
			out[i] = b[i-1]
		}
		if double(0x80)>>i&1 == 1 {
			out[i] = parity.Xor(out[i], b[7])
		}
	}
	return out
}

func xor(in ...parity.Byte) (out parity.Byte) {
	for i := range out {
		all := make([]parity.Bit, len(in))
		for j, b := range in {
			all[j] = b[i]
		}
		out[i] = parity.Xor(all...)
	}
	return out
}

func plain(x byte) (out parity.Byte) {
	for i := range out {
		out[i] = parity.Plain(x>>i&1 == 1)
	}
	return out
}

// double multiplies by x in the field.
func double(b byte) byte { return b<<1 ^ b>>7*0x1b }

// times multiplies in the field.
func times(a, b byte) (product byte) {
	for ; b > 0; b >>= 1 {
		product ^= a * (b & 1)
		a = double(a)
	}
	return product
}

// sbox is the inverse in the field, 0 for 0, and an affine map (section 5.1.1).
func sbox() (box [256]byte) {
	for x := range box {
		inverse := byte(1) // x^254
		for range 254 {
			inverse = times(inverse, byte(x))
		}
		box[x] = 0x63
		for i := range 5 {
			box[x] ^= bits.RotateLeft8(inverse, i)
		}
	}
	return box
}

// Messages are the messages to encrypt for a block or a key, and Bytes is the
// block that decrypted messages are.
func Messages(block []byte) []int64 {
	out := make([]int64, 8*len(block))
	for i := range out {
		out[i] = parity.Half * int64(block[i/8]>>(i%8)&1)
	}
	return out
}

// Bytes are the bytes of decrypted messages.
func Bytes(messages []int64) []byte {
	out := make([]byte, len(messages)/8)
	for i, m := range messages {
		out[i/8] |= byte(m/parity.Half&1) << (i % 8)
	}
	return out
}
