/** Names for the arrays that travel through the fill, and the few ways in which all of them are cut and indexed. */

/**
 * @typedef {{width: number, height: number, data: Uint8Array}} Mask
 *   data: one byte a pixel, row by row; 1 = fill, everywhere.
 * @typedef {{width: number, height: number, data: Float32Array}} FloatImage
 *   data: red, green, blue a pixel, row by row, in [0, 1] unless said otherwise.
 * @typedef {{width: number, height: number, data: Uint8Array, grey: boolean}} Photo
 *   data: red, green, blue, alpha a pixel, row by row, upright; grey: the file has no colours.
 * @typedef {[number, number]} Shape  height and width.
 * @typedef {import("./box.js").Box} Box
 */

/** @param {number} width @param {number} height @returns {FloatImage} */
export function emptyImage(width, height) {
  return { width, height, data: new Float32Array(3 * width * height) };
}

/** @param {number} width @param {number} height @returns {Mask} */
export function emptyMask(width, height) {
  return { width, height, data: new Uint8Array(width * height) };
}

/**
 * The part of a mask inside a box, which must lie inside the mask.
 * @param {Mask} mask @param {Box} box @returns {Mask}
 */
export function cropMask(mask, box) {
  const part = emptyMask(box.right - box.left, box.bottom - box.top);
  for (let y = 0; y < part.height; y++) {
    const start = (box.top + y) * mask.width + box.left;
    part.data.set(mask.data.subarray(start, start + part.width), y * part.width);
  }
  return part;
}

/**
 * The part of an image inside a box, which must lie inside the image.
 * @param {FloatImage} image @param {Box} box @returns {FloatImage}
 */
export function cropImage(image, box) {
  const part = emptyImage(box.right - box.left, box.bottom - box.top);
  for (let y = 0; y < part.height; y++) {
    const start = 3 * ((box.top + y) * image.width + box.left);
    part.data.set(image.data.subarray(start, start + 3 * part.width), 3 * y * part.width);
  }
  return part;
}

/**
 * The part of a photo inside a box as RGB in [0, 1].
 * @param {Photo} photo @param {Box} box @returns {FloatImage}
 */
export function cropRgb(photo, box) {
  const part = emptyImage(box.right - box.left, box.bottom - box.top);
  let to = 0;
  for (let y = box.top; y < box.bottom; y++) {
    let from = 4 * (y * photo.width + box.left);
    for (let x = 0; x < part.width; x++, from += 4, to += 3) {
      part.data[to] = photo.data[from] / 255;
      part.data[to + 1] = photo.data[from + 1] / 255;
      part.data[to + 2] = photo.data[from + 2] / 255;
    }
  }
  return part;
}

/** Whether any pixel of a mask is to be filled. @param {Mask} mask */
export function anyMasked(mask) {
  return mask.data.indexOf(1) >= 0;
}

/** Rounded, halves to the even neighbour: as Python rounds. @param {number} value */
export function roundHalfEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

/** An index beyond the end turned back at it, as often as it takes. @param {number} index @param {number} count */
export function mirrored(index, count) {
  const within = index % (2 * count);
  return Math.min(within, 2 * count - 1 - within);
}

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
