package ptx

import (
	"math"
	"math/bits"
)

// alus are the instructions with their types. The ones that kernels spend their
// time in are loops of their own.
var alus = map[string]alu{
	"add.rn.f64": func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = math.Float64bits(math.Float64frombits(a[i]) + math.Float64frombits(b[i]))
		}
	},
	"sub.rn.f64": func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = math.Float64bits(math.Float64frombits(a[i]) - math.Float64frombits(b[i]))
		}
	},
	"mul.rn.f64": func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = math.Float64bits(math.Float64frombits(a[i]) * math.Float64frombits(b[i]))
		}
	},
	"fma.rn.f64": func(d, a, b, c *lanes) {
		for i := range d {
			d[i] = math.Float64bits(math.FMA(math.Float64frombits(a[i]), math.Float64frombits(b[i]), math.Float64frombits(c[i])))
		}
	},
	"neg.f64": func(d, a, _, _ *lanes) {
		for i := range d {
			d[i] = a[i] ^ 1<<63
		}
	},
	"rcp.rn.f64": pointwise(64, func(a, _ uint64) uint64 { return math.Float64bits(1 / math.Float64frombits(a)) }),
	// The conversion of a value outside of int64 is not that of the GPU.
	"cvt.rzi.s64.f64": pointwise(64, func(a, _ uint64) uint64 { return uint64(int64(math.Float64frombits(a))) }),
	"cvt.rn.f64.u16":  pointwise(64, func(a, _ uint64) uint64 { return math.Float64bits(float64(uint16(a))) }),
	"cvt.rn.f64.u32":  pointwise(64, func(a, _ uint64) uint64 { return math.Float64bits(float64(uint32(a))) }),
	"cvt.s64.s32":     pointwise(64, func(a, _ uint64) uint64 { return uint64(int64(int32(a))) }),
	"cvt.u64.u32":     move(32),
	"cvt.u32.u64":     move(32),

	"add.s64": func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = a[i] + b[i]
		}
	},
	"sub.s64": func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = a[i] - b[i]
		}
	},
	"add.s32": func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = uint64(uint32(a[i]) + uint32(b[i]))
		}
	},
	"sub.s32":    pointwise(32, func(a, b uint64) uint64 { return a - b }),
	"neg.s64":    pointwise(64, func(a, _ uint64) uint64 { return -a }),
	"neg.s32":    pointwise(32, func(a, _ uint64) uint64 { return -a }),
	"abs.s64":    pointwise(64, func(a, _ uint64) uint64 { return uint64(max(int64(a), -int64(a))) }),
	"abs.s32":    pointwise(32, func(a, _ uint64) uint64 { return uint64(max(int32(a), -int32(a))) }),
	"min.u64":    pointwise(64, func(a, b uint64) uint64 { return min(a, b) }),
	"max.u64":    pointwise(64, func(a, b uint64) uint64 { return max(a, b) }),
	"min.u32":    pointwise(32, func(a, b uint64) uint64 { return min(a&mask(32), b&mask(32)) }),
	"max.u32":    pointwise(32, func(a, b uint64) uint64 { return max(a&mask(32), b&mask(32)) }),
	"mul.lo.s64": pointwise(64, func(a, b uint64) uint64 { return a * b }),
	"mul.lo.s32": pointwise(32, func(a, b uint64) uint64 { return a * b }),
	"mul.wide.u32": func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = uint64(uint32(a[i])) * uint64(uint32(b[i]))
		}
	},
	"mul.wide.s32": pointwise(64, func(a, b uint64) uint64 { return uint64(int64(int32(a)) * int64(int32(b))) }),
	"mul.hi.u64": pointwise(64, func(a, b uint64) uint64 {
		hi, _ := bits.Mul64(a, b)
		return hi
	}),
	"mad.lo.s64": func(d, a, b, c *lanes) {
		for i := range d {
			d[i] = a[i]*b[i] + c[i]
		}
	},
	"mad.lo.s32": func(d, a, b, c *lanes) {
		for i := range d {
			d[i] = uint64(uint32(a[i])*uint32(b[i]) + uint32(c[i]))
		}
	},
	// Division by zero gives what the GPU leaves open; lanes that do not take part
	// may divide by anything.
	"div.u64": pointwise(64, func(a, b uint64) uint64 { return a / max(b, 1) }),
	"rem.u64": pointwise(64, func(a, b uint64) uint64 { return a % max(b, 1) }),
	"div.u32": pointwise(32, func(a, b uint64) uint64 { return a & mask(32) / max(b&mask(32), 1) }),
	"rem.u32": pointwise(32, func(a, b uint64) uint64 { return a & mask(32) % max(b&mask(32), 1) }),
	"div.s64": pointwise(64, func(a, b uint64) uint64 {
		if b == 0 {
			return 0
		}
		return uint64(int64(a) / int64(b))
	}),
	"shr.u64": pointwise(64, func(a, b uint64) uint64 { return a >> uint32(b) }),
	"shr.s64": pointwise(64, func(a, b uint64) uint64 { return uint64(int64(a) >> uint32(b)) }),
	"shr.u32": pointwise(32, func(a, b uint64) uint64 { return a & mask(32) >> uint32(b) }),
	"shr.s32": pointwise(32, func(a, b uint64) uint64 { return uint64(int32(a) >> uint32(b)) }),
	"brev.b32": pointwise(32, func(a, _ uint64) uint64 {
		return uint64(bits.Reverse32(uint32(a)))
	}),
}
