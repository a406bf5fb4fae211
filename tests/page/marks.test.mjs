/** Marks: to pixels, packed, as PNG, around them a line. Run by tests/page/test_page_modules.py. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { load, random } from "./loading.mjs";

const { pack, rasterise } = await load("raster.js");
const { trace } = await load("outline.js");
const { grown } = await load("grown.js");
const { counts, extended, started } = await load("strokes.js");

const stroke = (points, width = 10, erase = false) => ({ kind: "stroke", erase, width, points });
const area = (points, erase = false) => ({ kind: "area", erase, points });
const count = (mask) => mask.reduce((sum, value) => sum + value, 0);

/** Distance of (x, y) to the line from a to b. */
function distance(x, y, [ax, ay, bx, by]) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length));
  return Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay));
}

test("a stroke is every pixel whose centre is within half its width of its line", () => {
  const next = random(1);
  for (let round = 0; round < 200; round += 1) {
    const points = Array.from({ length: 2 * (1 + Math.floor(next() * 4)) }, () => next() * 80 - 10);
    const width = 2 + next() * 20;
    const mask = rasterise([stroke(points, width)], 64, 48);
    const segments = points.length === 2 ? [[...points, ...points]] : [];
    for (let i = 0; i + 3 < points.length; i += 2) segments.push(points.slice(i, i + 4));
    for (let y = 0; y < 48; y += 1) {
      for (let x = 0; x < 64; x += 1) {
        const nearest = Math.min(...segments.map((segment) => distance(x + 0.5, y + 0.5, segment)));
        if (Math.abs(nearest - width / 2) < 1e-6) continue;
        assert.equal(
          mask[y * 64 + x],
          nearest < width / 2 ? 1 : 0,
          `round ${round}, ${x}, ${y}: ${nearest} of ${width / 2}`,
        );
      }
    }
  }
});

test("the thinnest stroke is not lost", () => {
  for (const place of [0.01, 0.5, 0.99])
    assert.ok(count(rasterise([stroke([5 + place, 5 + place], 0.01)], 12, 12)) > 0);
});

test("marks count in the order they were drawn", () => {
  const line = [0, 10, 40, 10];
  assert.equal(count(rasterise([stroke(line), stroke(line, 30, true)], 40, 20)), 0);
  assert.ok(count(rasterise([stroke(line), stroke(line, 30, true), stroke(line)], 40, 20)) > 0);
});

test("a rectangle is exactly its pixels, and an area that goes around itself stays filled", () => {
  assert.equal(count(rasterise([area([3, 2, 9, 2, 9, 7, 3, 7])], 16, 16)), 30);
  const twice = area([2, 2, 14, 2, 14, 14, 2, 14, 2, 2, 14, 2, 14, 14, 2, 14]);
  assert.equal(count(rasterise([twice], 16, 16)), 144);
  const outside = area([-50, -50, 100, -50, 100, 100, -50, 100]);
  assert.equal(count(rasterise([outside], 16, 16)), 256);
  assert.equal(count(rasterise([outside, area([3, 2, 9, 2, 9, 7, 3, 7], true)], 16, 16)), 226);
});

test("scaled marks are the marks at that scale", () => {
  const marks = [stroke([10, 10, 60, 50], 16), area([70, 10, 90, 10, 90, 40])];
  const small = rasterise(marks, 50, 40, 0.5);
  const again = rasterise([stroke([5, 5, 30, 25], 8), area([35, 5, 45, 5, 45, 20])], 50, 40);
  assert.deepEqual(small, again);
});

test("packed bits are the same mask, and lose nothing when scaled down", () => {
  const next = random(2);
  for (const [width, height] of [
    [1, 1],
    [7, 3],
    [8, 8],
    [33, 9],
  ]) {
    const data = Uint8Array.from({ length: width * height }, () => (next() < 0.3 ? 1 : 0));
    const mark = { kind: "bits", width, height, bits: pack(data, width, height) };
    assert.deepEqual(rasterise([mark], width, height), data);
  }
  const one = new Uint8Array(100 * 100);
  one[57 * 100 + 31] = 1;
  const small = rasterise([{ kind: "bits", width: 100, height: 100, bits: pack(one, 100, 100) }], 10, 10, 0.1);
  assert.equal(small.indexOf(1), 5 * 10 + 3);
  assert.equal(count(small), 1);
});

/** Signed area inside closed lines. */
function inside(lines) {
  return Math.abs(
    lines.reduce((sum, line) => {
      for (let i = 0; i < line.length; i += 2) {
        const j = (i + 2) % line.length;
        sum += (line[i] * line[j + 1] - line[j] * line[i + 1]) / 2;
      }
      return sum;
    }, 0),
  );
}

test("lines close around what is masked, holes and corners too", () => {
  const next = random(3);
  for (let round = 0; round < 100; round += 1) {
    const data = Uint8Array.from({ length: 15 * 11 }, () => (next() < 0.1 + 0.8 * (round / 100) ? 1 : 0));
    assert.equal(inside(trace(data, 15, 11, 1, 0)), count(data), `round ${round}`);
  }
  assert.deepEqual(trace(new Uint8Array(12), 4, 3), []);
  const ring = rasterise([area([5, 5, 45, 5, 45, 45, 5, 45]), area([15, 15, 35, 15, 35, 35, 15, 35], true)], 50, 50);
  assert.equal(trace(ring, 50, 50).length, 2);
  assert.ok(Math.abs(inside(trace(ring, 50, 50, 2)) / 4 - 1200) < 12);
});

test("two pixels that touch at a corner have one line", () => {
  assert.equal(trace(Uint8Array.of(1, 0, 0, 1), 2, 2).length, 1);
});

test("a mask grown at a quarter of its size is near the mask grown whole", () => {
  const marks = [
    stroke([100, 100, 100, 500], 60),
    stroke([600, 300], 90),
    area([400, 500, 700, 500, 700, 560, 400, 560]),
  ];
  const whole = grown({ width: 800, height: 640, data: rasterise(marks, 800, 640) }, 1, null).data;
  const small = grown({ width: 200, height: 160, data: rasterise(marks, 200, 160, 0.25) }, 0.25, null).data;
  assert.ok(Math.abs((count(small) * 16) / count(whole) - 1) < 0.05);
  const twelve = grown({ width: 200, height: 160, data: rasterise(marks, 200, 160, 0.25) }, 0.25, 12).data;
  assert.ok(count(twelve) > count(rasterise(marks, 200, 160, 0.25)));
});

test("marks as they are drawn", () => {
  const brush = extended(started("brush", { x: 1, y: 2 }, 7, false), "brush", { x: 5, y: 2 }, 1);
  assert.deepEqual(brush, stroke([1, 2, 5, 2], 7));
  assert.equal(extended(brush, "brush", { x: 5.1, y: 2 }, 1), brush, "points that are as good as the same");
  assert.equal(started("eraser", { x: 0, y: 0 }, 7, false).erase, true);
  const box = extended(started("rectangle", { x: 8, y: 9 }, 7, true), "rectangle", { x: 3, y: 4 }, 1);
  assert.deepEqual(box, area([8, 9, 3, 9, 3, 4, 8, 4], true));
  assert.ok(counts(box) && counts(brush) && counts(started("brush", { x: 1, y: 1 }, 3, false)));
  assert.ok(
    !counts(started("lasso", { x: 1, y: 1 }, 3, false)) && !counts(started("rectangle", { x: 1, y: 1 }, 3, false)),
  );
});
