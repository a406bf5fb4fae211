/** Files out of the page: the photo, in its own format or another, and the mask. */

/** @import {Mark, Photo} from "./types.js" */
/** @import {Masks} from "./masks.js" */
/** @import {Runner} from "./run.js" */
/** @import {Store} from "./state.js" */
import { seen } from "./document.js";
import { fileName } from "./formats.js";
import { maskToPng } from "./png.js";

/** @param {Store} store @param {Runner} runner @param {Masks} masks */
export function createDownloads(store, runner, masks) {
  /** @type {WeakMap<Photo, Map<string, Blob>>} what has been made in other formats */
  const made = new WeakMap();

  return {
    /** @param {string | null} format   null: the photo's own */
    async photo(format = null) {
      const { history } = store.get();
      if (!history || !seen(history.now).origin) return;
      const photo = seen(history.now);
      const wanted = format ?? photo.format;
      const files = made.get(photo) ?? new Map([[photo.format, photo.file]]);
      made.set(photo, files);
      const file = files.get(wanted) ?? (await runner.convert(photo, wanted));
      if (!file) return;
      files.set(wanted, file);
      const name = fileName(photo.name, "clean", wanted);
      save(file, name);
      store.set({ saved: history.now, message: { text: `Saved as ${name}.`, kind: "note" } });
    },

    async mask() {
      const { history } = store.get();
      const doc = history?.now;
      if (!doc || doc.marks.length === 0) return;
      const { width, height } = doc.photo;
      const data = await masks.raster(/** @type {Mark[]} */ (doc.marks), doc.photo);
      const name = fileName(doc.photo.name, "mask", "png");
      save(await maskToPng({ width, height, data }), name);
      const saved = doc.tries.length === 0 && !doc.photo.origin ? { saved: doc } : {};
      store.set({ ...saved, message: { text: `Saved as ${name}: white is what goes.`, kind: "note" } });
    },
  };
}

/** @param {Blob} file @param {string} name */
function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
