package cuda

import (
	"math/bits"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// PBS is an accel.PBS on the devices of a backend.
type PBS struct {
	backend  *Backend
	rotator  *rotator
	switcher *keySwitcher
	kernel   Kernel
}

// PBS implements accel.PBSEngine: r and k must come from this backend.
func (b *Backend) PBS(r accel.Rotator, k accel.KeySwitcher) (accel.PBS, error) {
	p := &PBS{backend: b, rotator: r.(*rotator), switcher: k.(*keySwitcher)}
	if err := accel.CheckPBS(p.rotator.spec, p.switcher.spec); err != nil {
		return nil, err
	}
	return p, nil
}

// With returns a PBS that uses one kernel for all batches.
func (p *PBS) With(k Kernel) *PBS {
	c := *p
	c.kernel = k
	return &c
}

// Batch implements accel.PBS.
func (p *PBS) Batch() int { return p.backend.batch() }

// Calls implements accel.PBS.
func (p *PBS) Calls() int { return p.backend.calls() }

// Host implements accel.PBS.
func (p *PBS) Host() (accel.Rotator, accel.KeySwitcher) { return p.rotator.host, p.switcher.host }

// Bootstrap implements accel.PBS. Where memory is short it runs smaller batches.
func (p *PBS) Bootstrap(tasks []accel.PBSTask) error {
	spec := p.rotator.spec
	for _, t := range tasks {
		checkLen("Bootstrap: input", p.switcher.spec.NIn+1, len(t.In))
		checkLen("Bootstrap: test polynomial", spec.N, len(t.Test))
		checkLen("Bootstrap: outputs", len(t.Offsets), len(t.Out))
		for i, out := range t.Out {
			checkLen("Bootstrap: output", spec.Rank*spec.N+1, len(out))
			if h := t.Offsets[i]; h < 0 || h >= spec.N {
				panic("cuda: Bootstrap: an offset is not that of a coefficient")
			}
		}
	}
	for len(tasks) > 0 {
		batch := min(len(tasks), p.Batch())
		if err := p.halving(tasks[:batch]); err != nil {
			return err
		}
		tasks = tasks[batch:]
	}
	return nil
}

// halving runs a batch, or its halves one after the other when the device has no
// memory for it.
func (p *PBS) halving(tasks []accel.PBSTask) error {
	err := p.run(tasks)
	if !driver.IsOutOfMemory(err) {
		return err
	}
	p.backend.report(err)
	if len(tasks) == 1 {
		return err
	}
	half := len(tasks) / 2
	if err := p.halving(tasks[:half]); err != nil {
		return err
	}
	return p.halving(tasks[half:])
}

func (p *PBS) run(tasks []accel.PBSTask) error {
	spec, nIn, batch := p.rotator.spec, p.switcher.spec.NIn, len(tasks)
	// Tasks with the same table share one on the device.
	var tables [][]uint64
	var outs [][]uint64
	known := make(map[*uint64]uint32)
	tableOf := make([]uint32, batch)
	var accumulators, coefficients []uint32
	for i, t := range tasks {
		at, ok := known[&t.Test[0]]
		if !ok {
			at = uint32(len(tables))
			known[&t.Test[0]] = at
			tables = append(tables, t.Test)
		}
		tableOf[i] = at
		for j, h := range t.Offsets {
			accumulators, coefficients = append(accumulators, uint32(i)), append(coefficients, uint32(h))
			outs = append(outs, t.Out[j])
		}
	}
	if len(outs) == 0 {
		return nil
	}
	width, each := spec.Rank*spec.N+1, spec.Steps*spec.Exponents()
	logN, rank := uint64(bits.Len(uint(spec.N))-1), uint64(spec.Rank)
	fit := func(d *device) bool { return p.rotator.has(d) && p.switcher.has(d) }
	defer p.rotator.use()()
	defer p.switcher.use()()
	return p.backend.run(fit, func(w *work) func() {
		in := upload(w, "inputs", batch*(nIn+1), func(to []uint64) {
			for i, t := range tasks {
				copy(to[i*(nIn+1):], t.In)
			}
		})
		testPolynomials := upload(w, "tables", len(tables)*spec.N, func(to []uint64) { gather(to, tables) })
		lists := upload(w, "lists", batch+2*len(outs), func(to []uint32) { gather(to, [][]uint32{tableOf, accumulators, coefficients}) })
		exps := w.memory("exponents", 4*batch*each)
		bodies := w.memory("bodies", 4*batch)
		acc := w.memory("accumulators", 8*batch*(spec.Rank+1)*spec.N)
		out := w.memory("outputs", 8*len(outs)*width)

		small := p.switcher.queue(w, in, batch)
		w.launch("mod_switch", batch, 256, 8*256, uint64(exps), uint64(bodies), uint64(small), logN, uint64(spec.Steps), uint64(spec.KeyBits()), truth(spec.Mode == accel.Unrolled))
		w.spread("first_accumulators", batch*(spec.Rank+1)*spec.N, uint64(acc), uint64(bodies), uint64(testPolynomials), uint64(lists), spec.Q, logN, rank, uint64(batch))
		p.rotator.queue(w, acc, exps, batch, p.kernel)
		w.spread("extract", len(outs)*width, uint64(out), uint64(acc), uint64(lists)+4*uint64(batch), uint64(lists)+4*uint64(batch+len(outs)), spec.Q, logN, rank, uint64(len(outs)))
		result := download[uint64](w, "outputs", out, len(outs)*width)
		return func() { scatter(outs, result) }
	})
}
