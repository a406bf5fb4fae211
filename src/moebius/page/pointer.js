/** Mouse, pen and fingers on the stage: one draws, two zoom and pan, the wheel does what its keys say. */

/** @import {Point} from "./types.js" */
/** @import {Store} from "./state.js" */
/** @import {Drawing} from "./drawing.js" */
import { resizedBrush } from "./drawing.js";
import { pan, pinch, zoomTo } from "./view.js";

/** Zoom by a wheel's step of one pixel. */
const WHEEL = 0.0022;

/**
 * @param {HTMLElement} stage
 * @param {Store} store
 * @param {Drawing} drawing
 * @param {{space: boolean}} held   keys that are down
 */
export function mountPointer(stage, store, drawing, held) {
  /** @type {Map<number, Point>} fingers, or the one mouse or pen */
  const down = new Map();
  /** @type {"draw" | "move" | null} */
  let doing = null;

  const at = (/** @type {MouseEvent} */ event) => {
    const { left, top } = stage.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };

  stage.addEventListener("pointerdown", (event) => {
    if (!store.get().history || down.size >= 2 || (event.pointerType === "mouse" && event.button > 1)) return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at(event));
    if (down.size === 2 || event.button === 1 || held.space || !drawing.allowed()) {
      drawing.cancel(); // the first finger had begun to draw
      doing = "move";
    } else {
      doing = "draw";
      drawing.begin(at(event), event.altKey);
    }
    stage.classList.toggle("moving", doing === "move");
  });

  stage.addEventListener("pointermove", (event) => {
    const from = down.get(event.pointerId);
    if (event.pointerType !== "touch" || doing === "draw") drawing.point(at(event));
    if (!from) return;
    if (doing === "draw") {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const one of events.length > 0 ? events : [event]) drawing.extend(at(one));
    } else if (doing === "move") {
      const { view, stage: size, history } = store.get();
      if (!history) return;
      const before = [...down.values()];
      down.set(event.pointerId, at(event));
      const after = [...down.values()];
      const { photo } = history.now;
      const two = before.length === 2;
      store.set({
        view: two
          ? pinch(view, [before[0], before[1]], [after[0], after[1]], photo, size)
          : pan(view, after[0].x - from.x, after[0].y - from.y, photo, size),
      });
    }
    down.set(event.pointerId, at(event));
  });

  const end = (/** @type {PointerEvent} */ event) => {
    if (!down.delete(event.pointerId)) return;
    if (doing === "draw") {
      if (event.type === "pointerup") drawing.end();
      else drawing.cancel();
      if (event.pointerType === "touch") drawing.point(null);
      doing = null;
    }
    if (down.size === 0) doing = null; // one finger that is left of two moves on, and does not draw
    stage.classList.toggle("moving", doing === "move");
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("pointerleave", (event) => void (down.has(event.pointerId) || drawing.point(null)));
  stage.addEventListener("contextmenu", (event) => event.preventDefault());

  stage.addEventListener(
    "wheel",
    (event) => {
      const { view, stage: size, history, brush } = store.get();
      if (!history) return;
      event.preventDefault();
      const unit = event.deltaMode === 1 ? 16 : 1;
      const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
      const { photo } = history.now;
      if (event.ctrlKey || event.metaKey) {
        const steps = Math.min(Math.max(dy, -120), 120) * (Math.abs(dy) < 40 ? 4 : 1); // pinches on a pad come small
        store.set({ view: zoomTo(view, at(event), view.zoom * Math.exp(-steps * WHEEL), photo, size) });
      } else if (event.altKey || event.shiftKey) {
        store.set({ brush: resizedBrush(brush, -(dy || dx) / 100) });
        drawing.point(at(event));
      } else {
        store.set({ view: pan(view, -dx, -dy, photo, size) });
      }
    },
    { passive: false },
  );
}
