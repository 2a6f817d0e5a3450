package fhe

import (
	"fmt"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// MaxSlots bounds the messages in one Encryption.
const MaxSlots = 1 << 16

// Form is how an Encryption travels.
type Form uint8

const (
	// SecretForm is made with the secret key: a seed that the masks expand
	// from, and one residue per message.
	SecretForm Form = 1
	// PublicForm is made with the public key: for each group of up to N
	// messages one GLWE ciphertext, its body cut to the messages it holds and
	// its residues to PackedBits bits, as those of a Packed.
	PublicForm Form = 2
)

func (f Form) String() string {
	switch f {
	case SecretForm:
		return "secret-key"
	case PublicForm:
		return "public-key"
	}
	return fmt.Sprintf("form %d", uint8(f))
}

// Encryption is a list of fresh LWE ciphertexts in the form in which they
// travel, or a part of one.
type Encryption struct {
	form   Form
	first  int            // place of the first message in the whole, in PublicForm in its group
	seed   [SeedSize]byte // of the masks in SecretForm
	masks  [][]uint64     // k·N residues a group in PublicForm, cut as those of a Packed
	bodies []uint64       // one residue a message
}

// Encrypt encrypts messages under the secret key. A seed must never be used for
// two different lists of messages; take it from NewSeed.
func (sk *SecretKey) Encrypt(seed [SeedSize]byte, messages []int64) *Encryption {
	p, q := sk.params, sk.params.lit.Modulus
	e := &Encryption{form: SecretForm, seed: deriveSeed(seed, "encryption mask", 0), bodies: make([]uint64, len(messages))}
	errs := newStream(seed, "encryption error", 0)
	mask := make([]uint64, p.BigDimension())
	for i, m := range messages {
		newStream(e.seed, "lwe mask", uint64(i)).residues(mask, q)
		body := AddMod(p.Encode(m), residue(errs.tuniform(p.lit.GLWENoise), q), q)
		e.bodies[i] = AddMod(body, sk.inner(mask), q)
	}
	return e
}

// inner returns <mask, S> modulo q.
func (sk *SecretKey) inner(mask []uint64) (sum uint64) {
	for i, a := range mask[:len(sk.big)] {
		sum = AddMod(sum, a&sk.big[i], sk.params.lit.Modulus)
	}
	return sum
}

// Encrypter encrypts with a public key.
type Encrypter struct {
	pk   *PublicKey
	ring accel.Ring
	rows []uint64 // k rows of k+1 polynomials (A_u, b_u) in the evaluation domain
}

// Encrypter prepares the key for encryption.
func (pk *PublicKey) Encrypter(backend accel.Backend) (*Encrypter, error) {
	l := pk.params.lit
	ring, err := backend.Ring(l.PolynomialSize, l.Modulus)
	if err != nil {
		return nil, err
	}
	k, n := l.Rank, l.PolynomialSize
	e := &Encrypter{pk: pk, ring: ring, rows: make([]uint64, k*(k+1)*n)}
	for u := range k {
		row := e.rows[u*(k+1)*n : (u+1)*(k+1)*n]
		newStream(pk.seed, "public mask", uint64(u)).residues(row[:k*n], l.Modulus)
		copy(row[k*n:], pk.body[u])
		for v := range k + 1 {
			ring.NTT(row[v*n:(v+1)*n], row[v*n:(v+1)*n])
		}
	}
	return e, nil
}

// Encrypt encrypts messages under the public key: with a binary secret r of k
// polynomials and errors e₁, e₂, the GLWE ciphertext (Σ_u A_u·r_u + e₁,
// Σ_u b_u·r_u + e₂ + message), message i in coefficient i, of which the low bits
// are dropped, as everyone could. A seed must never be
// used for two different lists of messages; take it from NewSeed.
func (e *Encrypter) Encrypt(seed [SeedSize]byte, messages []int64) *Encryption {
	p := e.pk.params
	k, n, q := p.lit.Rank, p.lit.PolynomialSize, p.lit.Modulus
	out := &Encryption{form: PublicForm, bodies: make([]uint64, len(messages))}
	r := make([]uint64, n)
	glwe := make([]uint64, (k+1)*n)
	for group := 0; group*n < len(messages); group++ {
		secrets := newStream(seed, "encryption secret", uint64(group))
		errs := newStream(seed, "encryption error", uint64(group))
		clear(glwe)
		for u := range k {
			secrets.masks(r)
			for i := range r {
				r[i] &= 1
			}
			e.ring.NTT(r, r)
			for v := range k + 1 {
				e.ring.MulAcc(glwe[v*n:(v+1)*n], r, e.rows[(u*(k+1)+v)*n:(u*(k+1)+v+1)*n])
			}
		}
		for v := range k + 1 {
			poly := glwe[v*n : (v+1)*n]
			e.ring.INTT(poly, poly)
			for i := range poly {
				poly[i] = AddMod(poly[i], residue(errs.tuniform(p.lit.GLWENoise), q), q)
			}
		}
		mask, round := p.cut(glwe[:k*n])
		out.masks = append(out.masks, mask)
		end := min((group+1)*n, len(messages))
		for i, m := range messages[group*n : end] {
			out.bodies[group*n+i] = round(i, AddMod(glwe[k*n+i], p.Encode(m), q))
		}
	}
	return out
}

// Len is the number of messages.
func (e *Encryption) Len() int { return len(e.bodies) }

// Form returns how the ciphertexts were made.
func (e *Encryption) Form() Form { return e.form }

// Slice returns the count ciphertexts from the given one on, which e must have. They
// share its memory.
func (e *Encryption) Slice(p *Parameters, from, count int) *Encryption {
	out := &Encryption{form: e.form, first: e.first + from, seed: e.seed, bodies: e.bodies[from : from+count]}
	if e.form == PublicForm {
		group := out.first / p.lit.PolynomialSize
		out.first %= p.lit.PolynomialSize
		out.masks = e.masks[group : group+out.groups(p, count)]
	}
	return out
}

// groups is the number of masks of count messages in PublicForm.
func (e *Encryption) groups(p *Parameters, count int) int {
	if count == 0 {
		return 0
	}
	return (e.first+count-1)/p.lit.PolynomialSize + 1
}

// Bound is the bound of ciphertext i, whose message lies in [0, max].
func (e *Encryption) Bound(p *Parameters, i int, max int64) noise.Bound {
	switch e.form {
	case SecretForm:
		var first [1]uint64
		e.mask(first[:], i, p.lit.Modulus)
		return e.secretBound(p, first[0], max)
	case PublicForm:
		at, n := e.first+i, p.lit.PolynomialSize
		mask, h := e.masks[at/n], at%n
		return noise.Bound{Max: max, Variance: p.PublicVariance(), Source: source(mask[h], mask[(h+n-1)%n], mask[(h+n-2)%n])}
	}
	return noise.Bound{Max: max}
}

// secretBound is the bound of a ciphertext in SecretForm, given the first residue of its
// mask.
func (e *Encryption) secretBound(p *Parameters, first uint64, max int64) noise.Bound {
	return noise.Bound{Max: max, Variance: p.FreshVariance(), Source: source(first)}
}

// mask fills dst with the first residues of the mask of ciphertext i, in SecretForm.
func (e *Encryption) mask(dst []uint64, i int, q uint64) {
	maskResidues(dst, e.seed, "lwe mask", uint64(e.first+i), q)
}

// LWE expands ciphertext i, whose message lies in [0, max]. Its variance is that
// of a fresh ciphertext of its form.
func (e *Encryption) LWE(p *Parameters, i int, max int64) LWE {
	out := LWE{Value: make([]uint64, p.BigDimension()+1)}
	switch e.form {
	case SecretForm:
		e.mask(out.Value[:p.BigDimension()], i, p.lit.Modulus)
		out.Bound = e.secretBound(p, out.Value[0], max)
	case PublicForm:
		n := p.lit.PolynomialSize
		at := e.first + i
		p.ExtractMask(out.Value, e.masks[at/n], at%n)
		out.Bound = e.Bound(p, i, max)
	}
	out.Value[p.BigDimension()] = e.bodies[i]
	return out
}

// ExtractMask sets the first k·N residues of dst to the mask of the LWE
// ciphertext of coefficient h of a GLWE ciphertext with the given mask
// (SampleExtract, 2018/421, section 4.2): a polynomial product's coefficient h is
// Σ_{i<=h} A[h-i]·S[i] - Σ_{i>h} A[N+h-i]·S[i].
func (p *Parameters) ExtractMask(dst, mask []uint64, h int) {
	n, q := p.lit.PolynomialSize, p.lit.Modulus
	for u := range p.lit.Rank {
		d, a := dst[u*n:(u+1)*n], mask[u*n:(u+1)*n]
		for i := range h + 1 {
			d[i] = a[h-i]
		}
		for i := h + 1; i < n; i++ {
			d[i] = SubMod(0, a[n+h-i], q)
		}
	}
}

// Encode appends the encryption, without the number of its messages, to a body: its
// form, the place of its first message, seed or masks, and bodies.
func (e *Encryption) Encode(p *Parameters, enc *codec.Encoder) {
	enc.U8(uint8(e.form))
	enc.U32(uint32(e.first))
	if e.form == PublicForm {
		p.encodeCut(enc, e.masks, e.bodies)
		return
	}
	enc.Bytes(e.seed[:])
	enc.Residues(e.bodies, p.lit.Modulus)
}

// FormError refuses a form that is not known.
type FormError struct{ Got Form }

func (e *FormError) Error() string { return fmt.Sprintf("%s is not a form of encryption", e.Got) }

// DecodeEncryption reads an encryption of the given number of messages, at most
// MaxSlots.
func DecodeEncryption(p *Parameters, d *codec.Decoder, count int) (*Encryption, error) {
	e := &Encryption{form: Form(d.U8("form"))}
	if d.Err() == nil && e.form != SecretForm && e.form != PublicForm {
		d.Fail("form", &FormError{e.form})
	}
	first := d.U32("first")
	if d.Err() == nil && uint64(first)+uint64(count) > MaxSlots {
		d.Fail("bodies", &codec.LimitError{What: "messages", Got: uint64(first) + uint64(count), Max: MaxSlots})
	}
	e.first = int(first)
	switch e.form {
	case SecretForm:
		copy(e.seed[:], d.Bytes("seed", SeedSize))
		e.bodies = d.Residues("bodies", count, p.lit.Modulus)
	case PublicForm:
		if most := p.lit.PolynomialSize - 1; e.first > most {
			d.Fail("first", &codec.LimitError{What: "first", Got: uint64(first), Max: uint64(most)})
		}
		e.masks, e.bodies = p.decodeCut(d, e.groups(p, count), count)
	}
	return e, d.Err()
}

// Phase returns b - <a, S> modulo q, the encoded message and the error.
func (sk *SecretKey) Phase(c LWE) uint64 {
	n := sk.params.BigDimension()
	return SubMod(c.Value[n], sk.inner(c.Value[:n]), sk.params.lit.Modulus)
}

// Decrypt returns the message of a ciphertext: the one in [Min, Min + 2·Boxes)
// of its bound that is nearest to the phase.
func (sk *SecretKey) Decrypt(c LWE) int64 {
	m := sk.params.Decode(sk.Phase(c))
	period := int64(2 * sk.params.Boxes())
	return c.Bound.Min + (m-c.Bound.Min)&(period-1)
}

// Noise returns the error of a ciphertext relative to q, in (-1/2, 1/2): the
// distance of its phase from the nearest message. Errors that exceed half a box
// show as smaller ones around another message.
func (sk *SecretKey) Noise(c LWE) float64 {
	phase := sk.Phase(c)
	q := sk.params.lit.Modulus
	e := SubMod(phase, sk.params.Encode(sk.params.Decode(phase)), q)
	if e > q/2 {
		return -float64(q-e) / float64(q)
	}
	return float64(e) / float64(q)
}
