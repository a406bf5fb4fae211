/** Ways in for a photo: dropped, pasted, picked, or the example. */

/** @import {Masks} from "./masks.js" */
/** @import {Runner} from "./run.js" */
/** @import {Store} from "./state.js" */
import { opened, remarked, unsaved } from "./document.js";
import { element } from "./elements.js";
import { begin, push } from "./history.js";
import { explain } from "./messages.js";
import { readPhoto, tooLarge } from "./photos.js";
import { fit } from "./view.js";

/**
 * @param {object} parts
 * @param {Store} parts.store
 * @param {Masks} parts.masks
 * @param {Runner} parts.runner
 * @param {() => {top: number, right: number, bottom: number, left: number}} parts.margin
 */
export function mountOpening({ store, masks, runner, margin }) {
  const photoInput = element("photo-file", HTMLInputElement);
  const maskInput = element("mask-file", HTMLInputElement);

  /** @param {unknown} error */
  const fail = (error) => store.set({ message: { text: explain(error), kind: "error" } });

  /** @param {Blob} file @param {string} name */
  async function open(file, name) {
    const { history, saved, run } = store.get();
    if (run) return;
    if (unsaved(history?.now, saved) && !window.confirm("Open another photo? What you have not downloaded is lost."))
      return;
    try {
      const photo = await readPhoto(file, name);
      store.set({ history: begin(opened(photo)), compare: null, message: null, saved: null, live: null, outline: [] });
      store.set({ view: fit(photo, store.get().stage, margin()) }); // the bars are there now, and can be measured
      element("stage", HTMLCanvasElement).focus({ preventScroll: true });
      const info = await runner.open();
      const problem = tooLarge(photo, info);
      if (problem) throw new Error(problem);
    } catch (error) {
      fail(error);
    }
  }

  /** @param {Blob} file */
  async function openMask(file) {
    const { history, run } = store.get();
    if (!history || run) return;
    try {
      const bits = await masks.read(file, history.now.photo);
      const now = store.get().history;
      if (now?.now.photo !== history.now.photo) return;
      store.set({ history: push(now, remarked(now.now, [bits])), message: null });
      if (bits.bits.every((byte) => byte === 0)) throw new Error("the mask has no white in it: white is what goes");
    } catch (error) {
      fail(error);
    }
  }

  /** @param {HTMLInputElement} input @param {(file: File) => void} take */
  const taking = (input, take) => {
    input.addEventListener("change", () => {
      const [file] = input.files ?? [];
      input.value = ""; // the same file can be picked again
      if (file) take(file);
    });
  };
  taking(photoInput, (file) => void open(file, file.name));
  taking(maskInput, (file) => void openMask(file));

  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    void open(file, file.name === "image.png" ? "pasted.png" : file.name);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const [file] = event.dataTransfer?.files ?? [];
    if (file) void open(file, file.name);
  });

  const example = element("example", HTMLButtonElement);
  example.addEventListener("click", async () => {
    try {
      const address = /** @type {HTMLImageElement} */ (example.querySelector("img")).src;
      await open(await (await fetch(address)).blob(), address.slice(address.lastIndexOf("/") + 1));
    } catch (error) {
      fail(error);
    }
  });

  return { pickPhoto: () => photoInput.click(), pickMask: () => maskInput.click() };
}
