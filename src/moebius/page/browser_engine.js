/** The engine "browser": photos are filled in this browser, by a worker, and go nowhere. */

/** @import {Engine, FillAnswer, FillProgress, FillRequest, Info} from "./types.js" */
/** @import {FromWorker, ToWorker} from "./browser_worker.js" */
import { EngineError } from "./messages.js";

/**
 * @typedef {object} Pending
 * @property {(answer: FillAnswer) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {((progress: FillProgress) => void) | undefined} onProgress
 */

/**
 * @param {object} [options]
 * @param {URL} [options.root]   address of the site's folder, in which model/ and runtime/ lie
 * @param {"wasm" | "webgpu" | null} [options.device]   null: the best that works here
 * @returns {Engine}
 */
export function createBrowserEngine({ root = new URL("../", import.meta.url), device = null } = {}) {
  /** @type {Worker | null} */
  let worker = null;
  /** @type {Promise<Info> | null} */
  let opening = null;
  /** @type {((error: unknown) => void) | null} */
  let failOpening = null;
  /** @type {Map<number, Pending>} */
  const pending = new Map();
  let last = 0;

  /** @param {ToWorker} message */
  const send = (message) => worker?.postMessage(message);

  /** What was going on ends with an error, and the next `open` begins anew. @param {unknown} error */
  function giveUp(error) {
    worker?.terminate();
    worker = null;
    opening = null;
    failOpening?.(error);
    for (const { reject } of pending.values()) reject(error);
    pending.clear();
  }

  /** @param {FromWorker} message */
  function received(message) {
    if (message.kind === "loading" || message.kind === "opened") return;
    if (message.kind === "failed" && message.id === null) {
      giveUp(new EngineError(message.type, message.message));
      return;
    }
    const fill = pending.get(/** @type {number} */ (message.id));
    if (fill === undefined) return; // cancelled meanwhile
    if (message.kind === "progress") {
      fill.onProgress?.(message.progress);
      return;
    }
    pending.delete(/** @type {number} */ (message.id));
    if (message.kind === "filled") fill.resolve(message.answer);
    else fill.reject(new EngineError(message.type, message.message));
  }

  /** @param {(progress: {loaded: number, total: number}) => void} onProgress @returns {Promise<Info>} */
  function begin(onProgress) {
    return new Promise((resolve, reject) => {
      failOpening = reject;
      worker = new Worker(new URL("./browser_worker.js", import.meta.url), { type: "module" });
      worker.onerror = (event) => {
        event.preventDefault();
        giveUp(new EngineError("worker", `the browser's worker has stopped: ${event.message ?? "it could not be loaded"}`));
      };
      worker.onmessage = ({ data }) => {
        const message = /** @type {FromWorker} */ (data);
        if (message.kind === "loading") onProgress(message.progress);
        else if (message.kind === "opened") resolve(/** @type {Info} */ (message.info));
        received(message);
      };
      send({ kind: "open", root: root.href, device });
    });
  }

  /** @param {(progress: {loaded: number, total: number}) => void} [onProgress] */
  function open(onProgress = () => undefined) {
    keepOffline(root);
    opening ??= begin(onProgress);
    return opening;
  }

  return {
    kind: "browser",
    open,

    async fill(request, { signal, onProgress }) {
      signal?.throwIfAborted();
      await open();
      signal?.throwIfAborted();
      const id = ++last;
      onProgress?.({ fraction: 0, state: pending.size > 0 ? "queued" : "running" });
      signal?.throwIfAborted(); // whoever hears of the beginning may end it
      /** @type {() => void} */
      let cancel = () => undefined;
      try {
        return await new Promise((resolve, reject) => {
          cancel = () => {
            pending.delete(id);
            send({ kind: "cancel", id });
            reject(signal?.reason);
          };
          signal?.addEventListener("abort", cancel);
          pending.set(id, { resolve, reject, onProgress });
          send({ kind: "fill", id, request });
        });
      } finally {
        signal?.removeEventListener("abort", cancel);
      }
    },
  };
}

/** From the next visit on the page needs no network; browsers allow that over HTTPS and on this machine only.
 * @param {URL} root */
function keepOffline(root) {
  navigator.serviceWorker?.register(new URL("service_worker.js", root)).catch(() => undefined);
}
