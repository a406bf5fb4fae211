/** Where the photo lies on the screen: zoom and pan as pure functions. Zoom is CSS pixels a photo pixel. */

/** @import {Point, Size, View} from "./types.js" */

export const MAX_ZOOM = 32;
/** Of the stage, at least this many CSS pixels stay covered by the photo. */
const HOLD = 48;

/**
 * The whole photo, centred; small photos are not blown up beyond their own pixels' threefold.
 * @param {Size} photo
 * @param {Size} stage
 * @param {{top: number, right: number, bottom: number, left: number}} margin   in CSS pixels
 * @returns {View}
 */
export function fit(photo, stage, margin) {
  const width = Math.max(stage.width - margin.left - margin.right, 1);
  const height = Math.max(stage.height - margin.top - margin.bottom, 1);
  const zoom = Math.min(width / photo.width, height / photo.height, 3);
  const x = margin.left + (width - photo.width * zoom) / 2;
  const y = margin.top + (height - photo.height * zoom) / 2;
  return { zoom, x, y };
}

/** @param {View} view @param {Point} screen @returns {Point} */
export function toPhoto(view, screen) {
  return { x: (screen.x - view.x) / view.zoom, y: (screen.y - view.y) / view.zoom };
}

/** @param {View} view @param {Point} photo @returns {Point} */
export function toScreen(view, photo) {
  return { x: photo.x * view.zoom + view.x, y: photo.y * view.zoom + view.y };
}

/**
 * Zooms so that the photo's point under `screen` stays there.
 * @param {View} view
 * @param {Point} screen
 * @param {number} zoom   wanted; kept in range
 * @param {Size} photo
 * @param {Size} stage
 * @returns {View}
 */
export function zoomTo(view, screen, zoom, photo, stage) {
  const least = Math.min(0.5, stage.width / photo.width / 2, stage.height / photo.height / 2);
  const bounded = Math.min(Math.max(zoom, least), MAX_ZOOM);
  const held = toPhoto(view, screen);
  return heldIn({ zoom: bounded, x: screen.x - held.x * bounded, y: screen.y - held.y * bounded }, photo, stage);
}

/** @param {View} view @param {number} dx @param {number} dy @param {Size} photo @param {Size} stage @returns {View} */
export function pan(view, dx, dy, photo, stage) {
  return heldIn({ ...view, x: view.x + dx, y: view.y + dy }, photo, stage);
}

/**
 * Two fingers have moved: what lay between them still does.
 * @param {View} view
 * @param {[Point, Point]} from
 * @param {[Point, Point]} to
 * @param {Size} photo
 * @param {Size} stage
 * @returns {View}
 */
export function pinch(view, from, to, photo, stage) {
  const spread = (/** @type {[Point, Point]} */ [a, b]) => Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1);
  const middle = (/** @type {[Point, Point]} */ [a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const [before, after] = [middle(from), middle(to)];
  const moved = { ...view, x: view.x + after.x - before.x, y: view.y + after.y - before.y };
  return zoomTo(moved, after, (view.zoom * spread(to)) / spread(from), photo, stage);
}

/** The stage has another size: its middle keeps showing the same place. @param {View} view @param {Size} from
 * @param {Size} to @returns {View} */
export function resized(view, from, to) {
  return { ...view, x: view.x + (to.width - from.width) / 2, y: view.y + (to.height - from.height) / 2 };
}

/** The part of the photo that is on the stage: left, top, right, bottom in photo pixels, or null.
 * @param {View} view @param {Size} photo @param {Size} stage @returns {[number, number, number, number] | null} */
export function visible(view, photo, stage) {
  const first = toPhoto(view, { x: 0, y: 0 });
  const last = toPhoto(view, { x: stage.width, y: stage.height });
  const left = Math.max(Math.floor(first.x), 0);
  const top = Math.max(Math.floor(first.y), 0);
  const right = Math.min(Math.ceil(last.x), photo.width);
  const bottom = Math.min(Math.ceil(last.y), photo.height);
  return right > left && bottom > top ? [left, top, right, bottom] : null;
}

/** The photo cannot be lost off the stage. @param {View} view @param {Size} photo @param {Size} stage
 * @returns {View} */
function heldIn(view, photo, stage) {
  const [width, height] = [photo.width * view.zoom, photo.height * view.zoom];
  const x = Math.min(
    Math.max(view.x, Math.min(HOLD, stage.width / 2) - width),
    stage.width - Math.min(HOLD, stage.width / 2),
  );
  const y = Math.min(
    Math.max(view.y, Math.min(HOLD, stage.height / 2) - height),
    stage.height - Math.min(HOLD, stage.height / 2),
  );
  return { ...view, x, y };
}
