/**
 * A region made ready for the network, and its fill brought back to the photo's own resolution. Nothing under the mask
 * is ever read: the crop is filled smoothly from its known pixels first, and only that is resized and encoded.
 */
import { clamp, cropImage, cropMask, cropRgb, emptyImage, emptyMask, mirrored, roundHalfEven } from "./arrays.js";
import { box } from "./box.js";
import { resizeMask } from "./mask.js";
import { pushPull } from "./prefill.js";
import { resample, resize, resizePart } from "./resample.js";

/**
 * @typedef {import("./arrays.js").FloatImage} FloatImage @typedef {import("./arrays.js").Mask} Mask
 * @typedef {import("./arrays.js").Photo} Photo @typedef {import("./arrays.js").Shape} Shape
 * @typedef {import("./box.js").Box} Box
 * @typedef {{filled: FloatImage, mask: Mask, inner: Shape, outer: Shape}} Frame
 *   filled: known pixels, and a smooth fill under the mask, at the model's shape; inner: the crop inside the frame, from
 *   its top left corner on, the rest mirrors it; outer: the crop in photo pixels.
 */

/** What an emptied hole holds, in [0, 1]. */
const MID_GREY = 0.5;
/** Photo pixels a model pixel from which on a crop is averaged down before it is filled smoothly and resized. */
const REDUCE_FROM = 4;

/**
 * The crop `place` of a photo as the network sees it.
 * @param {Photo} photo @param {Box} place @param {Mask} mask of the whole photo @param {Shape} shape of the model
 * @returns {Frame}
 */
export function prepare(photo, place, mask, shape) {
  const hole = cropMask(mask, place);
  /** @type {Shape} */
  const outer = [hole.height, hole.width];
  const scale = Math.max(outer[0] / shape[0], outer[1] / shape[1]);
  /** @type {Shape} */
  const inner = [
    clamp(roundHalfEven(outer[0] / scale), 1, shape[0]), clamp(roundHalfEven(outer[1] / scale), 1, shape[1]),
  ];
  let filled;
  if (scale < REDUCE_FROM) {
    filled = resize(pushPull(cropRgb(photo, place), hole), inner);
  } else {
    const factor = Math.floor(scale / 2);
    const { colours, unknown } = reduceKnown(photo, place, hole, factor);
    filled = resample(pushPull(colours, unknown), [0, 0, outer[1] / factor, outer[0] / factor], inner);
  }
  const small = resizeMask(hole, inner);
  if (inner[0] === shape[0] && inner[1] === shape[1]) return { filled, mask: small, inner, outer };
  return { ...padded(filled, small, shape), inner, outer };
}

/** The same frame at another shape of the model's. @param {Frame} frame @param {Shape} shape @returns {Frame} */
export function frameAt(frame, shape) {
  return { ...frame, filled: resize(frame.filled, shape), mask: resizeMask(frame.mask, shape) };
}

/**
 * The same frame with its hole filled from `coarse`, a smaller fill of it.
 * @param {Frame} frame @param {FloatImage} coarse @returns {Frame}
 */
export function refilled(frame, coarse) {
  const enlarged = resize(coarse, [frame.mask.height, frame.mask.width]);
  return { ...frame, filled: chosen(frame.mask, enlarged, frame.filled) };
}

/** The frame with mid-grey under its mask, as published. @param {Frame} frame @returns {FloatImage} */
export function emptied(frame) {
  const grey = emptyImage(frame.mask.width, frame.mask.height);
  return chosen(frame.mask, { ...grey, data: grey.data.fill(MID_GREY) }, frame.filled);
}

/**
 * A part of the crop at the photo's own resolution.
 * @param {Frame} frame @param {FloatImage} pixels the filled frame at the model's own shape
 * @param {Box} part in photo pixels from the crop's top left corner @returns {FloatImage}
 */
export function framePart(frame, pixels, part) {
  return resizePart(innerPart(frame, pixels), frame.outer, part);
}

/** What of a frame's pixels is the crop. @param {Frame} frame @param {FloatImage} pixels at any of the model's sides */
export function innerPart(frame, pixels) {
  const { height, width } = frame.mask;
  const [tall, wide] = frame.inner;
  if (tall === height && wide === width) return pixels;
  const share = pixels.width / width; // a smaller side of the cascade shows the same in fewer pixels
  return cropImage(pixels, box(0, 0, Math.max(1, Math.round(wide * share)), Math.max(1, Math.round(tall * share))));
}

/**
 * The crop's known pixels averaged over cells of factor x factor.
 * @param {Photo} photo @param {Box} place @param {Mask} hole of the crop @param {number} factor
 * @returns {{colours: FloatImage, unknown: Mask}} unknown: 1 where a cell has no known pixel
 */
export function reduceKnown(photo, place, hole, factor) {
  const columns = Math.ceil(hole.width / factor), rows = Math.ceil(hole.height / factor);
  const total = new Float64Array(3 * columns * rows), count = new Float64Array(columns * rows);
  for (let y = 0; y < hole.height; y++) {
    for (let x = 0; x < hole.width; x++) {
      if (hole.data[y * hole.width + x]) continue;
      const cell = Math.floor(y / factor) * columns + Math.floor(x / factor);
      const from = 4 * ((place.top + y) * photo.width + place.left + x);
      count[cell] += 1;
      for (let c = 0; c < 3; c++) total[3 * cell + c] += photo.data[from + c];
    }
  }
  const colours = emptyImage(columns, rows), unknown = emptyMask(columns, rows);
  for (let cell = 0; cell < count.length; cell++) {
    unknown.data[cell] = count[cell] === 0 ? 1 : 0;
    for (let c = 0; c < 3; c++) colours.data[3 * cell + c] = total[3 * cell + c] / 255 / Math.max(count[cell], 1);
  }
  return { colours, unknown };
}

/** `inside` under the mask, `outside` elsewhere. @param {Mask} mask @param {FloatImage} inside
 * @param {FloatImage} outside @returns {FloatImage} */
function chosen(mask, inside, outside) {
  const { width, height } = mask;
  const data = new Float32Array(outside.data);
  for (let i = 0; i < mask.data.length; i++) {
    if (mask.data[i]) for (let c = 3 * i; c < 3 * i + 3; c++) data[c] = inside.data[c];
  }
  return { width, height, data };
}

/** Image and mask mirrored out to a shape. @param {FloatImage} image @param {Mask} mask @param {Shape} shape */
export function padded(image, mask, [height, width]) {
  const filled = emptyImage(width, height), wide = emptyMask(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = y * width + x, from = mirrored(y, image.height) * image.width + mirrored(x, image.width);
      wide.data[to] = mask.data[from];
      for (let c = 0; c < 3; c++) filled.data[3 * to + c] = image.data[3 * from + c];
    }
  }
  return { filled, mask: wide };
}
