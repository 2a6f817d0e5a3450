// Arithmetic modulo a prime q < 2^50 in double precision, exact.
//
// A residue is an integer in a double, of either sign and not always reduced;
// bounds are written as multiples of q. With u = 2^-53 the unit of rounding:
//
// mul(a, b) for |a*b/q| < 2^51 takes the integer c nearest to the double product
// h times the double 1/q. Both carry relative errors of u, so c differs from a*b/q by at
// most 1/2 + |a*b/q|*2^-52, and r = a*b - c*q has |r| <= q*(1/2 + |a*b/q|*2^-52)
// < q. The rest l = a*b - h is a double (fma). h - c*q = r - l is an integer below
// 2^53, so the second fma is exact, and so is the last sum. (van der Hoeven,
// Lecerf, Quintin, "Modular SIMD Arithmetic in Mathemagix", 2016, section 3.)
#pragma once

typedef unsigned long long u64;
typedef long long i64;
typedef unsigned int u32;

#define DEVICE static __attribute__((device)) inline __attribute__((always_inline))
#define KERNEL(threads) extern "C" __attribute__((global)) __attribute__((launch_bounds(threads)))

// Threads of a block share this memory; the launch says how much there is.
extern __attribute__((shared)) double memory[];

DEVICE u32 thread() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE u32 threads() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE u32 block() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE u32 blocks() { return __nvvm_read_ptx_sreg_nctaid_x(); }
DEVICE void barrier() { __syncthreads(); }

// 1.5*2^52: an integer of magnitude at most 2^51 added to it stands in the low bits.
#define SHIFTER 6755399441055744.0

struct Modulus {
  double q, inverse; // q, 1/q
};

DEVICE Modulus modulus(double q) { return {q, 1.0 / q}; }

DEVICE double minusNearest(double x, double y) { return SHIFTER - __builtin_fma(x, y, SHIFTER); } // to x*y

DEVICE double mul(double a, double b, Modulus m) {
  double h = a * b, c = minusNearest(h, m.inverse), l = __builtin_fma(a, b, -h);
  return __builtin_fma(c, m.q, h) + l;
}

// reduce returns x modulo q in [-q/2 - 1, q/2 + 1] for |x| < 2^53.
DEVICE double reduce(double x, Modulus m) { return __builtin_fma(minusNearest(x, m.inverse), m.q, x); }

DEVICE i64 toInteger(double x) { return __builtin_bit_cast(i64, x + SHIFTER) - __builtin_bit_cast(i64, SHIFTER); }
DEVICE double fromInteger(i64 x) { return __builtin_bit_cast(double, x + __builtin_bit_cast(i64, SHIFTER)) - SHIFTER; }

// canonical returns x modulo q in [0, q) for |x| < 2^53.
DEVICE u64 canonical(double x, Modulus m) {
  double r = reduce(x, m);
  return (u64)toInteger(r < 0 ? r + m.q : r);
}

// balanced returns the representative of x in [0, q) nearest to 0.
DEVICE double balanced(u64 x, Modulus m) {
  double r = fromInteger((i64)x);
  return 2 * r > m.q ? r - m.q : r;
}
