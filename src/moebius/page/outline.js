/** The line around a mask, as smooth closed lines. Pure. */

/**
 * @param {Uint8Array} mask   (height, width)
 * @param {number} width
 * @param {number} height
 * @param {number} [scale]   what coordinates are multiplied by
 * @param {number} [reach]   points on either side that a point is averaged with: stairs of pixels become slopes
 * @returns {number[][]}   lines x, y, x, y ..., to be closed, with the mask on their left: around holes, the other way
 */
export function trace(mask, width, height, scale = 1, reach = 2) {
  const steps = edges(mask, width, height);
  /** @type {number[][]} */
  const lines = [];
  for (const start of steps.keys()) {
    /** @type {number[]} */
    const line = [];
    let [at, way] = [start, -1];
    for (let next = take(steps, at, way); next !== null; next = take(steps, at, way)) {
      const x = at % (width + 1);
      line.push(x, (at - x) / (width + 1));
      [at, way] = next;
    }
    if (line.length > 0) lines.push(smooth(line, reach).map((value) => value * scale));
  }
  return lines;
}

/**
 * The edges between mask and not mask, by the corner where they begin. A corner has two where pixels touch only there.
 * @param {Uint8Array} mask @param {number} width @param {number} height
 * @returns {Map<number, [number, number][]>}   corner (y * (width + 1) + x) to [corner where it ends, direction 0 to 3]
 */
function edges(mask, width, height) {
  /** @type {Map<number, [number, number][]>} */
  const steps = new Map();
  const across = width + 1;
  /** @param {number} from @param {number} to @param {number} way */
  const add = (from, to, way) => void (steps.get(from)?.push([to, way]) ?? steps.set(from, [[to, way]]));
  const inside = (/** @type {number} */ x, /** @type {number} */ y) =>
    x >= 0 && x < width && y >= 0 && y < height && mask[y * width + x] === 1;
  for (let at = mask.indexOf(1); at >= 0; at = mask.indexOf(1, at + 1)) {
    const x = at % width;
    const y = (at - x) / width;
    const corner = y * across + x;
    if (!inside(x, y - 1)) add(corner + 1, corner, 2);
    if (!inside(x - 1, y)) add(corner, corner + across, 1);
    if (!inside(x, y + 1)) add(corner + across, corner + across + 1, 0);
    if (!inside(x + 1, y)) add(corner + across + 1, corner + 1, 3);
  }
  return steps;
}

/** The next edge from a corner, once; of two, the one that turns so that pixels touching at a corner stay together.
 * @param {Map<number, [number, number][]>} steps @param {number} corner @param {number} way */
function take(steps, corner, way) {
  const leaving = steps.get(corner);
  if (!leaving || leaving.length === 0) return null;
  const index = leaving.length === 2 && way >= 0 ? leaving.findIndex(([, to]) => to === (way + 1) % 4) : 0;
  return leaving.splice(Math.max(index, 0), 1)[0];
}

/** @param {number[]} line @param {number} reach */
function smooth(line, reach) {
  const count = line.length / 2;
  if (count <= 4 * reach) return line;
  return line.map((_, at) => {
    let sum = 0;
    for (let step = -reach; step <= reach; step += 1) {
      sum += line[(((at >> 1) + step + count) % count) * 2 + (at & 1)];
    }
    return sum / (2 * reach + 1);
  });
}
