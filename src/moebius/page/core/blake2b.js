/** BLAKE2b without a key (RFC 7693), for the few bytes that name a draw of noise. */

const ALL = (1n << 64n) - 1n;
const START = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const ORDER = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
].map((row) => [...row].map((digit) => parseInt(digit, 16)));
/** Which four words each of the eight mixings of a round works on: columns, then diagonals. */
const QUARTERS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];
const BLOCK = 128;

/**
 * A digest of 8 bytes, read little-endian.
 * @param {Uint8Array} bytes @returns {bigint} 0 to 2**64 - 1
 */
export function blake2b64(bytes) {
  const state = [...START];
  state[0] ^= 0x01010000n ^ 8n;
  const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK));
  for (let index = 0; index < blocks; index++) {
    const block = new Uint8Array(BLOCK);
    block.set(bytes.subarray(index * BLOCK, (index + 1) * BLOCK));
    const last = index === blocks - 1;
    compress(state, block, BigInt(last ? bytes.length : (index + 1) * BLOCK), last);
  }
  return state[0];
}

/** @param {bigint[]} state @param {Uint8Array} block @param {bigint} count @param {boolean} last */
function compress(state, block, count, last) {
  const view = new DataView(block.buffer);
  const words = Array.from({ length: 16 }, (_, index) => view.getBigUint64(8 * index, true));
  const v = [...state, ...START];
  v[12] ^= count;
  if (last) v[14] ^= ALL;
  for (let round = 0; round < 12; round++) {
    const order = ORDER[round % 10];
    QUARTERS.forEach(([a, b, c, d], index) => {
      v[a] = (v[a] + v[b] + words[order[2 * index]]) & ALL;
      v[d] = turnRight(v[d] ^ v[a], 32n);
      v[c] = (v[c] + v[d]) & ALL;
      v[b] = turnRight(v[b] ^ v[c], 24n);
      v[a] = (v[a] + v[b] + words[order[2 * index + 1]]) & ALL;
      v[d] = turnRight(v[d] ^ v[a], 16n);
      v[c] = (v[c] + v[d]) & ALL;
      v[b] = turnRight(v[b] ^ v[c], 63n);
    });
  }
  for (let index = 0; index < 8; index++) state[index] ^= v[index] ^ v[index + 8];
}

/** @param {bigint} word @param {bigint} bits */
function turnRight(word, bits) {
  return (word >> bits) | ((word << (64n - bits)) & ALL);
}
