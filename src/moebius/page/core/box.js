/** Rectangles of whole pixels, half-open: left <= x < right, top <= y < bottom. */

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */

/** @param {number} left @param {number} top @param {number} right @param {number} bottom @returns {Box} */
export function box(left, top, right, bottom) {
  return { left, top, right, bottom };
}

/** Grown by `pixels` on all four sides. @param {Box} of @param {number} pixels */
export function expand(of, pixels) {
  return box(of.left - pixels, of.top - pixels, of.right + pixels, of.bottom + pixels);
}

/** The smallest box that holds both. @param {Box} one @param {Box} other */
export function union(one, other) {
  return box(
    Math.min(one.left, other.left), Math.min(one.top, other.top),
    Math.max(one.right, other.right), Math.max(one.bottom, other.bottom),
  );
}

/** The box that both share; empty where they share none. @param {Box} one @param {Box} other */
export function intersection(one, other) {
  const left = Math.min(Math.max(one.left, other.left), other.right);
  const top = Math.min(Math.max(one.top, other.top), other.bottom);
  const right = Math.max(left, Math.min(one.right, other.right));
  return box(left, top, right, Math.max(top, Math.min(one.bottom, other.bottom)));
}

/** Whether the two share at least one pixel. @param {Box} one @param {Box} other */
export function intersects(one, other) {
  return (
    Math.max(one.left, other.left) < Math.min(one.right, other.right) &&
    Math.max(one.top, other.top) < Math.min(one.bottom, other.bottom)
  );
}

/**
 * The smallest box around the masked pixels; null when there are none.
 * @param {import("./arrays.js").Mask} mask @returns {Box | null}
 */
export function boundingBox(mask) {
  const { width, height, data } = mask;
  let left = width, right = 0, top = -1, bottom = 0;
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * width, (y + 1) * width);
    const first = row.indexOf(1);
    if (first < 0) continue;
    if (top < 0) top = y;
    bottom = y + 1;
    left = Math.min(left, first);
    right = Math.max(right, row.lastIndexOf(1) + 1);
  }
  return top < 0 ? null : box(left, top, right, bottom);
}
