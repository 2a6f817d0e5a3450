// The workloads of bench/workloads that BGV, BFV and CKKS can express, on vectors. An
// item takes a stride of slots, a power of two, and the next items follow it.
//
// schemes   that run it
// depth     multiplications that follow each other
// max       of the absolute values of all numbers
// bits      CKKS computes on inputs divided by 2^bits
// degree    of the results in ciphertext i as polynomials of the inputs, for CKKS
// inputs    ciphertexts of an item
// split     the inputs of an item as vectors, one for each of them
// stride    slots of an item
// results   values of an item at the beginning of each ciphertext of the result
// steps     rotations
// compute   of ciphertexts

const powerOfTwo = (n) => 2 ** Math.ceil(Math.log2(n))
const halvings = (n) => Array.from({ length: Math.log2(n) }, (_, i) => n / 2 ** (i + 1))
const apart = (_, v) => v.map((x) => [x])
const halves = (n, v) => [v.slice(0, n), v.slice(n)]

const integers = ['bgv', 'bfv']
const all = [...integers, 'ckks']
const plain = {
  schemes: all, depth: 0, max: () => 2 ** 14, bits: 0, degree: () => 1, inputs: () => 1, split: (_, v) => [v],
  stride: powerOfTwo, results: () => 1, steps: () => [],
}

const squaredDistance = (e, n, [a, b]) => {
  const d = e.sub(a, b)
  return [e.innerSum(e.mul(d, d), powerOfTwo(n))]
}
const distance = {
  ...plain, depth: 1, degree: () => 2, inputs: () => 2, split: halves, compute: squaredDistance,
  steps: (n) => halvings(powerOfTwo(n)),
}

const logistic = { weights: [3, -5, 7, 1, -2, -7, 4, 6], bias: -90 }

/** The coefficients of the Chebyshev series of a degree of f on [-1, 1]. */
function chebyshev(f, degree) {
  const n = degree + 1
  const node = (j) => (Math.PI * (j + 0.5)) / n
  return Array.from({ length: n }, (_, k) => {
    let sum = 0
    for (let j = 0; j < n; j++) sum += f(Math.cos(node(j))) * Math.cos(k * node(j))
    return ((k ? 2 : 1) * sum) / n
  })
}

/** The probability in units of 32 of z/2048, whose absolute value is 1 at most. */
function sigmoid(e, x) {
  const c = chebyshev((x) => 8 / (1 + Math.exp(-8 * x)), 15)
  const one = (v) => Array(8).fill(v)
  const t = { 1: x }
  const square = (k) => (t[2 * k] = e.addPlain(e.double(e.mul(t[k], t[k])), one(-1))) // T_2k = 2 T_k² - 1
  const step = (k, j) => (t[k + j] = e.sub(e.double(e.mul(t[k], t[j])), t[k - j])) // T_k+j = 2 T_k T_j - T_k-j
  square(1), square(2), square(4)
  step(2, 1), step(4, 1), step(4, 3)
  for (const j of [1, 3, 5, 7]) step(8, j)
  let sum
  for (let k = 1; k <= 15; k += 2) { // but for the constant, the function is odd
    const term = e.mulPlain(t[k], one(c[k]))
    sum = sum ? e.add(term, sum) : term
  }
  return e.addPlain(sum, one(c[0]))
}

const network = {
  hidden: [[2, -1, 3, 1], [-3, 2, 1, -2], [1, 1, -2, 3], [-1, 3, -1, -3]],
  output: [[2, -1, 1, -3], [-2, 3, -1, 1]],
  bias: 400000,
}

const stored = (i) => (73 * i * i + 41 * i + 7) % 251

export const programs = {
  votes: {
    ...plain, max: (n) => n, steps: (n) => halvings(powerOfTwo(n)),
    compute: (e, n, [a]) => [e.innerSum(a, powerOfTwo(n))],
  },
  'chi-squared': {
    ...plain, depth: 2, max: () => (4 * 63 * 63) ** 2, bits: 6, degree: (i) => (i ? 2 : 4),
    inputs: () => 3, split: apart, stride: () => 1,
    compute: (e, _, [n0, n1, n2]) => {
      const d = e.sub(e.double(e.double(e.mul(n0, n2))), e.mul(n1, n1))
      const b = e.add(e.double(n0), n1)
      const c = e.add(e.double(n2), n1)
      return [e.mul(d, d), e.double(e.mul(b, b)), e.mul(b, c), e.double(e.mul(c, c))]
    },
  },
  euclidean: { ...distance, max: (n) => n * 2 ** 16, bits: 8 },
  hamming: { ...distance, max: (n) => n },
  logistic: {
    ...plain, schemes: ['ckks'], depth: 6, bits: 5, steps: halvings,
    compute: (e, n, [a]) => {
      const z = e.innerSum(e.mulPlain(a, logistic.weights.map((w) => w / 64)), n)
      return [sigmoid(e, e.addPlain(z, Array(n).fill(logistic.bias / 2048)))]
    },
  },
  matrix: {
    ...plain, depth: 1, max: (n) => n * 2 ** 16, bits: 8, degree: () => 2, inputs: (n) => 2 * n,
    stride: (n) => powerOfTwo(n * n), results: (n) => n * n,
    // For every k column k of the first and row k of the second, repeated to whole matrices.
    split: (n, v) => {
      const cells = Array.from({ length: n * n }, (_, i) => i)
      const each = (f) => Array.from({ length: n }, (_, k) => cells.map((i) => f(Math.floor(i / n), i % n, k)))
      return [...each((row, _, k) => v[row * n + k]), ...each((_, column, k) => v[n * n + k * n + column])]
    },
    compute: (e, n, v) => {
      let sum = e.mul(v[0], v[n])
      for (let k = 1; k < n; k++) sum = e.add(sum, e.mul(v[k], v[n + k]))
      return [sum]
    },
  },
  network: {
    ...plain, depth: 3, max: () => 2 ** 20, bits: 4, degree: () => 2,
    split: (_, v) => [network.hidden.flatMap(() => v)], // the inputs once for every neuron
    stride: (n) => n * network.hidden.length, steps: (n) => halvings(n * network.hidden.length),
    compute: (e, n, [a]) => {
      let h = e.innerSum(e.mulPlain(a, network.hidden.flat()), n)
      h = e.mul(h, h)
      return network.output.map((weights) => {
        const spread = weights.flatMap((w) => [w, ...Array(n - 1).fill(0)]) // neuron j is in slot n·j
        const sum = e.innerSum(e.mulPlain(h, spread), spread.length)
        return e.addPlain(sum, Array(spread.length).fill(e.reals ? network.bias / 2 ** 8 : network.bias))
      })
    },
  },
  retrieval: {
    ...plain, depth: 1, max: () => 255, steps: halvings,
    split: (n, [index]) => [Array.from({ length: n }, (_, i) => Number(i === index))],
    compute: (e, n, [a]) => [e.innerSum(e.mulPlain(a, Array.from({ length: n }, (_, i) => stored(i))), n)],
  },
  fibonacci: {
    ...plain, max: (n) => 2 ** (8 + Math.floor((7 * n) / 10)), bits: 8, inputs: () => 2, split: apart, stride: () => 1,
    compute: (e, n, [a, b]) => {
      for (let i = 1; i < n; i++) [a, b] = [b, e.add(a, b)]
      return [b]
    },
  },
  'vector-add': { ...plain, bits: 7, inputs: () => 2, split: apart, stride: () => 1, compute: (e, _, [a, b]) => [e.add(a, b)] },
  'vector-mul': { ...plain, depth: 1, bits: 7, degree: () => 2, inputs: () => 2, split: apart, stride: () => 1, compute: (e, _, [a, b]) => [e.mul(a, b)] },
  'vector-mul-plain': { ...plain, depth: 1, bits: 7, split: apart, stride: () => 1, compute: (e, _, [a]) => [e.mulPlain(a, [3])] },
  'vector-rotate': { ...plain, max: () => 2 ** 7, bits: 7, steps: () => [1], compute: (e, _, [a]) => [e.rotate(a, 1)] },
}
