package cuda

import (
	"errors"
	"math/bits"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

const (
	// maxThreads is that of the rotate kernels, and fewThreads that of those for few
	// ciphertexts.
	maxThreads = 512
	fewThreads = 256
	// window is the number of steps of a launch: the streaming multiprocessors do not
	// get further apart than that, and find the key in the cache.
	window = 48
	// combinedBytes is what the combinations of a launch take at most.
	combinedBytes = 64 << 20
)

// rotator is an accel.Rotator, closed with its key.
type rotator struct {
	*residentKey
	spec accel.RotatorSpec
	host accel.Rotator
}

// Rotator implements accel.Backend.
func (b *Backend) Rotator(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) (accel.Rotator, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	k1, rows, n := spec.Rank+1, (spec.Rank+1)*spec.Levels, spec.N
	step := spec.GGSWs() * rows * k1
	key := newResidentKey(b, 8*spec.Steps*step*n)
	host, err := b.host.Rotator(spec, filling(key, 8*step*n, ggsw, func(w *work, to driver.Pointer, src []uint64) {
		t := w.tables(n, spec.Q)
		data := upload(w, "rows", step*n, func(to []uint64) { copy(to, src) })
		w.forwardTransforms(t, data, step)
		w.spread("pack_key", step*n/16, uint64(to), uint64(data), bitsOf(float64(spec.Q)), bitsOf(t.scale), uint64(n), uint64(k1), uint64(rows), uint64(step))
	}))
	if err != nil {
		return nil, errors.Join(err, key.Close())
	}
	r := &rotator{key, spec, host}
	closeWith(r, key)
	return r, nil
}

// Rotate implements accel.Rotator.
func (r *rotator) Rotate(acc [][]uint64, exps [][]uint32) {
	checkLen("Rotate: exps", len(acc), len(exps))
	for t := range acc {
		checkLen("Rotate: accumulator", (r.spec.Rank+1)*r.spec.N, len(acc[t]))
		checkLen("Rotate: exponents", r.spec.Steps*r.spec.Exponents(), len(exps[t]))
	}
	for len(acc) > 0 {
		batch := min(len(acc), r.backend.batch())
		r.rotate(acc[:batch], exps[:batch])
		acc, exps = acc[batch:], exps[batch:]
	}
}

func (r *rotator) rotate(acc [][]uint64, exps [][]uint32) {
	size, each := (r.spec.Rank+1)*r.spec.N, r.spec.Steps*r.spec.Exponents()
	defer r.use()()
	err := r.backend.run(r.has, func(w *work) func() {
		a := upload(w, "accumulators", len(acc)*size, func(to []uint64) { gather(to, acc) })
		e := upload(w, "exponents", len(acc)*each, func(to []uint32) { gather(to, exps) })
		r.queue(w, a, e, len(acc), automatic)
		out := download[uint64](w, "accumulators", a, len(acc)*size)
		return func() { scatter(acc, out) }
	})
	if err != nil {
		r.backend.fallBack(err)
		r.host.Rotate(acc, exps)
	}
}

// batch is the number of ciphertexts that fill a device: two for each
// multiprocessor, which is what their registers hold.
func (b *Backend) batch() int { return 2 * b.devices[0].properties.Multiprocessors }

// calls is the number of calls that keep all devices busy.
func (b *Backend) calls() int { return lanesPerDevice * len(b.devices) }

// fused says that a kernel does whole steps in shared memory, with how many threads
// and bytes for each ciphertext.
func fused(spec accel.RotatorSpec, limit int) (threads, shared int, ok bool) {
	k1 := spec.Rank + 1
	threads = k1 * spec.N / 16
	shared = 8 * (k1*spec.Levels*padded(spec.N) + k1*spec.N)
	return threads, shared, spec.N <= largestPart && threads <= maxThreads && shared <= limit
}

// Kernel chooses how blind rotations of several ciphertexts a step run.
type Kernel int

const (
	automatic Kernel = iota
	// ThroughputKernel combines the ciphertexts of a step in the multiprocessor that
	// rotates: the least work and memory traffic for each ciphertext.
	ThroughputKernel
	// LatencyKernel gives each ciphertext a multiprocessor with all its registers. Where a
	// step combines ciphertexts, all multiprocessors do that for many steps ahead, so that
	// the steps themselves, one after the other, are as short as those of CMux.
	LatencyKernel
)

func (k Kernel) String() string { return [...]string{"automatic", "throughput", "latency"}[k] }

// queue queues the rotation of batch accumulators on a device that has the key.
func (r *rotator) queue(w *work, acc, exps driver.Pointer, batch int, kernel Kernel) {
	s := r.spec
	key := r.pointer(w.device)
	t := w.tables(s.N, s.Q)
	threads, shared, ok := fused(s, w.device.properties.SharedMemory)
	if !ok {
		r.stepByStep(w, t, acc, exps, key, batch)
		return
	}
	multiprocessors := w.device.properties.Multiprocessors
	groups := max(1, min(maxThreads/threads, w.device.properties.SharedMemory/shared, batch/multiprocessors))
	if kernel == automatic {
		// With more ciphertexts than these, multiprocessors that combine ahead do not idle.
		few := max(1, multiprocessors/2)
		if s.Mode == accel.CMux {
			few = multiprocessors
		}
		kernel = ThroughputKernel
		if batch <= few {
			kernel = LatencyKernel
		}
	}
	name, steps := "rotate_combining", window
	combinedSize := 8 * (s.Rank + 1) * (s.Rank + 1) * s.Levels * s.N * batch // of a step
	source := key
	switch {
	case s.Mode == accel.CMux:
		name = "rotate_cmux"
	case kernel == LatencyKernel:
		name, steps = "rotate_combined", max(1, min(window, combinedBytes/combinedSize))
		source = w.memory("combinations", steps*combinedSize)
	}
	if kernel == LatencyKernel && threads <= fewThreads {
		name, groups = name+"_few", 1
	}
	q, logN, unrolled := bitsOf(float64(s.Q)), uint64(bits.Len(uint(s.N))-1), truth(s.Mode == accel.Unrolled)
	for first := 0; first < s.Steps; first += steps {
		last := min(first+steps, s.Steps)
		if source != key {
			w.spread("combine_steps", (last-first)*combinedSize/8/16, uint64(source), uint64(exps), uint64(key), uint64(t.powers), q,
				logN, uint64(s.Rank+1), uint64(s.Levels), uint64(s.Steps), uint64(s.Terms), unrolled, uint64(first), uint64(last), uint64(batch))
		}
		w.launch(name, ceil(batch, groups), groups*threads, groups*shared, uint64(acc), uint64(exps), uint64(source), uint64(t.powers), uint64(t.forward), uint64(t.inverse), q,
			logN, uint64(s.Rank+1), uint64(s.Levels), uint64(s.BaseLog), uint64(s.Steps), uint64(s.Terms), unrolled, uint64(first), uint64(last), uint64(batch))
	}
}

// stepByStep queues a rotation whose steps are several launches.
func (r *rotator) stepByStep(w *work, t *ringTables, acc, exps, key driver.Pointer, batch int) {
	s := r.spec
	k1 := s.Rank + 1
	digits := w.memory("digits", 8*batch*k1*s.Levels*s.N)
	products := w.memory("products", 8*batch*k1*s.N)
	q, logN, unrolled := bitsOf(float64(s.Q)), uint64(bits.Len(uint(s.N))-1), truth(s.Mode == accel.Unrolled)
	for step := range s.Steps {
		w.spread("decompose", batch*k1*s.N, uint64(digits), uint64(acc), uint64(exps), q, logN, uint64(k1), uint64(s.Levels), uint64(s.BaseLog), uint64(s.Steps), uint64(s.Terms), uint64(step), uint64(batch))
		w.forwardTransforms(t, digits, batch*k1*s.Levels)
		w.spread("multiply", batch*k1*s.N/16, uint64(products), uint64(digits), uint64(exps), uint64(key), uint64(t.powers), q,
			logN, uint64(k1), uint64(s.Levels), uint64(s.Steps), uint64(s.Terms), unrolled, uint64(step), uint64(batch))
		w.inverseTransforms(t, products, batch*k1, 1) // the key has 1/n in it
		w.spread("accumulate", batch*k1*s.N, uint64(acc), uint64(products), s.Q, unrolled, uint64(batch*k1*s.N))
	}
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
