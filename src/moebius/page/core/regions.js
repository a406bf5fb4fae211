/** Where a mask is filled: crops with context, one for each group of holes that belong together. */
import { cropMask, roundHalfEven } from "./arrays.js";
import { box, intersects, union } from "./box.js";
import { connectedBoxes } from "./components.js";

/**
 * @typedef {import("./arrays.js").Mask} Mask @typedef {import("./arrays.js").Shape} Shape
 * @typedef {import("./box.js").Box} Box
 * @typedef {{index: number, box: Box, hole: Box, shape: Shape, masked: number}} Region
 *   The crop, its holes' bounding box, the model's shape for it, and how many pixels of the hole are masked.
 */

/**
 * Shapes of the model's pictures of longer side `side`: the square, then each aspect lying and standing.
 * @param {{latent_factor: number, aspects: number[]}} model @param {number} side @returns {Shape[]}
 */
export function modelShapes(model, side) {
  const unit = model.latent_factor * 4; // the network halves latents twice
  /** @type {Shape[]} */
  const shapes = [[side, side]];
  for (const aspect of model.aspects ?? []) {
    const shorter = Math.min(side, Math.max(1, roundHalfEven((aspect * side) / unit)) * unit);
    shapes.push([shorter, side], [side, shorter]);
  }
  return shapes;
}

/**
 * Cut the mask into regions that can be filled in any order; see Python's imaging/regions.py for the rules.
 * @param {Mask} mask @param {Shape[]} shapes of the model; the first is its largest, a square
 * @param {number} context side of the crop as a multiple of the hole's longer side
 * @returns {Region[]}
 */
export function planRegions(mask, shapes, context) {
  const side = shapes[0][0];
  /** @param {Box} hole */
  const cropOf = (hole) => {
    const wide = hole.right - hole.left, tall = hole.bottom - hole.top;
    const longer = Math.max(wide, tall);
    const margins = Math.max(sixDigits((context - 1) * longer), side - longer);
    const scale = Math.max(1, Math.max(tall + margins, wide + margins) / side);
    const shape = smallest(tall + margins, wide + margins, scale, shapes);
    const [left, right] = span(hole.left, hole.right, Math.ceil(sixDigits(shape[1] * scale)), mask.width);
    const [top, bottom] = span(hole.top, hole.bottom, Math.ceil(sixDigits(shape[0] * scale)), mask.height);
    return box(left, top, right, bottom);
  };
  /** @type {{hole: Box, crop: Box}[]} */
  let merged = []; // of regions that leave each other alone
  for (let hole of connectedBoxes(mask)) {
    let crop = cropOf(hole);
    for (;;) {
      /** @param {{hole: Box, crop: Box}} other */
      const meets = (other) => intersects(crop, other.hole) || intersects(other.crop, hole);
      const meeting = merged.filter(meets);
      if (meeting.length === 0) break;
      merged = merged.filter((other) => !meeting.includes(other));
      hole = meeting.reduce((all, other) => union(all, other.hole), hole);
      crop = cropOf(hole);
    }
    merged.push({ hole, crop });
  }
  merged.sort((a, b) => a.hole.top - b.hole.top || a.hole.left - b.hole.left);
  return merged.map(({ hole, crop }, index) => {
    const masked = cropMask(mask, hole).data.reduce((sum, value) => sum + value, 0);
    return { index, box: crop, hole, shape: fitting(crop, shapes), masked };
  });
}

/** Photo pixels a model pixel: above 1 the fill has less detail than the photo. @param {Region} region */
export function regionScale(region) {
  return scaleOf(region.box.bottom - region.box.top, region.box.right - region.box.left, region.shape);
}

/** Whether most of the hole's bounding box is known, as with scratches and wires. @param {Region} region */
export function isSparse({ hole, masked }) {
  return masked < 0.25 * (hole.right - hole.left) * (hole.bottom - hole.top);
}

/** @param {number} height @param {number} width @param {Shape} shape */
function scaleOf(height, width, shape) {
  return Math.max(height / shape[0], width / shape[1]);
}

/**
 * The shape of least area that, enlarged by `scale`, holds so much.
 * @param {number} height @param {number} width @param {number} scale @param {Shape[]} shapes
 */
function smallest(height, width, scale, shapes) {
  const slack = 1e-6;
  const holding = shapes.filter(
    (shape) => shape[0] * scale + slack >= height && shape[1] * scale + slack >= width,
  );
  return holding.reduce((best, shape) => (shape[0] * shape[1] < best[0] * best[1] ? shape : best));
}

/** The shape of least area to which the crop can be brought at the best scale. @param {Box} crop @param {Shape[]} shapes */
function fitting(crop, shapes) {
  const height = crop.bottom - crop.top, width = crop.right - crop.left;
  // Rounding up to whole pixels must not cost a crop its shape.
  return smallest(height - 1, width - 1, scaleOf(height, width, shapes[0]), shapes);
}

/**
 * An interval of `side` pixels centred on [first, last), moved into [0, limit) and cut to it.
 * @param {number} first @param {number} last @param {number} side @param {number} limit
 */
function span(first, last, side, limit) {
  const start = Math.max(0, Math.min(Math.floor((first + last - side) / 2), limit - side));
  return [start, Math.min(start + side, limit)];
}

/** Rounded to six digits after the point, halves to even, as Python's `round(value, 6)`. @param {number} value */
function sixDigits(value) {
  const rounded = Number(value.toFixed(6)); // of two digits equally near it takes the larger
  const isTie = Number.isInteger(value * 128) && !Number.isInteger(value * 64); // what 15625 halves of 1e-6 make
  return isTie && Math.round(rounded * 1e6) % 2 === 1 ? (Math.round(rounded * 1e6) - 1) / 1e6 : rounded;
}
