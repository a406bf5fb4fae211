/** Writing PNG with exactly the samples that are given, alpha not multiplied into colours. */
import { ascii, joined, packed, viewOf } from "./bytes.js";
import { paeth } from "./png_read.js";

/** Rows that share a filter: trying all of them for each would take as long as packing. */
const SAME = 8;
/** Bytes that are handed to the compressor at a time, about. */
const PIECE = 1 << 20;

/**
 * @param {import("./arrays.js").Photo} photo
 * @param {{exif: Uint8Array | null, icc: Uint8Array | null}} metadata exif without its "Exif" lead
 * @returns {Promise<Uint8Array<ArrayBuffer>>} the file
 */
export async function encodePng(photo, { exif, icc }) {
  const { width, height, data, grey } = photo;
  const alpha = isTransparent(data);
  const samples = (grey ? 1 : 3) + (alpha ? 1 : 0);
  const head = new Uint8Array(13), view = viewOf(head);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head.set([8, (grey ? 0 : 2) + (alpha ? 4 : 0)], 8);
  const parts = [Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a), chunk("IHDR", head)];
  if (icc) parts.push(chunk("iCCP", joined([ascii("profile\0\0"), await packed([icc], "deflate")])));
  if (exif) parts.push(chunk("eXIf", exif));
  parts.push(chunk("IDAT", await packed(rows(photo, samples), "deflate")), chunk("IEND", new Uint8Array()));
  return joined(parts);
}

/** Whether any pixel is not wholly opaque. @param {Uint8Array} data red, green, blue, alpha a pixel */
export function isTransparent(data) {
  for (let at = 3; at < data.length; at += 4) if (data[at] !== 255) return true;
  return false;
}

/** Filtered rows, many at a time. @param {import("./arrays.js").Photo} photo @param {number} samples */
function* rows({ width, height, data }, samples) {
  const stride = width * samples, many = Math.max(1, Math.floor(PIECE / (stride + 1)));
  let above = new Uint8Array(stride), row = new Uint8Array(stride);
  const trial = new Uint8Array(stride + 1);
  let kind = 1;
  for (let top = 0; top < height; top += many) {
    const count = Math.min(many, height - top), piece = new Uint8Array(count * (stride + 1));
    for (let y = 0; y < count; y++) {
      taken(data, 4 * (top + y) * width, row, samples);
      if ((top + y) % SAME === 0) kind = bestFilter(row, above, samples, trial);
      filtered(row, above, samples, kind, trial);
      piece.set(trial, y * (stride + 1));
      [above, row] = [row, above];
    }
    yield piece;
  }
}

/** @param {Uint8Array} row @param {Uint8Array} above @param {number} samples @param {Uint8Array} trial */
function bestFilter(row, above, samples, trial) {
  const costs = [1, 2, 4].map((kind) => ({ kind, cost: filtered(row, above, samples, kind, trial) }));
  return costs.reduce((best, each) => (each.cost < best.cost ? each : best)).kind;
}

/** A row's samples out of RGBA. @param {Uint8Array} data @param {number} from @param {Uint8Array} row
 * @param {number} samples */
function taken(data, from, row, samples) {
  const colours = samples > 2 ? 3 : 1;
  for (let to = 0; to < row.length; to += samples, from += 4) {
    for (let c = 0; c < colours; c++) row[to + c] = data[from + c];
    if (samples % 2 === 0) row[to + samples - 1] = data[from + 3];
  }
}

/**
 * A row as differences from its prediction, behind the filter's number.
 * @param {Uint8Array} row @param {Uint8Array} above @param {number} step @param {number} kind 1 left, 2 above, 4 Paeth's
 * @param {Uint8Array} into
 * @returns {number} the sum of differences taken as signed: what is least mostly packs best
 */
function filtered(row, above, step, kind, into) {
  into[0] = kind;
  let cost = 0;
  for (let i = 0; i < row.length; i++) {
    const left = i >= step ? row[i - step] : 0;
    const guess = kind === 1 ? left : kind === 2 ? above[i] : paeth(left, above[i], i >= step ? above[i - step] : 0);
    const difference = (row[i] - guess) & 255;
    into[i + 1] = difference;
    cost += difference < 128 ? difference : 256 - difference;
  }
  return cost;
}

/** @param {string} type @param {Uint8Array} content */
function chunk(type, content) {
  const all = new Uint8Array(content.length + 12), view = viewOf(all);
  view.setUint32(0, content.length);
  all.set(ascii(type), 4);
  all.set(content, 8);
  view.setUint32(content.length + 8, crc32(all.subarray(4, content.length + 8)));
  return all;
}

const REMAINDERS = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let sum = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) sum = (sum >>> 8) ^ REMAINDERS[(sum ^ bytes[i]) & 255];
  return ~sum >>> 0;
}
