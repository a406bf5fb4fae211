/** The three networks in ONNX Runtime Web, behind the interface that the fill works with. */
import { normal } from "./core/noise.js";

/**
 * @typedef {import("./core/fill.js").Networks} Networks @typedef {import("./core/settings.js").Model} Model
 * @typedef {{encoder: Uint8Array, denoiser: Uint8Array, decoder: Uint8Array, weights: Uint8Array}} Files
 * @typedef {{networks: Networks, release: () => Promise<void>}} OpenNetworks
 */

/** Largest difference from Python's numbers at which a device passes, as a part of what they span. */
const TOLERANCE = 0.02;

/**
 * @param {any} ort the runtime's module
 * @param {string} device "wasm" or "webgpu"
 * @param {Files} files graphs, and the weights that they point into
 * @param {Model} model
 * @param {() => Promise<void>} before called before each network call; what it throws stops the fill
 * @returns {Promise<OpenNetworks>}
 */
export async function openNetworks(ort, device, files, model, before = async () => undefined) {
  const options = {
    executionProviders: [device],
    externalData: [{ path: "weights.safetensors", data: files.weights }],
    logSeverityLevel: 3, // errors; that shapes are computed on the processor is as it should be
  };
  /** @type {any[]} */
  const opened = [];
  for (const graph of [files.encoder, files.denoiser, files.decoder]) {
    opened.push(await ort.InferenceSession.create(graph, options)); // one by one: each takes memory to open
  }
  const [encoder, denoiser, decoder] = opened;
  const channels = model.latent_channels, tokens = Math.floor(model.denoiser.categories / 2);

  /** @param {any} session @param {Record<string, any>} inputs @returns {Promise<Float32Array>} */
  async function run(session, inputs) {
    await before();
    const outputs = await session.run(inputs);
    const output = outputs[session.outputNames[0]];
    const data = Float32Array.from(output.data);
    output.dispose?.();
    return data;
  }

  /** @param {Float32Array} data @param {number[]} shape */
  const floats = (data, shape) => new ort.Tensor("float32", data, shape);
  /** @param {number[]} values @param {number[]} shape */
  const wholes = (values, shape) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);
  /** @param {Float32Array} values @param {number} factor */
  const scaled = (values, factor) => (factor === 1 ? values : values.map((value) => value * factor));

  /** @type {Networks} */
  const networks = {
    async encode(image, [height, width]) {
      return scaled(await run(encoder, { image: floats(image, [1, 3, height, width]) }), model.latent_scale);
    },

    async predict(noisy, timestep, mask, condition, guidance, [rows, columns]) {
      const shape = [1, channels, rows, columns];
      /** @param {number} first of the category ids */
      const half = (first) =>
        run(denoiser, {
          noisy: floats(noisy, shape), mask: floats(mask, [1, 1, rows, columns]), condition: floats(condition, shape),
          timestep: wholes([timestep], [1]),
          ids: wholes(Array.from({ length: tokens }, (_, index) => first + index), [1, tokens]),
        });
      const wanted = await half(0);
      if (guidance === 1) return wanted;
      const opposite = await half(tokens);
      return opposite.map((value, index) => value + guidance * (wanted[index] - value));
    },

    async decode(latents, [rows, columns]) {
      return run(decoder, { latents: floats(scaled(latents, 1 / model.latent_scale), [1, channels, rows, columns]) });
    },
  };
  const release = async () => {
    for (const session of opened) await session.release();
  };
  return { networks, release };
}

/**
 * Whether the networks give what Python's give for the same small picture: a device may compute wrongly, and silently.
 * @param {Networks} networks
 * @param {import("./browser_assets.js").Manifest["check"]} check numbers made at export: some of each network's output
 * @param {Model} model
 * @returns {Promise<string | null>} what is wrong, in a line
 */
export async function checkNetworks(networks, check, model) {
  const { side, timestep } = check, cells = side / model.latent_factor;
  const latents = await networks.encode(normal(3 * side * side, 0n, "check/image").map((x) => x / 4), [side, side]);
  const noise = normal(latents.length, 0n, "check/noise");
  const mask = new Float32Array(cells * cells).fill(1);
  const prediction = await networks.predict(noise, timestep, mask, latents, 1, [cells, cells]);
  const image = await networks.decode(latents, [cells, cells]);
  const made = { latents, prediction, image };
  for (const name of /** @type {const} */ (["latents", "prediction", "image"])) {
    const expected = check[name], step = made[name].length / expected.length;
    const span = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const off = expected.map((value, index) => Math.abs(made[name][Math.floor(index * step)] - value));
    const worst = off.reduce((most, value) => (value <= most ? most : value), 0); // NaN counts as worst
    if (!(worst <= TOLERANCE * span)) return `${name}: expected numbers as Python's, got ${worst} of ${span} off`;
  }
  return null;
}
