package ptx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sort"
)

// Memory is the global memory of a device. It is not safe for concurrent use.
type Memory struct {
	buffers []*buffer // by address
	next    uint64
	launch  uint32
}

type buffer struct {
	base    uint64
	data    []byte
	written []mark // for each 4 bytes
}

// mark says in which launch, if any, which thread wrote last.
type mark struct{ launch, thread uint32 }

// guard is the distance between buffers: a pointer that runs over the end of one
// hits none.
const guard = 1 << 20

// Alloc returns the address of a buffer, which holds no zeros.
func (m *Memory) Alloc(size int) uint64 {
	if m.next == 0 {
		m.next = 1 << 40
	}
	b := &buffer{base: m.next, data: make([]byte, size), written: make([]mark, (size+3)/4)}
	for i := range b.data {
		b.data[i] = 0xa5
	}
	m.next += (uint64(size)+guard-1)/guard*guard + guard
	m.buffers = append(m.buffers, b)
	return b.base
}

// Free gives a buffer up. It returns an error for an address that Alloc did not
// return.
func (m *Memory) Free(base uint64) error {
	for i, b := range m.buffers {
		if b.base == base {
			m.buffers = append(m.buffers[:i], m.buffers[i+1:]...)
			return nil
		}
	}
	return fmt.Errorf("ptx: no buffer at %#x", base)
}

// Bytes returns the memory at an address that lies in one buffer.
func (m *Memory) Bytes(address uint64, size int) ([]byte, error) {
	b, err := m.find(address, uint64(size))
	if err != nil {
		return nil, err
	}
	return b.data[address-b.base:][:size:size], nil
}

func (m *Memory) find(address, size uint64) (*buffer, error) {
	i := sort.Search(len(m.buffers), func(i int) bool { return m.buffers[i].base > address }) - 1
	if i < 0 || address-m.buffers[i].base+size > uint64(len(m.buffers[i].data)) {
		return nil, fmt.Errorf("%d bytes at %#x are outside of all buffers", size, address)
	}
	return m.buffers[i], nil
}

// Launch runs a kernel with so many blocks, threads a block, bytes of shared memory
// and parameters.

func (m *Module) Launch(mem *Memory, name string, blocks, threads, shared int, params ...uint64) error {
	k := m.kernels[name]
	switch {
	case k == nil:
		return fmt.Errorf("ptx: no kernel %q", name)
	case len(params) != k.params:
		return fmt.Errorf("ptx: kernel %s: %d parameters, want %d", name, len(params), k.params)
	case blocks < 1 || threads < 1 || threads > k.maxThreads:
		return fmt.Errorf("ptx: kernel %s: %d blocks of %d threads, at most %d allowed", name, blocks, threads, k.maxThreads)
	}
	mem.launch++
	g := newGroup(k, mem, blocks, threads, shared, params)
	for b := range blocks {
		if err := g.run(b); err != nil {
			return fmt.Errorf("ptx: kernel %s: block %d: %w", name, b, err)
		}
	}
	return nil
}

// group is a block of threads.
type group struct {
	*kernel
	mem    *Memory
	block  int
	warps  []*warp
	shared []byte
	access []access // for each 4 bytes of shared memory
	epoch  int32    // counts barriers
}

// access says who used a word of shared memory, and in which epoch.
type access struct {
	written, read  int32
	writer, reader int16
	severalReaders bool
	_              [3]byte
}

// warp is up to 32 threads with their registers.
type warp struct {
	*group
	first     int // thread
	pc        [warpSize]int
	running   uint32 // lanes that are neither at a barrier nor done
	waiting   uint32
	all       uint32
	registers []lanes
}

func newGroup(k *kernel, mem *Memory, blocks, threads, shared int, params []uint64) *group {
	g := &group{kernel: k, mem: mem, shared: make([]byte, shared), access: make([]access, (shared+3)/4)}
	for first := 0; first < threads; first += warpSize {
		w := &warp{group: g, first: first, registers: make([]lanes, k.registers)}
		w.all = uint32(1<<min(threads-first, warpSize) - 1)
		set := func(slot int, value func(lane int) uint64) {
			for lane := range warpSize {
				w.registers[slot][lane] = value(lane)
			}
		}
		for _, c := range k.consts {
			set(c.slot, func(int) uint64 { return c.value })
		}
		for i, p := range params {
			set(k.firstParam+i, func(int) uint64 { return p })
		}
		for name, slot := range k.specials {
			switch name {
			case "%tid.x":
				set(slot, func(lane int) uint64 { return uint64(first + lane) })
			case "%ntid.x":
				set(slot, func(int) uint64 { return uint64(threads) })
			case "%nctaid.x":
				set(slot, func(int) uint64 { return uint64(blocks) })
			}
		}
		g.warps = append(g.warps, w)
	}
	return g
}

// run runs one block from beginning to end: each warp in turn to the next barrier.
func (g *group) run(block int) error {
	g.block = block
	for i := range g.shared {
		g.shared[i] = 0xa5
	}
	for _, w := range g.warps {
		w.pc, w.running, w.waiting = [warpSize]int{}, w.all, 0
		if slot, ok := g.specials["%ctaid.x"]; ok {
			for lane := range warpSize {
				w.registers[slot][lane] = uint64(block)
			}
		}
	}
	for {
		g.epoch++
		waiting, done, at := 0, 0, -1
		for _, w := range g.warps {
			for w.running != 0 {
				if err := w.step(); err != nil {
					return err
				}
			}
			waiting += bits.OnesCount32(w.waiting)
			done += bits.OnesCount32(w.all &^ w.waiting)
			for lane := range warpSize {
				if w.waiting>>lane&1 == 0 {
					continue
				}
				if at >= 0 && w.pc[lane] != at {
					return errors.New("threads wait at different barriers")
				}
				at = w.pc[lane]
			}
		}
		if waiting == 0 {
			return nil
		}
		if done > 0 {
			return fmt.Errorf("%d threads wait at a barrier that %d have passed by", waiting, done)
		}
		for _, w := range g.warps {
			w.running, w.waiting = w.waiting, 0
		}
	}
}

// step runs the lanes that are furthest behind until they branch, stop or meet
// others.
func (w *warp) step() error {
	pc, limit := len(w.code), len(w.code)
	var active uint32
	for lane := range warpSize {
		if w.running>>lane&1 == 0 {
			continue
		}
		switch p := w.pc[lane]; {
		case p < pc:
			limit, pc, active = pc, p, 1<<lane
		case p == pc:
			active |= 1 << lane
		default:
			limit = min(limit, p)
		}
	}
	for ; pc < limit; pc++ {
		in := &w.code[pc]
		on := active
		if in.guard >= 0 {
			var holds uint32
			for lane, p := range &w.registers[in.guard] {
				holds |= uint32(p&1) << lane
			}
			if in.negated {
				holds = ^holds
			}
			on &= holds
		}
		switch in.kind {
		case compute:
			d := &w.registers[in.d]
			if on == 1<<warpSize-1 {
				in.run(d, &w.registers[in.s[0]], &w.registers[in.s[1]], &w.registers[in.s[2]])
				continue
			}
			old := *d
			in.run(d, &w.registers[in.s[0]], &w.registers[in.s[1]], &w.registers[in.s[2]])
			for lane := range d {
				if on>>lane&1 == 0 {
					d[lane] = old[lane]
				}
			}
		case load, store, atomicAdd:
			for rest := on; rest != 0; rest &= rest - 1 {
				lane := bits.TrailingZeros32(rest)
				if err := w.memory(in, lane); err != nil {
					return fmt.Errorf("thread %d: %s: %w", w.first+lane, in.text, err)
				}
			}
		case branch:
			if on == 0 {
				continue
			}
			w.move(active&^on, pc+1)
			w.move(on, in.target)
			return nil
		case exit:
			w.running &^= on
			if on != active {
				w.move(active&^on, pc+1)
			}
			return nil
		case barrier:
			w.move(active, pc+1)
			w.running &^= on
			w.waiting |= on
			return nil
		}
	}
	if pc == len(w.code) {
		return errors.New("a thread runs over the end")
	}
	w.move(active, pc)
	return nil
}

func (w *warp) move(set uint32, pc int) {
	for ; set != 0; set &= set - 1 {
		w.pc[bits.TrailingZeros32(set)] = pc
	}
}

// memory does an access of one lane.
func (w *warp) memory(in *instruction, lane int) error {
	address := w.registers[in.address][lane] + in.offset
	size := in.width * uint64(len(in.values))
	if address%size != 0 {
		return fmt.Errorf("address %#x is not a multiple of %d", address, size)
	}
	var data []byte
	if in.shared {
		if address+size < address || address+size > uint64(len(w.shared)) {
			return fmt.Errorf("%d bytes at %#x are outside of %d bytes of shared memory", size, address, len(w.shared))
		}
		if err := w.mark(in.kind == store, address/4, size/4, int16(w.first+lane)); err != nil {
			return err
		}
		data = w.shared[address:]
	} else {
		b, err := w.mem.find(address, size)
		if err != nil {
			return err
		}
		data = b.data[address-b.base:]
		thread := uint32(w.block*len(w.warps)*warpSize + w.first + lane)
		for i := range size / 4 {
			m := &b.written[(address-b.base)/4+i]
			if m.launch == w.mem.launch && m.thread != thread && in.kind != atomicAdd {
				return fmt.Errorf("race: thread %d of the grid wrote %#x in this launch", m.thread, address+4*i)
			}
			if in.kind == store {
				*m = mark{w.mem.launch, thread}
			}
		}
	}
	for i, slot := range in.values {
		word := data[uint64(i)*in.width:]
		r := &w.registers[slot][lane]
		switch {
		case in.kind == load && in.width == 8:
			*r = binary.LittleEndian.Uint64(word)
		case in.kind == load:
			*r = uint64(binary.LittleEndian.Uint32(word))
		case in.kind == store && in.width == 8:
			binary.LittleEndian.PutUint64(word, *r)
		case in.kind == store:
			binary.LittleEndian.PutUint32(word, uint32(*r))
		default:
			binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)+uint32(*r))
		}
	}
	return nil
}

// mark notes an access to words of shared memory. Two threads may use a word
// between two barriers only if both read it.
func (w *warp) mark(write bool, first, count uint64, thread int16) error {
	for i := first; i < first+count; i++ {
		a := &w.access[i]
		if a.written == w.epoch && a.writer != thread {
			return fmt.Errorf("race: thread %d wrote byte %d of shared memory since the last barrier", a.writer, 4*i)
		}
		if write {
			if a.read == w.epoch && (a.reader != thread || a.severalReaders) {
				return fmt.Errorf("race: thread %d read byte %d of shared memory since the last barrier", a.reader, 4*i)
			}
			a.written, a.writer = w.epoch, thread
			continue
		}
		a.severalReaders = a.read == w.epoch && (a.severalReaders || a.reader != thread)
		a.read, a.reader = w.epoch, thread
	}
	return nil
}
