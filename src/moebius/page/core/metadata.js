/** What a photo's file says of itself besides pixels: its kind, EXIF, colour profile; and putting them into a JPEG. */
import { ascii, joined, startsWith, unpacked, viewOf } from "./bytes.js";
import { uprightExif } from "./exif.js";
import { isPng, readChunks } from "./png_read.js";

/**
 * @typedef {object} Metadata
 * @property {string} format  "jpeg", "png", "webp", or "" for what only the browser knows
 * @property {Uint8Array | null} exif  upright, without its lead
 * @property {number} orientation  that the pixels in the file still have, 1 to 8
 * @property {Uint8Array | null} icc
 * @property {boolean} grey  the file has no colours
 * @property {boolean} deep  16 bits a sample
 */

const EXIF = "Exif\0\0", ICC = "ICC_PROFILE\0";
/** @type {{exif: Uint8Array | null, orientation: number}} */
const NONE = { exif: null, orientation: 1 };
/** Most bytes of a profile in one JPEG segment. */
const ICC_PIECE = 65519;

/** @param {Uint8Array} bytes of a file @returns {Promise<Metadata>} */
export async function readMetadata(bytes) {
  const plain = { format: "", exif: null, orientation: 1, icc: null, grey: false, deep: false };
  if (isPng(bytes)) return { ...plain, format: "png", ...(await ofPng(bytes)) };
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return { ...plain, format: "jpeg", ...ofJpeg(bytes) };
  if (startsWith(bytes, "RIFF") && startsWith(bytes, "WEBP", 8)) return { ...plain, format: "webp", ...ofWebp(bytes) };
  return plain;
}

/** "RGB ", "GRAY", "CMYK" ...: the colours a profile is for. @param {Uint8Array} icc */
export function profileColours(icc) {
  return icc.length < 128 ? "" : String.fromCharCode(...icc.subarray(16, 20));
}

/**
 * A JPEG file with EXIF and profile put in its front. Profiles that an encoder has put there give way to `icc`.
 * @param {Uint8Array} jpeg @param {{exif: Uint8Array | null, icc: Uint8Array | null}} metadata
 */
export function withMetadata(jpeg, { exif, icc }) {
  const own = [];
  if (exif && exif.length + 8 < 65536) own.push(segment(0xe1, joined([ascii(EXIF), exif])));
  const count = Math.ceil((icc?.length ?? 0) / ICC_PIECE);
  for (let index = 0; icc && index < count; index++) {
    const piece = icc.subarray(index * ICC_PIECE, (index + 1) * ICC_PIECE);
    own.push(segment(0xe2, joined([ascii(ICC), Uint8Array.of(index + 1, count), piece])));
  }
  const parts = [jpeg.subarray(0, 2)];
  let end = 2;
  for (const { marker, content, start, after } of segments(jpeg)) {
    if (marker !== 0xe0 && own.length) parts.push(...own.splice(0)); // behind JFIF's, which has to be the first
    if (!(icc && marker === 0xe2 && startsWith(content, ICC))) parts.push(jpeg.subarray(start, after));
    end = after;
  }
  return joined([...parts, ...own, jpeg.subarray(end)]);
}

/** The segments before the picture. @param {Uint8Array} jpeg */
function* segments(jpeg) {
  const view = viewOf(jpeg);
  for (let start = 2; start + 4 <= jpeg.length && jpeg[start] === 0xff && jpeg[start + 1] !== 0xda; ) {
    const after = start + 2 + view.getUint16(start + 2);
    yield { marker: jpeg[start + 1], content: jpeg.subarray(start + 4, after), start, after };
    start = after;
  }
}

/** @param {number} marker @param {Uint8Array} content */
function segment(marker, content) {
  const length = content.length + 2;
  return joined([Uint8Array.of(0xff, marker, length >> 8, length & 255), content]);
}

/** @param {Uint8Array} bytes */
async function ofPng(bytes) {
  const png = readChunks(bytes);
  const exif = png?.chunks.get("eXIf"), profile = png?.chunks.get("iCCP");
  const start = profile ? profile.indexOf(0) + 2 : 0; // behind a name and the number of the packing
  const icc = profile ? await unpacked(profile.subarray(start), "deflate").catch(() => null) : null;
  const grey = png !== null && (png.colour === 0 || png.colour === 4);
  return { ...(exif ? uprightExif(exif) : NONE), icc, grey, deep: png?.depth === 16 };
}

/** @param {Uint8Array} bytes */
function ofJpeg(bytes) {
  /** @type {Uint8Array[]} */
  const pieces = [];
  let turned = NONE, grey = false;
  for (const { marker, content } of segments(bytes)) {
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame) grey = content[5] === 1;
    if (marker === 0xe1 && turned === NONE && startsWith(content, EXIF)) turned = uprightExif(content.subarray(6));
    if (marker === 0xe2 && startsWith(content, ICC)) pieces[content[12] - 1] = content.subarray(14);
  }
  const whole = pieces.filter((piece) => piece !== undefined);
  return { ...turned, grey, icc: whole.length ? joined(whole) : null };
}

/** @param {Uint8Array} bytes */
function ofWebp(bytes) {
  const view = viewOf(bytes);
  /** @type {Uint8Array | null} */
  let icc = null;
  let turned = NONE;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true), content = bytes.subarray(at + 8, at + 8 + length);
    if (startsWith(bytes, "ICCP", at)) icc = content.slice();
    if (startsWith(bytes, "EXIF", at)) turned = uprightExif(content.subarray(startsWith(content, EXIF) ? 6 : 0));
    at += 8 + length + (length % 2);
  }
  return { ...turned, icc };
}
