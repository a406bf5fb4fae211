/**
 * Marks to pixels, without a canvas: the same in every browser, for photos of any size, and in a worker.
 * A pixel belongs to a mark when its centre does.
 */

/** @import {Area, Bits, Mark, Stroke} from "./types.js" */

/** So thin a stroke still reaches the pixel it is drawn in. */
const LEAST_RADIUS = 0.75;

/**
 * @param {readonly Mark[]} marks   in the photo's pixels, in the order they were drawn
 * @param {number} width
 * @param {number} height
 * @param {number} [scale]   pixels of the answer to one of the photo
 * @returns {Uint8Array}   (height, width): 1 = fill
 */
export function rasterise(marks, width, height, scale = 1) {
  const grid = { data: new Uint8Array(width * height), width, height };
  for (const mark of marks) {
    if (mark.kind === "stroke") paintStroke(grid, mark, scale);
    else if (mark.kind === "area") paintArea(grid, mark, scale);
    else paintBits(grid, mark, scale);
  }
  return grid.data;
}

/** @typedef {{data: Uint8Array, width: number, height: number}} Grid */

/** @param {Grid} grid @param {Stroke} stroke @param {number} scale */
function paintStroke(grid, stroke, scale) {
  const { points } = stroke;
  const radius = Math.max((stroke.width * scale) / 2, LEAST_RADIUS);
  for (let i = 0; i < Math.max(points.length - 2, 2); i += 2) {
    const end = i + 2 < points.length ? i + 2 : i;
    paintCapsule(
      grid,
      points[i] * scale,
      points[i + 1] * scale,
      points[end] * scale,
      points[end + 1] * scale,
      radius,
      stroke.erase ? 0 : 1,
    );
  }
}

/**
 * All pixels within `r` of the line from (x0, y0) to (x1, y1). The shape is convex: one run a row.
 * @param {Grid} grid @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 @param {number} r
 * @param {number} value
 */
function paintCapsule(grid, x0, y0, x1, y1, r, value) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  const [nx, ny] = length > 0 ? [(-(y1 - y0) / length) * r, ((x1 - x0) / length) * r] : [0, 0];
  const sides = [x0 + nx, y0 + ny, x1 + nx, y1 + ny, x1 - nx, y1 - ny, x0 - nx, y0 - ny];
  const last = Math.min(grid.height - 1, Math.floor(Math.max(y0, y1) + r - 0.5));
  for (let row = Math.max(0, Math.ceil(Math.min(y0, y1) - r - 0.5)); row <= last; row += 1) {
    const y = row + 0.5;
    let [left, right] = [Infinity, -Infinity];
    for (const [cx, cy] of [
      [x0, y0],
      [x1, y1],
    ]) {
      const half = Math.sqrt(r * r - (y - cy) * (y - cy)); // NaN off the disk: the comparisons below fail
      if (cx - half < left) left = cx - half;
      if (cx + half > right) right = cx + half;
    }
    for (let i = 0; length > 0 && i < 8; i += 2) {
      const [ax, ay, bx, by] = [sides[i], sides[i + 1], sides[(i + 2) % 8], sides[(i + 3) % 8]];
      if (ay === by || y < Math.min(ay, by) || y > Math.max(ay, by)) continue;
      const x = ax + ((y - ay) / (by - ay)) * (bx - ax);
      left = Math.min(left, x);
      right = Math.max(right, x);
    }
    paintRun(grid, row, left, right, value);
  }
}

/** The inside of a closed line; where it crosses itself, all that it goes around. @param {Grid} grid @param {Area} area
 * @param {number} scale */
function paintArea(grid, area, scale) {
  /** @type {Map<number, [number, number][]>} crossings of each row: x, and +1 or -1 for the direction */
  const rows = new Map();
  const count = area.points.length / 2;
  for (let i = 0; i < count; i += 1) {
    const j = (i + 1) % count;
    const [ax, ay] = [area.points[2 * i] * scale, area.points[2 * i + 1] * scale];
    const [bx, by] = [area.points[2 * j] * scale, area.points[2 * j + 1] * scale];
    const last = Math.min(grid.height, Math.ceil(Math.max(ay, by) - 0.5));
    for (let row = Math.max(0, Math.ceil(Math.min(ay, by) - 0.5)); row < last; row += 1) {
      const crossings = rows.get(row) ?? [];
      crossings.push([ax + ((row + 0.5 - ay) / (by - ay)) * (bx - ax), Math.sign(by - ay)]);
      rows.set(row, crossings);
    }
  }
  for (const [row, crossings] of rows) {
    crossings.sort((a, b) => a[0] - b[0]);
    let winding = 0;
    for (let i = 0; i < crossings.length - 1; i += 1) {
      winding += crossings[i][1];
      if (winding !== 0) paintRun(grid, row, crossings[i][0], crossings[i + 1][0], area.erase ? 0 : 1);
    }
  }
}

/** An uploaded mask. Scaled down, a pixel is filled when any of those it stands for is. @param {Grid} grid
 * @param {Bits} mark @param {number} scale */
function paintBits(grid, { width, height, bits }, scale) {
  const stride = (width + 7) >> 3;
  for (let y = 0; y < height; y += 1) {
    const row = Math.min(Math.floor(y * scale), grid.height - 1) * grid.width;
    for (let i = 0; i < stride; i += 1) {
      const byte = bits[y * stride + i];
      for (let bit = 0; byte !== 0 && bit < 8; bit += 1) {
        if (byte & (128 >> bit)) grid.data[row + Math.min(Math.floor((i * 8 + bit) * scale), grid.width - 1)] = 1;
      }
    }
  }
}

/** Pixels of a row whose centres lie from `left` to `right`. @param {Grid} grid @param {number} row
 * @param {number} left
 * @param {number} right @param {number} value */
function paintRun(grid, row, left, right, value) {
  const from = Math.max(0, Math.ceil(left - 0.5));
  const to = Math.min(grid.width - 1, Math.floor(right - 0.5));
  if (from <= to) grid.data.fill(value, row * grid.width + from, row * grid.width + to + 1);
}

/** A mask, one bit a pixel, rows padded to whole bytes. @param {Uint8Array} data @param {number} width
 * @param {number} height
 * @returns {Uint8Array} */
export function pack(data, width, height) {
  const stride = (width + 7) >> 3;
  const bits = new Uint8Array(stride * height);
  for (let at = data.indexOf(1); at >= 0; at = data[at + 1] ? at + 1 : data.indexOf(1, at + 1)) {
    const x = at % width;
    bits[((at - x) / width) * stride + (x >> 3)] |= 128 >> (x & 7);
  }
  return bits;
}
