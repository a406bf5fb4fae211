/**
 * Gaussian noise that is the same everywhere: Philox 4x32-10 counters through Box-Muller. The specification and its
 * test vectors stand in Python's sampling/noise.py; the numbers here agree to one unit in the last place of float32.
 */
import { blake2b64 } from "./blake2b.js";

const ROUNDS = 10;
const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57];
/** Added to the two key words after every round. */
const WEYL = [0x9e3779b9, 0xbb67ae85];

/**
 * Philox 4x32-10 of one counter, in place.
 * @param {Uint32Array} counter four words, word 0 first; turned into the four random words
 * @param {number} key0 @param {number} key1 32 bits each
 */
export function philox(counter, key0, key1) {
  let [c0, c1, c2, c3] = counter;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = highWord(c0, MULTIPLIERS[0]), low0 = Math.imul(c0, MULTIPLIERS[0]);
    const high1 = highWord(c2, MULTIPLIERS[1]), low1 = Math.imul(c2, MULTIPLIERS[1]);
    [c0, c1, c2, c3] = [high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0];
    key0 = (key0 + WEYL[0]) | 0;
    key1 = (key1 + WEYL[1]) | 0;
  }
  counter[0] = c0;
  counter[1] = c1;
  counter[2] = c2;
  counter[3] = c3;
}

/**
 * Independent standard normal numbers. A longer draw begins with the shorter one.
 * @param {number} size how many
 * @param {bigint} seed any whole number; taken modulo 2**64
 * @param {string} key what the noise is for
 * @returns {Float32Array}
 */
export function normal(size, seed, key = "") {
  const digest = blake2b64(new TextEncoder().encode(key));
  const [key0, key1] = halves(BigInt.asUintN(64, seed));
  const [word2, word3] = halves(digest);
  const numbers = new Float32Array(size);
  const block = new Uint32Array(4);
  for (let index = 0; 4 * index < size; index++) {
    block[0] = index;
    block[1] = 0; // no array here has 2**34 numbers
    block[2] = word2;
    block[3] = word3;
    philox(block, key0, key1);
    for (let pair = 0; pair < 2; pair++) {
      const radius = Math.sqrt(-2 * Math.log((block[2 * pair] + 1) / 2 ** 32));
      const angle = 2 * Math.PI * (block[2 * pair + 1] / 2 ** 32);
      const at = 4 * index + 2 * pair;
      if (at < size) numbers[at] = radius * Math.cos(angle);
      if (at + 1 < size) numbers[at + 1] = radius * Math.sin(angle);
    }
  }
  return numbers;
}

/** Low and high 32 bits. @param {bigint} value @returns {[number, number]} */
function halves(value) {
  return [Number(value & 0xffffffffn), Number(value >> 32n)];
}

/** The upper 32 bits of a product of two 32-bit words. @param {number} a @param {number} b */
function highWord(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16); // below 2**33
  const carried = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(carried / 65536)) | 0;
}
