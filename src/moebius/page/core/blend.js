/** How strongly a fill replaces the photo, pixel by pixel, and blending it in. */
import { squaredDistances } from "./distance.js";
import { mix } from "./linear.js";

/** Shares of red, green and blue in grey: ITU-R BT.601. */
const LUMA = [0.299, 0.587, 0.114].map(Math.fround);

/**
 * Weight of the fill: 1 in the hole, fading outwards only: 1 - smoothstep(d / (feather + 1)) at distance d, up to
 * d = feather, and 0 beyond.
 * @param {import("./arrays.js").Mask} mask @param {number} feather whole pixels
 * @returns {Float32Array} one a pixel
 */
export function featherWeight(mask, feather) {
  const squared = squaredDistances(mask, feather);
  const weight = new Float32Array(squared.length);
  const f32 = Math.fround;
  for (let i = 0; i < weight.length; i++) {
    if (squared[i] > feather * feather) continue;
    const fraction = Math.min(f32(f32(Math.sqrt(squared[i])) / (feather + 1)), 1);
    weight[i] = 1 - f32(f32(fraction * fraction) * f32(3 - f32(2 * fraction)));
  }
  return weight;
}

/**
 * The box of a photo with a fill blended in: in light, rounded half up. Where weight is 0 nothing changes; where it is 1
 * nothing of the old pixel is left. Alpha stays.
 * @param {import("./arrays.js").Photo} photo not written to @param {import("./box.js").Box} place
 * @param {import("./arrays.js").FloatImage} rgb @param {Float32Array} weight both of the box's size
 * @returns {Uint8Array} red, green, blue, alpha a pixel
 */
export function blended(photo, place, rgb, weight) {
  const wide = place.right - place.left, tall = place.bottom - place.top;
  const result = new Uint8Array(4 * wide * tall);
  for (let y = 0; y < tall; y++) {
    const start = 4 * ((place.top + y) * photo.width + place.left);
    result.set(photo.data.subarray(start, start + 4 * wide), 4 * y * wide);
  }
  for (let i = 0; i < weight.length; i++) {
    if (weight[i] === 0) continue;
    const grey = photo.grey ? luma(rgb.data, 3 * i) : 0;
    for (let c = 0; c < 3; c++) {
      const fresh = photo.grey ? grey : rgb.data[3 * i + c];
      const value = weight[i] === 1 ? fresh : mix(result[4 * i + c] / 255, fresh, weight[i]);
      result[4 * i + c] = Math.floor(value * 255 + 0.5);
    }
  }
  return result;
}

/** @param {Float32Array} rgb @param {number} at */
function luma(rgb, at) {
  const f32 = Math.fround;
  const sum = f32(f32(rgb[at] * LUMA[0]) + f32(rgb[at + 1] * LUMA[1]));
  return Math.min(f32(sum + f32(rgb[at + 2] * LUMA[2])), 1);
}
