// Package emulated is a driver whose devices run PTX on the processor, for tests.
// Devices can be given little memory and can be made to fail.
package emulated

import (
	"fmt"
	"sync"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/ptx"
)

// Driver has emulated devices.
type Driver struct {
	// Properties are those of each device.
	Properties []driver.Properties
	// Fault, if not nil, is asked before every call, and what it returns fails the
	// call.
	Fault func(device int, call string) error
}

// New returns a driver with so many small devices.
func New(devices int) *Driver {
	d := &Driver{}
	for range devices {
		d.Properties = append(d.Properties, driver.Properties{
			Name: "PTX emulator", Driver: 12000, Capability: 90, Memory: 1 << 30, Multiprocessors: 2, SharedMemory: 227 << 10, ClockKHz: 1000,
		})
	}
	return d
}

// Name implements driver.Driver.
func (d *Driver) Name() string { return "emulator" }

// Devices implements driver.Driver.
func (d *Driver) Devices() ([]driver.Properties, error) { return d.Properties, nil }

// Open implements driver.Driver.
func (d *Driver) Open(index int) (driver.Device, error) {
	dev := &device{driver: d, index: index, sizes: make(map[driver.Pointer]int64)}
	return dev, dev.check("cuCtxCreate")
}

type device struct {
	driver *Driver
	index  int

	mu     sync.Mutex
	memory ptx.Memory
	sizes  map[driver.Pointer]int64
	used   int64
}

func (d *device) check(call string) error {
	if d.driver.Fault == nil {
		return nil
	}
	return d.driver.Fault(d.index, call)
}

func (d *device) Kernels(text string) (driver.Module, error) {
	if err := d.check("cuModuleLoadData"); err != nil {
		return nil, err
	}
	if m, ok := parsed.Load(text); ok {
		return module{m.(*ptx.Module)}, nil
	}
	m, err := ptx.Parse(text)
	if err != nil {
		return nil, err
	}
	parsed.Store(text, m)
	return module{m}, nil
}

// parsed keeps modules by their texts: tests open many devices.
var parsed sync.Map

type module struct{ *ptx.Module }

// kernel is what a Module gives out.
type kernel struct {
	module *ptx.Module
	name   string
	shared int
}

func (m module) Kernel(name string, shared int) (driver.Kernel, error) {
	return kernel{m.Module, name, shared}, nil
}

func (d *device) Alloc(size int) (driver.Pointer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("cuMemAlloc"); err != nil {
		return 0, err
	}
	if d.used+int64(size) > d.driver.Properties[d.index].Memory {
		return 0, &driver.Error{Call: "cuMemAlloc", Code: driver.OutOfMemory}
	}
	p := driver.Pointer(d.memory.Alloc(size))
	d.sizes[p] = int64(size)
	d.used += int64(size)
	return p, nil
}

func (d *device) Free(p driver.Pointer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("cuMemFree"); err != nil {
		return err
	}
	d.used -= d.sizes[p]
	delete(d.sizes, p)
	return d.memory.Free(uint64(p))
}

func (d *device) AllocHost(size int) ([]byte, error) {
	return make([]byte, size), d.check("cuMemHostAlloc")
}

func (d *device) FreeHost([]byte) error { return d.check("cuMemFreeHost") }

func (d *device) NewStream() (driver.Stream, error) {
	return &stream{device: d}, d.check("cuStreamCreate")
}

func (d *device) Close() error { return nil }

// stream does everything at once and keeps the first error for Wait, as a device
// would.
type stream struct {
	*device
	err error
}

func (s *stream) do(call string, work func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(call); err != nil {
		return err
	}
	if s.err == nil {
		s.err = work()
	}
	return nil
}

func (s *stream) Upload(dst driver.Pointer, src []byte) error {
	return s.do("cuMemcpyHtoDAsync", func() error {
		b, err := s.memory.Bytes(uint64(dst), len(src))
		copy(b, src)
		return err
	})
}

func (s *stream) Download(dst []byte, src driver.Pointer) error {
	return s.do("cuMemcpyDtoHAsync", func() error {
		b, err := s.memory.Bytes(uint64(src), len(dst))
		copy(dst, b)
		return err
	})
}

func (s *stream) Launch(k driver.Kernel, blocks, threads, shared int, params ...uint64) error {
	return s.do("cuLaunchKernel", func() error {
		k := k.(kernel)
		if shared > k.shared {
			return fmt.Errorf("kernel %s: %d bytes of shared memory, %d were announced", k.name, shared, k.shared)
		}
		return k.module.Launch(&s.memory, k.name, blocks, threads, shared, params...)
	})
}

func (s *stream) Wait() error {
	if err := s.check("cuStreamSynchronize"); err != nil {
		return err
	}
	return s.err
}

func (s *stream) Close() error { return nil }
