/** Marks drawn on a canvas of the screen's size: sharp at every zoom. Finished marks are kept drawn. */

/** @import {Bits, Mark, View} from "./types.js" */
import { rasterise } from "./raster.js";

const COLOUR = "#f0356b";
/** Longer side of uploaded masks as shown. */
const SHOWN = 2048;

/** @type {WeakMap<Mark, Path2D>} */
const paths = new WeakMap();
/** @type {WeakMap<Mark, HTMLCanvasElement>} */
const images = new WeakMap();

/** A canvas, and what is on it. */
export function createMarksLayer() {
  const finished = layer();
  const all = layer();
  let drawn = "";
  /** @type {readonly Mark[] | null} */
  let drawnMarks = null;

  /**
   * @param {readonly Mark[]} marks
   * @param {Mark | null} live   the one at hand
   * @param {View} view
   * @param {{width: number, height: number}} size   in device pixels
   * @param {number} density   device pixels a CSS pixel
   * @returns {HTMLCanvasElement}   opaque where there is a mark
   */
  return function draw(marks, live, view, size, density) {
    const where = [view.zoom, view.x, view.y, size.width, size.height, density].join();
    if (drawn !== where || drawnMarks !== marks) {
      clear(finished, size);
      for (const mark of marks) paint(finished, mark, view, density);
      [drawn, drawnMarks] = [where, marks];
    }
    if (!live) return finished.canvas;
    clear(all, size);
    all.drawImage(finished.canvas, 0, 0);
    paint(all, live, view, density);
    return all.canvas;
  };
}

/** @returns {CanvasRenderingContext2D} */
export function layer() {
  return /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
}

/** @param {CanvasRenderingContext2D} context @param {{width: number, height: number}} size */
export function clear(context, { width, height }) {
  const { canvas } = context;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, width, height);
}

/** Photo pixels from here on. @param {CanvasRenderingContext2D} context @param {View} view @param {number} density
 * @returns {number}   device pixels a photo pixel */
export function place(context, view, density) {
  const scale = view.zoom * density;
  context.setTransform(scale, 0, 0, scale, view.x * density, view.y * density);
  return scale;
}

/** @param {CanvasRenderingContext2D} context @param {Mark} mark @param {View} view @param {number} density */
function paint(context, mark, view, density) {
  place(context, view, density);
  if (mark.kind === "bits") {
    context.globalCompositeOperation = "source-over";
    context.drawImage(imageOf(mark), 0, 0, mark.width, mark.height);
    return;
  }
  context.globalCompositeOperation = mark.erase ? "destination-out" : "source-over";
  context.strokeStyle = context.fillStyle = COLOUR;
  if (mark.kind === "area") {
    context.fill(pathOf(mark));
  } else {
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = mark.width;
    context.stroke(pathOf(mark));
  }
}

/** @param {Exclude<Mark, Bits>} mark */
function pathOf(mark) {
  const known = paths.get(mark);
  if (known) return known;
  const path = new Path2D();
  path.moveTo(mark.points[0], mark.points[1]);
  for (let i = 2; i < mark.points.length; i += 2) path.lineTo(mark.points[i], mark.points[i + 1]);
  if (mark.points.length === 2) path.lineTo(mark.points[0], mark.points[1]); // a dot
  if (mark.kind === "area") path.closePath();
  paths.set(mark, path);
  return path;
}

/** @param {Bits} mark */
function imageOf(mark) {
  const known = images.get(mark);
  if (known) return known;
  const scale = Math.min(1, SHOWN / Math.max(mark.width, mark.height));
  const [width, height] = [Math.ceil(mark.width * scale), Math.ceil(mark.height * scale)];
  const mask = rasterise([mark], width, height, scale);
  const context = layer();
  clear(context, { width, height });
  const pixels = context.createImageData(width, height);
  const colours = new Uint32Array(pixels.data.buffer);
  context.fillStyle = COLOUR;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  const colour = new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
  for (let i = 0; i < mask.length; i += 1) if (mask[i]) colours[i] = colour;
  context.putImageData(pixels, 0, 0);
  images.set(mark, context.canvas);
  return context.canvas;
}
