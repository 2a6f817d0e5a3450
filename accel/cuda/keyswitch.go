package cuda

import (
	"errors"
	"math/bits"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// The shape of switch_product in kernels/lwe.cu.
const (
	switchColumns = 128
	switchTile    = 8
	switchChunk   = 128
)

// keySwitcher is an accel.KeySwitcher, closed with its key.
type keySwitcher struct {
	*residentKey
	spec accel.KeySwitchSpec
	host accel.KeySwitcher
}

// KeySwitcher implements accel.Backend.
func (b *Backend) KeySwitcher(spec accel.KeySwitchSpec, rows func(i int, dst []uint32)) (accel.KeySwitcher, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	each := 4 * spec.Levels * (spec.NOut + 1)
	key := newResidentKey(b, spec.NIn*each)
	host, err := b.host.KeySwitcher(spec, filling(key, each, rows, func(w *work, to driver.Pointer, src []uint32) {
		rows := pinned[uint32](w, "rows", len(src))
		if w.err == nil {
			copy(rows, src)
			w.err = w.stream.Upload(to, bytesOf(rows))
		}
	}))
	if err != nil {
		return nil, errors.Join(err, key.Close())
	}
	k := &keySwitcher{key, spec, host}
	closeWith(k, key)
	return k, nil
}

// Switch implements accel.KeySwitcher.
func (k *keySwitcher) Switch(out [][]uint32, in [][]uint64) {
	checkLen("Switch: in", len(out), len(in))
	for t := range out {
		checkLen("Switch: output", k.spec.NOut+1, len(out[t]))
		checkLen("Switch: input", k.spec.NIn+1, len(in[t]))
	}
	for len(in) > 0 {
		batch := min(len(in), k.backend.batch())
		k.doSwitch(out[:batch], in[:batch])
		in, out = in[batch:], out[batch:]
	}
}

func (k *keySwitcher) doSwitch(out [][]uint32, in [][]uint64) {
	defer k.use()()
	err := k.backend.run(k.has, func(w *work) func() {
		src := upload(w, "inputs", len(in)*(k.spec.NIn+1), func(to []uint64) { gather(to, in) })
		small := k.queue(w, src, len(in))
		result := download[uint32](w, "small", small, len(in)*(k.spec.NOut+1))
		return func() { scatter(out, result) }
	})
	if err != nil {
		k.backend.fallBack(err)
		k.host.Switch(out, in)
	}
}

// queue queues the key switch of batch ciphertexts on a device that has the key, and
// returns where the results will be.
func (k *keySwitcher) queue(w *work, in driver.Pointer, batch int) driver.Pointer {
	s := k.spec
	rows, width := s.NIn*s.Levels, s.NOut+1
	key := k.pointer(w.device)
	digits := w.memory("switch digits", 4*batch*rows)
	out := w.memory("small", 4*batch*width)
	reciprocal := func(bl int) uint64 {
		r, _ := bits.Div64(1<<bl, 0, s.Q)
		return r
	}
	w.spread("switch_digits", batch*(s.NIn+1), uint64(digits), uint64(out), uint64(in), s.Q, reciprocal(s.BaseLog*s.Levels), reciprocal(32),
		uint64(s.NIn), uint64(s.NOut), uint64(s.BaseLog), uint64(s.Levels), uint64(batch))
	// As many shares of the rows as give every multiprocessor eight blocks.
	blocks := ceil(width, switchColumns) * ceil(batch, switchTile)
	share := ceil(rows, max(1, 8*w.device.properties.Multiprocessors/blocks))
	share = ceil(share, switchChunk) * switchChunk
	w.launch("switch_product", blocks*ceil(rows, share), switchColumns, 4*switchTile*switchChunk,
		uint64(out), uint64(digits), uint64(key), uint64(rows), uint64(width), uint64(ceil(width, switchColumns)), uint64(share), uint64(batch))
	return out
}
