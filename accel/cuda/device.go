package cuda

import (
	_ "embed"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

//go:generate kernels/build.sh

var (
	//go:embed kernels/ring.ptx
	ringPTX string
	//go:embed kernels/rotate.ptx
	rotatePTX string
	//go:embed kernels/lwe.ptx
	lwePTX string
)

// kernelNames lists the kernels of each text; those of fused may take all the shared
// memory of a block.
var kernelNames = []struct {
	ptx   *string
	names []string
	fused []string
}{
	{&ringPTX, []string{"ntt_top", "ntt", "intt", "intt_top", "mul_acc"}, nil},
	{&rotatePTX, []string{"combine_steps", "pack_key", "decompose", "multiply", "accumulate"}, []string{"rotate_cmux", "rotate_cmux_few", "rotate_combining", "rotate_combined", "rotate_combined_few"}},
	{&lwePTX, []string{"switch_digits", "switch_product", "mod_switch", "first_accumulators", "extract"}, nil},
}

// plainShared is the shared memory that every device gives without being asked.
const plainShared = 48 << 10

// device is one GPU.
type device struct {
	driver.Device
	index      int
	properties driver.Properties
	kernels    map[string]driver.Kernel

	// Guarded by Backend.mu.
	lost     bool
	failures int64
	keyBytes int64

	mu    sync.Mutex
	rings map[ringKey]*ringTables
}

func openDevice(d driver.Driver, index int, p driver.Properties) (_ *device, err error) {
	if p.Capability < 80 {
		return nil, fmt.Errorf("%s has compute capability %d.%d, and 8.0 is needed", p.Name, p.Capability/10, p.Capability%10)
	}
	opened, err := d.Open(index)
	if err != nil {
		return nil, err
	}
	dev := &device{Device: opened, index: index, properties: p, kernels: make(map[string]driver.Kernel), rings: make(map[ringKey]*ringTables)}
	for _, text := range kernelNames {
		m, err := opened.Kernels(*text.ptx)
		if err != nil {
			return nil, err
		}
		for i, name := range append(text.names[:len(text.names):len(text.names)], text.fused...) {
			shared := plainShared
			if i >= len(text.names) {
				shared = p.SharedMemory
			}
			if dev.kernels[name], err = m.Kernel(name, shared); err != nil {
				return nil, fmt.Errorf("kernel %s: %w", name, err)
			}
		}
	}
	return dev, nil
}

// lane is a stream of a device with the buffers of its work.
type lane struct {
	device  *device
	stream  driver.Stream
	buffers map[string]*buffer
}

// buffer is memory of the device, or page-locked memory of the host.
type buffer struct {
	pointer driver.Pointer
	host    []byte
	size    int
}

// shrink gives up all buffers, so that there is memory for smaller ones.
func (l *lane) shrink() {
	for name, b := range l.buffers {
		l.release(b) // a device that cannot free fails at the next allocation
		delete(l.buffers, name)
	}
}

func (l *lane) release(b *buffer) error {
	if b.host != nil {
		return l.device.FreeHost(b.host)
	}
	return l.device.Free(b.pointer)
}

func (l *lane) close() error {
	l.shrink()
	return l.stream.Close()
}

// work is what one call queues on a lane. After an error nothing is queued any more.
type work struct {
	*lane
	err error
}

// grown returns the buffer of a name with at least size bytes.
func (w *work) grown(name string, size int, alloc func() (*buffer, error)) *buffer {
	if w.err != nil {
		return &buffer{}
	}
	b := w.buffers[name]
	if b != nil && b.size >= size {
		return b
	}
	if b != nil {
		delete(w.buffers, name)
		if w.err = w.stream.Wait(); w.err == nil {
			w.err = w.release(b)
		}
	}
	if w.err == nil {
		b, w.err = alloc()
	}
	if w.err != nil {
		return &buffer{}
	}
	b.size = size
	w.buffers[name] = b
	return b
}

// memory returns device memory for this call.
func (w *work) memory(name string, size int) driver.Pointer {
	return w.grown(name, size, func() (*buffer, error) {
		p, err := w.device.Alloc(size)
		return &buffer{pointer: p}, err
	}).pointer
}

// number is what buffers hold.
type number interface{ uint32 | uint64 | float64 }

// pinned returns page-locked memory for count values for this call, or nil after an
// error.
func pinned[T number](w *work, name string, count int) []T {
	var zero T
	size := count * int(unsafe.Sizeof(zero))
	b := w.grown("host "+name, size, func() (*buffer, error) {
		m, err := w.device.AllocHost(size)
		return &buffer{host: m}, err
	})
	if w.err != nil {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b.host))), count)
}

// bytesOf is the memory of values.
func bytesOf[T number](values []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(values[0])))
}

// upload copies count > 0 values that fill provides to device memory of this call.
func upload[T number](w *work, name string, count int, fill func(dst []T)) driver.Pointer {
	src := pinned[T](w, name, count)
	if w.err == nil {
		fill(src)
		return send(w, name, src)
	}
	return 0
}

// send copies page-locked values to device memory of this call.
func send[T number](w *work, name string, src []T) driver.Pointer {
	dst := w.memory(name, len(src)*int(unsafe.Sizeof(src[0])))
	if w.err == nil {
		w.err = w.stream.Upload(dst, bytesOf(src))
	}
	return dst
}

// download copies count > 0 values to page-locked memory, which has them when the
// work has ended.
func download[T number](w *work, name string, src driver.Pointer, count int) []T {
	dst := pinned[T](w, name, count)
	if w.err == nil {
		w.err = w.stream.Download(bytesOf(dst), src)
	}
	return dst
}

// launch queues a kernel.
func (w *work) launch(name string, blocks, threads, shared int, params ...uint64) {
	if w.err == nil {
		w.err = w.stream.Launch(w.device.kernels[name], blocks, threads, shared, params...)
	}
}

// spread queues a kernel with 256 threads a block and one thread for each of count
// items.
func (w *work) spread(name string, count int, params ...uint64) {
	w.launch(name, ceil(count, 256), 256, 0, params...)
}

func ceil(a, b int) int { return (a + b - 1) / b }

func bitsOf(x float64) uint64 { return math.Float64bits(x) }
