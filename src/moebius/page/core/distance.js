/** Exact squared Euclidean distances to a mask, up to a limit: first along rows, then over the rows between. */

const FAR = 2 ** 15;

/**
 * Squared distance of every pixel to the nearest masked one, between pixel centres.
 * @param {import("./arrays.js").Mask} mask
 * @param {number} limit whole pixels; values above limit ** 2 are upper bounds only
 * @returns {Int32Array} one a pixel, row by row
 */
export function squaredDistances(mask, limit) {
  const { width, height } = mask;
  const sideways = alongRows(mask);
  const squared = new Int32Array(width * height).fill(FAR * FAR);
  for (let down = -limit; down <= limit; down++) {
    const add = down * down;
    const first = Math.max(0, -down), last = Math.min(height, height - down);
    for (let at = first * width, from = at + down * width; at < last * width; at++, from++) {
      const value = sideways[from] + add;
      if (value < squared[at]) squared[at] = value;
    }
  }
  return squared;
}

/** Squared distance to the nearest masked pixel in the same row. @param {import("./arrays.js").Mask} mask */
function alongRows(mask) {
  const { width, height, data } = mask;
  const nearest = new Int32Array(width * height);
  for (let y = 0; y < height; y++) {
    const start = y * width;
    let since = FAR;
    for (let x = 0; x < width; x++) {
      since = data[start + x] ? 0 : Math.min(since + 1, FAR);
      nearest[start + x] = since;
    }
    since = FAR;
    for (let x = width - 1; x >= 0; x--) {
      since = data[start + x] ? 0 : Math.min(since + 1, FAR);
      const closer = Math.min(since, nearest[start + x]);
      nearest[start + x] = closer * closer;
    }
  }
  return nearest;
}
