package cpu

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePages asks the kernel to back fresh memory, a key that is streamed from front to
// back many times, with huge pages. It is advice: errors do not matter.
func hugePages[W any](s []W) {
	const page = 1 << 21
	start := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	skip := -start % page
	bytes := uintptr(len(s)) * unsafe.Sizeof(s[0])
	if bytes < skip+page {
		return
	}
	all := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), bytes)
	_ = unix.Madvise(all[skip:bytes-(bytes-skip)%page], unix.MADV_HUGEPAGE)
}
