/** The store, the steps of the work, undo, zoom and pan, names and words. Run by tests/page/test_page_modules.py. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./loading.mjs";

const { createStore } = await load("state.js");
const { chosen, filled, hasMask, kept, marked, nextSeed, opened, remarked, seen, unsaved } = await load("document.js");
const { MAX_STATES, begin, push, redo, replace, undo } = await load("history.js");
const view = await load("view.js");
const { fileName, sniff } = await load("formats.js");
const { EngineError, explain } = await load("messages.js");
const { KEYS, keyName } = await load("keys.js");
const { createCommands } = await load("commands.js");
const { resizedBrush } = await load("drawing.js");
const { describe } = await load("status.js");

const photo = (name = "a.jpg", origin = null, size = 10) => ({
  file: new Blob(["x".repeat(size)]),
  name,
  width: 100,
  height: 50,
  format: "jpeg",
  origin,
});
const mark = (erase = false) => ({ kind: "stroke", erase, width: 3, points: [1, 1] });
const fill = (seed, from) => ({ seed, photo: photo("a.jpg", { photo: from, marks: [], settings: {} }) });

test("the store tells those who asked, and only of changes", () => {
  const store = createStore();
  const heard = [];
  const stop = store.watch(["tool", "brush"], ({ tool }) => heard.push(tool));
  store.set({ tool: "lasso" });
  store.set({ tool: "lasso", message: { text: "", kind: "note" } });
  store.set({ brush: 7, tool: "brush" });
  stop();
  store.set({ tool: "eraser" });
  assert.deepEqual(heard, ["brush", "lasso", "brush"]);
});

test("painting, filling, choosing, painting on", () => {
  const start = opened(photo());
  assert.ok(!hasMask(start) && !hasMask(marked(start, mark(true))));
  const masked = marked(marked(start, mark()), mark(true));
  assert.equal(masked.marks.length, 2);
  const two = filled(filled(masked, fill("0", start.photo)), fill("1", start.photo));
  assert.deepEqual([two.shown, seen(two)], [1, two.tries[1].photo]);
  assert.equal(seen(chosen(two, 0)), two.tries[0].photo);
  assert.deepEqual([chosen(two, -5).shown, chosen(two, 9).shown], [-1, 1]);
  assert.equal(seen(chosen(two, -1)), start.photo);
  const on = marked(two, mark());
  assert.deepEqual([on.photo, on.marks.length, on.tries.length, on.shown], [two.tries[1].photo, 1, 0, -1]);
  const back = marked(chosen(two, -1), mark());
  assert.deepEqual([back.photo, back.marks.length, back.tries.length], [start.photo, 3, 0]);
  assert.deepEqual(kept(two), opened(two.tries[1].photo));
  assert.deepEqual(remarked(masked, []).marks, []);
});

test("what would be lost by leaving", () => {
  const start = opened(photo());
  const masked = marked(start, mark());
  const done = filled(masked, fill("0", start.photo));
  assert.deepEqual(
    [unsaved(undefined, null), unsaved(start, null), unsaved(masked, null), unsaved(done, null)],
    [false, false, true, true],
  );
  assert.ok(!unsaved(done, done) && !unsaved(kept(done), done));
  assert.ok(unsaved(marked(kept(done), mark()), done) && unsaved(kept(done), null));
});

test("seeds count on over 64 bits", () => {
  assert.deepEqual(
    [nextSeed("0"), nextSeed("9007199254740993"), nextSeed("18446744073709551615")],
    ["1", "9007199254740994", "0"],
  );
});

test("undo and redo go through every state, and a new step ends redoing", () => {
  const docs = [0, 1, 2, 3].map((n) => ({ ...opened(photo()), shown: n }));
  let history = docs.slice(1).reduce(push, begin(docs[0]));
  assert.equal(undo(begin(docs[0])).now, docs[0]);
  history = undo(undo(history));
  assert.deepEqual([history.now, history.future.length], [docs[1], 2]);
  assert.equal(redo(redo(redo(history))).now, docs[3]);
  assert.equal(replace(history, docs[3]).future.length, 2);
  history = push(history, docs[0]);
  assert.deepEqual([history.future.length, undo(history).now], [0, docs[1]]);
});

test("history is bounded in states and in bytes, and keeps the newest", () => {
  let history = begin(opened(photo()));
  for (let n = 0; n < MAX_STATES + 50; n += 1) history = push(history, opened(photo()));
  assert.equal(history.past.length, MAX_STATES);
  const large = () => ({ ...opened(photo()), photo: { ...photo(), file: { size: 200e6 } } });
  const shared = large();
  history = begin(shared);
  for (let n = 0; n < 20; n += 1) history = push(history, marked(shared, mark()));
  assert.equal(history.past.length, 20, "states of one photo hold it once");
  for (let n = 0; n < 5; n += 1) history = push(history, large());
  assert.equal(history.past.length, 2);
});

test("fit shows the whole photo, centred, between the margins", () => {
  const margin = { top: 10, right: 20, bottom: 90, left: 20 };
  const stage = { width: 1000, height: 700 };
  for (const size of [
    { width: 6000, height: 4000 },
    { width: 40, height: 3000 },
    { width: 10, height: 10 },
  ]) {
    const fitted = view.fit(size, stage, margin);
    const [first, last] = [
      view.toScreen(fitted, { x: 0, y: 0 }),
      view.toScreen(fitted, { x: size.width, y: size.height }),
    ];
    assert.ok(first.x >= 19.99 && first.y >= 9.99 && last.x <= 980.01 && last.y <= 610.01);
    assert.ok(Math.abs(first.x - 20 - (980 - last.x)) < 1e-9 && Math.abs(first.y - 10 - (610 - last.y)) < 1e-9);
    assert.ok(fitted.zoom <= 3);
  }
});

test("zooming and pinching keep what is under the pointer", () => {
  const [size, stage] = [
    { width: 4000, height: 3000 },
    { width: 900, height: 700 },
  ];
  const start = { zoom: 0.2, x: 30, y: 40 };
  const at = { x: 333, y: 222 };
  const before = view.toPhoto(start, at);
  const after = view.toPhoto(view.zoomTo(start, at, 1.7, size, stage), at);
  assert.ok(Math.hypot(after.x - before.x, after.y - before.y) < 1e-9);
  assert.equal(view.zoomTo(start, at, 1e9, size, stage).zoom, view.MAX_ZOOM);
  const pinched = view.pinch(
    start,
    [
      { x: 100, y: 100 },
      { x: 200, y: 100 },
    ],
    [
      { x: 150, y: 160 },
      { x: 350, y: 160 },
    ],
    size,
    stage,
  );
  assert.ok(Math.abs(pinched.zoom - 0.4) < 1e-12);
  const [from, to] = [view.toPhoto(start, { x: 150, y: 100 }), view.toPhoto(pinched, { x: 250, y: 160 })];
  assert.ok(Math.hypot(from.x - to.x, from.y - to.y) < 1e-9);
});

test("the photo cannot be lost, and stays in place when the window changes", () => {
  const [size, stage] = [
    { width: 400, height: 300 },
    { width: 900, height: 700 },
  ];
  const lost = view.pan({ zoom: 1, x: 0, y: 0 }, 1e6, -1e6, size, stage);
  assert.ok(lost.x < 900 && lost.y + 300 > 0);
  const start = { zoom: 2, x: -100, y: 7 };
  const wide = view.resized(start, stage, { width: 1100, height: 600 });
  const [a, b] = [view.toPhoto(start, { x: 450, y: 350 }), view.toPhoto(wide, { x: 550, y: 300 })];
  assert.deepEqual(a, b);
  assert.deepEqual(view.visible({ zoom: 2, x: -100, y: 500 }, size, stage), [50, 0, 400, 100]);
  assert.equal(view.visible({ zoom: 1, x: 2000, y: 0 }, size, stage), null);
});

test("file names and formats", () => {
  assert.equal(fileName("holiday.jpeg", "clean", "jpeg"), "holiday-clean.jpg");
  assert.equal(fileName("holiday-clean.jpg", "clean", "png"), "holiday-clean.png");
  assert.equal(fileName("a.b.tar.webp", "mask", "png"), "a.b.tar-mask.png");
  assert.equal(fileName("été 2.tiff", "clean", "tiff"), "été 2-clean.tif");
  assert.equal(fileName(".png", "clean", "png"), "photo-clean.png");
  const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const known = {
    "\xff\xd8\xff\xe0": "jpeg",
    "\x89PNG\r\n": "png",
    "RIFF\0\0\0\0WEBPVP8 ": "webp",
    GIF89a: "gif",
    "II*\0": "tiff",
    "MM\0*": "tiff",
    "\0\0\0\x1cftypheic\0\0\0\0mif1heic": "heic",
    "\0\0\0\x1cftypavif\0\0\0\0": "avif",
    "<?xml version='1.0'?><svg/>": "svg",
    hello: null,
  };
  for (const [beginning, format] of Object.entries(known)) assert.equal(sniff(bytes(beginning)), format, beginning);
});

test("errors are one line that says what to do", () => {
  assert.equal(
    explain(new EngineError("busy", "the queue is full")),
    "The queue is full. Others are being served; try again in a moment.",
  );
  assert.equal(
    explain(new EngineError("photo", "photo: expected pixels,\n got none")),
    "Photo: expected pixels, got none.",
  );
  assert.equal(explain("what?"), "What?");
  assert.equal(explain(new Error("")), "Something went wrong.");
  assert.equal(explain(new EngineError("toString", "odd")), "Odd.");
});

test("what goes on, in words", () => {
  assert.equal(describe({ run: null, loading: null }), "");
  assert.equal(describe({ run: null, loading: { loaded: 4e6, total: 90e6 } }), "Fetching the model, 4 of 90 MB");
  assert.equal(
    describe({ run: { state: "queued", fraction: 0, position: 3 }, loading: null }),
    "Waiting, number 3 in line",
  );
  assert.equal(describe({ run: { state: "running", fraction: 0.456 }, loading: null }), "Removing, 46 %");
});

test("every key does something, and the brush keeps its bounds", () => {
  const commands = createCommands({
    store: createStore(),
    runner: {},
    downloads: {},
    margin: () => ({}),
    pickPhoto() {},
    pickMask() {},
    help() {},
  });
  for (const command of Object.values(KEYS)) assert.ok(commands[command], command);
  assert.equal(keyName({ key: "Z", ctrlKey: true, metaKey: false, shiftKey: true }), "ctrl+shift+z");
  assert.equal(keyName({ key: "B", ctrlKey: false, metaKey: false, shiftKey: true }), "b");
  assert.deepEqual(
    [resizedBrush(4, -1), resizedBrush(300, 1), resizedBrush(5, 1), resizedBrush(100, 1)],
    [4, 300, 6, 112],
  );
});

test("commands can be used when they make sense", () => {
  const commands = createCommands({
    store: createStore(),
    runner: {},
    downloads: {},
    margin: () => ({}),
    pickPhoto() {},
    pickMask() {},
    help() {},
  });
  const able = (doc, run = null) => {
    const state = { ...createStore().get(), history: doc && begin(doc), run };
    return ["run", "another", "keep", "clear", "download", "cancel", "brush"].filter((name) =>
      commands[name].enabled(state),
    );
  };
  const masked = marked(opened(photo()), mark());
  const done = filled(masked, fill("0", masked.photo));
  assert.deepEqual(able(null), []);
  assert.deepEqual(able(masked), ["run", "clear", "brush"]);
  assert.deepEqual(able(done), ["another", "keep", "download", "brush"]);
  assert.deepEqual(able(chosen(done, -1)), ["run", "another", "clear", "brush"]);
  assert.deepEqual(able(kept(done)), ["download", "brush"]);
  assert.deepEqual(able(masked, { state: "queued", fraction: 0 }), ["cancel"]);
});
