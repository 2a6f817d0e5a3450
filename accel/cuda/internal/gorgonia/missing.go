//go:build cuda

package gorgonia

// #cgo linux LDFLAGS: -ldl
// #include <cuda.h>
import "C"

import (
	"unsafe"

	"gorgonia.org/cu"

	"github.com/tacit-fhe/tacit/accel/cuda/internal/driver"
)

// What follows is what cu lacks: page-locked memory, and more than 48 kB of dynamic
// shared memory.

func check(call string, r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	return &driver.Error{Call: call, Code: int(r)}
}

// allowShared lets launches of a kernel ask for so many bytes. A cu.Function is a
// struct of one CUfunction.
func allowShared(f cu.Function, bytes int) error {
	handle := *(*C.CUfunction)(unsafe.Pointer(&f))
	return check("cuFuncSetAttribute", C.cuFuncSetAttribute(handle, driver.MaxDynamicShared, C.int(bytes)))
}

func allocHost(size int) ([]byte, error) {
	var p unsafe.Pointer
	if err := check("cuMemHostAlloc", C.cuMemHostAlloc(&p, C.size_t(size), driver.PortableHost)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), size), nil
}
