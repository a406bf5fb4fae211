/** The worker in which a browser fills photos: it opens the model, and then takes one fill after the other. */
import { openPhoto, writableFormats, writePhoto } from "./browser_photo.js";
import { openRuntime } from "./browser_runtime.js";
import { FillError } from "./core/errors.js";
import { Filling } from "./core/fill.js";
import { growObjects } from "./core/mask.js";
import { completeSettings } from "./core/settings.js";

/**
 * @typedef {import("./types.js").FillRequest} FillRequest
 * @typedef {import("./browser_runtime.js").Runtime} Runtime
 * @typedef {{kind: "open", root: string, device: string | null}
 *   | {kind: "fill", id: number, request: FillRequest} | {kind: "cancel", id: number}} ToWorker
 * @typedef {{kind: "loading", progress: {loaded: number, total: number}} | {kind: "opened", info: object}
 *   | {kind: "progress", id: number, progress: import("./types.js").FillProgress}
 *   | {kind: "filled", id: number, answer: import("./types.js").FillAnswer}
 *   | {kind: "failed", id: number | null, type: string, message: string}} FromWorker
 */

/** Bytes and pixels up to which a tab has the memory for a photo. */
const LIMITS = { upload_bytes: 250_000_000, pixels: 100_000_000 };
/** Part of a fill's progress that the network has; the rest is reading and writing files. */
const NETWORK_SHARE = 0.96;

/** @type {Runtime | null} */
let runtime = null;
/** Address of the site's folder. */
let site = "";
/** @type {number | null} the fill at hand */
let current = null;
/** @type {Set<number>} */
const cancelled = new Set();
/** Fills wait for one another. @type {Promise<void>} */
let queue = Promise.resolve();

/** @param {FromWorker} message @param {Transferable[]} transfer */
function tell(message, transfer = []) {
  self.postMessage(message, { transfer });
}

/** Lets messages in, and stops the fill at hand where one of them cancels it. */
async function breathe() {
  await new Promise((resolve) => setTimeout(resolve));
  if (current !== null && cancelled.has(current)) throw new DOMException("cancelled", "AbortError");
}

/** @param {string} root @param {string | null} device */
async function open(root, device) {
  site = root;
  const onProgress = (/** @type {{loaded: number, total: number}} */ progress) => tell({ kind: "loading", progress });
  runtime = await openRuntime({ root: new URL(root), device, onProgress, before: breathe });
  const { manifest, threads, notes } = runtime;
  const { name, title, size, parameters } = manifest.model;
  const info = {
    version: manifest.version, model: { name, title, size, parameters }, settings: manifest.settings,
    formats: await writableFormats(), limits: LIMITS, token: false, device: runtime.device, threads, notes,
  };
  tell({ kind: "opened", info });
}

/**
 * A graphics processor can fail, or go away, long after it was tried: then the fill is done again without it.
 * @param {number} id @param {FillRequest} request
 */
async function fill(id, request) {
  try {
    await fillOnce(id, request);
  } catch (error) {
    const { name, type } = /** @type {{name: string, type?: string}} */ (error);
    const isDevice = name !== "AbortError" && (type ?? "worker") === "worker";
    if (!isDevice || runtime === null || runtime.device !== "webgpu") throw error;
    await open(site, "wasm");
    await fillOnce(id, request);
  }
}

/** @param {number} id @param {FillRequest} request */
async function fillOnce(id, { file, mask, settings: asked, format, quality }) {
  if (runtime === null) throw new FillError("worker", "expected an open model, got none");
  const began = performance.now();
  const { manifest, networks, device } = runtime;
  const settings = completeSettings(asked, manifest.settings, manifest.model);
  const output = (format ?? "png").toLowerCase().replace("jpg", "jpeg");
  checkLimits(file, mask);
  const { photo, metadata, warnings } = await openPhoto(file, output);
  const hole = growObjects(mask, settings.grow);
  const filling = new Filling(photo, hole, settings, manifest.model, networks);
  warnings.push(...filling.warnings());
  await breathe();
  for await (const { fraction, box, preview } of filling.run()) {
    const image = preview === null ? null : await bitmapOf(preview);
    const place = [box.left, box.top, box.right, box.bottom];
    const progress = { fraction: NETWORK_SHARE * fraction, state: /** @type {const} */ ("running"), box: place, preview: image };
    tell({ kind: "progress", id, progress }, image === null ? [] : [image]);
  }
  const regions = filling.regions.map(({ box }) => [box.left, box.top, box.right, box.bottom]);
  const steps = regions.length ? filling.plan.steps.length : 0;
  await breathe();
  const { file: result, written } = await writePhoto(filling.pasted(), output, quality, metadata);
  await breathe();
  const seed = String(settings.seed), { guidance, solver, start } = settings;
  const report = {
    version: manifest.version, model: manifest.model.name, model_hash: manifest.hash, engine: "browser", device,
    dtype: "float32", seed, key: "", steps, guidance, solver, start, size: [photo.width, photo.height], regions,
    settings: { ...settings, seed }, timings: { total: (performance.now() - began) / 1000 }, warnings, written,
  };
  tell({ kind: "filled", id, answer: { file: result, format: output, seed, report } });
}

/** @param {Blob} file @param {import("./types.js").Mask} mask */
function checkLimits(file, { width, height }) {
  if (file.size > LIMITS.upload_bytes) {
    throw new FillError("limit", `photo: expected at most ${LIMITS.upload_bytes} bytes, got ${file.size}`);
  }
  if (width * height > LIMITS.pixels) {
    throw new FillError("limit", `photo: expected at most ${LIMITS.pixels} pixels, got ${width * height}`);
  }
}

/** @param {import("./core/arrays.js").FloatImage} image */
function bitmapOf({ width, height, data }) {
  const pixels = new ImageData(width, height);
  for (let i = 0, to = 0; i < data.length; i += 3, to += 4) {
    for (let c = 0; c < 3; c++) pixels.data[to + c] = Math.floor(data[i + c] * 255 + 0.5);
    pixels.data[to + 3] = 255;
  }
  return createImageBitmap(pixels);
}

/** @param {number | null} id @param {() => Promise<void>} work */
async function telling(id, work) {
  current = id;
  try {
    if (id !== null && cancelled.has(id)) throw new DOMException("cancelled", "AbortError");
    await work();
  } catch (error) {
    const { name, message, type } = /** @type {{name: string, message: string, type?: string}} */ (error);
    tell({ kind: "failed", id, type: name === "AbortError" ? "cancelled" : (type ?? "worker"), message });
  } finally {
    current = null;
    if (id !== null) cancelled.delete(id);
  }
}

self.onmessage = ({ data }) => {
  const message = /** @type {ToWorker} */ (data);
  if (message.kind === "cancel") cancelled.add(message.id);
  else if (message.kind === "open") queue = queue.then(() => telling(null, () => open(message.root, message.device)));
  else queue = queue.then(() => telling(message.id, () => fill(message.id, message.request)));
};
