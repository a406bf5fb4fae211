/** Marks as they are drawn, one point after another. Pure. */

/** @import {Mark, Point, Tool} from "./types.js" */

/** Points nearer than this to the last one, in CSS pixels, are left out. */
const NEAR = 0.75;

/**
 * A mark that begins.
 * @param {Tool} tool
 * @param {Point} point
 * @param {number} width   of the brush, in photo pixels
 * @param {boolean} erase   an area that is taken out of the mask
 * @returns {Mark}
 */
export function started(tool, point, width, erase) {
  const points = [point.x, point.y];
  if (tool === "brush" || tool === "eraser")
    return { kind: "stroke", erase: erase || tool === "eraser", width, points };
  if (tool === "lasso") return { kind: "area", erase, points };
  return { kind: "area", erase, points: corners(point, point) };
}

/**
 * The mark with the pointer at a further point; the same object where nothing changes.
 * @param {Mark} mark
 * @param {Tool} tool
 * @param {Point} point
 * @param {number} zoom
 * @returns {Mark}
 */
export function extended(mark, tool, point, zoom) {
  if (mark.kind === "bits") return mark;
  if (tool === "rectangle") return { ...mark, points: corners({ x: mark.points[0], y: mark.points[1] }, point) };
  const [x, y] = mark.points.slice(-2);
  if (Math.hypot(point.x - x, point.y - y) * zoom < NEAR) return mark;
  return { ...mark, points: [...mark.points, point.x, point.y] };
}

/** Whether a finished mark covers anything: a click with the lasso does not. @param {Mark} mark */
export function counts(mark) {
  if (mark.kind !== "area") return true;
  const xs = mark.points.filter((_, index) => index % 2 === 0);
  const ys = mark.points.filter((_, index) => index % 2 === 1);
  return Math.max(...xs) - Math.min(...xs) >= 1 && Math.max(...ys) - Math.min(...ys) >= 1;
}

/** @param {Point} a @param {Point} b */
function corners(a, b) {
  return [a.x, a.y, b.x, a.y, b.x, b.y, a.x, b.y];
}
