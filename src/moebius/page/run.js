/** Runs the engine on the photo and its mask, and puts what it gives back into the history. */

/** @import {Doc, Engine, FillAnswer, Info, Origin, Photo, SettingValue} from "./types.js" */
/** @import {Masks} from "./masks.js" */
/** @import {Previews} from "./previews.js" */
/** @import {Shelf} from "./shelf.js" */
/** @import {Store} from "./state.js" */
import { filled, hasMask, nextSeed } from "./document.js";
import { push, replace } from "./history.js";
import { explain, isAbort } from "./messages.js";
import { readPhoto, tooLarge } from "./photos.js";

/** @typedef {ReturnType<typeof createRunner>} Runner */

/**
 * @param {object} parts
 * @param {Store} parts.store
 * @param {Engine} parts.engine
 * @param {Masks} parts.masks
 * @param {Shelf} parts.shelf
 * @param {Previews} parts.previews
 */
export function createRunner({ store, engine, masks, shelf, previews }) {
  /** @type {AbortController | null} */
  let controller = null;
  /** @type {Promise<Info> | null} */
  let opening = null;

  /** Opens the engine, once; tried again when it has failed. @returns {Promise<Info>} */
  function open() {
    opening ??= engine
      .open((loading) => store.set({ loading }))
      .then(
        (info) => {
          store.set({ info, loading: null });
          return info;
        },
        (error) => {
          opening = null;
          store.set({ loading: null });
          throw error;
        },
      );
    return opening;
  }

  /** One run, with progress; null when it was cancelled or has failed, which has then been said.
   * @param {Origin} origin @param {string | null} format @returns {Promise<FillAnswer | null>} */
  async function fill({ photo, marks, settings }, format) {
    const own = new AbortController();
    controller = own;
    store.set({ run: { state: "queued", fraction: 0 }, message: null, compare: null, holding: false });
    previews.begin(photo);
    try {
      const info = await open();
      own.signal.throwIfAborted();
      const problem = tooLarge(photo, info);
      if (problem) throw new Error(problem);
      const data = await masks.raster(marks, photo);
      own.signal.throwIfAborted();
      if (!data.includes(1)) throw new Error("there is nothing to fill: the mask lies outside the photo or is erased");
      const mask = { width: photo.width, height: photo.height, data };
      const asked = { file: photo.file, name: photo.name, mask, settings, format, quality: null };
      return await engine.fill(asked, {
        signal: own.signal,
        onProgress: (progress) => {
          if (controller !== own || own.signal.aborted) return;
          store.set({ run: progress });
          void previews.add(progress);
        },
      });
    } catch (error) {
      if (isAbort(error) || own.signal.aborted) store.set({ message: { text: "Cancelled.", kind: "note" } });
      else store.set({ message: { text: explain(error), kind: "error" } });
      return null;
    } finally {
      if (controller === own) controller = null;
    }
  }

  return {
    open,

    /** Fills the mask: with the seed that is set, or the next one that has not been tried with these settings. */
    async run() {
      const { history, run, settings } = store.get();
      if (!history || run) return;
      const doc = history.now;
      if (!hasMask(doc)) {
        store.set({ message: { text: "Paint over what should go, then press Remove.", kind: "note" } });
        return;
      }
      const asked = { ...settings, seed: freshSeed(doc, settings) };
      const origin = { photo: doc.photo, marks: doc.marks, settings: asked };
      const answer = await fill(origin, null);
      try {
        if (!answer) return;
        const photo = await readPhoto(answer.file, doc.photo.name, origin);
        await shelf.load(photo);
        const next = filled(doc, { seed: answer.seed, photo: { ...photo, format: answer.format } });
        store.set({ history: doc.tries.length > 0 ? replace(history, next) : push(history, next) });
      } catch (error) {
        store.set({ message: { text: `The fill has come, but ${explain(error)}`, kind: "error" } });
      } finally {
        store.set({ run: null });
      }
    },

    /** The same picture in another format, made by the engine from the photo it came from.
     * @param {Photo} photo @param {string} format @returns {Promise<Blob | null>} */
    async convert(photo, format) {
      if (!photo.origin || store.get().run) return null;
      try {
        return (await fill(photo.origin, format))?.file ?? null;
      } finally {
        store.set({ run: null });
      }
    },

    /** @returns {boolean} whether something was running */
    cancel() {
      controller?.abort();
      return controller !== null;
    },
  };
}

/** @param {Doc} doc @param {Record<string, SettingValue>} settings */
function freshSeed(doc, settings) {
  const alike = (/** @type {Photo} */ { origin }) =>
    JSON.stringify({ ...origin?.settings, seed: 0 }) === JSON.stringify({ ...settings, seed: 0 });
  const tried = new Set(doc.tries.filter((fill) => alike(fill.photo)).map((fill) => fill.photo.origin?.settings.seed));
  let seed = String(settings.seed ?? "0");
  while (tried.has(seed)) seed = nextSeed(seed);
  return seed;
}
