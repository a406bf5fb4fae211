/** Draws the stage: photo, marks, the outline of what will be filled, previews, before and after. */

/** @import {Doc, Photo, State, View} from "./types.js" */
/** @import {Store} from "./state.js" */
/** @import {Part, Picture, Shelf} from "./shelf.js" */
/** @import {Previews} from "./previews.js" */
import { seen } from "./document.js";
import { clear, createMarksLayer, place } from "./marks_layer.js";
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
    canvas.dataset.view = `${state.view.zoom} ${state.view.x} ${state.view.y}`; // what is drawn, for whoever drives the page
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
    const scale = place(context, view, density);
    context.imageSmoothingEnabled = scale < SQUARES;
    context.imageSmoothingQuality = "high";
    const { coarse, fine } = shelf.pictures(photo);
    const enough = coarse !== null && scale <= (coarse.bitmap.width / photo.width) * 1.1;
    if (coarse) drawPart(coarse, part);
    if (fine && !enough) drawPart(fine, part);
    canvas.toggleAttribute("data-detail", fine !== null && !enough);
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
    context.drawImage(
      bitmap,
      (x - left) * across,
      (y - top) * down,
      width * across,
      height * down,
      x,
      y,
      width,
      height,
    );
  }

  /** @param {Doc} doc @param {State} state @param {{width: number, height: number}} size @param {number} density */
  function drawMarks(doc, { view, live, outline, run }, size, density) {
    if (doc.marks.length === 0 && !live) return;
    const shown = run ? previews.canvas() : null;
    const path = pathOf(outline);
    if (!shown) {
      const drawn = marksLayer(doc.marks, live, view, size, density);
      context.save();
      place(context, view, density);
      context.beginPath();
      context.rect(0, 0, doc.photo.width, doc.photo.height);
      context.clip();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.globalAlpha = TINT;
      context.drawImage(drawn, 0, 0);
      context.restore();
    }
    place(context, view, density);
    if (shown) {
      context.save();
      context.clip(path, "evenodd");
      context.drawImage(shown, 0, 0, doc.photo.width, doc.photo.height);
      context.restore();
    }
    drawOutline(context, path, view.zoom);
  }

  new ResizeObserver(() => {
    const stage = { width: canvas.clientWidth || 1, height: canvas.clientHeight || 1 };
    const { view, stage: old } = store.get();
    store.set({ stage, view: resized(view, old, stage) });
  }).observe(canvas);
  store.watch(["history", "view", "stage", "live", "outline", "run", "compare", "holding"], ask);
  return ask;
}

/** White dashes on a dark line, to be seen on everything.
 * @param {CanvasRenderingContext2D} context @param {Path2D} path @param {number} zoom */
function drawOutline(context, path, zoom) {
  context.lineJoin = "round";
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.lineWidth = 2.5 / zoom;
  context.stroke(path);
  context.strokeStyle = "#fff";
  context.lineWidth = 1.5 / zoom;
  context.setLineDash([5 / zoom, 4 / zoom]);
  context.stroke(path);
  context.setLineDash([]);
}

/** @type {WeakMap<number[][], Path2D>} */
const paths = new WeakMap();

/** @param {number[][]} lines */
function pathOf(lines) {
  const known = paths.get(lines);
  if (known) return known;
  const path = new Path2D();
  for (const line of lines) {
    path.moveTo(line[0], line[1]);
    for (let i = 2; i < line.length; i += 2) path.lineTo(line[i], line[i + 1]);
    path.closePath();
  }
  paths.set(lines, path);
  return path;
}
