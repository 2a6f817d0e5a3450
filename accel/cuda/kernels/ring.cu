// Batched transforms and products of polynomials of 256 to 65536 coefficients.
// Residues in device memory are canonical. Rings above 4096 do their first layers
// (the last ones of the inverse) in a pass of their own over device memory.
#include "transform.h"

// ntt_top does the first layers of count transforms in place.
KERNEL(256) void ntt_top(u64 *data, const double *factors, double q, u64 n, u64 layers, u64 count) {
  Tree f = {factors, factors, modulus(q)};
  u64 i = (u64)block() * threads() + thread();
  u32 parts = n >> 4;
  if (i >= count * parts) return;
  u64 *poly = data + i / parts * n + i % parts;
  double x[16];
#pragma unroll
  for (int j = 0; j < 16; j++) x[j] = balanced(poly[j * parts], f.m);
  forwardLayers<true>(x, f, 1, 0, layers);
#pragma unroll
  for (int j = 0; j < 16; j++) poly[j * parts] = canonical(x[j], f.m);
}

// intt_top does the last layers of count inverse transforms in place, and
// multiplies by scale.
KERNEL(256) void intt_top(u64 *data, const double *factors, double q, u64 n, u64 layers, double scale, u64 count) {
  Tree f = {factors, factors, modulus(q)};
  u64 i = (u64)block() * threads() + thread();
  u32 parts = n >> 4;
  if (i >= count * parts) return;
  u64 *poly = data + i / parts * n + i % parts;
  double x[16];
#pragma unroll
  for (int j = 0; j < 16; j++) x[j] = balanced(poly[j * parts], f.m);
  inverseLayers<true>(x, f, 1, 0, layers);
#pragma unroll
  for (int j = 0; j < 16; j++) poly[j * parts] = canonical(mul(x[j], scale, f.m), f.m);
}

// ntt transforms, in place, blocks of part <= 4096 values, which are subtrees of
// transforms of n values: count of them in all, threads()/(part/16) a block.
KERNEL(256) void ntt(u64 *data, const double *factors, double q, u64 n, u64 part, u64 count) {
  Tree f = {factors, factors, modulus(q)};
  u32 each = part >> 4, t = thread() & (each - 1), group = thread() / each;
  u64 i = (u64)block() * (threads() / each) + group;
  bool active = i < count;
  u64 *poly = data + i * part;
  double x[16];
#pragma unroll
  for (int j = 0; j < 16; j++) x[j] = active ? balanced(poly[t + j * each], f.m) : 0;
  u32 subtrees = n / part;
  forward<true>(x, memory + group * padded(part), t, part, subtrees + (i & (subtrees - 1)), f);
  if (active)
#pragma unroll
    for (int j = 0; j < 16; j++) poly[16 * t + j] = canonical(x[j], f.m);
}

// intt undoes ntt and multiplies by scale.
KERNEL(256) void intt(u64 *data, const double *factors, double q, u64 n, u64 part, double scale, u64 count) {
  Tree f = {factors, factors, modulus(q)};
  u32 each = part >> 4, t = thread() & (each - 1), group = thread() / each;
  u64 i = (u64)block() * (threads() / each) + group;
  bool active = i < count;
  u64 *poly = data + i * part;
  double x[16];
#pragma unroll
  for (int j = 0; j < 16; j++) x[j] = active ? balanced(poly[16 * t + j], f.m) : 0;
  u32 subtrees = n / part;
  inverse<true>(x, memory + group * padded(part), t, part, subtrees + (i & (subtrees - 1)), f);
  if (active)
#pragma unroll
    for (int j = 0; j < 16; j++) poly[t + j * each] = canonical(mul(x[j], scale, f.m), f.m);
}

// mul_acc adds the products of a and b to acc, value by value.
KERNEL(256) void mul_acc(u64 *acc, const u64 *a, const u64 *b, double q, u64 count) {
  u64 i = (u64)block() * threads() + thread();
  if (i >= count) return;
  Modulus m = modulus(q);
  acc[i] = canonical(mul(balanced(a[i], m), balanced(b[i], m), m) + balanced(acc[i], m), m);
}
