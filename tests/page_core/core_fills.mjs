/** Whole fills in node: with networks that only count, and with the real ones. */

import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(`${process.env.MOEBIUS_PAGE}/${name}`).href);

/** Latents are the means of 8 x 8 pixels, and their mean as fourth channel; the answer is 0.1 x. As in Python's test. */
const counting = {
  async encode(image, [height, width]) {
    const rows = height / 8, columns = width / 8, area = rows * columns;
    const latents = new Float32Array(4 * area);
    for (let i = 0; i < image.length; i++) {
      const channel = Math.floor(i / (height * width)), at = i % (height * width);
      const cell = Math.floor(Math.floor(at / width) / 8) * columns + Math.floor((at % width) / 8);
      latents[channel * area + cell] += image[i] / 64;
    }
    for (let i = 0; i < area; i++) latents[3 * area + i] = (latents[i] + latents[area + i] + latents[2 * area + i]) / 3;
    return latents;
  },
  predict: async (noisy) => noisy.map((value) => Math.fround(0.1) * value),
  async decode(latents, [rows, columns]) {
    const image = new Float32Array(3 * 64 * rows * columns), width = 8 * columns;
    for (let i = 0; i < image.length; i++) {
      const channel = Math.floor(i / (64 * rows * columns)), at = i % (64 * rows * columns);
      const cell = Math.floor(Math.floor(at / width) / 8) * columns + Math.floor((at % width) / 8);
      image[i] = latents[channel * rows * columns + cell];
    }
    return image;
  },
};

/** @returns the photo's pixels, the regions, and the fractions that were told */
export async function fillPhoto(photo, mask, asked, model, runtime, key) {
  const [{ Filling }, { growObjects }, { completeSettings }] = await Promise.all(
    ["core/fill.js", "core/mask.js", "core/settings.js"].map(load),
  );
  const settings = completeSettings(asked.values, asked.schema, model);
  const networks = runtime ? await realNetworks(runtime, model) : counting;
  const filling = new Filling(photo, growObjects(mask, settings.grow), settings, model, networks, key);
  const fractions = [], before = photo.data.slice();
  for await (const event of filling.run()) fractions.push(event.fraction);
  if (Buffer.compare(before, photo.data) !== 0) throw new Error("the photo was written to before the end");
  const { data } = filling.pasted();
  return { data, fractions, regions: filling.regions, warnings: filling.warnings() };
}

async function realNetworks({ folder, model, check }, spec) {
  const { readFile } = await import("node:fs/promises");
  const ort = await import(pathToFileURL(`${folder}/dist/ort.wasm.bundle.min.mjs`).href);
  ort.env.wasm.numThreads = 1;
  const names = ["encoder.onnx", "denoiser.onnx", "decoder.onnx", "weights.safetensors"];
  const [encoder, denoiser, decoder, weights] = await Promise.all(names.map((name) => readFile(`${model}/${name}`)));
  const { openNetworks, checkNetworks } = await load("browser_networks.js");
  const { networks } = await openNetworks(ort, "wasm", { encoder, denoiser, decoder, weights }, spec);
  const wrong = await checkNetworks(networks, check, spec);
  if (wrong !== null) throw new Error(wrong);
  const off = { ...check, prediction: check.prediction.map((value) => 1.1 * value) };
  if ((await checkNetworks(networks, off, spec)) === null) throw new Error("a wrong device would pass");
  return networks;
}

/** The sampling loop over a toy network: x (1.5 - s) / (x x / 2 + 1) + 0.3 a - 0.1, as an output of `prediction`. */
export async function runSampler(timesteps, solver, prediction, start) {
  const [{ makePlan, sample }, { scaledLinear }] = await Promise.all(["core/solver.js", "core/schedule.js"].map(load));
  const abar = scaledLinear();
  const predict = async (x, timestep) => {
    const a = Math.sqrt(abar[timestep]), s = Math.sqrt(1 - abar[timestep]);
    return x.map((value) => {
      const clean = (value * (1.5 - s)) / (value * value * 0.5 + 1) + (0.3 * a - 0.1);
      if (prediction === "epsilon") return (value - clean * a) / s;
      return prediction === "v" ? (value * a - clean) / s : clean;
    });
  };
  const states = [];
  for await (const { x } of sample(predict, start, makePlan(abar, timesteps, solver, prediction))) states.push(x);
  return states;
}
