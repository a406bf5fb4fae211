/** What a user can do to the work: pure steps from one state of it to the next. */

/** @import {Doc, Mark, Photo, Try} from "./types.js" */

/** @param {Photo} photo @returns {Doc} */
export function opened(photo) {
  return { photo, marks: [], tries: [], shown: -1 };
}

/** The photo that is seen, and that a new mark would be drawn on. @param {Doc} doc @returns {Photo} */
export function seen(doc) {
  return doc.shown < 0 ? doc.photo : doc.tries[doc.shown].photo;
}

/** The photo that all began with. @param {Photo} photo @returns {Photo} */
export function firstOf(photo) {
  return photo.origin ? firstOf(photo.origin.photo) : photo;
}

/**
 * One more mark. On a fill, the fill is kept and the mark begins a new mask; fills of another mask are dropped.
 * @param {Doc} doc
 * @param {Mark} mark
 * @returns {Doc}
 */
export function marked(doc, mark) {
  const marks = doc.shown < 0 ? [...doc.marks, mark] : [mark];
  return { photo: seen(doc), marks, tries: [], shown: -1 };
}

/** All marks replaced, by an uploaded mask or by none. @param {Doc} doc @param {readonly Mark[]} marks
 * @returns {Doc} */
export function remarked(doc, marks) {
  return { photo: seen(doc), marks, tries: [], shown: -1 };
}

/** A fill has come, and is shown. @param {Doc} doc @param {Try} fill @returns {Doc} */
export function filled(doc, fill) {
  return { ...doc, tries: [...doc.tries, fill], shown: doc.tries.length };
}

/** Another of the fills is looked at, or with -1 the mask. @param {Doc} doc @param {number} shown @returns {Doc} */
export function chosen(doc, shown) {
  return { ...doc, shown: Math.min(Math.max(shown, -1), doc.tries.length - 1) };
}

/** The fill becomes the photo. @param {Doc} doc @returns {Doc} */
export function kept(doc) {
  return opened(seen(doc));
}

/** Whether there is a mask that could be filled. @param {Doc} doc */
export function hasMask(doc) {
  return doc.marks.some((mark) => mark.kind === "bits" || !mark.erase);
}

/** Whether something would be lost by leaving. @param {Doc | undefined} doc @param {Doc | null} saved */
export function unsaved(doc, saved) {
  if (!doc || doc === saved) return false;
  if (saved && doc.marks.length === 0 && seen(doc) === seen(saved)) return false;
  return doc.marks.length > 0 || doc.tries.length > 0 || doc.photo.origin !== null;
}

/** The seed after this one, of 64 bits. @param {string} seed @returns {string} */
export function nextSeed(seed) {
  return String((BigInt(seed) + 1n) % (1n << 64n));
}
