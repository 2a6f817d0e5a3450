// An adapter of 'tacit bench' for Microsoft SEAL as WebAssembly, which has one thread.
// README.md two folders above describes the protocol, programs.mjs has the workloads.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import SEAL from 'node-seal'
import { programs } from './programs.mjs'

const seal = await SEAL()
const { version } = JSON.parse(readFileSync(new URL('node_modules/node-seal/package.json', import.meta.url)))
const wire = seal.ComprModeType.zstd // SEAL's default
const level = seal.SecLevelType.tc128
const scaleBits = 40
const trials = 4 // of a set, with keys of their own
const margin = 4 // bits of noise budget that their results have left

// Everything that SEAL makes lives in WebAssembly's memory until it is deleted: made
// keeps what a set-up or a run made.
let made = []
const keep = (x) => (made.push(x), x)
const free = (list) => list.splice(0).forEach((x) => x.delete())

/** The least prime of the form k·step + 1 above a bound. */
function primeAbove(bound, step) {
  const prime = (p) => {
    for (let d = 3; d * d <= p; d += 2) if (p % d === 0) return false
    return true
  }
  let p = step + 1
  while (p <= bound || !prime(p)) p += step
  return p
}

const levels = (depth) => [60, ...Array(depth).fill(scaleBits), 60] // bits of the primes of CKKS

/**
 * Sets of at least 128 bits of security by ring, the smallest first. Under CKKS a ring has one,
 * if it has the levels. Under BGV and BFV they are the first primes of SEAL's modulus for
 * the ring, with its last one for the keys; BGV may switch moduli after multiplications,
 * which makes what follows quicker and leaves it less noise budget.
 */
function* choices(scheme, depth) {
  for (const degree of [4096, 8192, 16384, 32768]) {
    const ring = []
    if (scheme === 'ckks') {
      const bits = levels(depth).reduce((a, b) => a + b)
      if (bits <= seal.CoeffModulus.MaxBitCount(degree, level)) ring.push({ degree, depth, switches: true })
      yield ring
      continue
    }
    const all = seal.CoeffModulus.BFVDefault(degree, level)
    for (let primes = 1; primes < all.size(); primes++) {
      ring.push({ degree, primes, switches: false })
      if (scheme === 'bgv' && depth > 0 && depth < primes) ring.push({ degree, primes, switches: true })
    }
    all.delete()
    yield ring
  }
}

/** The coefficient modulus of a choice. */
function modulus({ degree, primes, depth }) {
  if (!primes) return keep(seal.CoeffModulus.Create(degree, Int32Array.from(levels(depth))))
  const all = keep(seal.CoeffModulus.BFVDefault(degree, level))
  const some = keep(new seal.VectorModulus())
  for (let i = 0; i < primes; i++) some.push_back(keep(all.get(i)))
  some.push_back(keep(all.get(all.size() - 1)))
  return some
}

/** What computes: it has a context and evaluation keys, and no secret key. */
class Evaluator {
  constructor(reals, switches, context, encoder, relin, galois, stride) {
    Object.assign(this, { reals, switches, context, encoder, relin, galois, stride, ops: keep(new seal.Evaluator(context)) })
    this.transforms = 0 // of what tells choices of a ring apart: key switches and switches of the modulus
  }
  #made(f) {
    const out = keep(new seal.Ciphertext())
    f(out)
    return out
  }
  #chain(c) {
    const data = this.context.getContextData(c.parmsId())
    const index = data.chainIndex()
    data.delete()
    return index
  }
  #keySwitch(c) {
    const primes = c.coeffModulusSize()
    this.transforms += (primes + 1) * (primes + 2)
  }
  // Both at the level of the lower one, and of one scale: primes of the modulus are near
  // 2^40, so that scales of the same degree differ by little.
  #aligned(a, b) {
    const d = this.#chain(a) - this.#chain(b)
    if (d > 0) a = this.#made((out) => this.ops.cipherModSwitchTo(a, b.parmsId(), out))
    if (d < 0) b = this.#made((out) => this.ops.cipherModSwitchTo(b, a.parmsId(), out))
    if (this.reals && a.scale() !== b.scale()) (b = keep(b.copy())).setScale(a.scale())
    return [a, b]
  }
  #rescale(c) {
    if (!this.switches) return c
    this.transforms += 2 * c.coeffModulusSize()
    if (this.reals) this.ops.rescaleToNextInplace(c)
    else this.ops.cipherModSwitchToNextInplace(c)
    return c
  }
  // Known values of an item, in all items, for a ciphertext.
  #plain(values, c, scale) {
    const p = keep(new seal.Plaintext())
    const slots = lay([values], this.encoder.slotCount(), this.stride, this.reals)
    for (let n = this.stride; n < slots.length; n *= 2) slots.copyWithin(n, 0, n)
    if (!this.reals) this.encoder.encode(slots, p)
    else {
      this.encoder.encode(slots, scale, p)
      this.ops.plainModSwitchToInplace(p, c.parmsId())
    }
    return p
  }
  add(a, b) {
    const [x, y] = this.#aligned(a, b)
    return this.#made((out) => this.ops.add(x, y, out))
  }
  sub(a, b) {
    const [x, y] = this.#aligned(a, b)
    return this.#made((out) => this.ops.sub(x, y, out))
  }
  double(a) {
    return this.add(a, a)
  }
  mul(a, b) {
    const [x, y] = this.#aligned(a, b)
    const out = this.#made((out) => (a === b ? this.ops.square(x, out) : this.ops.multiply(x, y, out)))
    this.#keySwitch(out)
    this.ops.relinearizeInplace(out, this.relin)
    return this.#rescale(out)
  }
  mulPlain(a, values) {
    return this.#rescale(this.#made((out) => this.ops.multiplyPlain(a, this.#plain(values, a, 2 ** scaleBits), out)))
  }
  addPlain(a, values) {
    return this.#made((out) => this.ops.addPlain(a, this.#plain(values, a, a.scale()), out))
  }
  rotate(a, k) {
    this.#keySwitch(a)
    return this.#made((out) => (this.reals ? this.ops.rotateVector(a, k, this.galois, out) : this.ops.rotateRows(a, k, this.galois, out)))
  }
  /** Slot i becomes the sum of the n, a power of two, from i on. */
  innerSum(a, n) {
    for (let k = n / 2; k >= 1; k /= 2) a = this.add(a, this.rotate(a, k))
    return a
  }
}

/** Slots with the vectors a stride apart. */
function lay(vectors, count, stride, reals) {
  const slots = reals ? new Float64Array(count) : new BigInt64Array(count)
  vectors.forEach((v, i) => slots.set(reals ? v : v.map(BigInt), i * stride))
  return slots
}

/** Keys of a choice for a program of a size, and the answer to a set-up. */
function prepare(scheme, program, size, choice) {
  const reals = scheme === 'ckks'
  const parms = keep(new seal.EncryptionParameters(seal.SchemeType[scheme]))
  parms.setPolyModulusDegree(choice.degree)
  parms.setCoeffModulus(modulus(choice))
  const t = reals ? null : primeAbove(2 * program.max(size), 2 * choice.degree)
  if (!reals) parms.setPlainModulus(keep(new seal.Modulus(BigInt(t))))
  const context = keep(new seal.SEALContext(parms, true, level))
  if (!context.parametersSet()) throw new Error('SEAL refuses the set')
  const steps = program.steps(size)
  const start = performance.now()
  const generator = keep(new seal.KeyGenerator(context))
  const secret = keep(generator.secretKey())
  const bytes = { public: keep(generator.createPublicKeySerializable()).saveToArray(wire) }
  bytes.relin = keep(generator.createRelinKeysSerializable()).saveToArray(wire)
  if (steps.length) bytes.galois = keep(generator.createGaloisKeysSerializableWithSteps(Int32Array.from(steps))).saveToArray(wire)
  const keygen = (performance.now() - start) / 1000

  const relin = keep(new seal.RelinKeys())
  relin.loadFromArray(context, bytes.relin)
  const galois = keep(new seal.GaloisKeys())
  if (steps.length) galois.loadFromArray(context, bytes.galois)
  const publicKey = keep(new seal.PublicKey())
  publicKey.loadFromArray(context, bytes.public)
  const encoder = keep(reals ? new seal.CKKSEncoder(context) : new seal.BatchEncoder(context))
  const stride = program.stride(size)
  const memory = [relin, ...(steps.length ? [galois] : [])].reduce((sum, k) => sum + k.saveToArray(seal.ComprModeType.none).length, 0)
  const bits = keep(context.keyContextData()).totalCoeffModulusBitCount()
  const switches = !reals && choice.switches
  return {
    program, size, stride, reals, t, context, encoder, made,
    evaluator: new Evaluator(reals, choice.switches, context, encoder, relin, galois, stride),
    encryptor: keep(new seal.Encryptor(context, publicKey, secret)),
    decryptor: keep(new seal.Decryptor(context, secret)),
    answer: {
      set: `n${choice.degree}-q${bits}` + (reals ? `-scale${scaleBits}` : `-t${t}`) + (switches ? '-switched' : '') + `-rot${steps.length}`,
      security_bits: 128,
      assumption: `128 bits: ring-LWE with a ternary key, ${bits} of ${seal.CoeffModulus.MaxBitCount(choice.degree, level)} bits of modulus (SEAL's tc128)`,
      description: {
        degree: choice.degree, modulus_bits: bits, plaintext_modulus: t, scale_log2: reals ? scaleBits : null,
        modulus_switching: switches, rotations: steps,
      },
      threads: 1,
      keygen_seconds: keygen,
      evaluation_key_bytes: bytes.relin.length + (bytes.galois?.length ?? 0),
      evaluation_key_memory_bytes: memory,
      public_key_bytes: bytes.public.length,
      capacity: encoder.slotCount() / stride,
    },
  }
}

/**
 * A trial of a choice, with new keys: how many transforms the program takes, or infinitely many
 * where its results do not keep the margin: of the noise budget of those of random slots,
 * which are the noisiest, SEAL tells how much is left.
 */
function trial(scheme, program, size, choice) {
  const { t, encoder, evaluator, encryptor, decryptor } = prepare(scheme, program, size, choice)
  const inputs = Array.from({ length: program.inputs(size) }, () => {
    const plain = keep(new seal.Plaintext())
    encoder.encode(BigInt64Array.from({ length: encoder.slotCount() }, () => BigInt(Math.floor((Math.random() - 0.5) * t))), plain)
    const c = keep(new seal.Ciphertext())
    encryptor.encryptSymmetric(plain, c)
    return c
  })
  const sound = program.compute(evaluator, size, inputs).every((c) => decryptor.invariantNoiseBudget(c) >= margin)
  free(made)
  return sound ? evaluator.transforms : Infinity
}

/**
 * The choice with the fewest transforms of the smallest ring that has one whose trials all keep
 * the margin: it is 16 times their noise, more than noise varies. CKKS has no such budget: its
 * noise is that of the scale.
 */
function choose(scheme, program, size) {
  for (const ring of choices(scheme, program.depth)) {
    if (scheme === 'ckks' && ring.length) return ring[0]
    let best
    let least = Infinity
    for (const choice of ring) {
      let transforms = 0
      for (let i = 0; i < trials && transforms < least; i++) transforms = trial(scheme, program, size, choice)
      if (transforms < least) [best, least] = [choice, transforms]
    }
    if (best) return best
  }
  throw new Error('no set has a margin of noise')
}

let session // of the last set-up
const chosen = new Map() // by scheme, workload and size: rounds have the same set

function setup({ scheme, workload, size }) {
  if (session) free(session.made)
  session = undefined
  const program = programs[workload]
  if (!program || !program.schemes.includes(scheme)) throw new Error(`there is no ${workload} on ${scheme}`)
  const job = `${scheme}/${workload}/${size}`
  if (!chosen.has(job)) chosen.set(job, choose(scheme, program, size))
  session = prepare(scheme, program, size, chosen.get(job))
  return session.answer
}

function run({ items }) {
  if (!session) throw new Error('no set-up')
  const { program, size, stride, reals, context, encoder, evaluator, encryptor, decryptor } = session
  if (items.length > encoder.slotCount() / stride) throw new Error('more items than a batch has')
  const load = (bytes) => {
    const c = keep(new seal.Ciphertext())
    c.loadFromArray(context, bytes)
    return c
  }
  const vectors = items.map((item) => program.split(size, item.map(Number)))
  const unit = reals ? 2 ** program.bits : 1
  const slots = vectors[0].map((_, c) => lay(vectors.map((v) => v[c].map((x) => x / unit)), encoder.slotCount(), stride, reals))

  let start = performance.now()
  const request = slots.map((values) => {
    const plain = keep(new seal.Plaintext())
    if (reals) encoder.encode(values, 2 ** scaleBits, plain)
    else encoder.encode(values, plain)
    return keep(encryptor.encryptSymmetricSerializable(plain)).saveToArray(wire)
  })
  const encrypt = performance.now() - start

  const inputs = request.map(load)
  start = performance.now()
  const outputs = program.compute(evaluator, size, inputs)
  const compute = performance.now() - start
  if (!reals && outputs.some((c) => decryptor.invariantNoiseBudget(c) === 0)) throw new Error('the noise budget is used up')
  const response = outputs.map((c) => c.saveToArray(wire))

  start = performance.now()
  const got = response.map((bytes) => {
    const plain = keep(new seal.Plaintext())
    decryptor.decrypt(load(bytes), plain)
    return reals ? encoder.decodeFloat64(plain) : encoder.decodeBigInt64(plain)
  })
  const decrypt = performance.now() - start
  const text = (x, c) => (reals ? BigInt(Math.round(x * unit ** program.degree(c))) : x).toString()
  const results = items.map((_, i) =>
    got.flatMap((values, c) => Array.from(values.slice(i * stride, i * stride + program.results(size)), (x) => text(x, c))),
  )
  const total = (list) => list.reduce((sum, b) => sum + b.length, 0)
  return {
    results,
    seconds: { encrypt: encrypt / 1000, compute: compute / 1000, decrypt: decrypt / 1000 },
    request_bytes: total(request),
    response_bytes: total(response),
    bootstraps: 0,
  }
}

function describe() {
  const of = (scheme) => Object.keys(programs).filter((name) => programs[name].schemes.includes(scheme))
  return {
    protocol: 1,
    library: 'seal-wasm',
    version: '4.1.2',
    build: `WebAssembly, one thread: node-seal ${version}, Node.js ${process.version}`,
    schemes: ['bgv', 'bfv', 'ckks'].map((scheme) => ({ scheme, workloads: of(scheme) })),
  }
}

const commands = { describe, setup, run }
for await (const line of createInterface({ input: process.stdin })) {
  const mine = (made = [])
  let answer
  try {
    const request = JSON.parse(line)
    answer = (commands[request.command] ?? (() => { throw new Error('there is no such command') }))(request)
  } catch (e) {
    answer = { error: [e?.message ?? e].flat().join(': ') } // SEAL's exceptions have a type and a text
  }
  if (session?.made !== mine) free(mine)
  process.stdout.write(JSON.stringify(answer) + '\n')
}
