/** What the user can do, by name: buttons (`data-command`) and keys both end here. */

/** @import {Doc, State, Tool} from "./types.js" */
/** @import {Store} from "./state.js" */
/** @import {Runner} from "./run.js" */
/** @import {createDownloads} from "./download.js" */
import { chosen, hasMask, kept, remarked, seen } from "./document.js";
import { resizedBrush } from "./drawing.js";
import { push, redo, replace, undo } from "./history.js";
import { fit, zoomTo } from "./view.js";

/**
 * @typedef {object} Command
 * @property {() => unknown} run
 * @property {(state: State) => boolean} [enabled]
 * @property {(state: State) => boolean} [pressed]   of a switch: whether it is on
 */

const STEP = 1.3;

/** @param {State} state */
const idle = (state) => state.history !== null && state.run === null;
/** @param {(doc: Doc, state: State) => boolean} test @returns {(state: State) => boolean} */
const when = (test) => (state) => state.history !== null && state.run === null && test(state.history.now, state);
const onFill = when((doc) => doc.shown >= 0);

/**
 * @param {object} parts
 * @param {Store} parts.store
 * @param {Runner} parts.runner
 * @param {ReturnType<typeof createDownloads>} parts.downloads
 * @param {() => {top: number, right: number, bottom: number, left: number}} parts.margin   that "fit" leaves free
 * @param {() => void} parts.pickPhoto
 * @param {() => void} parts.pickMask
 * @param {() => void} parts.help
 * @returns {Record<string, Command>}
 */
export function createCommands({ store, runner, downloads, margin, pickPhoto, pickMask, help }) {
  /** @param {(doc: Doc) => Doc} change */
  const step = (change) => {
    const { history } = store.get();
    if (history) store.set({ history: push(history, change(history.now)), compare: null });
  };
  /** @param {typeof undo} move */
  const travel = (move) => {
    const { history, run } = store.get();
    if (history && !run) store.set({ history: move(history), compare: null, message: null, live: null });
  };
  /** @param {number | null} zoom   null: the whole photo */
  const look = (zoom) => {
    const { history, stage, view } = store.get();
    if (!history) return;
    const { photo } = history.now;
    const middle = { x: stage.width / 2, y: stage.height / 2 };
    store.set({ view: zoom === null ? fit(photo, stage, margin()) : zoomTo(view, middle, zoom, photo, stage) });
  };
  /** @param {Tool} tool @returns {Command} */
  const tool = (tool) => ({
    run: () => store.set({ tool, live: null }),
    enabled: idle,
    pressed: (state) => state.tool === tool,
  });
  /** @param {number} by */
  const choose = (by) => {
    const { history } = store.get();
    if (history) store.set({ history: replace(history, chosen(history.now, history.now.shown + by)) });
  };

  return {
    open: { run: pickPhoto, enabled: (state) => state.run === null },
    brush: tool("brush"),
    eraser: tool("eraser"),
    lasso: tool("lasso"),
    rectangle: tool("rectangle"),
    smaller: { run: () => store.set({ brush: resizedBrush(store.get().brush, -1) }) },
    larger: { run: () => store.set({ brush: resizedBrush(store.get().brush, 1) }) },
    undo: { run: () => travel(undo), enabled: (state) => idle(state) && (state.history?.past.length ?? 0) > 0 },
    redo: { run: () => travel(redo), enabled: (state) => idle(state) && (state.history?.future.length ?? 0) > 0 },
    clear: {
      run: () => step((doc) => remarked(doc, [])),
      enabled: when((doc) => doc.shown < 0 && doc.marks.length > 0),
    },
    "upload-mask": { run: pickMask, enabled: idle },
    "download-mask": { run: () => downloads.mask(), enabled: when((doc) => doc.marks.length > 0) },
    fit: { run: () => look(null), enabled: (state) => state.history !== null },
    actual: { run: () => look(1 / (window.devicePixelRatio || 1)), enabled: (state) => state.history !== null },
    "zoom-in": { run: () => look(store.get().view.zoom * STEP), enabled: (state) => state.history !== null },
    "zoom-out": { run: () => look(store.get().view.zoom / STEP), enabled: (state) => state.history !== null },
    run: { run: () => runner.run(), enabled: when((doc) => doc.shown < 0 && hasMask(doc)) },
    another: { run: () => runner.run(), enabled: when((doc) => doc.tries.length > 0) },
    cancel: { run: () => runner.cancel(), enabled: (state) => state.run !== null },
    keep: { run: () => step(kept), enabled: onFill },
    previous: { run: () => choose(-1), enabled: when((doc) => doc.shown >= 0) },
    next: { run: () => choose(1), enabled: when((doc) => doc.shown < doc.tries.length - 1) },
    compare: {
      run: () => store.set({ compare: store.get().compare === null ? 0.5 : null }),
      enabled: onFill,
      pressed: (state) => state.compare !== null,
    },
    download: { run: () => downloads.photo(), enabled: when((doc) => seen(doc).origin !== null) },
    formats: { run: () => undefined, enabled: when((doc) => seen(doc).origin !== null) },
    help: { run: help },
  };
}

/**
 * Ties elements with `data-command` to commands: clicks, `disabled`, and `aria-pressed` of switches.
 * @param {ParentNode} root
 * @param {Store} store
 * @param {Record<string, Command>} commands
 */
export function bindCommands(root, store, commands) {
  const buttons = [...root.querySelectorAll("button[data-command]")].map((element) => {
    const button = /** @type {HTMLButtonElement} */ (element);
    const command = commands[button.dataset.command ?? ""];
    if (!command) throw new Error(`no command ${button.dataset.command}`);
    button.addEventListener("click", () => void command.run());
    return { button, command };
  });
  store.watch(["history", "run", "tool", "compare", "info"], (state) => {
    for (const { button, command } of buttons) {
      button.disabled = command.enabled ? !command.enabled(state) : false;
      if (command.pressed) button.setAttribute("aria-pressed", String(command.pressed(state)));
    }
  });
}
