/** Masks as PNG files of one bit a pixel: a mask of 100 megapixels takes no canvas, and a few kilobytes. */

/** @import {Mask} from "./types.js" */
import { pack } from "./raster.js";

const CRCS = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let k = 0; k < 8; k += 1) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

/** @param {Mask} mask @returns {Promise<Blob>}   white = fill */
export async function maskToPng({ width, height, data }) {
  const bits = pack(data, width, height);
  const stride = (width + 7) >> 3;
  const rows = new Uint8Array((stride + 1) * height); // a filter byte, 0, before each row
  for (let y = 0; y < height; y += 1) rows.set(bits.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 1); // bits; the zeros that follow mean grey, deflate, no filter, not interlaced
  const packed = await new Response(
    new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")),
  ).arrayBuffer();
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const parts = [
    signature,
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("IDAT", new Uint8Array(packed)),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Blob(parts, { type: "image/png" });
}

/** @param {string} kind @param {Uint8Array} content */
function chunk(kind, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(kind), 4);
  bytes.set(content, 8);
  let crc = 0xffffffff;
  for (const byte of bytes.subarray(4, -4)) crc = CRCS[(crc ^ byte) & 255] ^ (crc >>> 8);
  view.setUint32(content.length + 8, ~crc >>> 0);
  return bytes;
}
