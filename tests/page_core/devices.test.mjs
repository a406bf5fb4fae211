/** Which device a model is opened on, with runtimes that only pretend: one that fails must never fill a photo. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const { openRuntime } = await import(pathToFileURL(`${process.env.MOEBIUS_PAGE}/browser_runtime.js`).href);

/** A module whose sessions give `value` everywhere. The URL differs by name: modules are kept by their address. */
function runtimeModule(name, value) {
  const code = `
    export const name = ${JSON.stringify(name)};
    export const env = { wasm: {} };
    export class Tensor { constructor(type, data, shape) { Object.assign(this, { type, data, shape }); } }
    export const InferenceSession = { create: async (graph, { executionProviders }) => {
      if (${value} === "throws") throw new Error("no such kernel");
      const kind = new TextDecoder().decode(graph), sizes = { encoder: 4 * 64, denoiser: 4 * 64, decoder: 3 * 4096 };
      return { outputNames: ["out"], release: async () => undefined,
        run: async () => ({ out: { data: new Float32Array(sizes[kind]).fill(${value}) } }) };
    } };`;
  return `data:text/javascript,${encodeURIComponent(code)}`;
}

/** A site in memory. */
function site(gpu, cpu) {
  const files = new Map();
  const asset = (name, text) => {
    const bytes = new TextEncoder().encode(text), path = `model/${name}.bin`;
    files.set(path, bytes);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return { bytes: bytes.length, packed: false, shards: [{ path, bytes: bytes.length, sha256 }] };
  };
  const names = { "encoder.onnx": "encoder", "denoiser.onnx": "denoiser", "decoder.onnx": "decoder" };
  const assets = Object.fromEntries(Object.entries(names).map(([name, text]) => [name, asset(text, text)]));
  for (const name of ["weights.safetensors", "gpu.wasm", "cpu.wasm"]) assets[name] = asset(name, name);
  const half = new Array(64).fill(0.5);
  const manifest = {
    format: 1, version: "1", hash: "", settings: {}, assets,
    model: { latent_factor: 8, latent_channels: 4, latent_scale: 1, denoiser: { categories: 20 } },
    check: { side: 64, timestep: 999, latents: half, prediction: half, image: half },
    runtimes: {
      wasm: { script: runtimeModule(`cpu ${cpu}`, cpu), binary: "cpu.wasm" },
      webgpu: { script: runtimeModule(`gpu ${gpu}`, gpu), binary: "gpu.wasm" },
    },
  };
  files.set("model/manifest.json", new TextEncoder().encode(JSON.stringify(manifest)));
  const asked = [];
  globalThis.fetch = async (url) => {
    const path = new URL(url).pathname.slice(1);
    asked.push(path);
    return files.has(path) ? new Response(files.get(path)) : new Response("", { status: 404 });
  };
  return asked;
}

/** @param {object | null} adapter what the browser has */
async function opened(adapter, device = null) {
  const gpu = adapter === undefined ? undefined : { requestAdapter: async () => adapter };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, hardwareConcurrency: 2 }, configurable: true });
  const progress = [];
  const root = new URL("http://site.test/");
  const runtime = await openRuntime({ root, device, onProgress: (p) => progress.push(p), before: async () => undefined });
  assert.equal(progress.at(-1).loaded, progress.at(-1).total);
  return { device: runtime.device, notes: runtime.notes };
}

test("a graphics processor that computes rightly is taken", async () => {
  const asked = site(0.5, 0.5);
  assert.deepEqual(await opened({ info: {} }), { device: "webgpu", notes: [] });
  assert.ok(!asked.includes("model/cpu.wasm.bin"), "what is not needed is not fetched");
});

test("none, or a program that stands in for one, is not", async () => {
  for (const adapter of [undefined, null, { info: { isFallbackAdapter: true } }, { isFallbackAdapter: true }]) {
    const asked = site(0.5, 0.5);
    assert.deepEqual(await opened(adapter), { device: "wasm", notes: [] });
    assert.ok(!asked.includes("model/gpu.wasm.bin"));
  }
});

for (const [value, note] of [["NaN", /latents: expected numbers as Python's, got NaN/], ["0.6", /latents: expected/],
  ['"throws"', /no such kernel/]]) {
  test(`one that gives ${value} is passed over`, async () => {
    site(value, 0.5);
    const { device, notes } = await opened({ info: {} });
    assert.equal(device, "wasm");
    assert.match(notes[0], note);
  });
}

test("where nothing works, that is said", async () => {
  site("NaN", "NaN");
  await assert.rejects(opened({ info: {} }), { name: "EngineError", type: "worker", message: /webgpu: .*; wasm: / });
  site(0.5, "NaN");
  await assert.rejects(opened({ info: {} }, "wasm"), { type: "worker" });
});
