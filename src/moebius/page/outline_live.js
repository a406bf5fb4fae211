/** Keeps the outline of what will be filled up to date: while drawing, and when `grow` is set. */

/** @import {Mark} from "./types.js" */
/** @import {Masks} from "./masks.js" */
/** @import {Store} from "./state.js" */

/** @param {Store} store @param {Masks} masks */
export function mountOutline(store, masks) {
  let busy = false;
  let again = false;

  async function update() {
    if (busy) {
      again = true;
      return;
    }
    const { history, live, settings } = store.get();
    const doc = history?.now;
    if (!doc) return;
    const marks = /** @type {Mark[]} */ (live ? [...(doc.shown < 0 ? doc.marks : []), live] : doc.marks);
    const grow = settings.grow;
    busy = true;
    const answer = marks.length > 0 ? masks.outline(marks, doc.photo, typeof grow === "number" ? grow : null) : [];
    const outline = await Promise.resolve(answer).catch(() => []);
    busy = false;
    if (store.get().history?.now.photo === doc.photo) store.set({ outline });
    if (again) {
      again = false;
      void update();
    }
  }
  store.watch(["history", "live", "settings"], () => void update());
}
