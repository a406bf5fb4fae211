/** A fill with the network's colours and the photo's own texture. */
import { clamp, emptyImage, roundHalfEven } from "./arrays.js";
import { copiedPatches, RING } from "./exemplar.js";
import { widened } from "./patches.js";
import { pushPull } from "./prefill.js";
import { resize } from "./resample.js";

/** Side of the squares whose mean colours are compared, px; slower changes of colour are the network's. */
const CELL = 8;
/** Share of a small difference in slow colours that is taken over from the network. */
const TRUST = Math.fround(0.3);
/** Difference (of R, G and B, as a length) from which on nothing is taken over: they are different things. */
const APART = 0.5;

/**
 * The hole filled from elsewhere in the photo, drawn towards the colours of a network's fill.
 * @param {import("./arrays.js").FloatImage} fill the network's; outside the mask it is `known`
 * @param {import("./arrays.js").FloatImage} known the photo, filled smoothly @param {import("./arrays.js").Mask} mask
 * @returns {import("./arrays.js").FloatImage} `fill` where there is nothing to copy from
 */
export function textured(fill, known, mask) {
  const own = copiedPatches(known, mask);
  if (own === null) return fill;
  const { width, height } = mask, difference = emptyImage(width, height);
  // What patches are off in tone where they can be held against what is known is carried smoothly into the hole.
  const around = widened(mask, RING), off = emptyImage(width, height);
  const unsure = { width, height, data: around.map((near, i) => (near && !mask.data[i] ? 0 : 1)) };
  off.data.forEach((_, i) => {
    if (!unsure.data[Math.floor(i / 3)]) off.data[i] = known.data[i] - own.data[i];
  });
  const carried = unsure.data.includes(0) ? pushPull(off, unsure) : off;
  own.data.forEach((value, i) => {
    own.data[i] = mask.data[Math.floor(i / 3)] ? clamp(Math.fround(value + carried.data[i]), 0, 1) : known.data[i];
  });
  /** @param {number} side */
  const cells = (side) => Math.max(1, roundHalfEven(side / CELL));
  // `resize` is for pictures: differences are moved into [0, 1] and back.
  difference.data = own.data.map((value, i) => Math.fround(fill.data[i] - value) * 0.5 + 0.5);
  const coarse = resize(difference, [cells(height), cells(width)]), half = coarse.data.map((value) => value - 0.5);
  for (let i = 0; i < half.length; i += 3) {
    const far = (half[i] ** 2 + half[i + 1] ** 2 + half[i + 2] ** 2) * 4 / APART ** 2;
    for (let c = i; c < i + 3; c++) coarse.data[c] = half[c] * Math.max(0, 1 - far) ** 2 + 0.5;
  }
  const slow = resize(coarse, [height, width]);
  own.data.forEach((value, i) => {
    const change = Math.fround(TRUST * Math.fround(slow.data[i] - 0.5) * 2);
    if (mask.data[Math.floor(i / 3)]) own.data[i] = clamp(value + change, 0, 1);
  });
  return own;
}
