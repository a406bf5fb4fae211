/** The connected pieces of a mask: rows cut into runs of masked pixels, runs that touch joined by union-find. */
import { box } from "./box.js";

/**
 * @typedef {{rows: Int32Array, starts: Int32Array, ends: Int32Array, pieces: Int32Array}} Runs
 *   Runs in reading order: the row of each, its columns starts <= x < ends, and the index of its piece's first run.
 * @typedef {import("./arrays.js").Mask} Mask
 * @typedef {import("./box.js").Box} Box
 */

/**
 * The runs of a mask, and the pieces that they form; pixels that touch at a corner only are connected.
 * @param {Mask} mask @returns {Runs}
 */
export function connectedRuns(mask) {
  const runs = findRuns(mask);
  const { rows, starts, ends } = runs;
  const parent = new Int32Array(rows.length).map((_, index) => index);
  let above = 0; // first run of the row above that may still touch
  for (let run = 0; run < rows.length; run++) {
    while (above < run && (rows[above] < rows[run] - 1 || (rows[above] === rows[run] - 1 && ends[above] < starts[run]))) {
      above++;
    }
    for (let other = above; other < run && rows[other] === rows[run] - 1 && starts[other] <= ends[run]; other++) {
      join(parent, other, run);
    }
  }
  return { ...runs, pieces: parent.map((_, index) => root(parent, index)) };
}

/**
 * Bounding box and number of pixels of every piece, in reading order of the pieces' first runs.
 * @param {Runs} runs @returns {{piece: number, box: Box, area: number}[]}
 */
export function pieceBoxes(runs) {
  /** @type {Map<number, {piece: number, box: Box, area: number}>} */
  const found = new Map();
  for (let run = 0; run < runs.rows.length; run++) {
    const piece = runs.pieces[run], left = runs.starts[run], right = runs.ends[run], top = runs.rows[run];
    const known = found.get(piece);
    if (known === undefined) {
      found.set(piece, { piece, box: box(left, top, right, top + 1), area: right - left });
      continue;
    }
    known.area += right - left;
    known.box.left = Math.min(known.box.left, left);
    known.box.right = Math.max(known.box.right, right);
    known.box.bottom = top + 1;
  }
  return [...found.values()];
}

/**
 * Bounding boxes of the pieces of a mask, sorted by top, left, bottom, right.
 * @param {Mask} mask @returns {Box[]}
 */
export function connectedBoxes(mask) {
  const boxes = pieceBoxes(connectedRuns(mask)).map((piece) => piece.box);
  return boxes.sort((a, b) => a.top - b.top || a.left - b.left || a.bottom - b.bottom || a.right - b.right);
}

/** @param {Mask} mask */
function findRuns(mask) {
  const { width, height, data } = mask;
  /** @type {number[]} */ const rows = [];
  /** @type {number[]} */ const starts = [];
  /** @type {number[]} */ const ends = [];
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * width, (y + 1) * width);
    for (let start = row.indexOf(1); start >= 0; ) {
      const end = row.indexOf(0, start);
      rows.push(y);
      starts.push(start);
      ends.push(end < 0 ? width : end);
      start = end < 0 ? -1 : row.indexOf(1, end);
    }
  }
  return { rows: Int32Array.from(rows), starts: Int32Array.from(starts), ends: Int32Array.from(ends) };
}

/** @param {Int32Array} parent @param {number} index */
function root(parent, index) {
  while (parent[index] !== index) {
    parent[index] = parent[parent[index]];
    index = parent[index];
  }
  return index;
}

/** The smaller of two roots becomes the root of both. @param {Int32Array} parent @param {number} a @param {number} b */
function join(parent, a, b) {
  const one = root(parent, a), other = root(parent, b);
  parent[Math.max(one, other)] = Math.min(one, other);
}
