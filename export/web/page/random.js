// numpy.random.default_rng(seed).random(count, float32): a seed gives the sample that it gives in
// Python. SeedSequence (M. O'Neill's seed_seq_fe) fills the 128-bit state of a PCG XSL-RR.

const MASK64 = (1n << 64n) - 1n;
const MASK128 = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const POOL = 4;

/** `count` numbers in [0, 1) as Float32Array; `seed` is a whole number below 2 ** 32. */
export function uniforms(seed, count) {
  const words = generateState(seed);
  const state = { value: 0n, increment: ((words[1] << 1n) | 1n) & MASK128 };
  advance(state);
  state.value += words[0];
  advance(state);
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const bits = next64(state); // two numbers of 24 bits, the lower half first
    numbers[i] = Number((bits & 0xffffffffn) >> 8n) / 2 ** 24;
    if (i + 1 < count) numbers[i + 1] = Number(bits >> 40n) / 2 ** 24;
  }
  return numbers;
}

function advance(state) {
  state.value = (state.value * MULTIPLIER + state.increment) & MASK128;
}

function next64(state) {
  advance(state);
  const folded = ((state.value >> 64n) ^ state.value) & MASK64;
  const turn = state.value >> 122n;
  return ((folded >> turn) | (folded << (64n - turn))) & MASK64;
}

/** SeedSequence(seed).generate_state(4, uint64) as two numbers of 128 bits. */
function generateState(seed) {
  let constant = 0x43b0d7e5;
  const hash = (value) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, 0x931e8875);
    const product = Math.imul(mixed, constant);
    return product ^ (product >>> 16);
  };
  const pool = Array.from({ length: POOL }, (_, i) => hash(i ? 0 : seed));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) {
      if (from === to) continue;
      const mixed = Math.imul(0xca01f9dd, pool[to]) - Math.imul(0x4973f715, hash(pool[from]));
      pool[to] = mixed ^ ((mixed | 0) >>> 16);
    }
  }
  constant = 0x8b51f9dd;
  const words = Array.from({ length: 8 }, (_, i) => {
    const mixed = pool[i % POOL] ^ constant;
    constant = Math.imul(constant, 0x58f38ded);
    const product = Math.imul(mixed, constant);
    return BigInt((product ^ (product >>> 16)) >>> 0);
  });
  const long = (i) => (words[i + 1] << 32n) | words[i];
  return [(long(0) << 64n) | long(2), (long(4) << 64n) | long(6)];
}
