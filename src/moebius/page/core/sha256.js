/**
 * SHA-256 (FIPS 180-4), hexadecimal: by the browser, or by this file where the browser has none, as on pages that came by
 * plain HTTP from another machine.
 */

const START = primes(8, 1 / 2), ROUND = primes(64, 1 / 3);

/** @param {Uint8Array} bytes @returns {Promise<string>} */
export async function sha256(bytes) {
  const own = globalThis.crypto?.subtle;
  if (own === undefined) return plainSha256(bytes);
  const digest = await own.digest("SHA-256", /** @type {Uint8Array<ArrayBuffer>} */ (bytes));
  return hex(new Uint8Array(digest));
}

/** @param {Uint8Array} bytes @returns {string} */
export function plainSha256(bytes) {
  const state = Uint32Array.from(START);
  const whole = bytes.length - (bytes.length % 64);
  for (let at = 0; at < whole; at += 64) compress(state, bytes, at);
  const tail = new Uint8Array(bytes.length % 64 < 56 ? 64 : 128), view = new DataView(tail.buffer);
  tail.set(bytes.subarray(whole));
  tail[bytes.length - whole] = 0x80;
  view.setBigUint64(tail.length - 8, 8n * BigInt(bytes.length));
  for (let at = 0; at < tail.length; at += 64) compress(state, tail, at);
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, index) => digest.setUint32(4 * index, word));
  return hex(new Uint8Array(digest.buffer));
}

/** @param {Uint32Array} state @param {Uint8Array} bytes @param {number} at */
function compress(state, bytes, at) {
  const w = new Int32Array(64);
  for (let i = 0; i < 16; i++, at += 4) {
    w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }
  for (let i = 16; i < 64; i++) {
    const s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
    const s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25), choice = (e & f) ^ (~e & g);
    const t1 = (h + s1 + choice + ROUND[i] + w[i]) | 0;
    const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22), most = (a & b) ^ (a & c) ^ (b & c);
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + s0 + most) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, index) => (state[index] += word));
}

/** @param {number} word @param {number} bits */
function turn(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

/** First 32 bits behind the point of a root of the first primes. @param {number} count @param {number} power */
function primes(count, power) {
  /** @type {number[]} */
  const found = [];
  for (let number = 2; found.length < count; number++) {
    if (!found.some((prime) => number % prime === 0)) found.push(number);
  }
  return found.map((prime) => Math.floor((prime ** power % 1) * 2 ** 32) | 0);
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
