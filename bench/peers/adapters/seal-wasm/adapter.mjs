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

// Everything that SEAL makes lives in WebAssembly's memory until it is deleted: made
// keeps what a set-up or a run made.
let made = []
const keep = (x) => (made.push(x), x)
const free = (list) => list.forEach((x) => x.delete())

/** The smallest set of at least 128 bits of security that has the depth and the range. */
function parameters(scheme, depth, max) {
  const reals = scheme === 'ckks'
  const bits = Math.max(BigInt(2 * max).toString(2).length, 20) // of the plaintext modulus
  const chain = [60, ...Array(depth).fill(scaleBits), 60]
  for (const degree of [4096, 8192, 16384, 32768]) {
    // A multiplication takes as many bits as the plaintext modulus has, and about 20.
    const total = seal.CoeffModulus.MaxBitCount(degree, level)
    const room = reals ? chain.reduce((a, b) => a + b) <= total : (depth + 1) * (bits + 20) <= total * 0.8
    if (!room) continue
    const p = keep(new seal.EncryptionParameters(seal.SchemeType[scheme]))
    p.setPolyModulusDegree(degree)
    p.setCoeffModulus(keep(reals ? seal.CoeffModulus.Create(degree, Int32Array.from(chain)) : seal.CoeffModulus.BFVDefault(degree, level)))
    if (!reals) p.setPlainModulus(keep(seal.PlainModulus.Batching(degree, bits)))
    return p
  }
  throw new Error(`no set has ${depth} levels and numbers up to ${max}`)
}

/** What computes: it has a context and evaluation keys, and no secret key. */
class Evaluator {
  constructor(scheme, context, encoder, relin, galois, stride) {
    Object.assign(this, { scheme, context, encoder, relin, galois, stride, ops: keep(new seal.Evaluator(context)) })
    this.reals = scheme === 'ckks'
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
    if (this.scheme === 'ckks') this.ops.rescaleToNextInplace(c)
    if (this.scheme === 'bgv') this.ops.cipherModSwitchToNextInplace(c)
    return c
  }
  // Known values of an item, in all items, for a ciphertext.
  #plain(values, c, scale) {
    const p = keep(new seal.Plaintext())
    const slots = lay([values], this.encoder.slotCount() / this.stride, this.stride)
    if (!this.reals) this.encoder.encode(BigInt64Array.from(slots, (x) => BigInt(x)), p)
    else {
      this.encoder.encode(Float64Array.from(slots), scale, p)
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
    return this.#made((out) => (this.reals ? this.ops.rotateVector(a, k, this.galois, out) : this.ops.rotateRows(a, k, this.galois, out)))
  }
  /** Slot i becomes the sum of the n, a power of two, from i on. */
  innerSum(a, n) {
    for (let k = n / 2; k >= 1; k /= 2) a = this.add(a, this.rotate(a, k))
    return a
  }
}

/** The vectors behind each other, times of each, a stride apart. */
function lay(vectors, times, stride) {
  const slots = Array(times * vectors.length * stride).fill(0)
  for (let i = 0; i < times * vectors.length; i++) vectors[i % vectors.length].forEach((x, k) => (slots[i * stride + k] = x))
  return slots
}

let session // of the last set-up

function setup({ scheme, workload, size }) {
  if (session) free(session.made)
  session = undefined
  const program = programs[workload]
  if (!program || !program.schemes.includes(scheme)) throw new Error(`there is no ${workload} on ${scheme}`)
  const steps = program.steps(size)
  const parms = parameters(scheme, program.depth, program.max(size))
  const context = keep(new seal.SEALContext(parms, true, level))
  if (!context.parametersSet()) throw new Error('SEAL refuses the set')
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
  const reals = scheme === 'ckks'
  const encoder = keep(reals ? new seal.CKKSEncoder(context) : new seal.BatchEncoder(context))
  const stride = program.stride(size)
  const memory = [relin, ...(steps.length ? [galois] : [])].reduce((sum, k) => sum + k.saveToArray(seal.ComprModeType.none).length, 0)
  session = {
    program, size, stride, reals, context, encoder, made,
    evaluator: new Evaluator(scheme, context, encoder, relin, galois, stride),
    encryptor: keep(new seal.Encryptor(context, publicKey, secret)),
    decryptor: keep(new seal.Decryptor(context, secret)),
  }
  const degree = parms.polyModulusDegree()
  const key = keep(context.keyContextData())
  const bits = key.totalCoeffModulusBitCount()
  const t = reals ? null : Number(keep(parms.plainModulus()).value())
  return {
    set: `n${degree}-q${bits}` + (reals ? `-scale${scaleBits}` : `-t${t}`),
    security_bits: 128,
    assumption: `128 bits: ring-LWE with a ternary key, ${bits} of ${seal.CoeffModulus.MaxBitCount(degree, level)} bits of modulus (SEAL's tc128)`,
    description: { degree, modulus_bits: bits, plaintext_modulus: t, scale_log2: reals ? scaleBits : null, rotations: steps },
    threads: 1,
    keygen_seconds: keygen,
    evaluation_key_bytes: bytes.relin.length + (bytes.galois?.length ?? 0),
    evaluation_key_memory_bytes: memory,
    public_key_bytes: bytes.public.length,
    capacity: encoder.slotCount() / stride,
  }
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

  let start = performance.now()
  const request = vectors[0].map((_, c) => {
    const plain = keep(new seal.Plaintext())
    const slots = lay(vectors.map((v) => v[c]), 1, stride)
    if (reals) encoder.encode(Float64Array.from(slots, (x) => x / 2 ** program.bits), 2 ** scaleBits, plain)
    else encoder.encode(BigInt64Array.from(slots, (x) => BigInt(x)), plain)
    return keep(encryptor.encryptSymmetricSerializable(plain)).saveToArray(wire)
  })
  const encrypt = performance.now() - start

  const inputs = request.map(load)
  start = performance.now()
  const outputs = program.compute(evaluator, size, inputs)
  const compute = performance.now() - start
  const response = outputs.map((c) => c.saveToArray(wire))

  start = performance.now()
  const results = items.map(() => [])
  response.map(load).forEach((c, i) => {
    const plain = keep(new seal.Plaintext())
    decryptor.decrypt(c, plain)
    const got = reals ? encoder.decodeFloat64(plain) : encoder.decodeBigInt64(plain)
    const unit = 2 ** (program.bits * program.degree(i))
    for (const [item, out] of results.entries()) {
      for (let v = 0; v < program.results(size); v++) {
        const x = got[item * stride + v]
        out.push(reals ? BigInt(Math.round(x * unit)).toString() : x.toString())
      }
    }
  })
  const decrypt = performance.now() - start
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
