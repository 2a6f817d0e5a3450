//go:build linux && (amd64 || arm64) && !cuda && !nogpu

// Package dlopen is the CUDA driver of this machine, libcuda.so.1, loaded while the
// program runs and called without cgo. It needs the C library that the driver is
// linked with, glibc. Build with -tags nogpu for a static program without it.
package dlopen

import (
	"bytes"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// library is the driver's file: its name has not changed since CUDA began.
const library = "libcuda.so.1"

// names are the functions that are used, as the library exports them.
var names = []string{
	"cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2", "cuDeviceGetAttribute",
	"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2", "cuCtxSetCurrent", "cuModuleLoadData", "cuModuleGetFunction", "cuFuncSetAttribute",
	"cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuMemFreeHost", "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize",
	"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuLaunchKernel",
}

// cuda is the library with the addresses of its functions.
type cuda map[string]uintptr

// Open loads and initialises the driver.
func Open() (driver.Driver, error) {
	// Why a library is not loaded is known to the thread that asked for it alone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("there is no NVIDIA driver: %w", err)
	}
	c := make(cuda)
	for _, name := range names {
		if c[name], err = purego.Dlsym(handle, name); err != nil {
			return nil, fmt.Errorf("the NVIDIA driver is too old: %w", err)
		}
	}
	return c, c.call("cuInit", 0)
}

// call calls a function that returns a CUresult.
//
//go:uintptrescapes
func (c cuda) call(name string, args ...uintptr) error {
	if r, _, _ := purego.SyscallN(c[name], args...); int32(r) != 0 {
		return &driver.Error{Call: name, Code: int(int32(r))}
	}
	return nil
}

func (cuda) Name() string { return "dlopen" }

func (c cuda) Devices() ([]driver.Properties, error) {
	var count, version int32
	if err := c.call("cuDeviceGetCount", uintptr(unsafe.Pointer(&count))); err != nil {
		return nil, err
	}
	if err := c.call("cuDriverGetVersion", uintptr(unsafe.Pointer(&version))); err != nil {
		return nil, err
	}
	var all []driver.Properties
	for i := range count {
		p, err := c.properties(i)
		if err != nil {
			return nil, err
		}
		p.Driver = int(version)
		all = append(all, p)
	}
	return all, nil
}

func (c cuda) properties(index int32) (p driver.Properties, err error) {
	var dev int32
	if err := c.call("cuDeviceGet", uintptr(unsafe.Pointer(&dev)), uintptr(index)); err != nil {
		return p, err
	}
	name := make([]byte, 256)
	if err := c.call("cuDeviceGetName", uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)), uintptr(dev)); err != nil {
		return p, err
	}
	end := max(bytes.IndexByte(name, 0), 0)
	p.Name = string(name[:end])
	var memory uint64
	if err := c.call("cuDeviceTotalMem_v2", uintptr(unsafe.Pointer(&memory)), uintptr(dev)); err != nil {
		return p, err
	}
	p.Memory = int64(memory)
	var values [len(driver.Attributes)]int32
	for i, attribute := range driver.Attributes {
		if err := c.call("cuDeviceGetAttribute", uintptr(unsafe.Pointer(&values[i])), uintptr(attribute), uintptr(dev)); err != nil {
			return p, err
		}
	}
	p.SetAttributes(values)
	return p, nil
}

func (c cuda) Open(index int) (driver.Device, error) {
	d := &device{cuda: c}
	if err := c.call("cuDeviceGet", uintptr(unsafe.Pointer(&d.number)), uintptr(index)); err != nil {
		return nil, err
	}
	if err := c.call("cuDevicePrimaryCtxRetain", uintptr(unsafe.Pointer(&d.context)), uintptr(d.number)); err != nil {
		return nil, err
	}
	return d, nil
}

type device struct {
	cuda
	number  int32
	context uintptr
}

// call is cuda.call in the context of the device, which belongs to the thread.
//
//go:uintptrescapes
func (d *device) call(name string, args ...uintptr) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := d.cuda.call("cuCtxSetCurrent", d.context); err != nil {
		return err
	}
	return d.cuda.call(name, args...)
}

func (d *device) Kernels(ptx string) (driver.Module, error) {
	m := &module{device: d}
	text := append([]byte(ptx), 0)
	return m, d.call("cuModuleLoadData", uintptr(unsafe.Pointer(&m.handle)), uintptr(unsafe.Pointer(&text[0])))
}

type module struct {
	*device
	handle uintptr
}

func (m *module) Kernel(name string, shared int) (driver.Kernel, error) {
	var f uintptr
	text := append([]byte(name), 0)
	if err := m.call("cuModuleGetFunction", uintptr(unsafe.Pointer(&f)), m.handle, uintptr(unsafe.Pointer(&text[0]))); err != nil {
		return nil, err
	}
	return f, m.call("cuFuncSetAttribute", f, driver.MaxDynamicShared, uintptr(shared))
}

func (d *device) Alloc(size int) (p driver.Pointer, err error) {
	err = d.call("cuMemAlloc_v2", uintptr(unsafe.Pointer(&p)), uintptr(size))
	return p, err
}

func (d *device) Free(p driver.Pointer) error { return d.call("cuMemFree_v2", uintptr(p)) }

func (d *device) AllocHost(size int) ([]byte, error) {
	var p unsafe.Pointer // not the garbage collector's
	if err := d.call("cuMemHostAlloc", uintptr(unsafe.Pointer(&p)), uintptr(size), driver.PortableHost); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), size), nil
}

func (d *device) FreeHost(m []byte) error {
	return d.call("cuMemFreeHost", uintptr(unsafe.Pointer(unsafe.SliceData(m))))
}

func (d *device) NewStream() (driver.Stream, error) {
	s := &stream{device: d}
	return s, d.call("cuStreamCreate", uintptr(unsafe.Pointer(&s.handle)), driver.NonBlockingStream)
}

func (d *device) Close() error { return d.cuda.call("cuDevicePrimaryCtxRelease_v2", uintptr(d.number)) }

type stream struct {
	*device
	handle uintptr
}

func (s *stream) Upload(dst driver.Pointer, src []byte) error {
	return s.call("cuMemcpyHtoDAsync_v2", uintptr(dst), uintptr(unsafe.Pointer(unsafe.SliceData(src))), uintptr(len(src)), s.handle)
}

func (s *stream) Download(dst []byte, src driver.Pointer) error {
	return s.call("cuMemcpyDtoHAsync_v2", uintptr(unsafe.Pointer(unsafe.SliceData(dst))), uintptr(src), uintptr(len(dst)), s.handle)
}

func (s *stream) Launch(k driver.Kernel, blocks, threads, shared int, params ...uint64) error {
	pointers := make([]unsafe.Pointer, len(params))
	for i := range params {
		pointers[i] = unsafe.Pointer(&params[i])
	}
	return s.call("cuLaunchKernel", k.(uintptr), uintptr(blocks), 1, 1, uintptr(threads), 1, 1, uintptr(shared), s.handle, uintptr(unsafe.Pointer(unsafe.SliceData(pointers))), 0)
}

func (s *stream) Wait() error { return s.call("cuStreamSynchronize", s.handle) }

func (s *stream) Close() error { return s.call("cuStreamDestroy_v2", s.handle) }
