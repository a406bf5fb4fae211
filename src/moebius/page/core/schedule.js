/** How much signal the latents hold at each timestep, and which timesteps a sampler visits. */
import { FillError } from "./errors.js";

const TRAIN_STEPS = 1000;

/**
 * abar_t of every training timestep: sqrt(beta) runs linearly, abar_t = prod (1 - beta_s).
 * @returns {Float64Array}
 */
export function scaledLinear() {
  const first = Math.sqrt(8.5e-4), last = Math.sqrt(1.2e-2);
  const step = (last - first) / (TRAIN_STEPS - 1);
  const abar = new Float64Array(TRAIN_STEPS);
  let product = 1;
  for (let t = 0; t < TRAIN_STEPS; t++) {
    const root = t === TRAIN_STEPS - 1 ? last : first + t * step;
    product *= 1 - root * root;
    abar[t] = product;
  }
  return abar;
}

/**
 * Exactly `steps` timesteps, evenly from `first` down: round((first + 1) (1 - i / steps)) - 1, halves to even.
 * @param {number} steps @param {number} first @returns {number[]}
 */
export function trailingTimesteps(steps, first) {
  checkSteps(steps, first + 1);
  return Array.from({ length: steps }, (_, i) => {
    const whole = (first + 1) * (steps - i); // over `steps`: in whole numbers, so that no platform rounds differently
    const down = Math.floor(whole / steps);
    const twice = 2 * (whole - down * steps);
    return down + (twice > steps || (twice === steps && down % 2 === 1) ? 1 : 0) - 1;
  });
}

/**
 * Multiples of 1000 / steps, rounded down, from the last to 0: the published spacing.
 * @param {number} steps @returns {number[]}
 */
export function leadingTimesteps(steps) {
  checkSteps(steps, TRAIN_STEPS);
  const spacing = Math.floor(TRAIN_STEPS / steps);
  return Array.from({ length: steps }, (_, i) => spacing * (steps - 1 - i));
}

/** @param {number} steps @param {number} most */
function checkSteps(steps, most) {
  if (steps >= 1 && steps <= most) return;
  throw new FillError("settings", `steps: expected 1 to ${most} for this model and spacing, got ${steps}`);
}
