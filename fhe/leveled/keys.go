package leveled

import (
	"crypto/rand"
	"crypto/sha3"
	"encoding/binary"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/ring/ringqp"
	"github.com/tuneinsight/lattigo/v5/utils/sampling"

	"github.com/tacit-fhe/tacit/fhe"
)

// SeedSize is the size of every seed in bytes.
const SeedSize = 32

// KeyID names a set of keys: the SHA-256 of the container of its evaluation key. Every
// ciphertext carries the id of the keys it was made under.
type KeyID = fhe.KeyID

// SecretKey is a uniform ternary polynomial, expanded from a seed.
type SecretKey struct {
	params *Parameters
	id     KeyID
	seed   [SeedSize]byte
	key    *rlwe.SecretKey
}

// PublicKey encrypts. Its uniform half is expanded from a seed.
type PublicKey struct {
	params *Parameters
	id     KeyID
	seed   [SeedSize]byte
	key    *rlwe.PublicKey
}

// EvaluationKey is what a server needs to compute: a relinearisation key, one Galois key
// for each rotation that is offered, and the keys of bootstrapping where the set has it. The
// uniform halves are expanded from seeds.
type EvaluationKey struct {
	params *Parameters
	id     KeyID
	spec   KeySpec
	parts  []part // in the order of plan
	set    *rlwe.MemEvaluationKeySet
}

// KeySpec says what an evaluation key is to hold besides the relinearisation key.
type KeySpec struct {
	// Rotations are the distances, in slots to the left, for which there are keys of their
	// own. nil means all powers of two, from which every rotation can be composed; an empty list
	// means none.
	Rotations []int
	// SwapRows adds the key that swaps the two rows of BGV and BFV.
	SwapRows bool
	// Bootstrapping adds the keys of CKKS bootstrapping.
	Bootstrapping bool
}

// KeySet is everything that key generation makes.
type KeySet struct {
	Secret     *SecretKey
	Public     *PublicKey
	Evaluation *EvaluationKey
}

// A part is one switching key: of an evaluation key, or that of a migration key.
type part struct {
	element uint64 // Galois element; one of the names below otherwise
	seed    [SeedSize]byte
	key     *rlwe.EvaluationKey
}

// Names of parts that are no Galois keys. Galois elements are odd.
const (
	relinearization uint64 = 0
	denseToSparse   uint64 = 2
	sparseToDense   uint64 = 4
	migration       uint64 = 6 // in no evaluation key
)

func partName(element uint64) string {
	switch element {
	case relinearization:
		return "relinearisation key"
	case denseToSparse:
		return "key switch to the sparse secret"
	case sparseToDense:
		return "key switch from the sparse secret"
	case migration:
		return "key switch to the new secret"
	}
	return fmt.Sprintf("Galois key %d", element)
}

// levelsOf returns the levels of the moduli of a part. The switch to the sparse secret is at the bottom: all that
// may ever be encrypted under that secret is one row modulo q0·p0 (2022/024, section 3). A migration
// meets no ciphertext inside of the bootstrapping circuit, whose primes its key does not have. All others are at
// the top.
func (p *Parameters) levelsOf(element uint64) (q, special int) {
	switch element {
	case denseToSparse:
		return 0, 0
	case migration:
		return p.topLevel(), p.rlwe.MaxLevelP()
	}
	return p.rlwe.MaxLevelQ(), p.rlwe.MaxLevelP()
}

// check returns the spec in its canonical form: rotations reduced modulo the row, sorted, without
// repetition and without 0.
func (p *Parameters) checkSpec(spec KeySpec) (KeySpec, error) {
	if spec.SwapRows && !p.lit.Scheme.Integers() {
		return KeySpec{}, &SchemeError{"swap rows", p.lit.Scheme}
	}
	if spec.Bootstrapping && !p.Bootstraps() {
		return KeySpec{}, &ValueError{"bootstrapping", "the parameter set " + p.Name() + " has none"}
	}
	var rotations []int
	if spec.Rotations == nil {
		for k := 1; k < p.Row(); k *= 2 {
			rotations = append(rotations, k)
		}
	}
	for _, k := range spec.Rotations {
		if r := p.reduceRotation(k); r != 0 {
			rotations = append(rotations, r)
		}
	}
	slices.Sort(rotations)
	spec.Rotations = slices.Compact(rotations)
	if len(spec.Rotations) > maxRotations {
		return KeySpec{}, &ValueError{"rotations", fmt.Sprintf("more than %d keys", maxRotations)}
	}
	return spec, nil
}

// maxRotations bounds the Galois keys that an evaluation key lists.
const maxRotations = 256

// plan lists the parts of a key with a checked spec.
func (p *Parameters) plan(spec KeySpec) []uint64 {
	elements := []uint64{relinearization}
	var galois []uint64
	for _, k := range spec.Rotations {
		galois = append(galois, p.rlwe.GaloisElement(k))
	}
	if spec.SwapRows {
		galois = append(galois, p.rlwe.GaloisElementOrderTwoOrthogonalSubgroup())
	}
	if spec.Bootstrapping {
		elements = append(elements, denseToSparse, sparseToDense)
		galois = append(galois, p.boot.GaloisElements(p.ckks)...)
	}
	slices.Sort(galois)
	return append(elements, slices.Compact(galois)...)
}

// GenerateKeys draws a seed from the operating system and makes a set of keys. progress, if
// not nil, is told of the share that is done, by several goroutines.
func GenerateKeys(p *Parameters, spec KeySpec, progress func(done, total int)) (*KeySet, error) {
	spec, err := p.checkSpec(spec)
	if err != nil {
		return nil, err
	}
	sk := newSecretKey(p, newSeed(), KeyID{})
	evk := sk.evaluationKey(spec, progress)
	sk.id = evk.id
	return &KeySet{sk, sk.publicKey(), evk}, nil
}

func newSeed() (seed [SeedSize]byte) {
	rand.Read(seed[:]) // never fails since Go 1.24
	return seed
}

// newSecretKey expands a seed to a polynomial with coefficients uniform in {-1, 0, 1}, without a
// branch or an index that depends on them. 64 bits are scaled to three values, which is off from
// uniform by less than 2^-62.
func newSecretKey(p *Parameters, seed [SeedSize]byte, id KeyID) *SecretKey {
	xof := sha3.NewSHAKE256()
	xof.Write([]byte("tacit leveled secret key"))
	xof.Write(p.fingerprint[:])
	xof.Write(seed[:])
	stream := make([]byte, 8*p.N())
	xof.Read(stream)

	key := rlwe.NewSecretKey(p.rlwe)
	for i := range p.N() {
		v, _ := bits.Mul64(binary.LittleEndian.Uint64(stream[8*i:]), 3) // 0, 1, 2 stand for 0, 1, -1
		one, minus := v&1, v>>1
		for j, q := range p.rlwe.Q() {
			key.Value.Q.Coeffs[j][i] = one | (q-1)&-minus
		}
		for j, q := range p.rlwe.P() {
			key.Value.P.Coeffs[j][i] = one | (q-1)&-minus
		}
	}
	clear(stream)
	ringQP := p.rlwe.RingQP()
	ringQP.NTT(key.Value, key.Value)
	ringQP.MForm(key.Value, key.Value)
	return &SecretKey{params: p, id: id, seed: seed, key: key}
}

// seeded returns a generator of keys whose uniform halves come from a seed and whose errors come from the
// operating system.
func (p *Parameters) seeded(seed [SeedSize]byte) *rlwe.KeyGenerator {
	return &rlwe.KeyGenerator{Encryptor: rlwe.NewEncryptor(p.rlwe, nil).WithPRNG(expand(seed))}
}

func expand(seed [SeedSize]byte) sampling.PRNG {
	prng, err := sampling.NewKeyedPRNG(seed[:])
	if err != nil {
		panic(err) // a key of 32 bytes is always accepted
	}
	return prng
}

// masks returns a function that fills polynomials with the uniform values of a seed, in the order
// in which a generator made with seeded draws them.
func (p *Parameters) masks(seed [SeedSize]byte) func(levelQ, levelP int, dst ringqp.Poly) {
	sampler := ringqp.NewUniformSampler(expand(seed), *p.rlwe.RingQP())
	return func(levelQ, levelP int, dst ringqp.Poly) { sampler.AtLevel(levelQ, levelP).Read(dst) }
}

func (sk *SecretKey) publicKey() *PublicKey {
	pk := &PublicKey{params: sk.params, id: sk.id, seed: newSeed()}
	pk.key = sk.params.seeded(pk.seed).GenPublicKeyNew(sk.key)
	return pk
}

// evaluationKey makes all parts, each with a seed of its own, on all cores.
func (sk *SecretKey) evaluationKey(spec KeySpec, progress func(done, total int)) *EvaluationKey {
	p := sk.params
	elements := p.plan(spec)
	evk := &EvaluationKey{params: p, spec: spec, parts: make([]part, len(elements))}
	var sparse *rlwe.SecretKey
	if spec.Bootstrapping {
		sparse = newSparseKey(p)
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		done int
	)
	for range min(runtime.GOMAXPROCS(0), len(elements)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(elements) {
					return
				}
				evk.parts[i] = sk.part(elements[i], sparse)
				mu.Lock()
				done++
				d := done
				mu.Unlock()
				if progress != nil {
					progress(d, len(elements))
				}
			}
		})
	}
	wg.Wait()
	evk.link()
	evk.id = evk.hash()
	return evk
}

// part makes one part. other is the sparse secret or, for a migration, the old one; the rest does without.
func (sk *SecretKey) part(element uint64, other *rlwe.SecretKey) part {
	p := sk.params
	pt := part{element: element, seed: newSeed()}
	gen := p.seeded(pt.seed)
	levelQ, levelP := p.levelsOf(element)
	at := rlwe.EvaluationKeyParameters{LevelQ: &levelQ, LevelP: &levelP}
	switch element {
	case relinearization:
		pt.key = &gen.GenRelinearizationKeyNew(sk.key, at).EvaluationKey
	case denseToSparse:
		pt.key = gen.GenEvaluationKeyNew(sk.key, other, at)
	case sparseToDense, migration:
		pt.key = gen.GenEvaluationKeyNew(other, sk.key, at)
	default:
		pt.key = &gen.GenGaloisKeyNew(element, sk.key, at).EvaluationKey
	}
	return pt
}

// link makes the set that evaluators of lattigo ask for keys.
func (evk *EvaluationKey) link() {
	nthRoot := evk.params.rlwe.RingQ().NthRoot()
	evk.set = rlwe.NewMemEvaluationKeySet(nil)
	for _, pt := range evk.parts {
		switch pt.element {
		case relinearization:
			evk.set.RelinearizationKey = &rlwe.RelinearizationKey{EvaluationKey: *pt.key}
		case denseToSparse, sparseToDense:
		default:
			evk.set.GaloisKeys[pt.element] = &rlwe.GaloisKey{EvaluationKey: *pt.key, GaloisElement: pt.element, NthRoot: nthRoot}
		}
	}
}

func (evk *EvaluationKey) find(element uint64) *rlwe.EvaluationKey {
	for i := range evk.parts {
		if evk.parts[i].element == element {
			return evk.parts[i].key
		}
	}
	return nil
}

// has reports whether there is a key for a rotation by k, 0 <= k < row.
func (evk *EvaluationKey) has(k int) bool {
	_, ok := slices.BinarySearch(evk.spec.Rotations, k)
	return ok
}

// Parameters returns the parameter set of the key.
func (sk *SecretKey) Parameters() *Parameters      { return sk.params }
func (pk *PublicKey) Parameters() *Parameters      { return pk.params }
func (evk *EvaluationKey) Parameters() *Parameters { return evk.params }

// ID returns the id of the set of keys.
func (sk *SecretKey) ID() KeyID      { return sk.id }
func (pk *PublicKey) ID() KeyID      { return pk.id }
func (evk *EvaluationKey) ID() KeyID { return evk.id }

// Spec returns what the key holds, in canonical form.
func (evk *EvaluationKey) Spec() KeySpec {
	spec := evk.spec
	spec.Rotations = slices.Clone(spec.Rotations)
	return spec
}

// MemoryBytes is what the key takes in memory: eight bytes for every residue, both halves.
func (evk *EvaluationKey) MemoryBytes() int64 {
	total := int64(0)
	for _, pt := range evk.parts {
		for _, row := range pt.key.Value {
			for _, v := range row {
				for _, poly := range v {
					total += int64(8 * evk.params.N() * (poly.LevelQ() + 1 + poly.LevelP() + 1))
				}
			}
		}
	}
	return total
}

// newSparseKey draws the ephemeral secret of bootstrapping: sparseWeight coefficients of -1 or 1
// at random places. It is used for the two keys that switch to it and back, and kept nowhere.
func newSparseKey(p *Parameters) *rlwe.SecretKey {
	key := rlwe.NewSecretKey(p.rlwe)
	places := make(map[uint32]bool, sparseWeight)
	var buf [4]byte
	for len(places) < sparseWeight {
		rand.Read(buf[:])
		x := binary.LittleEndian.Uint32(buf[:])
		at, minus := x&uint32(p.N()-1), uint64(x>>31)
		if places[at] {
			continue
		}
		places[at] = true
		for j, q := range p.rlwe.Q() {
			key.Value.Q.Coeffs[j][at] = 1 + (q-2)*minus
		}
		for j, q := range p.rlwe.P() {
			key.Value.P.Coeffs[j][at] = 1 + (q-2)*minus
		}
	}
	ringQP := p.rlwe.RingQP()
	ringQP.NTT(key.Value, key.Value)
	ringQP.MForm(key.Value, key.Value)
	return key
}
