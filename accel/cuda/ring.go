package cuda

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

type ringKey struct {
	n int
	q uint64
}

// ringTables are the constants of a ring in the memory of a device. They stay there.
type ringTables struct {
	ringKey
	forward, inverse driver.Pointer // ψ^brv(i) and ψ^-brv(i), n each
	powers           driver.Pointer // ψ^i, 2n of them
	scale            float64        // 1/n
}

// largestPart is the number of values that a block transforms; rings above it take
// two launches.
const largestPart = 4096

// tables returns the constants of a ring.
func (w *work) tables(n int, q uint64) *ringTables {
	if w.err != nil {
		return &ringTables{}
	}
	d, key := w.device, ringKey{n, q}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.rings[key]; t != nil {
		return t
	}
	t := &ringTables{ringKey: key, scale: balanced(invert(uint64(n), q), q)}
	psi := accel.RootOfUnity(n, q)
	for _, table := range []struct {
		to       *driver.Pointer
		root     uint64
		count    int
		reversed bool
	}{{&t.forward, psi, n, true}, {&t.inverse, invert(psi, q), n, true}, {&t.powers, psi, 2 * n, false}} {
		values := pinned[float64](w, "table", table.count)
		if w.err != nil {
			return t
		}
		shift := 64 - bits.Len(uint(n-1))
		power := uint64(1)
		for i := range values {
			at := i
			if table.reversed {
				at = int(bits.Reverse64(uint64(i) << shift))
			}
			values[at] = balanced(power, q)
			power = mulMod(power, table.root, q)
		}
		if *table.to, w.err = d.Alloc(8 * table.count); w.err == nil {
			w.err = w.stream.Upload(*table.to, bytesOf(values))
		}
		// The page-locked memory is used again.
		if err := w.stream.Wait(); w.err == nil {
			w.err = err
		}
		if w.err != nil {
			return t
		}
	}
	d.rings[key] = t
	return t
}

// forwardTransforms queues the transforms of count polynomials in place.
func (w *work) forwardTransforms(t *ringTables, data driver.Pointer, count int) {
	part := min(t.n, largestPart)
	q := bitsOf(float64(t.q))
	if t.n > part {
		w.spread("ntt_top", count*t.n/16, uint64(data), uint64(t.forward), q, uint64(t.n), uint64(bits.Len(uint(t.n/part))-1), uint64(count))
	}
	blocks, threads, shared := partLaunch(part, count*t.n/part)
	w.launch("ntt", blocks, threads, shared, uint64(data), uint64(t.forward), q, uint64(t.n), uint64(part), uint64(count*t.n/part))
}

// inverseTransforms queues the inverse transforms, times n*scale, of count
// polynomials in place.
func (w *work) inverseTransforms(t *ringTables, data driver.Pointer, count int, scale float64) {
	part := min(t.n, largestPart)
	q, first, last := bitsOf(float64(t.q)), scale, 1.0
	if t.n > part {
		first, last = 1, scale
	}
	blocks, threads, shared := partLaunch(part, count*t.n/part)
	w.launch("intt", blocks, threads, shared, uint64(data), uint64(t.inverse), q, uint64(t.n), uint64(part), bitsOf(first), uint64(count*t.n/part))
	if t.n > part {
		w.spread("intt_top", count*t.n/16, uint64(data), uint64(t.inverse), q, uint64(t.n), uint64(bits.Len(uint(t.n/part))-1), bitsOf(last), uint64(count))
	}
}

// partLaunch is the shape of a launch that transforms count parts.
func partLaunch(part, count int) (blocks, threads, shared int) {
	groups := min(largestPart/part, count)
	return ceil(count, groups), groups * part / 16, 8 * groups * padded(part)
}

// padded is the room of n values in shared memory, as in kernels/transform.h.
func padded(n int) int { return n + n/16 }

// BatchRing is an accel.Ring that computes on the device, also many polynomials at a
// time.
type BatchRing struct {
	backend *Backend
	host    accel.Ring
}

// BatchRing prepares Z_q[X]/(X^n+1) as Ring does.
func (b *Backend) BatchRing(n int, q uint64) (*BatchRing, error) {
	host, err := b.host.Ring(n, q)
	if err != nil {
		return nil, err
	}
	return &BatchRing{b, host}, nil
}

// N implements accel.Ring.
func (r *BatchRing) N() int { return r.host.N() }

// Modulus implements accel.Ring.
func (r *BatchRing) Modulus() uint64 { return r.host.Modulus() }

// Calls is the number of calls at a time that keeps the devices busy.
func (r *BatchRing) Calls() int { return r.backend.calls() }

// NTT implements accel.Ring.
func (r *BatchRing) NTT(dst, src []uint64) { r.NTTs([][]uint64{dst}, [][]uint64{src}) }

// INTT implements accel.Ring.
func (r *BatchRing) INTT(dst, src []uint64) { r.INTTs([][]uint64{dst}, [][]uint64{src}) }

// NTTs is NTT of each of several polynomials.
func (r *BatchRing) NTTs(dst, src [][]uint64) {
	r.each(dst, src, r.host.NTT, func(w *work, t *ringTables, data driver.Pointer) { w.forwardTransforms(t, data, len(src)) })
}

// INTTs is INTT of each of several polynomials.
func (r *BatchRing) INTTs(dst, src [][]uint64) {
	r.each(dst, src, r.host.INTT, func(w *work, t *ringTables, data driver.Pointer) {
		w.inverseTransforms(t, data, len(src), t.scale)
	})
}

// each runs a transform of all polynomials on a device, or one by one on the host.
func (r *BatchRing) each(dst, src [][]uint64, host func(dst, src []uint64), queue func(*work, *ringTables, driver.Pointer)) {
	n := r.N()
	checkLen("transforms", len(src), len(dst))
	for i := range src {
		checkLen("polynomial", n, len(dst[i]), len(src[i]))
	}
	if len(src) == 0 {
		return
	}
	err := r.backend.run(anyDevice, func(w *work) func() {
		t := w.tables(n, r.Modulus())
		data := upload(w, "polynomials", len(src)*n, func(to []uint64) { gather(to, src) })
		queue(w, t, data)
		out := download[uint64](w, "polynomials", data, len(src)*n)
		return func() { scatter(dst, out) }
	})
	if err != nil {
		r.backend.fallBack(err)
		for i := range src {
			host(dst[i], src[i])
		}
	}
}

// Time returns how long repeat transforms of count polynomials take that are on the
// device and stay there.
func (r *BatchRing) Time(count, repeat int) (took time.Duration, err error) {
	err = r.backend.run(anyDevice, func(w *work) func() {
		t := w.tables(r.N(), r.Modulus())
		data := upload(w, "polynomials", count*r.N(), func(to []uint64) { clear(to) })
		w.forwardTransforms(t, data, count)
		if err := w.stream.Wait(); w.err == nil {
			w.err = err
		}
		start := time.Now()
		for range repeat {
			w.forwardTransforms(t, data, count)
		}
		return func() { took = time.Since(start) }
	})
	return took, err
}

// MulAcc implements accel.Ring.
func (r *BatchRing) MulAcc(acc, a, b []uint64) {
	n := r.N()
	checkLen("polynomial", n, len(acc), len(a), len(b))
	err := r.backend.run(anyDevice, func(w *work) func() {
		data := upload(w, "polynomials", 3*n, func(to []uint64) { gather(to, [][]uint64{acc, a, b}) })
		w.spread("mul_acc", n, uint64(data), uint64(data)+8*uint64(n), uint64(data)+16*uint64(n), bitsOf(float64(r.Modulus())), uint64(n))
		out := download[uint64](w, "polynomials", data, n)
		return func() { copy(acc, out) }
	})
	if err != nil {
		r.backend.fallBack(err)
		r.host.MulAcc(acc, a, b)
	}
}

func anyDevice(*device) bool { return true }

// gather copies slices one after the other into one.
func gather[T number](to []T, from [][]T) {
	for _, x := range from {
		to = to[copy(to, x):]
	}
}

// scatter undoes gather.
func scatter[T number](to [][]T, from []T) {
	for _, x := range to {
		from = from[copy(x, from):]
	}
}

// checkLen panics if a length differs from want.
func checkLen(what string, want int, got ...int) {
	for _, n := range got {
		if n != want {
			panic(fmt.Sprintf("cuda: %s: slice of length %d, want %d", what, n, want))
		}
	}
}

// balanced returns the representative of x < q nearest to 0.
func balanced(x, q uint64) float64 {
	if x > q/2 {
		return -float64(q - x)
	}
	return float64(x)
}

// mulMod returns x*y mod q for x, y < q.
func mulMod(x, y, q uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	_, r := bits.Div64(hi, lo, q)
	return r
}

// invert returns 1/x modulo the prime q for x < q: x^(q-2).
func invert(x, q uint64) uint64 {
	r := uint64(1)
	for e := q - 2; e != 0; e >>= 1 {
		if e&1 != 0 {
			r = mulMod(r, x, q)
		}
		x = mulMod(x, x, q)
	}
	return r
}
