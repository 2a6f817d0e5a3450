// Negacyclic number-theoretic transforms (Longa, Naehrig, 2016, Algorithms 1 and
// 2), sixteen values a thread and four layers a pass over shared memory.
//
// A transform is a binary tree: node m+i is block i of the layer with m blocks,
// its factor is ψ^brv(m+i), and its children are 2(m+i) and 2(m+i)+1. Thread t of n/16
// holds the values at base + j*stride for j < 16. Strides go n/16, n/256, ... down to
// 1; where log2(n) is no multiple of four, the pass with stride 1 has fewer layers.
#pragma once
#include "field.h"

struct Tree {
  const double *forward, *inverse; // factors by node, balanced
  Modulus m;
};

// Places in shared memory: one gap in sixteen keeps threads out of each other's
// banks at every stride.
DEVICE u32 padded(u32 i) { return i + (i >> 4); }

// forwardLayers does the layers first <= s < last of a pass below a node.
//
// Butterflies (a, b) -> (a + bw, a - bw) add less than 3/4 q, as long as |b| < 12 q:
// inputs within q/2 and q < 2^48 leave twelve layers below 9.5 q. For q < 2^50
// (wide) each pass begins with reduced values and stays below 3.3 q.
template <bool wide> DEVICE void forwardLayers(double (&x)[16], const Tree &f, u32 node, int first, int last) {
  if (wide)
#pragma unroll
    for (int j = 0; j < 16; j++) x[j] = reduce(x[j], f.m);
#pragma unroll
  for (int s = 0; s < 4; s++) {
    if (s < first || s >= last) continue;
    const int half = 8 >> s;
#pragma unroll
    for (int k = 0; k < 1 << s; k++) {
      double w = f.forward[(node << s) + k];
#pragma unroll
      for (int i = 0; i < half; i++) {
        double &a = x[2 * half * k + i], &b = x[2 * half * k + half + i], t = mul(b, w, f.m);
        b = a - t;
        a = a + t;
      }
    }
  }
}

// inverseLayers does the layers last > s >= first of a pass, from the leaves up.
//
// Butterflies (a, b) -> (a + b, (a - b)w) double the sums, which are reduced in the
// last layer: inputs below q stay below 16 q, and |16q*(q/2)/q| < 2^51 for q < 2^48. For
// q < 2^50 (wide) a pass begins with reduced values and sums are reduced in the
// second layer as well, so that all stay below 4 q.
template <bool wide> DEVICE void inverseLayers(double (&x)[16], const Tree &f, u32 node, int first, int last) {
  if (wide)
#pragma unroll
    for (int j = 0; j < 16; j++) x[j] = reduce(x[j], f.m);
#pragma unroll
  for (int s = 3; s >= 0; s--) {
    if (s < first || s >= last) continue;
    const int half = 8 >> s;
#pragma unroll
    for (int k = 0; k < 1 << s; k++) {
      double w = f.inverse[(node << s) + k];
#pragma unroll
      for (int i = 0; i < half; i++) {
        double &a = x[2 * half * k + i], &b = x[2 * half * k + half + i], d = a - b;
        a = a + b;
        b = mul(d, w, f.m);
      }
    }
    if (s == first || (wide && s == 2))
#pragma unroll
      for (int k = 0; k < 1 << s; k++)
#pragma unroll
        for (int i = 0; i < half; i++) x[2 * half * k + i] = reduce(x[2 * half * k + i], f.m);
  }
}

DEVICE u32 baseOf(u32 t, u32 stride) { return ((t & ~(stride - 1)) << 4) + (t & (stride - 1)); }

DEVICE void put(double *buffer, const double (&x)[16], u32 base, u32 stride) {
#pragma unroll
  for (int j = 0; j < 16; j++) buffer[padded(base + j * stride)] = x[j];
}

DEVICE void get(const double *buffer, double (&x)[16], u32 base, u32 stride) {
#pragma unroll
  for (int j = 0; j < 16; j++) x[j] = buffer[padded(base + j * stride)];
}

// forward transforms the n values below a node, from stride n/16 to stride 1.
// buffer has padded(n) places; each thread writes first where it read last, so one
// barrier an exchange is enough. All threads of the block take part.
template <bool wide> DEVICE void forward(double (&x)[16], double *buffer, u32 t, u32 n, u32 root, const Tree &f) {
  u32 stride = n >> 4, base = t, node = root;
  int first = 0;
#pragma unroll 1
  for (;;) {
    forwardLayers<wide>(x, f, node, first, 4);
    if (stride == 1) return;
    put(buffer, x, base, stride);
    barrier();
    if (stride >= 16) {
      stride >>= 4;
    } else {
      first = stride == 8 ? 1 : stride == 4 ? 2 : 3;
      stride = 1;
    }
    base = baseOf(t, stride);
    node = root * (n / (16 * stride)) + t / stride;
    get(buffer, x, base, stride);
  }
}

// inverse undoes forward, but for the factor n.
template <bool wide> DEVICE void inverse(double (&x)[16], double *buffer, u32 t, u32 n, u32 root, const Tree &f) {
  u32 stride = 1, base = baseOf(t, 1), odd = n >> 8; // 16^p times 1, 2, 4 or 8
  while (odd >= 16) odd >>= 4;
  int first = odd == 2 ? 3 : odd == 4 ? 2 : odd == 8 ? 1 : 0;
  u32 next = odd == 1 ? 16 : odd;
#pragma unroll 1
  for (;;) {
    inverseLayers<wide>(x, f, root * (n / (16 * stride)) + t / stride, first, 4);
    if (stride == n >> 4) return;
    put(buffer, x, base, stride);
    barrier();
    stride = next;
    next <<= 4;
    first = 0;
    base = baseOf(t, stride);
    get(buffer, x, base, stride);
  }
}
