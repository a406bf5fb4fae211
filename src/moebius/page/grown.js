/** Masks grown as the engine will grow them, on a grid smaller than the photo. Pure. */

/** @import {Mask} from "./types.js" */
import { connectedRuns, pieceBoxes } from "./core/components.js";
import { defaultGrowth, growObjects } from "./core/mask.js";

/**
 * @param {Mask} mask
 * @param {number} scale   pixels of the mask to one of the photo
 * @param {number | null} grow   pixels of the photo; null: each object by its own size
 * @returns {Mask}
 */
export function grown(mask, scale, grow) {
  if (scale === 1) return growObjects(mask, grow);
  if (grow !== null) return growObjects(mask, Math.round(grow * scale));
  const runs = connectedRuns(mask);
  /** @type {Map<number, number>} from a piece to its growth */
  const growths = new Map(
    pieceBoxes(runs).map(({ piece, box, area }) => {
      const [width, height] = [(box.right - box.left) / scale, (box.bottom - box.top) / scale];
      return [piece, Math.round(defaultGrowth(width, height, area / scale / scale) * scale)];
    }),
  );
  const all = { ...mask, data: mask.data.slice() };
  for (const growth of new Set(growths.values())) {
    const some = { ...mask, data: new Uint8Array(mask.data.length) };
    runs.rows.forEach((row, run) => {
      if (growths.get(runs.pieces[run]) !== growth) return;
      some.data.fill(1, row * mask.width + runs.starts[run], row * mask.width + runs.ends[run]);
    });
    const { data } = growObjects(some, growth);
    for (let i = 0; i < data.length; i += 1) all.data[i] |= data[i];
  }
  return all;
}
