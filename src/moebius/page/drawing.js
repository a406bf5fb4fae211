/** Drawing a mark: by pointer or by keys, in the photo's pixels, with a ring where the brush is. */

/** @import {Point} from "./types.js" */
/** @import {Store} from "./state.js" */
import { marked } from "./document.js";
import { push } from "./history.js";
import { counts, extended, started } from "./strokes.js";
import { toPhoto, toScreen } from "./view.js";

export const LEAST_BRUSH = 4;
export const MOST_BRUSH = 300;

/** @typedef {ReturnType<typeof createDrawing>} Drawing */

/** @param {number} brush @param {number} steps @returns {number}   12 % a step, at least a pixel */
export function resizedBrush(brush, steps) {
  const scaled = brush * 1.12 ** steps;
  const moved = Math.abs(scaled - brush) < 1 ? brush + Math.sign(steps) : scaled;
  return Math.min(Math.max(Math.round(moved), LEAST_BRUSH), MOST_BRUSH);
}

/** @param {Store} store @param {HTMLElement} ring */
export function createDrawing(store, ring) {
  /** @type {Point | null} where the ring is, in CSS pixels of the stage */
  let place = null;

  function showRing() {
    const { tool, brush, history, run } = store.get();
    const shown = place !== null && history !== null && run === null;
    const round = tool === "brush" || tool === "eraser";
    ring.hidden = !shown;
    if (!shown || !place) return;
    const side = round ? brush : 0;
    ring.classList.toggle("cross", !round);
    ring.style.width = ring.style.height = `${side}px`;
    ring.style.transform = `translate(${place.x - side / 2}px, ${place.y - side / 2}px)`;
  }
  store.watch(["tool", "brush", "history", "run"], showRing);

  const drawing = {
    allowed: () => store.get().history !== null && store.get().run === null,

    /** The pointer is over here, or with null nowhere. @param {Point | null} point */
    point(point) {
      place = point;
      showRing();
    },

    /** @param {Point} screen @param {boolean} erase */
    begin(screen, erase) {
      if (!drawing.allowed()) return;
      const { tool, brush, view } = store.get();
      drawing.point(screen);
      store.set({ live: started(tool, toPhoto(view, screen), brush / view.zoom, erase), message: null });
    },

    /** @param {Point} screen */
    extend(screen) {
      const { live, tool, view } = store.get();
      if (live) store.set({ live: extended(live, tool, toPhoto(view, screen), view.zoom) });
    },

    end() {
      const { live, history } = store.get();
      if (!live || !history) return;
      store.set({ live: null, ...(counts(live) ? { history: push(history, marked(history.now, live)) } : {}) });
    },

    /** @returns {boolean} whether a mark was at hand */
    cancel() {
      const { live } = store.get();
      store.set({ live: null });
      return live !== null;
    },

    /** Moves the ring by keys; from the middle of the photo at first. @param {number} dx @param {number} dy */
    move(dx, dy) {
      const { stage, view, history } = store.get();
      if (!history) return;
      const { photo } = history.now;
      const start = place ?? toScreen(view, { x: photo.width / 2, y: photo.height / 2 });
      const x = Math.min(Math.max(start.x + dx, 0), stage.width);
      const y = Math.min(Math.max(start.y + dy, 0), stage.height);
      drawing.point({ x, y });
      drawing.extend({ x, y });
    },

    place: () => place,
  };
  return drawing;
}
