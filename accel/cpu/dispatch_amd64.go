//go:build amd64 && !purego

package cpu

import (
	"maps"
	"slices"

	"github.com/tacit-fhe/tacit/accel"
	"golang.org/x/sys/cpu"
)

//go:generate go -C internal/asmgen run . -set avx512 -out ../../avx512_amd64.s -stubs ../../avx512_stubs_amd64.go -pkg cpu
//go:generate go -C internal/asmgen run . -set avx2 -out ../../avx2_amd64.s -stubs ../../avx2_stubs_amd64.go -pkg cpu

var implementations = []implementation{
	{
		name: "avx512",
		missing: func() []string {
			return lacking(map[string]bool{
				"avx512f":    cpu.X86.HasAVX512F,
				"avx512ifma": cpu.X86.HasAVX512IFMA,
				"avx512vbmi": cpu.X86.HasAVX512VBMI,
				"avx512vnni": cpu.X86.HasAVX512VNNI,
			})
		},
		open: func() accel.Backend { return avx512{} },
	},
	{
		name: "avx2",
		missing: func() []string {
			return lacking(map[string]bool{"avx2": cpu.X86.HasAVX2, "fma": cpu.X86.HasFMA})
		},
		open: func() accel.Backend { return avx2{} },
	},
	portableImplementation,
}

// lacking returns the sorted names of the features that are false.
func lacking(features map[string]bool) []string {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(features)) {
		if !features[name] {
			missing = append(missing, name)
		}
	}
	return missing
}
