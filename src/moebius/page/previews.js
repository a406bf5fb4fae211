/** How a fill stands, region by region, on a small canvas as wide as the photo. */

/** @import {FillProgress, Photo} from "./types.js" */
import { clear, layer } from "./marks_layer.js";

const SIDE = 1280;

/** @typedef {ReturnType<typeof createPreviews>} Previews */

/** @param {() => void} onReady */
export function createPreviews(onReady) {
  const context = layer();
  let empty = true;
  let scale = 1;
  let current = 0;

  return {
    /** @param {Photo} photo */
    begin(photo) {
      scale = Math.min(1, SIDE / Math.max(photo.width, photo.height));
      clear(context, { width: Math.ceil(photo.width * scale), height: Math.ceil(photo.height * scale) });
      empty = true;
      current += 1;
    },

    /** @param {FillProgress} progress */
    async add({ box, preview }) {
      if (!box || !preview) return;
      const run = current;
      const image = typeof preview === "string" ? await load(preview) : preview;
      if (run !== current || !image) return;
      const [left, top, right, bottom] = box.map((edge) => edge * scale);
      context.drawImage(image, left, top, right - left, bottom - top);
      empty = false;
      onReady();
    },

    /** Null: there is none yet. */
    canvas: () => (empty ? null : context.canvas),
  };
}

/** @param {string} address @returns {Promise<HTMLImageElement | null>} */
async function load(address) {
  const image = new Image();
  image.src = address;
  return image.decode().then(
    () => image,
    () => null,
  );
}
