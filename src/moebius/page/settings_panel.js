/** The few settings worth showing, as fields made from what the engine says of them. */

/** @import {Setting, SettingValue, State} from "./types.js" */
/** @import {Store} from "./state.js" */
import { make } from "./elements.js";

/** @type {Record<string, {label: string, help: string}>} */
const SHOWN = {
  seed: { label: "Seed", help: "The same seed gives the same picture." },
  grow: { label: "Grow", help: "Pixels added around what you paint, for soft edges and shadows." },
  feather: { label: "Feather", help: "Pixels over which the fill fades into the photo." },
  strategy: { label: "Strategy", help: "Crop fills each hole by itself; tiles adds detail to large holes, slowly." },
  grain: { label: "Grain", help: "How much of the photo's own noise the fill is given." },
};

/** @param {HTMLElement} form @param {HTMLButtonElement} reset @param {Store} store */
export function mountSettings(form, reset, store) {
  store.watch(["info"], ({ info }) => {
    if (!info) return;
    const names = Object.keys(SHOWN).filter((name) => info.settings[name]);
    form.replaceChildren(...names.map((name) => field(name, info.settings[name], store)));
  });
  reset.addEventListener("click", () => store.set({ settings: {} }));
  store.watch(["settings"], ({ settings }) => (reset.disabled = Object.keys(settings).length === 0));
}

/** @param {string} name @param {Setting} setting @param {Store} store */
function field(name, setting, store) {
  const input = setting.choices ? choice(setting.choices) : entry(name, setting);
  input.id = `setting-${name}`;
  const help = make("p", { id: `${input.id}-help`, className: "help" }, SHOWN[name].help);
  input.setAttribute("aria-describedby", help.id);
  const shown = make("output", {}, "");
  const watched = (/** @type {State} */ { settings }) => {
    const value = settings[name] === undefined ? setting.default : settings[name];
    if (document.activeElement !== input || input.type === "range") {
      if (input instanceof HTMLInputElement && input.type === "checkbox") input.checked = value === true;
      else input.value = value === null ? "" : String(value);
    }
    shown.textContent = input.type === "range" ? `${Math.round(Number(value) * 100)} %` : "";
  };
  store.watch(["settings"], watched);
  input.addEventListener(input.type === "range" ? "input" : "change", () => {
    if (!input.checkValidity()) {
      input.reportValidity();
      return;
    }
    const { [name]: _, ...others } = store.get().settings;
    const value = read(name, input, setting);
    store.set({ settings: value === setting.default ? others : { ...others, [name]: value } });
  });
  const label = make("label", { htmlFor: input.id }, SHOWN[name].label, " ", shown);
  return make("div", { className: "field" }, label, input, help);
}

/** @param {string[]} choices */
function choice(choices) {
  return make("select", {}, ...choices.map((value) => make("option", { value }, value)));
}

/** @param {string} name @param {Setting} setting @returns {HTMLInputElement} */
function entry(name, { type, minimum, maximum, nullable }) {
  if (type === "boolean") return make("input", { type: "checkbox" });
  if (name === "seed") {
    // of 64 bits: more than a number field of a browser keeps
    return make("input", {
      type: "text",
      inputMode: "numeric",
      pattern: "[0-9]{1,20}",
      required: true,
      autocomplete: "off",
      title: "A whole number from 0 to 18446744073709551615",
    });
  }
  const range = type === "number" && minimum !== undefined && maximum !== undefined;
  const input = make("input", {
    type: range ? "range" : "number",
    step: type === "integer" ? "1" : "0.05",
    required: !nullable,
  });
  if (nullable) input.placeholder = "automatic";
  if (minimum !== undefined) input.min = String(minimum);
  if (maximum !== undefined) input.max = String(maximum);
  return input;
}

/** @param {string} name @param {HTMLInputElement | HTMLSelectElement} input @param {Setting} setting
 * @returns {SettingValue} */
function read(name, input, { type, default: usual }) {
  if (input instanceof HTMLInputElement && input.type === "checkbox") return input.checked;
  if (name === "seed") return input.value === String(usual) ? usual : String(BigInt(input.value));
  if (type === "string") return input.value;
  return input.value === "" ? null : Number(input.value);
}
