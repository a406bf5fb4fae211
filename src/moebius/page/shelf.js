/** Decoded photos, as few as needed: a small copy of each, and more detail of the one that is looked at closely. */

/** @import {Photo} from "./types.js" */

/** Longer side of the small copies, in pixels. */
const SMALL = 2048;
/** Photos up to so many pixels are kept whole where they are looked at closely; of larger ones, a part. */
const WHOLE = 26e6;
const KEPT = 8;

/** @typedef {[number, number, number, number]} Part   left, top, right, bottom */
/** @typedef {{bitmap: ImageBitmap, part: Part}} Picture   pixels of a part of the photo, perhaps scaled down */
/** @typedef {ReturnType<typeof createShelf>} Shelf */

/** @param {() => void} onReady   something has been decoded */
export function createShelf(onReady) {
  /** @type {Map<Blob, Promise<Picture>>} oldest first */
  const loading = new Map();
  /** @type {WeakMap<Blob, Picture>} */
  const small = new WeakMap();
  /** @type {{file: Blob, wanted: string, picture: Picture | null} | null} */
  let close = null;

  /** @param {Photo} photo @returns {Promise<Picture>} */
  function load(photo) {
    const found = loading.get(photo.file);
    if (found) loading.delete(photo.file);
    const asked =
      found ??
      decodeSmall(photo).then((picture) => {
        small.set(photo.file, picture);
        onReady();
        return picture;
      });
    loading.set(photo.file, asked);
    asked.catch(() => loading.delete(photo.file));
    for (const [file] of [...loading].slice(0, -KEPT)) {
      loading.delete(file);
      small.delete(file); // not closed: somebody may be drawing it
    }
    return asked;
  }

  return {
    load,

    /** What there is of the photo now; asks for what is missing.
     * @param {Photo} photo @returns {{coarse: Picture | null, fine: Picture | null}} */
    pictures(photo) {
      const coarse = small.get(photo.file) ?? null;
      if (!coarse) void load(photo).catch(() => undefined);
      return { coarse, fine: close?.file === photo.file ? close.picture : null };
    },

    /** More detail of a part is wanted. @param {Photo} photo @param {Part} part
     * @param {number} scale   screen pixels a pixel */
    lookClosely(photo, part, scale) {
      const coarse = small.get(photo.file);
      if (!coarse || coarse.bitmap.width === photo.width) return;
      const whole = photo.width * photo.height <= WHOLE;
      const seen = /** @type {Part} */ (whole ? [0, 0, photo.width, photo.height] : part);
      const wanted = [...seen, whole ? 1 : Math.min(1, scale)].join();
      if (close?.file === photo.file && close.wanted === wanted) return;
      const entry = { file: photo.file, wanted, picture: close?.file === photo.file ? close.picture : null };
      close = entry;
      decode(photo, seen, whole ? 1 : Math.min(1, scale)).then(
        (picture) => {
          if (close === entry) entry.picture = picture;
          onReady();
        },
        () => undefined,
      ); // too large for this browser: the small copy has to do
    },
  };
}

/** @param {Photo} photo */
function decodeSmall(photo) {
  return decode(photo, [0, 0, photo.width, photo.height], Math.min(1, SMALL / Math.max(photo.width, photo.height)));
}

/** @param {Photo} photo @param {Part} part @param {number} scale @returns {Promise<Picture>} */
async function decode(photo, part, scale) {
  const [left, top, right, bottom] = part;
  const [across, down] = [right - left, bottom - top];
  const [width, height] = [Math.max(1, Math.round(across * scale)), Math.max(1, Math.round(down * scale))];
  if (across === photo.width && down === photo.height) {
    const smaller = /** @type {const} */ ({ resizeWidth: width, resizeHeight: height, resizeQuality: "medium" });
    return { bitmap: await createImageBitmap(photo.file, scale < 1 ? smaller : {}), part };
  }
  // A crop asked of createImageBitmap lies elsewhere in Chromium when EXIF turns the photo; drawing does not.
  const all = await createImageBitmap(photo.file);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    new OffscreenCanvas(width, height).getContext("2d")
  );
  context.imageSmoothingQuality = "medium";
  context.drawImage(all, left, top, across, down, 0, 0, width, height);
  all.close();
  return { bitmap: context.canvas.transferToImageBitmap(), part };
}
