// Blind rotations: whole ones in one kernel for rings that fit into shared memory,
// and step by step over device memory for all others. accel.Rotator has the
// definitions, q lies between 2^47 and 2^48 here.
//
// A polynomial in the evaluation domain is cut into parts of sixteen values;
// thread t of n/16 has the points 16t+j. In key material the pairs of all
// threads stand next to each other: point 16t+j at place (j/2)*(n/8) + 2t + j%2.
// A key holds, for each step, ciphertext and output polynomial, its rows one after
// the other, balanced and times 1/n.
#include "transform.h"

typedef double double2 __attribute__((ext_vector_type(2)));

struct Shape {
  u32 n, logn, k1, levels, rows, baseLog;
  u32 terms, ggsws, exponents; // of a step; terms is 0 for CMux
  u32 steps;
  bool unrolled;
  double one; // subtracted from a monomial: 1 in blocks, 0 in unrolled steps
};

DEVICE Shape shape(u64 logn, u64 k1, u64 levels, u64 baseLog, u64 steps, u64 terms, u64 unrolled) {
  Shape s;
  s.n = 1u << logn, s.logn = logn, s.k1 = k1, s.levels = levels, s.rows = k1 * levels, s.baseLog = baseLog;
  s.terms = terms, s.ggsws = (terms ? terms : 1) + (unrolled != 0), s.exponents = terms ? terms : 1;
  s.steps = steps, s.unrolled = unrolled != 0, s.one = unrolled ? 0 : 1;
  return s;
}

// place is where the key material of a ciphertext of a step and an output begins.
DEVICE const double2 *place(const double *key, u64 step, u32 ggsw, u32 output, const Shape &s) {
  return (const double2 *)(key + ((step * s.ggsws + ggsw) * s.k1 + output) * s.rows * s.n);
}

// lift takes the representative in (-q/2, q/2) of a value in (-2q, q).
DEVICE i64 lift(i64 x, i64 q) {
  x += x < 0 ? q : 0;
  x += x < 0 ? q : 0;
  return x > q >> 1 ? x - q : x;
}

// digits gives the digits of a lifted residue, the last level first.
template <class Store> DEVICE void digits(i64 c, const Shape &s, Store store) {
  u32 shift = 48 - s.baseLog * s.levels;
  i64 v = (c + (i64)(1ull << shift >> 1)) >> shift, sign = v >> 63;
  u64 rest = (u64)((v ^ sign) - sign), half = 1ull << s.baseLog >> 1;
  for (u32 level = s.levels - 1; level > 0; level--) {
    u64 d = rest & ((1ull << s.baseLog) - 1), carry = d > half;
    rest = (rest >> s.baseLog) + carry;
    d -= carry << s.baseLog;
    store(level, (i64)((d ^ sign) - sign));
  }
  store(0, (i64)((rest ^ sign) - sign));
}

DEVICE constexpr u32 reversed4(u32 j) { return (j & 1) << 3 | (j & 2) << 1 | (j & 4) >> 1 | j >> 3; }

// Monomial gives X^e at the points 16t+j: ψ^(e(2brv(16t+j)+1)), which is
// ψ^(e(2brv(t)+1)) times the brv(j)-th power of the e-th power of a 16th root of unity.
struct Monomial {
  const double *powers; // ψ^i for i < 2n
  double start;
  u32 e, stride;
  __attribute__((device, always_inline)) double at(u32 j, Modulus m) const { return mul(start, powers[((e * reversed4(j)) & 15) * stride], m); }
};

DEVICE Monomial monomial(const double *powers, u32 e, u32 t, const Shape &s) {
  u32 odd = 2 * (__builtin_bitreverse32(t) >> (36 - s.logn)) + 1;
  return {powers, powers[(e * odd) & (2 * s.n - 1)], e, s.n >> 3};
}

// combine adds to sum, for half of a thread's points, the combination of a row of
// the ciphertexts of a step, from key on in steps of size pairs: below 9 q.
template <int from> DEVICE void combine(double (&sum)[8], const double2 *key, u64 size, const u32 *exps, const double *powers, u32 t, const Shape &s, Modulus m) {
  u32 each = s.n >> 4;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    double2 k = s.unrolled ? key[(from / 2 + j) * each + t] : double2{0, 0};
    sum[2 * j] = k.x, sum[2 * j + 1] = k.y;
  }
  if (s.unrolled) key += size;
#pragma unroll 1
  for (u32 term = 0; term < s.terms; term++, key += size) {
    Monomial x = monomial(powers, exps[term], t, s);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      double2 k = key[(from / 2 + j) * each + t];
      sum[2 * j] += mul(x.at(from + 2 * j, m) - s.one, k.x, m);
      sum[2 * j + 1] += mul(x.at(from + 2 * j + 1, m) - s.one, k.y, m);
    }
  }
}

// combinePair is combine for both rows of a step that has two.
template <int from> DEVICE void combinePair(double (&a)[8], double (&b)[8], const double2 *key, u64 size, const u32 *exps, const double *powers, u32 t, const Shape &s, Modulus m) {
  u32 each = s.n >> 4, next = s.n >> 1;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    u32 at = (from / 2 + j) * each + t;
    double2 k = s.unrolled ? key[at] : double2{0, 0}, l = s.unrolled ? key[next + at] : double2{0, 0};
    a[2 * j] = k.x, a[2 * j + 1] = k.y, b[2 * j] = l.x, b[2 * j + 1] = l.y;
  }
  if (s.unrolled) key += size;
#pragma unroll 1
  for (u32 term = 0; term < s.terms; term++, key += size) {
    Monomial x = monomial(powers, exps[term], t, s);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      u32 at = (from / 2 + j) * each + t;
      double2 k = key[at], l = key[next + at];
      double x0 = x.at(from + 2 * j, m) - s.one, x1 = x.at(from + 2 * j + 1, m) - s.one;
      a[2 * j] += mul(x0, k.x, m), a[2 * j + 1] += mul(x1, k.y, m);
      b[2 * j] += mul(x0, l.x, m), b[2 * j + 1] += mul(x1, l.y, m);
    }
  }
}

// productHalf sets half of out to the sum of digits times rows; digit(row, j) is
// below 9.5 q and the rows are reduced, so every product is below q. Sums of eight
// are reduced.
template <bool combined, int from, class Digit>
DEVICE void productHalf(double (&out)[16], Digit digit, const double2 *key, const u32 *exps, const double *powers, u32 t, const Shape &s, Modulus m) {
  u64 size = (u64)s.k1 * s.rows * (s.n >> 1);
  u32 each = s.n >> 4;
#pragma unroll
  for (int j = 0; j < 8; j++) out[from + j] = 0;
  if (combined && s.rows == 2) {
    double a[8], b[8];
    combinePair<from>(a, b, key, size, exps, powers, t, s, m);
#pragma unroll
    for (int j = 0; j < 8; j++)
      out[from + j] = mul(digit(0, from + j), reduce(a[j], m), m) + mul(digit(1, from + j), reduce(b[j], m), m);
  } else {
#pragma unroll 1
    for (u32 row = 0; row < s.rows; row++, key += s.n >> 1) {
      double sum[8];
      if (combined) {
        combine<from>(sum, key, size, exps, powers, t, s, m);
#pragma unroll
        for (int j = 0; j < 8; j++) sum[j] = reduce(sum[j], m);
      } else {
#pragma unroll
        for (int j = 0; j < 4; j++) {
          double2 k = key[(from / 2 + j) * each + t];
          sum[2 * j] = k.x, sum[2 * j + 1] = k.y;
        }
      }
#pragma unroll
      for (int j = 0; j < 8; j++) out[from + j] += mul(digit(row, from + j), sum[j], m);
      if ((row & 7) == 7)
#pragma unroll
        for (int j = 0; j < 8; j++) out[from + j] = reduce(out[from + j], m);
    }
  }
#pragma unroll
  for (int j = 0; j < 8; j++) out[from + j] = reduce(out[from + j], m);
}

template <bool combined, class Digit>
DEVICE void product(double (&out)[16], Digit digit, const double2 *key, const u32 *exps, const double *powers, u32 t, const Shape &s, Modulus m) {
  productHalf<combined, 0>(out, digit, key, exps, powers, t, s, m);
  productHalf<combined, 8>(out, digit, key, exps, powers, t, s, m);
}

// What a step of rotate does before and in its product: rotate the accumulator
// (CMux), combine the ciphertexts of the step, or take their combination from memory.
enum Kind { cmux, combining, combined };

// rotateSteps runs the steps [first, last) of batch rotations, threads()/(k1*n/16)
// of them a block. Shared memory has, for each, rows of digits and then the
// accumulator. Thread (c, t) answers for the coefficients t + j*n/16 of polynomial c
// and for its points 16t+j. Of kind combined, key holds the combinations of just
// these steps, for one accumulator after the other.
template <Kind kind>
DEVICE void rotateSteps(u64 *acc, const u32 *exps, const double *key, const double *powers, Tree f, const Shape &s, u32 first, u32 last, u32 batch) {
  Modulus m = f.m;
  const i64 q = (i64)m.q;
  u32 each = s.n >> 4, perGroup = s.k1 * each, group = thread() / perGroup, c = thread() % perGroup / each, t = thread() & (each - 1);
  u32 index = block() * (threads() / perGroup) + group;
  bool active = index < batch;
  if (!active) index = batch - 1; // computes on zeros, for the barriers, and keeps nothing
  double *rows = memory + group * (s.rows * padded(s.n) + s.k1 * s.n), *own = rows + c * s.levels * padded(s.n);
  u64 *a = (u64 *)(rows + s.rows * padded(s.n)) + c * s.n, *global = acc + ((u64)index * s.k1 + c) * s.n;
  exps += (u64)index * s.steps * s.exponents;
  if (kind == combined) key += (u64)index * (last - first) * s.k1 * s.rows * s.n;
#pragma unroll
  for (int j = 0; j < 16; j++) a[t + j * each] = active ? global[t + j * each] : 0;
#pragma unroll 1
  for (u32 step = first; step < last; step++) {
    if (kind == cmux) barrier();
#pragma unroll
    for (int j = 0; j < 16; j++) {
      u32 at = t + j * each;
      i64 v = (i64)a[at];
      if (kind == cmux) {
        u32 from = at - exps[step]; // modulo 2n; the upper half has the other sign
        i64 x = (i64)a[from & (s.n - 1)];
        v = (from & s.n ? -x : x) - v;
      }
      digits(lift(v, q), s, [&](u32 level, i64 d) { own[level * padded(s.n) + padded(at)] = fromInteger(d); });
    }
#pragma unroll 1
    for (u32 level = 0; level < s.levels; level++) {
      double x[16], *buffer = own + level * padded(s.n);
      get(buffer, x, t, each);
      forward<false>(x, buffer, t, s.n, 1, f);
      put(buffer, x, 16 * t, 1);
    }
    barrier();
    double x[16];
    auto digit = [&](u32 row, u32 j) { return rows[row * padded(s.n) + 17 * t + j]; };
    if (kind == combined)
      product<false>(x, digit, (const double2 *)(key + ((u64)(step - first) * s.k1 + c) * s.rows * s.n), nullptr, nullptr, t, s, m);
    else
      product<kind == combining>(x, digit, place(key, step, 0, c, s), exps + step * s.exponents, powers, t, s, m);
    barrier();
    inverse<false>(x, own, t, s.n, 1, f);
#pragma unroll
    for (int j = 0; j < 16; j++) {
      u32 at = t + j * each;
      a[at] = canonical(s.unrolled ? x[j] : x[j] + fromInteger((i64)a[at]), m);
    }
  }
  if (active)
#pragma unroll
    for (int j = 0; j < 16; j++) global[t + j * each] = a[t + j * each];
}

#define ROTATE(name, kind, most)                                                                                                     \
  KERNEL(most) void name(u64 *acc, const u32 *__restrict__ exps, const double *__restrict__ key, const double *__restrict__ powers,  \
                        const double *__restrict__ forward, const double *__restrict__ inverse, double q, u64 logn, u64 k1,        \
                        u64 levels, u64 baseLog, u64 steps, u64 terms, u64 unrolled, u64 first, u64 last, u64 batch) {              \
    rotateSteps<kind>(acc, exps, key, powers, Tree{forward, inverse, modulus(q)},                                                 \
                      shape(logn, k1, levels, baseLog, steps, terms, unrolled), first, last, batch);                              \
  }

ROTATE(rotate_cmux, cmux, 512)
ROTATE(rotate_combining, combining, 512)
ROTATE(rotate_combined, combined, 512)
// For one ciphertext a multiprocessor, whose threads get twice the registers.
ROTATE(rotate_cmux_few, cmux, 256)
ROTATE(rotate_combined_few, combined, 256)

// combine_steps writes the combinations of the steps [first, last) for each of
// batch rotations: a thread for sixteen points of a row.
KERNEL(256) void combine_steps(double *to, const u32 *__restrict__ exps, const double *__restrict__ key, const double *__restrict__ powers, double q, u64 logn, u64 k1, u64 levels,
                               u64 steps, u64 terms, u64 unrolled, u64 first, u64 last, u64 batch) {
  Shape s = shape(logn, k1, levels, 0, steps, terms, unrolled);
  Modulus m = modulus(q);
  u64 i = (u64)block() * threads() + thread();
  u32 each = s.n >> 4, t = i & (each - 1), perStep = s.k1 * s.rows, row = i / each % perStep;
  u64 step = i / each / perStep % (last - first), index = i / each / perStep / (last - first);
  if (index >= batch) return;
  const double2 *from = place(key, first + step, 0, 0, s) + (u64)row * (s.n >> 1);
  const u32 *e = exps + (index * s.steps + first + step) * s.exponents;
  u64 size = (u64)perStep * (s.n >> 1);
  double2 *out = (double2 *)to + ((index * (last - first) + step) * perStep + row) * (s.n >> 1) + t;
  double sum[8];
  combine<0>(sum, from, size, e, powers, t, s, m);
#pragma unroll
  for (int j = 0; j < 4; j++) out[j * each] = double2{reduce(sum[2 * j], m), reduce(sum[2 * j + 1], m)};
  combine<8>(sum, from, size, e, powers, t, s, m);
#pragma unroll
  for (int j = 0; j < 4; j++) out[(4 + j) * each] = double2{reduce(sum[2 * j], m), reduce(sum[2 * j + 1], m)};
}

// pack_key brings transformed rows, as accel.Backend.Rotator has them, into the form
// of a key. scale is 1/n, balanced. A thread takes sixteen points of a polynomial.
KERNEL(256) void pack_key(double *key, const u64 *rows, double q, double scale, u64 n, u64 k1, u64 rowsEach, u64 count) {
  Modulus m = modulus(q);
  u64 i = (u64)block() * threads() + thread();
  u32 each = n >> 4, t = i % each;
  u64 poly = i / each; // (ciphertext*rowsEach + row)*k1 + output
  if (poly >= count) return;
  u64 output = poly % k1, row = poly / k1 % rowsEach, ggsw = poly / k1 / rowsEach;
  double2 *to = (double2 *)(key + ((ggsw * k1 + output) * rowsEach + row) * n) + t;
  const u64 *from = rows + poly * n + 16 * t;
#pragma unroll
  for (int j = 0; j < 8; j++)
    to[j * each] = double2{reduce(mul(balanced(from[2 * j], m), scale, m), m), reduce(mul(balanced(from[2 * j + 1], m), scale, m), m)};
}

// The kernels below do a step over device memory, for rings of any size.

// decompose writes the digits of all accumulators as residues: rows polynomials for
// each.
KERNEL(256) void decompose(u64 *to, const u64 *acc, const u32 *exps, double qd, u64 logn, u64 k1, u64 levels, u64 baseLog, u64 steps, u64 terms, u64 step, u64 batch) {
  Shape s = shape(logn, k1, levels, baseLog, steps, terms, 0);
  i64 q = (i64)qd;
  u64 i = (u64)block() * threads() + thread();
  if (i >= batch * k1 << logn) return;
  u32 at = i & (s.n - 1), c = i >> logn;
  u64 index = c / s.k1;
  i64 v = (i64)acc[i];
  if (terms == 0) {
    u32 from = at - exps[index * steps + step];
    i64 x = (i64)acc[((u64)c << logn) + (from & (s.n - 1))];
    v = (from & s.n ? -x : x) - v;
  }
  u64 *out = to + ((u64)c * levels << logn) + at;
  digits(lift(v, q), s, [&](u32 level, i64 d) { out[(u64)level << logn] = (u64)(d < 0 ? d + q : d); });
}

// multiply multiplies transformed digits with a step's rows: k1 polynomials for
// each accumulator, times 1/n. A thread has sixteen points of one.
KERNEL(256) void multiply(u64 *to, const u64 *digits, const u32 *exps, const double *key, const double *powers, double q, u64 logn, u64 k1, u64 levels, u64 steps, u64 terms,
                          u64 unrolled, u64 step, u64 batch) {
  Shape s = shape(logn, k1, levels, 0, steps, terms, unrolled);
  Modulus m = modulus(q);
  u64 i = (u64)block() * threads() + thread();
  u32 each = s.n >> 4, t = i & (each - 1);
  u64 c = i / each, index = c / s.k1;
  if (index >= batch) return;
  const u64 *from = digits + index * s.rows * s.n + 16 * t;
  auto digit = [&](u32 row, u32 j) { return balanced(from[(u64)row * s.n + j], m); };
  double x[16];
  const double2 *rows = place(key, step, 0, c % s.k1, s);
  const u32 *e = exps + (index * steps + step) * s.exponents;
  if (terms == 0)
    product<false>(x, digit, rows, e, powers, t, s, m);
  else
    product<true>(x, digit, rows, e, powers, t, s, m);
#pragma unroll
  for (int j = 0; j < 16; j++) to[c * s.n + 16 * t + j] = canonical(x[j], m);
}

// accumulate adds the products of a step to the accumulators, or puts them in
// their place.
KERNEL(256) void accumulate(u64 *acc, const u64 *products, u64 q, u64 unrolled, u64 count) {
  u64 i = (u64)block() * threads() + thread();
  if (i >= count) return;
  u64 x = products[i] + (unrolled ? 0 : acc[i]);
  acc[i] = x >= q ? x - q : x;
}
