/** The page's side of the mask worker: one promise a job. */

/** @import {Bits, Mark, Size} from "./types.js" */
/** @import {Job} from "./mask_worker.js" */

/** @typedef {ReturnType<typeof createMasks>} Masks */

export function createMasks() {
  const worker = new Worker(new URL("./mask_worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, {resolve: (answer: any) => void, reject: (error: Error) => void}>} */
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data: { id, answer, error } }) => {
    const { resolve, reject } = /** @type {NonNullable<ReturnType<typeof waiting.get>>} */ (waiting.get(id));
    waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  };
  worker.onerror = () => {
    for (const { reject } of waiting.values()) reject(new Error("the worker for masks has stopped; reload the page"));
    waiting.clear();
  };

  /** @param {Job} job @returns {Promise<any>} */
  function ask(job) {
    last += 1;
    const id = last;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, job });
    });
  }

  return {
    /** @param {readonly Mark[]} marks @param {Size} size @returns {Promise<Uint8Array>}   a byte a pixel, 1 = fill */
    raster: (marks, { width, height }) => ask({ kind: "raster", marks, size: { width, height } }),
    /** @param {readonly Mark[]} marks @param {Size} size @param {number | null} grow
     * @returns {Promise<number[][]>}   closed lines around what will be filled */
    outline: (marks, { width, height }, grow) => ask({ kind: "outline", marks, size: { width, height }, grow }),
    /** @param {Blob} file @param {Size} size @returns {Promise<Bits>} */
    read: (file, { width, height }) => ask({ kind: "read", file, size: { width, height } }),
  };
}
