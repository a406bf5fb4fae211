/** Matching the tone of a fill to the photo around it. */
import { clamp, emptyImage, emptyMask } from "./arrays.js";
import { pushPull } from "./prefill.js";
import { BILINEAR, resampleWith } from "./resample.js";

/** Side of the squares over which tone is compared, px. */
const CELL = 8;

/**
 * Remove the slow colour difference between a decoded picture and the photo it was made from: measured on known pixels,
 * averaged over squares, carried smoothly into the hole, and added. What `known` holds under the mask is not read.
 * @param {import("./arrays.js").FloatImage} fill the decoder's whole output, sides divisible by 8
 * @param {import("./arrays.js").FloatImage} known the photo @param {import("./arrays.js").Mask} mask
 * @returns {import("./arrays.js").FloatImage}
 */
export function matchTone(fill, known, mask) {
  const { width, height } = mask;
  if (mask.data.indexOf(0) < 0 || mask.data.indexOf(1) < 0) return fill;
  const columns = width / CELL, rows = height / CELL;
  const total = new Float64Array(3 * columns * rows), count = new Float64Array(columns * rows);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x, cell = Math.floor(y / CELL) * columns + Math.floor(x / CELL);
      if (mask.data[at]) continue;
      count[cell] += 1;
      for (let c = 0; c < 3; c++) total[3 * cell + c] += Math.fround(known.data[3 * at + c] - fill.data[3 * at + c]);
    }
  }
  const coarse = emptyImage(columns, rows), unknown = emptyMask(columns, rows);
  for (let cell = 0; cell < count.length; cell++) {
    unknown.data[cell] = count[cell] < (CELL * CELL) / 4 ? 1 : 0;
    for (let c = 0; c < 3; c++) coarse.data[3 * cell + c] = total[3 * cell + c] / Math.max(count[cell], 1);
  }
  const smooth = resampleWith(pushPull(coarse, unknown), [0, 0, columns, rows], [height, width], BILINEAR);
  const matched = emptyImage(width, height);
  for (let i = 0; i < matched.data.length; i++) matched.data[i] = clamp(fill.data[i] + smooth.data[i], 0, 1);
  return matched;
}
