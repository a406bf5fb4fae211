/** Before and after: a line to slide, and a button to hold. */

/** @import {Store} from "./state.js" */

const STEP = 0.02;

/** @param {HTMLElement} handle @param {HTMLElement} hold @param {HTMLElement} stage @param {Store} store */
export function mountCompare(handle, hold, stage, store) {
  store.watch(["compare", "view", "history", "stage", "run"], ({ compare, view, history, stage: size, run }) => {
    const doc = history?.now;
    const shown = compare !== null && !!doc && doc.shown >= 0 && run === null;
    handle.hidden = !shown;
    if (!shown || !doc) return;
    const x = view.x + compare * doc.photo.width * view.zoom;
    const top = Math.max(view.y, 0);
    handle.style.transform = `translate(${Math.round(x)}px, ${top}px)`;
    handle.style.height = `${Math.max(Math.min(view.y + doc.photo.height * view.zoom, size.height) - top, 44)}px`;
    handle.setAttribute("aria-valuenow", String(Math.round(compare * 100)));
  });

  /** @param {number} compare */
  const set = (compare) => store.set({ compare: Math.min(Math.max(compare, 0), 1) });
  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    const { view, history } = store.get();
    if (!history || !handle.hasPointerCapture(event.pointerId)) return;
    const x = event.clientX - stage.getBoundingClientRect().left;
    set((x - view.x) / (history.now.photo.width * view.zoom));
  });
  handle.addEventListener("keydown", (event) => {
    const { compare } = store.get();
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, Home: -100, End: 100 }[event.key];
    if (steps === undefined || compare === null) return;
    event.preventDefault();
    set(compare + steps * STEP * (event.shiftKey ? 5 : 1));
  });

  const show = (/** @type {boolean} */ holding) => () => store.set({ holding });
  hold.addEventListener("pointerdown", (event) => {
    hold.setPointerCapture(event.pointerId);
    store.set({ holding: true });
  });
  for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) hold.addEventListener(end, show(false));
  hold.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
  hold.addEventListener("keydown", (event) => {
    if (event.key === " " || event.key === "Enter") store.set({ holding: true });
  });
  store.watch(["holding"], ({ holding }) => hold.setAttribute("aria-pressed", String(holding)));
}
