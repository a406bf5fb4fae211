/** Settings as they are asked for, checked against their ranges and completed with the model's own values. */
import { FillError } from "./errors.js";
import { leadingTimesteps, scaledLinear, trailingTimesteps } from "./schedule.js";
import { makePlan } from "./solver.js";

/**
 * @typedef {{type: string, default: any, minimum?: number, maximum?: number, choices?: string[], nullable?: boolean,
 *   help?: string}} SettingSchema
 * @typedef {object} Model  what model.json says, as far as a fill needs it
 * @property {string} name
 * @property {string} title
 * @property {number} parameters
 * @property {{categories: number}} denoiser
 * @property {number} latent_channels
 * @property {number} latent_factor
 * @property {number} latent_scale
 * @property {string} feed
 * @property {string} target
 * @property {number} residual_scale
 * @property {string} prediction
 * @property {string} spacing
 * @property {number} first_timestep
 * @property {string} mask_mode
 * @property {number} size
 * @property {number[]} aspects
 * @property {number[]} cascade
 * @property {"network" | "photo"} [detail]  where fine detail comes from
 * @property {boolean} guidance_trained
 * @property {{steps: number, guidance: number, solver: string, start: string}} defaults
 * @typedef {{steps: number, guidance: number, seed: bigint, solver: string, start: string, grow: number | null,
 *   feather: number, context: number}} FillSettings
 */

/** Settings that a page may send although this engine has no choice in them, and the values that mean nothing. */
const FIXED = new Map(/** @type {[string, any][]} */ ([
  ["strategy", "crop"], ["grain", 0], ["invert", false], ["fit_mask", false],
]));

/**
 * @param {Record<string, any>} asked @param {Record<string, SettingSchema>} schema @param {Model} model
 * @returns {FillSettings}
 */
export function completeSettings(asked, schema, model) {
  /** @type {Record<string, any>} */
  const values = Object.fromEntries(Object.entries(schema).map(([name, entry]) => [name, entry.default]));
  for (const [name, value] of Object.entries(asked)) {
    if (schema[name]) values[name] = checked(name, value, schema[name]);
    else if (!FIXED.has(name)) throw wrong(name, `one of ${Object.keys(schema).join(", ")}`, name);
    else if (value !== null && value !== FIXED.get(name)) throw wrong(name, `${FIXED.get(name)} in the browser`, value);
  }
  const { defaults } = model;
  for (const name of /** @type {const} */ (["steps", "guidance", "solver", "start"])) values[name] ??= defaults[name];
  if (values.guidance !== 1 && !model.guidance_trained) {
    throw wrong("guidance", `1 for model ${model.name}`, values.guidance);
  }
  return /** @type {FillSettings} */ ({ ...values, seed: BigInt(values.seed) });
}

/** The solver's table. @param {FillSettings} settings @param {Model} model */
export function planOf(settings, model) {
  const { steps } = settings;
  const leading = model.spacing === "leading";
  const timesteps = leading ? leadingTimesteps(steps) : trailingTimesteps(steps, model.first_timestep);
  return makePlan(scaledLinear(), timesteps, settings.solver, model.prediction);
}

/** @param {string} name @param {any} value @param {SettingSchema} entry */
function checked(name, value, entry) {
  if (value === null || value === undefined || value === "") {
    if (entry.nullable) return null;
    throw wrong(name, "a value", value);
  }
  if (entry.choices) {
    if (!entry.choices.includes(value)) throw wrong(name, `one of ${entry.choices.join(", ")}`, value);
    return value;
  }
  if (name === "seed") return checkedSeed(value);
  const { minimum = -Infinity, maximum = Infinity } = entry;
  const number = typeof value === "string" ? Number(value) : value;
  const whole = entry.type !== "integer" || Number.isInteger(number);
  if (typeof number !== "number" || !whole || !(number >= minimum && number <= maximum)) {
    throw wrong(name, `${entry.type === "integer" ? "a whole number" : "a number"} from ${minimum} to ${maximum}`, value);
  }
  return number;
}

/** A whole number below 2**64, which a JavaScript number cannot always hold. @param {any} value */
function checkedSeed(value) {
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value) || /^\d{1,20}$/.test(String(value));
  const seed = isWhole ? BigInt(value) : -1n;
  if (seed < 0n || seed >= 1n << 64n) throw wrong("seed", "a whole number from 0 to 18446744073709551615", value);
  return String(seed);
}

/** @param {string} name @param {string} expected @param {any} came */
function wrong(name, expected, came) {
  return new FillError("settings", `${name}: expected ${expected}, got ${came}`);
}
