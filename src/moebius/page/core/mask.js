/** Masks: growing them, bringing them to other sizes and to the latent grid. 1 = fill, everywhere. */
import { emptyMask, roundHalfEven } from "./arrays.js";
import { connectedRuns, pieceBoxes } from "./components.js";

/** @typedef {import("./arrays.js").Mask} Mask @typedef {import("./arrays.js").Shape} Shape */

/** Default growth as a share of an object's longer side, and its bounds in pixels. */
const GROWTH = 0.025, MIN_GROWTH = 4, MAX_GROWTH = 48;

/**
 * Pixels by which to grow the mask of one object: its soft rim and the beginning of its shadow.
 * @param {number} width @param {number} height of its bounding box @param {number} area its pixels
 */
export function defaultGrowth(width, height, area) {
  const extent = Math.min(Math.max(width, height), 2 * Math.sqrt(area));
  return Math.min(Math.max(roundHalfEven(GROWTH * extent), MIN_GROWTH), MAX_GROWTH);
}

/**
 * The mask grown by a disk of `pixels`; null grows each object by a margin scaled to its own size.
 * @param {Mask} mask @param {number | null} pixels of the photo, whole, 0 or more
 * @param {number} scale pixels of the mask a pixel of the photo, for a mask that is shown smaller than the photo
 * @returns {Mask} a new one
 */
export function growObjects(mask, pixels, scale = 1) {
  const runs = connectedRuns(mask);
  const growths = new Map(
    pieceBoxes(runs).map(({ piece, box, area }) => {
      const wide = (box.right - box.left) / scale, tall = (box.bottom - box.top) / scale;
      return [piece, Math.round(scale * (pixels ?? defaultGrowth(wide, tall, area / scale ** 2)))];
    }),
  );
  return growRuns(mask.width, mask.height, runs, (run) => growths.get(runs.pieces[run]) ?? 0);
}

/**
 * Every run widened on its own row and the rows around by what a disk reaches there. For each row of the result the runs
 * that reach it are noted as +1 where they begin and -1 where they end, and added up: the work depends on the number of
 * runs, not on pixels.
 * @param {number} width @param {number} height
 * @param {import("./components.js").Runs} runs @param {(run: number) => number} radius
 */
function growRuns(width, height, runs, radius) {
  const grown = emptyMask(width, height);
  const count = runs.rows.length;
  if (count === 0) return grown;
  const radii = runs.rows.map((_, run) => radius(run));
  const furthest = radii.reduce((most, pixels) => Math.max(most, pixels), 0);
  const reaches = new Map([...new Set(radii)].map((pixels) => [pixels, diskReach(pixels)]));
  const edges = new Int32Array(width + 1);
  const end = Math.min(height, runs.rows[count - 1] + furthest + 1);
  let first = 0, last = 0; // runs within reach of the row
  for (let y = Math.max(0, runs.rows[0] - furthest); y < end; y++) {
    while (last < count && runs.rows[last] <= y + furthest) last++;
    while (first < last && runs.rows[first] < y - furthest) first++;
    edges.fill(0);
    for (let run = first; run < last; run++) {
      const sideways = reaches.get(radii[run])?.[Math.abs(y - runs.rows[run])];
      if (sideways === undefined) continue; // its own disk does not come so far
      edges[Math.max(0, runs.starts[run] - sideways)] += 1;
      edges[Math.min(width, runs.ends[run] + sideways)] -= 1;
    }
    let depth = 0;
    for (let x = 0; x < width; x++) {
      depth += edges[x];
      if (depth > 0) grown.data[y * width + x] = 1;
    }
  }
  return grown;
}

/** How far a disk reaches sideways at each distance down from its centre. @param {number} pixels */
function diskReach(pixels) {
  const reach = new Int32Array(pixels + 1);
  for (let down = 0; down <= pixels; down++) {
    reach[down] = Math.floor(Math.sqrt(pixels * pixels - down * down)); // exact: of whole squares the root is whole
  }
  return reach;
}

/**
 * A mask at another size: 1 wherever a masked pixel is covered, however little, so that no stroke is lost.
 * @param {Mask} mask @param {Shape} shape @returns {Mask}
 */
export function resizeMask(mask, [height, width]) {
  if (mask.width === width && mask.height === height) return mask;
  const resized = emptyMask(width, height);
  const columns = coverage(mask.width, width);
  coverage(mask.height, height).forEach(([top, bottom], y) => {
    const any = new Uint8Array(mask.width);
    for (let row = top; row < bottom; row++) {
      for (let x = 0; x < mask.width; x++) any[x] |= mask.data[row * mask.width + x];
    }
    columns.forEach(([left, right], x) => {
      for (let column = left; column < right; column++) resized.data[y * width + x] |= any[column];
    });
  });
  return resized;
}

/** Cell i of `count` covers floor(i n / count) to ceil((i + 1) n / count). @param {number} n @param {number} count */
function coverage(n, count) {
  return Array.from({ length: count }, (_, i) => [Math.floor((i * n) / count), Math.ceil(((i + 1) * n) / count)]);
}

/**
 * The mask on the latent grid, one cell for every factor x factor pixels.
 * @param {Mask} mask with sides that divide by `factor`
 * @param {number} factor @param {string} mode "max": any masked pixel; "nearest": the cell's top left one
 * @returns {Float32Array} row by row, 1 = fill
 */
export function maskToLatent(mask, factor, mode) {
  const columns = mask.width / factor, rows = mask.height / factor;
  const cells = new Float32Array(columns * rows);
  for (let y = 0; y < mask.height; y++) {
    for (let x = 0; x < mask.width; x++) {
      if (mode === "nearest" && (y % factor || x % factor)) continue;
      if (mask.data[y * mask.width + x]) cells[Math.floor(y / factor) * columns + Math.floor(x / factor)] = 1;
    }
  }
  return cells;
}
