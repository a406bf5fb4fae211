/**
 * Photos in a browser's worker: from a file to pixels, and back to a file.
 *
 * Pixels that nobody asked to change come through exactly: PNG is read and written by our own code, and other files are
 * opaque or lossy by nature. Colours stay as they are stored, with their profile, where the result can carry it.
 */
import { withMetadata, profileColours, readMetadata } from "./core/metadata.js";
import { FillError } from "./core/errors.js";
import { decodePng, readChunks } from "./core/png_read.js";
import { encodePng, isTransparent } from "./core/png_write.js";

/**
 * @typedef {import("./core/arrays.js").Photo} Photo @typedef {import("./core/metadata.js").Metadata} Metadata
 * @typedef {{photo: Photo, metadata: Metadata, warnings: string[]}} Opened
 */

/** Pixels that go through a canvas at a time. */
const STRIP = 1 << 22;
const DEFAULT_QUALITY = 95;

/**
 * @param {Blob} file @param {string} output the format it will be written in
 * @returns {Promise<Opened>} metadata: what the result will carry
 */
export async function openPhoto(file, output) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const metadata = await readMetadata(bytes);
  /** @type {string[]} */
  const warnings = [];
  if (metadata.deep) warnings.push("16 bits a colour are rounded to 8");
  if (metadata.icc !== null && !(await keepsProfile(metadata.icc, metadata.grey, output))) {
    warnings.push("the colour profile is not kept: colours are converted to sRGB");
    metadata.icc = null;
    return viaCanvas(file, metadata, "default", warnings);
  }
  const png = metadata.format === "png" && metadata.orientation === 1 ? readChunks(bytes) : null;
  try {
    const data = png === null ? null : await decodePng(png);
    if (png !== null && data !== null) {
      return { photo: { width: png.width, height: png.height, data, grey: metadata.grey }, metadata, warnings };
    }
  } catch {
    // The browser may make more of a damaged file than we do; if not, it says so.
  }
  return viaCanvas(file, metadata, metadata.icc === null ? "default" : "none", warnings);
}

/**
 * @param {Photo} photo @param {string} format "png", "jpeg" or "webp"
 * @param {number | null} quality 1 to 100 @param {Metadata} metadata
 * @returns {Promise<{file: Blob, written: object}>}
 */
export async function writePhoto(photo, format, quality, { exif, icc }) {
  if (format === "png") {
    const file = new Blob([await encodePng(photo, { exif, icc })], { type: "image/png" });
    return { file, written: { format: "PNG", bytes: file.size, stored: "lossless" } };
  }
  if (format !== "jpeg" && format !== "webp") {
    throw new FillError("output", `format: expected png, jpeg or webp, got ${format}`);
  }
  const type = `image/${format}`;
  if (format === "jpeg" && isTransparent(photo.data)) {
    throw new FillError("output", "JPEG cannot keep the photo's transparency, use PNG");
  }
  const canvas = new OffscreenCanvas(photo.width, photo.height);
  const context = contextOf(canvas);
  const pixels = new Uint8ClampedArray(/** @type {ArrayBuffer} */ (photo.data.buffer), photo.data.byteOffset, photo.data.length);
  context.putImageData(new ImageData(pixels, photo.width, photo.height), 0, 0);
  let file = await canvas.convertToBlob({ type, quality: (quality ?? DEFAULT_QUALITY) / 100 });
  if (file.type !== type) throw new FillError("output", `expected a browser that writes ${format}, got ${file.type}`);
  if (format === "jpeg") {
    file = new Blob([withMetadata(new Uint8Array(await file.arrayBuffer()), { exif, icc })], { type });
  }
  return { file, written: { format: format.toUpperCase(), bytes: file.size, stored: "lossy" } };
}

/** What this browser can write. @returns {Promise<string[]>} */
export async function writableFormats() {
  const formats = ["png"];
  for (const format of ["jpeg", "webp"]) {
    const canvas = new OffscreenCanvas(1, 1);
    contextOf(canvas);
    const file = await canvas.convertToBlob({ type: `image/${format}` });
    if (file.type === `image/${format}`) formats.push(format);
  }
  return formats;
}

/**
 * The browser's own reading, upright, a strip at a time: a whole canvas of a large photo is more than some browsers allow.
 * @param {Blob} file @param {Metadata} metadata @param {"none" | "default"} conversion @param {string[]} warnings
 * @returns {Promise<Opened>}
 */
async function viaCanvas(file, metadata, conversion, warnings) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: conversion });
  } catch {
    throw new FillError("photo", "photo: expected an image that this browser can read, got a damaged or unknown file");
  }
  const { width, height } = bitmap;
  const data = new Uint8Array(4 * width * height);
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP / width)));
  const context = contextOf(new OffscreenCanvas(width, rows));
  context.imageSmoothingEnabled = false;
  for (let top = 0; top < height; top += rows) {
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    data.set(context.getImageData(0, 0, width, Math.min(rows, height - top)).data, 4 * top * width);
  }
  bitmap.close();
  if (isTransparent(data)) warnings.push("half-transparent pixels may change by a level or two: the browser rounds them");
  return { photo: { width, height, data, grey: metadata.grey }, metadata, warnings };
}

/**
 * Whether the result can carry the photo's profile, and this browser gives the stored colours when asked for them. That is
 * tried with a small picture of that profile: a browser that converts in spite of being asked not to would give wrong colours.
 * @param {Uint8Array} icc @param {boolean} grey @param {string} output
 */
async function keepsProfile(icc, grey, output) {
  if (output === "webp" || profileColours(icc) !== (grey ? "GRAY" : "RGB ")) return false;
  if (grey) return output === "png";
  const data = Uint8Array.of(255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 200, 90, 30, 255);
  const metadata = { exif: null, icc };
  try {
    const probe = new Blob([await encodePng({ width: 4, height: 1, data, grey: false }, metadata)], { type: "image/png" });
    const none = { format: "", orientation: 1, grey: false, deep: false, ...metadata };
    const { photo } = await viaCanvas(probe, none, "none", []);
    return photo.data.every((value, index) => value === data[index]);
  } catch {
    return false;
  }
}

/** @param {OffscreenCanvas} canvas */
function contextOf(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new FillError("worker", "expected a canvas to work on, got none (is memory full?)");
  return context;
}
