/** What goes on, in words and a bar: the model's arrival, a run, and one quiet line for notes and errors. */

/** @import {State} from "./types.js" */
/** @import {Store} from "./state.js" */
import { element } from "./elements.js";

/** Notes go by themselves after so many milliseconds; errors stay. */
const NOTE = 6000;

/** @param {Store} store */
export function mountStatus(store) {
  const message = element("message", HTMLElement);
  const words = element("message-text", HTMLElement);
  const bar = element("progress", HTMLElement);
  const chip = element("running", HTMLElement);
  let timer = 0;

  store.watch(["message"], ({ message: said }) => {
    window.clearTimeout(timer);
    message.hidden = said === null;
    message.classList.toggle("error", said?.kind === "error");
    words.setAttribute("role", said?.kind === "error" ? "alert" : "status");
    words.textContent = said?.text ?? "";
    if (said?.kind === "note") timer = window.setTimeout(() => store.set({ message: null }), NOTE);
  });
  element("message-close", HTMLButtonElement).addEventListener("click", () => store.set({ message: null }));

  store.watch(["run", "loading"], (state) => {
    const fraction = state.loading
      ? state.loading.loaded / Math.max(state.loading.total, 1)
      : (state.run?.fraction ?? 0);
    bar.hidden = !state.run && !state.loading;
    bar.classList.toggle("waiting", fraction === 0);
    bar.setAttribute("aria-valuenow", String(Math.round(fraction * 100)));
    bar.style.setProperty("--done", String(fraction));
    chip.hidden = !state.run && !state.loading;
    element("running-text", HTMLElement).textContent = describe(state);
    element("cancel", HTMLElement).hidden = !state.run;
    element("run", HTMLElement).hidden = !!state.run;
  });
}

/** @param {Pick<State, "run" | "loading">} state @returns {string} */
export function describe({ run, loading }) {
  if (loading)
    return `Fetching the model, ${Math.round(loading.loaded / 1e6)} of ${Math.round(loading.total / 1e6)} MB`;
  if (!run) return "";
  if (run.state === "queued") return run.position ? `Waiting, number ${run.position} in line` : "Sending";
  return `Removing, ${Math.round(run.fraction * 100)} %`;
}
