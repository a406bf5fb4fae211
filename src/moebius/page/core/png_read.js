/**
 * Reading PNG (ISO/IEC 15948) to the samples that the file holds: a browser's canvas multiplies colours by alpha and
 * converts them, which changes pixels that nobody asked to change.
 */
import { joined, startsWith, unpacked, viewOf } from "./bytes.js";

const SIGNATURE = "\x89PNG\r\n\x1a\n";
/** Samples a pixel, by colour type. */
const SAMPLES = new Map([[0, 1], [2, 3], [3, 1], [4, 2], [6, 4]]);

/**
 * @typedef {object} PngHead
 * @property {number} width @property {number} height @property {number} depth bits a sample
 * @property {number} colour 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha
 * @property {boolean} interlaced
 * @property {Map<string, Uint8Array>} chunks what stands once: PLTE, tRNS, iCCP, eXIf ...
 * @property {Uint8Array[]} data
 */

/** @param {Uint8Array} bytes */
export function isPng(bytes) {
  return startsWith(bytes, SIGNATURE);
}

/**
 * The chunks of a PNG file; null where it is damaged.
 * @param {Uint8Array} bytes @returns {PngHead | null}
 */
export function readChunks(bytes) {
  const view = viewOf(bytes);
  /** @type {Map<string, Uint8Array>} */
  const chunks = new Map();
  /** @type {Uint8Array[]} */
  const data = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at), type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length) return null;
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (type === "IDAT") data.push(content);
    else if (!chunks.has(type)) chunks.set(type, content);
    if (type === "IEND") break;
    at += 12 + length;
  }
  const head = chunks.get("IHDR");
  if (head === undefined || head.length < 13 || data.length === 0) return null;
  const fields = viewOf(head);
  return {
    width: fields.getUint32(0), height: fields.getUint32(4), depth: head[8], colour: head[9],
    interlaced: head[12] !== 0, chunks, data,
  };
}

/**
 * The pixels, red, green, blue, alpha each; 16 bits rounded to 8. Null for kinds that are left to the browser:
 * interlaced ones, less than 8 bits a sample (palettes excepted), one transparent colour among opaque ones.
 * @param {PngHead} png @returns {Promise<Uint8Array | null>}
 */
export async function decodePng(png) {
  const { width, height, depth, colour, chunks } = png;
  const samples = SAMPLES.get(colour);
  const palette = chunks.get("PLTE");
  if (samples === undefined || png.interlaced || (colour === 3 && (palette === undefined || depth > 8))) return null;
  if (colour !== 3 && (chunks.has("tRNS") || (depth !== 8 && depth !== 16))) return null;
  const stride = Math.ceil((width * samples * depth) / 8);
  const raw = await unpacked(joined(png.data), "deflate");
  if (raw.length < height * (stride + 1)) throw new Error("the picture's data ends early");
  unfilter(raw, stride, height, Math.max(1, (samples * depth) / 8));
  const pixels = new Uint8Array(4 * width * height);
  const alphas = chunks.get("tRNS") ?? new Uint8Array();
  const read = depth === 16 ? sixteen : depth === 8 ? eight : bits(depth);
  for (let y = 0, to = 0; y < height; y++) {
    const start = y * (stride + 1) + 1;
    for (let x = 0; x < width; x++, to += 4) {
      const at = x * samples;
      if (colour === 3) {
        const index = read(raw, start, at);
        for (let c = 0; c < 3; c++) pixels[to + c] = palette?.[3 * index + c] ?? 0;
        pixels[to + 3] = alphas[index] ?? 255;
        continue;
      }
      const coloured = samples > 2;
      pixels[to] = read(raw, start, at);
      pixels[to + 1] = coloured ? read(raw, start, at + 1) : pixels[to];
      pixels[to + 2] = coloured ? read(raw, start, at + 2) : pixels[to];
      pixels[to + 3] = samples % 2 ? 255 : read(raw, start, at + samples - 1);
    }
  }
  return pixels;
}

/** @param {Uint8Array} raw @param {number} start @param {number} at */
function eight(raw, start, at) {
  return raw[start + at];
}

/** @param {Uint8Array} raw @param {number} start @param {number} at */
function sixteen(raw, start, at) {
  const value = (raw[start + 2 * at] << 8) | raw[start + 2 * at + 1];
  return Math.floor((value * 255 + 32767) / 65535);
}

/** @param {number} depth 1, 2 or 4 */
function bits(depth) {
  const each = 8 / depth;
  /** @param {Uint8Array} raw @param {number} start @param {number} at */
  return (raw, start, at) =>
    (raw[start + Math.floor(at / each)] >> (8 - depth * ((at % each) + 1))) & ((1 << depth) - 1);
}

/**
 * Undo each row's prediction, in place.
 * @param {Uint8Array} raw rows of a filter byte and `stride` bytes @param {number} stride @param {number} height
 * @param {number} step bytes from one pixel to the next
 */
function unfilter(raw, stride, height, step) {
  for (let y = 0; y < height; y++) {
    const start = y * (stride + 1) + 1, kind = raw[start - 1], up = stride + 1;
    for (let i = 0; i < stride && kind !== 0; i++) {
      const at = start + i;
      const left = i >= step ? raw[at - step] : 0, above = y > 0 ? raw[at - up] : 0;
      if (kind === 1) raw[at] += left;
      else if (kind === 2) raw[at] += above;
      else if (kind === 3) raw[at] += (left + above) >> 1;
      else if (kind === 4) raw[at] += paeth(left, above, i >= step && y > 0 ? raw[at - up - step] : 0);
      else throw new Error(`expected filters 0 to 4, got ${kind}`);
    }
  }
}

/** Whichever of the three is nearest to left + above - corner. @param {number} left @param {number} above
 * @param {number} corner */
export function paeth(left, above, corner) {
  const toLeft = Math.abs(above - corner), toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}
