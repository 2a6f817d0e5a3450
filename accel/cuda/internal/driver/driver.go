// Package driver is what the CUDA backend needs of a CUDA driver, in a few calls,
// and the errors of one. Implementations are the dlopen'ed driver, the one of
// gorgonia.org/cu, and the emulated one that tests use.
package driver

import (
	"errors"
	"fmt"
)

// Pointer is an address in the memory of a device.
type Pointer uint64

// Properties describe a device.
type Properties struct {
	Name            string // as the driver has it
	Driver          int    // newest CUDA version of the driver, 1000*major + 10*minor
	Capability      int    // 10*major + minor
	Memory          int64  // bytes
	Multiprocessors int
	SharedMemory    int // bytes that a block may have at most
	ClockKHz        int // highest clock of the multiprocessors
}

// Driver finds devices.
type Driver interface {
	// Name is the implementation.
	Name() string
	// Devices describes the devices, in the driver's order.
	Devices() ([]Properties, error)
	// Open opens a device for work.
	Open(index int) (Device, error)
}

// Device is an open device. It is safe for concurrent use.
type Device interface {
	// Kernels compiles a PTX text.
	Kernels(ptx string) (Module, error)
	// Alloc returns size > 0 bytes of device memory with any content.
	Alloc(size int) (Pointer, error)
	Free(Pointer) error
	// AllocHost returns size > 0 bytes of page-locked memory of this machine.
	AllocHost(size int) ([]byte, error)
	FreeHost([]byte) error
	NewStream() (Stream, error)
	Close() error
}

// Module holds kernels.
type Module interface {
	// Kernel returns a kernel that launches may give up to shared bytes of dynamic
	// shared memory.
	Kernel(name string, shared int) (Kernel, error)
}

// Kernel belongs to the Device that made it.
type Kernel any

// Stream does work in order, and streams work side by side. A stream is for one
// goroutine at a time.
type Stream interface {
	// Upload copies page-locked memory, which must stay as it is until Wait, to the
	// device.
	Upload(dst Pointer, src []byte) error
	// Download copies to page-locked memory, which has it after Wait.
	Download(dst []byte, src Pointer) error
	// Launch starts a kernel with 8-byte parameters.
	Launch(k Kernel, blocks, threads, shared int, params ...uint64) error
	// Wait waits for all of the above, and returns what went wrong in it.
	Wait() error
	Close() error
}

// Error is a call that failed.
type Error struct {
	Call string // function of the CUDA driver
	Code int    // CUresult
}

func (e *Error) Error() string {
	if name, ok := codes[e.Code]; ok {
		return fmt.Sprintf("%s: %s", e.Call, name)
	}
	return fmt.Sprintf("%s: CUDA error %d", e.Call, e.Code)
}

// Codes that something is done about.
const (
	OutOfMemory = 2
	NoDevice    = 100
)

// codes are the ones that people meet.
var codes = map[int]string{
	1: "invalid value", OutOfMemory: "out of memory", 3: "not initialized", 4: "shutting down",
	NoDevice: "no device", 101: "no such device", 201: "invalid context", 209: "no kernel for this GPU",
	218: "the PTX is not valid", 222: "the driver is too old for the PTX", 700: "illegal address",
	701: "too many resources requested", 716: "misaligned address", 719: "launch failed", 802: "system not ready",
	803: "driver and device do not go together", 999: "unknown error",
}

// IsOutOfMemory says that a device has no memory left.
func IsOutOfMemory(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == OutOfMemory
}

// Values of cuda.h.
const (
	MaxDynamicShared  = 8 // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
	PortableHost      = 1 // CU_MEMHOSTALLOC_PORTABLE
	NonBlockingStream = 1 // CU_STREAM_NON_BLOCKING
)

// Attributes are the CUdevice_attributes that SetAttributes takes: compute
// capability (major, minor), multiprocessors, shared memory of a block, clock.
var Attributes = [...]int{75, 76, 16, 97, 13}

// SetAttributes takes the values of Attributes over.
func (p *Properties) SetAttributes(values [len(Attributes)]int32) {
	p.Capability = 10*int(values[0]) + int(values[1])
	p.Multiprocessors, p.SharedMemory, p.ClockKHz = int(values[2]), int(values[3]), int(values[4])
}
