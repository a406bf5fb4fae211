/**
 * Changing the size of images: a filter's weights for each row and column of the result, summed in float64, first along
 * rows and then down columns. Where a side shrinks the filter widens with it.
 */
import { clamp, cropImage, emptyImage } from "./arrays.js";
import { box } from "./box.js";

/**
 * @typedef {import("./arrays.js").FloatImage} FloatImage @typedef {import("./arrays.js").Shape} Shape
 * @typedef {import("./box.js").Box} Box
 * @typedef {{support: number, at: (x: number) => number}} Filter
 * @typedef {{first: number, weights: Float64Array}} Taps
 */

/** @type {Filter} */
export const BILINEAR = { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) };

/** Catmull and Rom's cubic. @type {Filter} */
const BICUBIC = {
  support: 2,
  at: (x) => {
    const d = Math.abs(x);
    if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * -0.5 : 0;
  },
};

/** @type {Filter} */
const LANCZOS = { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) };

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/**
 * An image at another shape: Lanczos where a side shrinks, else bicubic, clipped to [0, 1].
 * @param {FloatImage} image @param {Shape} shape @returns {FloatImage}
 */
export function resize(image, shape) {
  return resizePart(image, shape, box(0, 0, shape[1], shape[0]));
}

/**
 * The part of `resize(image, shape)` inside `part`, without making the rest.
 * @param {FloatImage} image @param {Shape} shape @param {Box} part inside `shape` @returns {FloatImage}
 */
export function resizePart(image, [height, width], part) {
  if (image.height === height && image.width === width) return cropImage(image, part);
  const down = image.height / height, across = image.width / width;
  const source = [part.left * across, part.top * down, part.right * across, part.bottom * down];
  return resample(image, source, [part.bottom - part.top, part.right - part.left]);
}

/**
 * A rectangle of an image, in fractions of pixels, at another shape; pixels around it take part in the filter.
 * @param {FloatImage} image @param {number[]} source left, top, right, bottom; cut to the image
 * @param {Shape} shape @returns {FloatImage}
 */
export function resample(image, source, [height, width]) {
  const limits = [image.width, image.height, image.width, image.height];
  const [left, top, right, bottom] = source.map((each, index) => clamp(each, 0, limits[index]));
  const shrinks = height < bottom - top || width < right - left;
  const resized = resampleWith(image, [left, top, right, bottom], [height, width], shrinks ? LANCZOS : BICUBIC);
  for (let i = 0; i < resized.data.length; i++) resized.data[i] = clamp(resized.data[i], 0, 1);
  return resized;
}

/**
 * The same with a filter of the caller's choice; not clipped.
 * @param {FloatImage} image @param {number[]} source @param {Shape} shape @param {Filter} filter
 * @returns {FloatImage}
 */
export function resampleWith(image, source, [height, width], filter) {
  // Python's side takes the rectangle in float32, and so do we, to the last bit of the weights.
  const [left, top, right, bottom] = source.map(Math.fround);
  const rows = taps(image.height, top, bottom, height, filter);
  const columns = taps(image.width, left, right, width, filter);
  const first = rows[0].first, last = rows[height - 1].first + rows[height - 1].weights.length;
  return columnsSummed(rowsSummed(image, columns, first, last), rows, first);
}

/**
 * Weights for each of `count` results over the cells from `low` to `high` of `size`.
 * @param {number} size @param {number} low @param {number} high @param {number} count @param {Filter} filter
 * @returns {Taps[]}
 */
function taps(size, low, high, count, filter) {
  if (count === size && low === 0 && high === size) {
    return Array.from({ length: count }, (_, index) => ({ first: index, weights: Float64Array.of(1) }));
  }
  const scale = Math.fround(high - low) / count;
  const widened = Math.max(scale, 1), support = filter.support * widened;
  return Array.from({ length: count }, (_, index) => {
    const centre = low + (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const weights = new Float64Array(last - first);
    for (let x = 0; x < weights.length; x++) weights[x] = filter.at((x + first - centre + 0.5) / widened);
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: sum === 0 ? weights : weights.map((weight) => weight / sum) };
  });
}

/** Rows `first` to `last`, brought to their new width. @param {FloatImage} image @param {Taps[]} columns
 * @param {number} first @param {number} last */
function rowsSummed(image, columns, first, last) {
  const narrow = emptyImage(columns.length, last - first);
  let to = 0;
  for (let y = first; y < last; y++) {
    for (const { first: start, weights } of columns) {
      let red = 0, green = 0, blue = 0;
      let from = 3 * (y * image.width + start);
      for (let x = 0; x < weights.length; x++, from += 3) {
        red += image.data[from] * weights[x];
        green += image.data[from + 1] * weights[x];
        blue += image.data[from + 2] * weights[x];
      }
      narrow.data[to++] = red;
      narrow.data[to++] = green;
      narrow.data[to++] = blue;
    }
  }
  return narrow;
}

/** Columns brought to their new height; row `offset` is the image's first. @param {FloatImage} image
 * @param {Taps[]} rows @param {number} offset */
function columnsSummed(image, rows, offset) {
  const stride = 3 * image.width;
  const resized = emptyImage(image.width, rows.length);
  const sums = new Float64Array(stride);
  rows.forEach(({ first, weights }, y) => {
    sums.fill(0);
    for (let row = 0; row < weights.length; row++) {
      const from = stride * (first - offset + row), weight = weights[row];
      for (let i = 0; i < stride; i++) sums[i] += image.data[from + i] * weight;
    }
    resized.data.set(sums, y * stride);
  });
  return resized;
}
