/** Puts the page together. */

import { bindCommands, createCommands } from "./commands.js";
import { mountCanvas } from "./canvas.js";
import { mountCompare } from "./compare.js";
import { firstOf, seen, unsaved } from "./document.js";
import { createDownloads } from "./download.js";
import { createDrawing } from "./drawing.js";
import { element, make } from "./elements.js";
import { pickEngine } from "./engine.js";
import { title } from "./formats.js";
import { mountGallery } from "./gallery.js";
import { mountKeys } from "./keys.js";
import { createMasks } from "./masks.js";
import { mountMenus } from "./menus.js";
import { explain } from "./messages.js";
import { mountOpening } from "./opening.js";
import { mountOutline } from "./outline_live.js";
import { mountPointer } from "./pointer.js";
import { createPreviews } from "./previews.js";
import { createRunner } from "./run.js";
import { mountSettings } from "./settings_panel.js";
import { createShelf } from "./shelf.js";
import { createStore } from "./state.js";
import { mountStatus } from "./status.js";
import { askToken } from "./token_dialog.js";

const kind = document.querySelector('meta[name="moebius-engine"]')?.getAttribute("content") ?? null;
const { engine, eager, privacy } = await pickEngine(kind, askToken);
const store = createStore();
const stage = element("stage", HTMLCanvasElement);
let redraw = () => {};
const shelf = createShelf(() => redraw());
const previews = createPreviews(() => redraw());
redraw = mountCanvas(stage, store, shelf, previews);

const masks = createMasks();
const runner = createRunner({ store, engine, masks, shelf, previews });
const downloads = createDownloads(store, runner, masks);
const drawing = createDrawing(store, element("ring", HTMLElement));
const held = { space: false };
const { pickPhoto, pickMask } = mountOpening({ store, masks, runner, margin });
const help = () => element("help", HTMLDialogElement).showModal();
const commands = createCommands({ store, runner, downloads, margin, pickPhoto, pickMask, help });

mountPointer(stage, store, drawing, held);
mountKeys({ store, commands, drawing, stage, held });
mountOutline(store, masks);
mountStatus(store);
mountGallery(element("tray", HTMLElement), element("tries", HTMLElement), store, shelf);
mountCompare(element("split", HTMLElement), element("hold", HTMLElement), stage, store);
mountSettings(element("fields", HTMLElement), element("reset", HTMLButtonElement), store);
mountMenus(document);
mountFormats();
bindCommands(document, store, commands);
element("privacy", HTMLElement).textContent = privacy;

/** What bars cover of the stage, and some air. */
function margin() {
  const air = Math.min(24, stage.clientWidth * 0.03);
  const bottom = element("tools", HTMLElement).offsetHeight;
  return { top: air + 8, right: air, bottom: bottom + air + 12, left: air };
}

store.watch(["history"], ({ history }) => {
  const doc = history?.now;
  document.body.dataset.state = !doc ? "start" : doc.shown >= 0 ? "fill" : "mask";
  const photo = doc ? seen(doc) : null;
  const fill =
    doc && doc.shown >= 0 ? `Try ${doc.shown + 1} of ${doc.tries.length}, seed ${doc.tries[doc.shown].seed}` : "";
  element("spoken", HTMLElement).textContent = fill;
  element("name", HTMLElement).textContent = photo ? `${photo.name} · ${photo.width} × ${photo.height}` : "";
});
store.watch(["view"], ({ view }) => {
  const percent = Math.round(view.zoom * (window.devicePixelRatio || 1) * 100);
  element("zoom", HTMLElement).textContent = `${percent} %`;
});

const size = element("size", HTMLInputElement);
size.addEventListener("input", () => store.set({ brush: Number(size.value) }));
store.watch(["brush"], ({ brush }) => {
  size.value = String(brush);
});

window.addEventListener("beforeunload", (event) => {
  const { history, saved } = store.get();
  if (unsaved(history?.now, saved)) event.preventDefault();
});

/** The formats to choose from when downloading: the photo's own first. */
function mountFormats() {
  const list = element("format-list", HTMLElement);
  store.watch(["info", "history"], ({ info, history }) => {
    if (!info || !history) return;
    const own = seen(history.now).format;
    const opened = firstOf(history.now.photo).format;
    const others = info.formats.filter((format) => format !== own);
    list.replaceChildren(
      ...[own, ...others].map((format) => {
        const words = format === opened ? `${title(format)}, as the photo` : title(format);
        const button = make("button", { type: "button" }, words);
        button.dataset.closes = "";
        button.addEventListener("click", () => void downloads.photo(format));
        return button;
      }),
    );
  });
}

if (eager) {
  runner.open().catch((error) => store.set({ message: { text: explain(error), kind: "error" } }));
}
