/** The worker that does the slow things with masks: to pixels, to an outline, and out of a file. */

/** @import {Bits, Mark, Size} from "./types.js" */
import { grown } from "./grown.js";
import { readMask } from "./mask_reading.js";
import { trace } from "./outline.js";
import { rasterise } from "./raster.js";

/** Longer side, in pixels, at which outlines are made. */
const OUTLINE_SIDE = 1024;

/**
 * @typedef {{kind: "raster", marks: readonly Mark[], size: Size}
 *   | {kind: "outline", marks: readonly Mark[], size: Size, grow: number | null}
 *   | {kind: "read", file: Blob, size: Size}} Job
 */

/** @param {Job} job @returns {Promise<Uint8Array | number[][] | Bits>} */
async function work(job) {
  if (job.kind === "raster") return rasterise(job.marks, job.size.width, job.size.height);
  if (job.kind === "read") return readMask(job.file, job.size);
  return outline(job.marks, job.size, job.grow);
}

/** @param {readonly Mark[]} marks @param {Size} size @param {number | null} grow */
function outline(marks, size, grow) {
  const scale = Math.min(1, OUTLINE_SIDE / Math.max(size.width, size.height));
  const width = Math.max(1, Math.round(size.width * scale));
  const height = Math.max(1, Math.round(size.height * scale));
  const mask = { width, height, data: rasterise(marks, width, height, scale) };
  return trace(grown(mask, scale, grow).data, width, height, 1 / scale);
}

self.onmessage = async ({ data: { id, job } }) => {
  try {
    self.postMessage({ id, answer: await work(job) });
  } catch (error) {
    self.postMessage({ id, error: /** @type {Error} */ (error).message });
  }
};
