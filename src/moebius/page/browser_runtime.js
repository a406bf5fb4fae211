/** Opening a model on the best device of this browser: WebGPU where it works and computes rightly, else WASM. */
import { Assets, readManifest } from "./browser_assets.js";
import { checkNetworks, openNetworks } from "./browser_networks.js";
import { EngineError } from "./messages.js";

/**
 * @typedef {import("./browser_assets.js").Manifest} Manifest
 * @typedef {object} Runtime
 * @property {Manifest} manifest
 * @property {import("./core/fill.js").Networks} networks
 * @property {string} device  "wasm" or "webgpu"
 * @property {number} threads
 * @property {string[]} notes  why a better device was not taken
 */

const GRAPHS = ["encoder.onnx", "denoiser.onnx", "decoder.onnx", "weights.safetensors"];
/** More threads than this gain nothing on a model of this size. */
const MOST_THREADS = 8;

/**
 * @param {object} options
 * @param {URL} options.root address of the site's folder
 * @param {string | null} options.device "wasm" or "webgpu" to insist on one, null for the best
 * @param {(progress: {loaded: number, total: number}) => void} options.onProgress
 * @param {() => Promise<void>} options.before see `openNetworks`
 * @returns {Promise<Runtime>}
 */
export async function openRuntime({ root, device, onProgress, before }) {
  const manifest = await readManifest(root);
  const assets = new Assets(root, manifest, onProgress);
  const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, MOST_THREADS) : 1;
  const graphs = assets.load(GRAPHS);
  graphs.catch(() => undefined); // told below, where it is waited for
  /** @type {string[]} */
  const notes = [];
  for (const each of await candidates(manifest, device)) {
    try {
      const { script, binary } = manifest.runtimes[each];
      const [[wasm], [encoder, denoiser, decoder, weights]] = await Promise.all([assets.load([binary]), graphs]);
      const ort = await runtimeModule(new URL(script, root), wasm, threads);
      const files = { encoder, denoiser, decoder, weights };
      const { networks, release } = await openNetworks(ort, each, files, manifest.model, before);
      const wrong = await checkNetworks(networks, manifest.check, manifest.model);
      if (wrong === null) {
        void assets.forgetOthers();
        return { manifest, networks, device: each, threads: each === "wasm" ? threads : 1, notes };
      }
      await release();
      notes.push(`${each}: ${wrong}`);
    } catch (error) {
      if (error instanceof EngineError) throw error; // a download: another device needs it too
      notes.push(`${each}: ${/** @type {Error} */ (error).message}`);
    }
  }
  throw new EngineError("worker", `the model cannot run in this browser: ${notes.join("; ")}`);
}

/** @param {Manifest} manifest @param {string | null} device @returns {Promise<string[]>} */
async function candidates(manifest, device) {
  const there = Object.keys(manifest.runtimes);
  if (device !== null) return there.filter((each) => each === device);
  return (await hasGpu()) && there.includes("webgpu") ? ["webgpu", "wasm"] : ["wasm"];
}

/** Whether there is a graphics processor, and not a program that stands in for one. */
async function hasGpu() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter?.().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

/** @param {URL} script @param {Uint8Array<ArrayBuffer>} binary @param {number} threads @returns {Promise<any>} */
async function runtimeModule(script, binary, threads) {
  const ort = await import(script.href);
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = binary.buffer;
  ort.env.wasm.numThreads = threads;
  return ort;
}
