/** The keyboard: commands by key, drawing by arrows and space, and keys that are held. */

/** @import {Command} from "./commands.js" */
/** @import {Drawing} from "./drawing.js" */
/** @import {Store} from "./state.js" */

/** @type {Record<string, string>} key to command; "ctrl+" stands for Ctrl or Command */
export const KEYS = {
  b: "brush",
  e: "eraser",
  l: "lasso",
  r: "rectangle",
  "[": "smaller",
  "]": "larger",
  "ctrl+z": "undo",
  "ctrl+shift+z": "redo",
  "ctrl+y": "redo",
  delete: "clear",
  enter: "run",
  t: "another",
  k: "keep",
  s: "compare",
  "ctrl+s": "download",
  "ctrl+o": "open",
  0: "fit",
  1: "actual",
  "+": "zoom-in",
  "=": "zoom-in",
  "-": "zoom-out",
  "?": "help",
  ",": "previous",
  ".": "next",
};
/** CSS pixels that an arrow key moves the ring; with Shift. */
const NEAR = 8;
const FAR = 40;
/** @type {Record<string, [number, number]>} */
const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };

/**
 * The name of a key in `KEYS`.
 * @param {Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "shiftKey">} event
 */
export function keyName({ key, ctrlKey, metaKey, shiftKey }) {
  const name = key.toLowerCase();
  const held = ctrlKey || metaKey;
  return `${held ? "ctrl+" : ""}${held && shiftKey ? "shift+" : ""}${name}`;
}

/**
 * @param {object} parts
 * @param {Store} parts.store
 * @param {Record<string, Command>} parts.commands
 * @param {Drawing} parts.drawing
 * @param {HTMLElement} parts.stage
 * @param {{space: boolean}} parts.held
 */
export function mountKeys({ store, commands, drawing, stage, held }) {
  /** Space draws when the ring has been moved by keys, and pans with the mouse otherwise. */
  let byKeys = false;
  stage.addEventListener("pointermove", () => (byKeys = false));

  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const busy = document.querySelector("dialog[open], :popover-open") !== null;
    const typing = target.matches("input:not([type=range]), select, textarea");
    const name = keyName(event);
    if (event.defaultPrevented || busy || event.altKey) return;
    if (name === "escape") {
      if (!drawing.cancel() && !commands.cancel.run()) store.set({ compare: null, message: null });
      return;
    }
    if (typing) return;
    const onStage = target === stage || target === document.body;
    if (onStage && ARROWS[name] && !event.ctrlKey) {
      event.preventDefault();
      byKeys = true;
      const reach = event.shiftKey ? FAR : NEAR;
      drawing.move(ARROWS[name][0] * reach, ARROWS[name][1] * reach);
    } else if (onStage && name === " ") {
      event.preventDefault();
      const place = drawing.place();
      if (byKeys && place && !event.repeat) drawing.begin(place, event.shiftKey);
      else if (!byKeys && !event.repeat) hold(true);
    } else if (name === "c" && !event.repeat) {
      store.set({ holding: true });
    } else if (name === "enter" && !onStage) {
      return; // the button at hand
    } else {
      const command = commands[KEYS[name] ?? ""];
      if (!command) return;
      event.preventDefault();
      if (!command.enabled || command.enabled(store.get())) void command.run();
      else if (name === "enter") void runAnyway();
    }
  });

  /** Enter says what is missing, and on a fill tries another. */
  function runAnyway() {
    const { history, run } = store.get();
    if (history && !run) return history.now.shown < 0 ? commands.run.run() : commands.another.run();
    return undefined;
  }

  document.addEventListener("keyup", (event) => {
    if (event.key === " ") {
      if (byKeys) drawing.end();
      hold(false);
    }
    if (event.key.toLowerCase() === "c") store.set({ holding: false });
  });
  window.addEventListener("blur", () => {
    hold(false);
    store.set({ holding: false });
  });

  /** @param {boolean} space */
  function hold(space) {
    held.space = space;
    stage.classList.toggle("grab", space);
  }
}
