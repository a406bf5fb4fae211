/**
 * Filling a hole smoothly from its surroundings: the push-pull pyramid (Gortler et al., "The Lumigraph", SIGGRAPH 1996).
 * As in Python's imaging/prefill.py, to the last bit.
 */

/** What an image is filled with of which nothing is known. */
const MID_GREY = 0.5;
const f32 = Math.fround;

/** @typedef {{width: number, height: number, colour: Float32Array, weight: Float32Array}} Level */

/**
 * The image with a smooth fill under the mask. Pixels under the mask are never read.
 * @param {import("./arrays.js").FloatImage} image
 * @param {import("./arrays.js").Mask} mask of the image's size
 * @returns {import("./arrays.js").FloatImage} known pixels exactly as they came
 */
export function pushPull(image, mask) {
  const { width, height } = image;
  const colour = new Float32Array(image.data);
  const weight = new Float32Array(width * height);
  for (let i = 0; i < weight.length; i++) {
    weight[i] = mask.data[i] ? 0 : 1;
    if (mask.data[i]) colour.fill(0, 3 * i, 3 * i + 3);
  }
  /** @type {Level[]} */
  const levels = [{ width, height, colour, weight }];
  while (levels[levels.length - 1].weight.length > 1) levels.push(halved(levels[levels.length - 1]));
  const top = /** @type {Level} */ (levels.pop());
  /** @type {Float32Array} */
  let fill = top.colour.map((value) => (top.weight[0] > 0 ? value / top.weight[0] : MID_GREY));
  let fillWidth = 1;
  let fillHeight = 1;
  for (let level = levels.pop(); level !== undefined; level = levels.pop()) {
    fill = under(level, doubled(fill, fillWidth, fillHeight, level.width, level.height));
    fillWidth = level.width;
    fillHeight = level.height;
  }
  return { width, height, data: fill };
}

/** Averages over 2 x 2 cells, missing ones at an odd border taken for unknown. @param {Level} level @returns {Level} */
function halved(level) {
  const width = Math.ceil(level.width / 2), height = Math.ceil(level.height / 2);
  const colour = new Float32Array(3 * width * height), weight = new Float32Array(width * height);
  for (let y = 0; y < level.height; y += 2) {
    for (let x = 0; x < level.width; x++) {
      const from = y * level.width + x, below = from + level.width, to = (y >> 1) * width + (x >> 1);
      weight[to] += (level.weight[from] + (level.weight[below] ?? 0)) * 0.25;
      for (let c = 0; c < 3; c++) {
        colour[3 * to + c] += f32(level.colour[3 * from + c] + (level.colour[3 * below + c] ?? 0)) * 0.25;
      }
    }
  }
  return { width, height, colour, weight };
}

/**
 * What a level knows of itself, and the coarser fill for the rest; a quarter known speaks for itself.
 * @param {Level} level its colour is overwritten @param {Float32Array} coarser
 */
function under(level, coarser) {
  const { colour, weight } = level;
  for (let i = 0; i < weight.length; i++) {
    const confidence = Math.min(4 * weight[i], 1);
    if (confidence === 1 && weight[i] === 1) continue;
    for (let c = 3 * i; c < 3 * i + 3; c++) {
      colour[c] = f32(f32(colour[c] / (weight[i] || 1)) * confidence) + f32(coarser[c] * f32(1 - confidence));
    }
  }
  return colour;
}

/**
 * Bilinear enlargement by two, cell centres at half-integers, edges held, cut to (toWidth, toHeight).
 * @param {Float32Array} cells @param {number} width @param {number} height
 * @param {number} toWidth @param {number} toHeight
 */
function doubled(cells, width, height, toWidth, toHeight) {
  const tall = new Float32Array(3 * width * toHeight);
  for (let y = 0; y < toHeight; y++) {
    const near = y >> 1, far = Math.min(Math.max(near + (y % 2 ? 1 : -1), 0), height - 1);
    for (let i = 0; i < 3 * width; i++) {
      tall[3 * width * y + i] = f32(0.75 * cells[3 * width * near + i]) + 0.25 * cells[3 * width * far + i];
    }
  }
  const large = new Float32Array(3 * toWidth * toHeight);
  for (let x = 0; x < toWidth; x++) {
    const near = x >> 1, far = Math.min(Math.max(near + (x % 2 ? 1 : -1), 0), width - 1);
    for (let y = 0; y < toHeight; y++) {
      for (let c = 0; c < 3; c++) {
        large[3 * (y * toWidth + x) + c] =
          f32(0.75 * tall[3 * (y * width + near) + c]) + 0.25 * tall[3 * (y * width + far) + c];
      }
    }
  }
  return large;
}
