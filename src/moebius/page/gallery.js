/** The tries: the mask and every fill of it, small, to choose from. */

/** @import {Doc, Mark, Photo} from "./types.js" */
/** @import {Store} from "./state.js" */
/** @import {Shelf} from "./shelf.js" */
import { chosen } from "./document.js";
import { make } from "./elements.js";
import { replace } from "./history.js";
import { createMarksLayer } from "./marks_layer.js";

/** Side of a picture in the gallery, in CSS pixels; drawn at twice that. */
const SIDE = 64;

/** @param {HTMLElement} tray @param {HTMLElement} list @param {Store} store @param {Shelf} shelf */
export function mountGallery(tray, list, store, shelf) {
  /** @type {Doc | null} */
  let shown = null;
  store.watch(["history", "run"], ({ history, run }) => {
    const doc = history?.now ?? null;
    tray.hidden = !doc || doc.tries.length === 0;
    if (!doc || tray.hidden) {
      shown = null;
      list.replaceChildren();
      return;
    }
    const same =
      shown !== null &&
      shown.tries.every((fill, i) => doc.tries[i] === fill) &&
      shown.photo === doc.photo &&
      shown.marks === doc.marks;
    if (!same) list.replaceChildren();
    const photos = [doc.photo, ...doc.tries.map((fill) => fill.photo)];
    photos.forEach((photo, index) => {
      const known = /** @type {HTMLButtonElement | undefined} */ (list.children[index]);
      const title = index === 0 ? "Mask" : `Try ${index}, seed ${doc.tries[index - 1].seed}`;
      const button =
        known ?? thumbnail(photo, index === 0 ? doc.marks : [], title, index === 0 ? "Mask" : String(index));
      if (!known) {
        button.addEventListener("click", () => choose(index - 1));
        list.append(button);
      }
      button.setAttribute("aria-pressed", String(doc.shown === index - 1));
      button.disabled = run !== null;
    });
    if (shown?.tries.length !== doc.tries.length) list.scrollLeft = list.scrollWidth;
    shown = doc;
  });

  /** @param {number} index */
  function choose(index) {
    const { history } = store.get();
    if (history) store.set({ history: replace(history, chosen(history.now, index)), compare: null });
  }

  /** @param {Photo} photo @param {readonly Mark[]} marks @param {string} title @param {string} caption */
  function thumbnail(photo, marks, title, caption) {
    const canvas = make("canvas", { width: 2 * SIDE, height: 2 * SIDE });
    shelf.load(photo).then(
      ({ bitmap }) => {
        const side = Math.min(bitmap.width, bitmap.height);
        const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
        context.imageSmoothingQuality = "high";
        context.drawImage(
          bitmap,
          (bitmap.width - side) / 2,
          (bitmap.height - side) / 2,
          side,
          side,
          0,
          0,
          2 * SIDE,
          2 * SIDE,
        );
        const zoom = ((2 * SIDE) / side) * (bitmap.width / photo.width);
        const view = { zoom, x: SIDE - (photo.width * zoom) / 2, y: SIDE - (photo.height * zoom) / 2 };
        if (marks.length === 0) return;
        const drawn = createMarksLayer()(marks, null, view, canvas, 1);
        context.globalAlpha = 0.6;
        context.drawImage(drawn, 0, 0);
      },
      () => undefined,
    );
    return make("button", { type: "button", title, ariaLabel: title }, canvas, make("span", {}, caption));
  }
}
