/** Draws the stage: photo, marks, the outline of what will be filled, previews, before and after. */

/** @import {Doc, Photo, State, View} from "./types.js" */
/** @import {Store} from "./state.js" */
/** @import {Part, Picture, Shelf} from "./shelf.js" */
/** @import {Previews} from "./previews.js" */
import { seen } from "./document.js";
import { clear, createMarksLayer, layer } from "./marks_layer.js";
import { resized, visible } from "./view.js";

const TINT = 0.5;
/** From so many device pixels a photo pixel on, pixels are shown as squares. */
const SQUARES = 4;
/** Rest, in milliseconds, before more detail is decoded. */
const REST = 120;

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Store} store
 * @param {Shelf} shelf
 * @param {Previews} previews
 * @returns {() => void}   asks for a new drawing
 */
export function mountCanvas(canvas, store, shelf, previews) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const marksLayer = createMarksLayer();
  const mixed = layer();
  let asked = 0;
  let resting = 0;

  const ask = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw(store.get());
    });
  };

  /** @param {State} state */
  function draw(state) {
    const density = window.devicePixelRatio || 1;
    const size = { width: Math.round(state.stage.width * density), height: Math.round(state.stage.height * density) };
    clear(context, size);
    const doc = state.history?.now;
    if (!doc) return;
    const before = state.holding && doc.shown >= 0;
    drawPhoto(before ? doc.photo : seen(doc), state, density);
    if (doc.shown < 0 || state.run) drawMarks(doc, state, size, density);
    else if (state.compare !== null && !before) {
      const split = state.view.x + state.compare * doc.photo.width * state.view.zoom;
      context.save();
      context.setTransform(density, 0, 0, density, 0, 0);
      context.beginPath();
      context.rect(0, 0, split, state.stage.height);
      context.clip();
      drawPhoto(doc.photo, state, density);
      context.restore();
    }
  }

  /** @param {Photo} photo @param {State} state @param {number} density */
  function drawPhoto(photo, { view, stage }, density) {
    const part = visible(view, photo, stage);
    if (!part) return;
    const scale = view.zoom * density;
    context.setTransform(scale, 0, 0, scale, view.x * density, view.y * density);
    context.imageSmoothingEnabled = scale < SQUARES;
    context.imageSmoothingQuality = "high";
    const { coarse, fine } = shelf.pictures(photo);
    const enough = coarse !== null && scale <= (coarse.bitmap.width / photo.width) * 1.1;
    if (coarse) drawPart(coarse, part);
    if (fine && !enough) drawPart(fine, part);
    window.clearTimeout(resting);
    if (coarse && !enough) resting = window.setTimeout(() => shelf.lookClosely(photo, part, scale), REST);
  }

  /** What of a picture lies in `part` of the photo. @param {Picture} picture @param {Part} part */
  function drawPart({ bitmap, part: [left, top, right, bottom] }, part) {
    const [x, y] = [Math.max(left, part[0]), Math.max(top, part[1])];
    const [width, height] = [Math.min(right, part[2]) - x, Math.min(bottom, part[3]) - y];
    if (width <= 0 || height <= 0) return;
    const [across, down] = [bitmap.width / (right - left), bitmap.height / (bottom - top)];
    context.clearRect(x, y, width, height); // photos may be transparent
    context.drawImage(bitmap, (x - left) * across, (y - top) * down, width * across, height * down, x, y, width, height);
  }

  /** @param {Doc} doc @param {State} state @param {{width: number, height: number}} size @param {number} density */
  function drawMarks(doc, { view, live, outline, run, stage }, size, density) {
    if (doc.marks.length === 0 && !live) return;
    const marks = doc.shown < 0 || run ? doc.marks : [];
    const drawn = marksLayer(marks, live, view, size, density);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = TINT;
    context.drawImage(drawn, 0, 0);
    context.globalAlpha = 1;
    const shown = run ? previews.canvas() : null;
    if (shown) {
      clear(mixed, size);
      mixed.drawImage(drawn, 0, 0);
      mixed.globalCompositeOperation = "source-in";
      mixed.setTransform(density, 0, 0, density, view.x * density, view.y * density);
      mixed.drawImage(shown, 0, 0, doc.photo.width * view.zoom, doc.photo.height * view.zoom);
      context.drawImage(mixed.canvas, 0, 0);
    }
    drawOutline(context, outline, view, density, visible(view, doc.photo, stage));
  }

  new ResizeObserver(() => {
    const stage = { width: canvas.clientWidth || 1, height: canvas.clientHeight || 1 };
    const { view, stage: old } = store.get();
    store.set({ stage, view: resized(view, old, stage) });
  }).observe(canvas);
  store.watch(["history", "view", "stage", "live", "outline", "run", "compare", "holding"], ask);
  return ask;
}

/** Dark and light dashes, to be seen on everything.
 * @param {CanvasRenderingContext2D} context @param {number[]} outline @param {View} view @param {number} density
 * @param {[number, number, number, number] | null} part */
function drawOutline(context, outline, view, density, part) {
  if (outline.length === 0 || !part) return;
  const [left, top, right, bottom] = part;
  const path = new Path2D();
  for (let i = 0; i < outline.length; i += 4) {
    const [x0, y0, x1, y1] = outline.slice(i, i + 4);
    if (x1 < left || x0 > right || y1 < top || y0 > bottom) continue;
    path.moveTo(x0 * view.zoom + view.x, y0 * view.zoom + view.y);
    path.lineTo(x1 * view.zoom + view.x, y1 * view.zoom + view.y);
  }
  context.setTransform(density, 0, 0, density, 0, 0);
  context.lineCap = "square";
  for (const [colour, width] of /** @type {const} */ ([["rgb(0 0 0 / 45%)", 2.5], ["#fff", 1]])) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
  }
}
