// What a bootstrap does around its blind rotation: key switch and modulus switch in
// Z_2^32, the first accumulator and the sample extraction. accel.KeySwitcher and
// accel.PBS have the definitions.
#include "field.h"

DEVICE u64 mulHigh(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }

// switched returns floor((x*2^w + (q-1)/2)/q) modulo 2^32 for x < q, with reciprocal
// floor(2^(64+w)/q): the estimate is the result or one less.
DEVICE u32 switched(u64 x, u64 q, u64 reciprocal, u32 w) {
  u64 estimate = mulHigh(x, reciprocal), rest = (x << w) + q / 2 - estimate * q;
  return (u32)estimate + (rest >= q);
}

// switch_digits writes the digits of the nIn mask coefficients of batch ciphertexts,
// levels for each, and begins the outputs of nOut+1 words with (0, ..., 0, body).
KERNEL(256) void switch_digits(u32 *digits, u32 *out, const u64 *in, u64 q, u64 maskReciprocal, u64 bodyReciprocal, u64 nIn, u64 nOut, u64 baseLog, u64 levels, u64 batch) {
  u64 i = (u64)block() * threads() + thread(), all = batch * (nIn + 1);
  for (u64 j = i; j < batch * (nOut + 1); j += (u64)blocks() * threads())
    out[j] = j % (nOut + 1) == nOut ? switched(in[j / (nOut + 1) * (nIn + 1) + nIn], q, bodyReciprocal, 32) : 0;
  if (i >= all || i % (nIn + 1) == nIn) return;
  u32 bl = baseLog * levels, v = switched(in[i], q, maskReciprocal, bl), unused = 32 - bl;
  // The lift to (-2^(bl-1), 2^(bl-1)] sends 2^(bl-1) to its negative, whose magnitude
  // is the same; only the sign is wrong.
  u32 lifted = (u32)((int)(v << unused) >> unused), sign = 0 - (lifted >> 31);
  u32 rest = (lifted ^ sign) - sign;
  if (rest == 1u << (bl - 1)) sign = 0;
  u64 half = 1ull << baseLog >> 1, mask = (1ull << baseLog) - 1;
  u32 *to = digits + i / (nIn + 1) * nIn * levels + i % (nIn + 1) * levels;
  for (u32 level = levels - 1; level > 0; level--) {
    u32 d = rest & mask, carry = d > half;
    rest = (rest >> baseLog) + carry; // there are several levels, so baseLog is at most 16
    d -= carry << baseLog;
    to[level] = (d ^ sign) - sign;
  }
  to[0] = (rest ^ sign) - sign;
}

// switch_product subtracts digits times rows from the outputs: a block has a column
// a thread, up to 8 ciphertexts and a share of the rows. The order of the
// additions, which are modulo 2^32, is free.
//
// The blocks are numbered (share*tiles + tile)*columns + column.
KERNEL(128) void switch_product(u32 *out, const u32 *__restrict__ digits, const u32 *__restrict__ key, u64 rows, u64 width, u64 columns, u64 share, u64 batch) {
  const u32 tile = 8, chunk = 128;
  u32 *staged = (u32 *)memory; // tile rows of chunk digits
  u32 column = block() % columns * threads() + thread();
  u64 tiles = (batch + tile - 1) / tile, first = block() / columns % tiles * tile, row = block() / columns / tiles * share;
  u64 end = row + share < rows ? row + share : rows;
  u32 sum[tile];
#pragma unroll
  for (u32 c = 0; c < tile; c++) sum[c] = 0;
  for (; row < end; row += chunk) {
    u32 count = end - row < chunk ? end - row : chunk;
    for (u32 i = thread(); i < tile * chunk; i += threads()) {
      u32 c = i / chunk, r = i % chunk;
      staged[i] = first + c < batch && r < count ? digits[(first + c) * rows + row + r] : 0;
    }
    barrier();
    if (column < width)
      for (u32 r = 0; r < count; r++) {
        u32 k = key[(row + r) * width + column];
#pragma unroll
        for (u32 c = 0; c < tile; c++) sum[c] += staged[c * chunk + r] * k;
      }
    barrier();
  }
  if (column >= width) return;
#pragma unroll
  for (u32 c = 0; c < tile; c++)
    if (first + c < batch) __nvvm_atom_add_gen_i((int *)out + (first + c) * width + column, -(int)sum[c]);
}

// round sets x to the multiple of 2^shift nearest to a, in those units and modulo
// 2n, and returns a less it.
DEVICE i64 roundTo(u32 *x, u32 a, u32 shift, u32 n) {
  u32 r = (a + (1u << (shift - 1))) >> shift;
  *x = r & (2 * n - 1);
  return (int)(a - (r << shift));
}

// mod_switch rounds batch key-switched ciphertexts of steps*group+1 words to the
// exponents of a blind rotation, and that of the body, one block for each. A step
// has group key bits; unrolled ones have an exponent for each pattern of them.
KERNEL(256) void mod_switch(u32 *exps, u32 *bodies, const u32 *in, u64 logn, u64 steps, u64 group, u64 unrolled) {
  i64 *sums = (i64 *)memory;
  u32 n = 1u << logn, shift = 31 - logn, width = steps * group;
  u32 patterns = unrolled ? (1u << group) - 1 : group;
  const u32 *mask = in + (u64)block() * (width + 1);
  u32 *to = exps + (u64)block() * steps * patterns;
  i64 error = 0;
  for (u32 i = thread(); i < steps * patterns; i += threads()) {
    u32 a = 0, step = i / patterns, pattern = i % patterns + 1;
    if (unrolled) {
      for (u32 b = 0; b < group; b++) a += pattern >> b & 1 ? mask[step * group + b] : 0;
    } else {
      a = mask[i];
    }
    error += roundTo(&to[i], a, shift, n);
  }
  sums[thread()] = error;
  for (u32 half = threads() / 2; half > 0; half /= 2) {
    barrier();
    if (thread() < half) sums[thread()] += sums[thread() + half];
  }
  if (thread() != 0) return;
  i64 mean = sums[0];
  if (unrolled) {
    mean >>= group;
  } else {
    i64 d = (i64)group + 1, whole = mean / d;
    mean = whole - (mean % d < 0);
  }
  roundTo(&bodies[block()], mask[width] - (u32)mean, shift, n);
}

// first_accumulators sets accumulator i to the trivial ciphertext of
// X^-bodies[i] times table tables[i].
KERNEL(256) void first_accumulators(u64 *acc, const u32 *bodies, const u64 *testPolynomials, const u32 *tables, u64 q, u64 logn, u64 rank, u64 batch) {
  u64 i = (u64)block() * threads() + thread();
  if (i >= batch * (rank + 1) << logn) return;
  u32 n = 1u << logn, at = i & (n - 1);
  u64 poly = i >> logn, index = poly / (rank + 1);
  u64 x = 0;
  if (poly % (rank + 1) == rank) {
    u32 from = at + bodies[index];
    x = testPolynomials[((u64)tables[index] << logn) + (from & (n - 1))];
    if (from & n && x) x = q - x;
  }
  acc[i] = x;
}

// extract writes count LWE ciphertexts of rank*n+1 residues: that of coefficient
// coefficients[i] of accumulator accumulators[i].
KERNEL(256) void extract(u64 *out, const u64 *acc, const u32 *accumulators, const u32 *coefficients, u64 q, u64 logn, u64 rank, u64 count) {
  u64 i = (u64)block() * threads() + thread(), width = (rank << logn) + 1;
  if (i >= count * width) return;
  u64 index = i / width, at = i % width;
  u32 n = 1u << logn, h = coefficients[index];
  const u64 *from = acc + ((u64)accumulators[index] * (rank + 1) << logn);
  if (at == width - 1) {
    out[i] = from[(rank << logn) + h];
    return;
  }
  u32 j = at & (n - 1);
  u64 x = from[(at - j) + ((h - j) & (n - 1))];
  out[i] = j > h && x ? q - x : x;
}
