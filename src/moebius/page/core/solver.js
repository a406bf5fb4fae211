/**
 * Solvers as tables of scalars, one row of six numbers a step; Python's sampling/solvers.py has the formulas.
 *
 *   x0     = x0X * x + x0Out * out
 *   x_next = nextX * x + nextX0 * x0 + nextPrev * x0_before
 */
import { FillError } from "./errors.js";

/**
 * @typedef {{timestep: number, x0X: number, x0Out: number, nextX: number, nextX0: number, nextPrev: number}} SolverStep
 * @typedef {{steps: SolverStep[], alpha0: number, sigma0: number}} Plan
 *   alpha0, sigma0: scales of the clean latents and of the noise where the loop starts.
 */

/**
 * The table of a solver over falling timesteps; after the last of them the latents are clean.
 * @param {Float64Array} abar the noise schedule, of every training timestep
 * @param {number[]} timesteps @param {string} solver "ddim" or "dpm++"
 * @param {string} prediction "epsilon", "v" or "sample"
 * @returns {Plan}
 */
export function makePlan(abar, timesteps, solver, prediction) {
  const signal = timesteps.map((t) => Math.sqrt(abar[t]));
  const noise = timesteps.map((t) => Math.sqrt(1 - abar[t]));
  const snr = signal.map((a, i) => Math.log(a / noise[i]));
  const steps = timesteps.map((timestep, i) => {
    const last = i + 1 === timesteps.length;
    const a = signal[i], s = noise[i];
    const aNext = last ? 1 : signal[i + 1], sNext = last ? 0 : noise[i + 1];
    const c = aNext - (a * sNext) / s;
    let lean = 0; // how far x0 is extrapolated away from the step before
    if (solver === "dpm++" && i > 0 && !last) lean = (0.5 * (snr[i + 1] - snr[i])) / (snr[i] - snr[i - 1]);
    const [x0X, x0Out] = cleanLatents(prediction, a, s);
    return { timestep, x0X, x0Out, nextX: sNext / s, nextX0: c * (1 + lean), nextPrev: -c * lean };
  });
  return { steps, alpha0: signal[0], sigma0: noise[0] };
}

/**
 * Where the loop starts: the noise alone, or latents noised to the plan's first timestep.
 * @param {Float32Array} noise @param {Float32Array | null} latents of the noise's size; null for the noise alone
 * @param {Plan} plan @returns {Float32Array}
 */
export function startLatents(noise, latents, plan) {
  return latents === null ? noise : weighted([plan.alpha0, latents], [plan.sigma0, noise]);
}

/**
 * The denoising loop, one network call a `next()`. `x` is never written to.
 * @param {(x: Float32Array, timestep: number) => Promise<Float32Array>} predict
 * @param {Float32Array} x start latents @param {Plan} plan
 * @returns {AsyncGenerator<{index: number, x: Float32Array, x0: Float32Array}, void, void>}
 */
export async function* sample(predict, x, plan) {
  /** @type {Float32Array | null} */
  let before = null;
  for (const [index, step] of plan.steps.entries()) {
    const out = await predict(x, step.timestep);
    if (out.length !== x.length) {
      throw new FillError("worker", `network output: expected ${x.length} numbers, got ${out.length}`);
    }
    const x0 = weighted([step.x0X, x], [step.x0Out, out]);
    x = weighted([step.nextX, x], [step.nextX0, x0], ...(before ? [term(step.nextPrev, before)] : []));
    before = x0;
    yield { index, x, x0 };
  }
}

/** @param {number} weight @param {Float32Array} array @returns {[number, Float32Array]} */
function term(weight, array) {
  return [weight, array];
}

/**
 * Sum of weight * array in float32, from left to right; terms of weight 0 are left out.
 * @param {...[number, Float32Array]} terms
 */
function weighted(...terms) {
  const total = new Float32Array(terms[0][1].length);
  for (const [weight, array] of terms) {
    if (weight === 0) continue;
    const scale = Math.fround(weight);
    for (let i = 0; i < total.length; i++) total[i] += Math.fround(array[i] * scale);
  }
  return total;
}

/** Weights of x and of the network's output in x0. @param {string} prediction @param {number} a @param {number} s */
function cleanLatents(prediction, a, s) {
  if (prediction === "epsilon") return [1 / a, -s / a];
  if (prediction === "v") return [a, -s];
  return [0, 1];
}
