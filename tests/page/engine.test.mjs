/** The engine "server" against answers made here. Run by tests/page/test_page_modules.py. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./loading.mjs";

const { createServerEngine } = await load("server_engine.js");
const { serverEvents } = await load("server_events.js");

const MASK = { width: 4, height: 2, data: Uint8Array.of(0, 1, 1, 0, 0, 0, 1, 0) };
const REQUEST = {
  file: new Blob(["photo"]),
  name: "a.jpg",
  mask: MASK,
  settings: { seed: "18446744073709551615", grow: null, feather: 3 },
  format: null,
  quality: null,
};
const events = (...all) =>
  all.map(([id, kind, data]) => `id: ${id}\nevent: ${kind}\ndata: ${JSON.stringify(data)}\n\n`).join("");
const DONE = [3, "done", { format: "jpeg", result: { steps: 1 } }];
const json = (content, status = 200, headers = {}) => new Response(JSON.stringify(content), { status, headers });
const failure = (type, message, status, headers) => json({ error: { type, message } }, status, headers);

/** A server whose answers to each "METHOD path" are taken in order; the last one stays. */
function server(answers) {
  const asked = [];
  const left = Object.fromEntries(Object.entries(answers).map(([name, all]) => [name, [all].flat()]));
  const fetcher = async (address, init = {}) => {
    const url = new URL(address);
    const name = `${init.method ?? "GET"} ${url.pathname}`;
    asked.push({ name, url, headers: new Headers(init.headers), body: init.body });
    init.signal?.throwIfAborted();
    const queue = left[name] ?? [new Response(null, { status: 204 })];
    const next = queue.length > 1 ? queue.shift() : queue[0];
    const answer = typeof next === "function" ? await next(init) : next.clone();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { asked, fetcher, names: () => asked.map(({ name }) => name) };
}

const JOB = {
  "POST /at/v1/jobs": json({ id: "j1" }, 202),
  "GET /at/v1/jobs/j1/result": new Response("picture", { headers: { "X-Moebius-Seed": "18446744073709551615" } }),
};

function engineOf(answers, askToken = async () => null) {
  const made = server({
    ...JOB,
    "GET /at/v1/jobs/j1/events": new Response(
      events(
        [1, "queued", { position: 2 }],
        [2, "progress", { fraction: 0.5, box: [0, 0, 4, 2], preview: null }],
        DONE,
      ),
    ),
    ...answers,
  });
  const waits = [];
  const engine = createServerEngine({
    base: "http://host/at/",
    askToken,
    fetcher: made.fetcher,
    wait: async (seconds) => void waits.push(seconds),
  });
  return { ...made, engine, waits };
}

test("a fill: photo and mask go out, progress and the picture come back, and the job is forgotten", async () => {
  const { engine, asked, names } = engineOf({});
  const heard = [];
  const answer = await engine.fill(REQUEST, {
    onProgress: ({ state, fraction, position }) => heard.push([state, fraction, position]),
  });
  assert.deepEqual(names(), [
    "POST /at/v1/jobs",
    "GET /at/v1/jobs/j1/events",
    "GET /at/v1/jobs/j1/result",
    "DELETE /at/v1/jobs/j1",
  ]);
  assert.deepEqual(heard, [
    ["queued", 0, undefined],
    ["queued", 0, 2],
    ["running", 0.5, undefined],
  ]);
  assert.equal(await answer.file.text(), "picture");
  assert.deepEqual([answer.format, answer.seed, answer.report], ["jpeg", "18446744073709551615", { steps: 1 }]);
  const form = asked[0].body;
  assert.equal(asked[0].url.search, "?previews=true");
  assert.deepEqual(
    [...form.keys()],
    ["image", "mask", "seed", "feather"],
    "null is the server's own choice, and not sent",
  );
  assert.deepEqual([form.get("seed"), form.get("image").name], ["18446744073709551615", "a.jpg"]);
  assert.deepEqual([...new Uint8Array(await form.get("mask").arrayBuffer())].slice(1, 4), [0x50, 0x4e, 0x47]);
});

test("a lost stream of events is taken up where it ended", async () => {
  const { engine, asked } = engineOf({
    "GET /at/v1/jobs/j1/events": [
      new Response(events([1, "queued", { position: 1 }])),
      () => new TypeError("connection lost"),
      new Response(events(DONE)),
    ],
  });
  await engine.fill(REQUEST, {});
  const tries = asked.filter(({ name }) => name.endsWith("events")).map(({ headers }) => headers.get("Last-Event-ID"));
  assert.deepEqual(tries, [null, "1", "1"]);
});

test("it gives up when the stream never ends well", async () => {
  const { engine, names } = engineOf({ "GET /at/v1/jobs/j1/events": new Response(": ping\n\n") });
  await assert.rejects(engine.fill(REQUEST, {}), { type: "network" });
  assert.equal(names().at(-1), "DELETE /at/v1/jobs/j1");
});

test("a failed job is an error of its kind, at once", async () => {
  const { engine, waits } = engineOf({
    "GET /at/v1/jobs/j1/events": new Response(
      events([1, "failed", { error: { type: "deadline", message: "took too long" } }]),
    ),
  });
  await assert.rejects(engine.fill(REQUEST, {}), { type: "deadline", message: "took too long" });
  assert.deepEqual(waits, []);
});

test("a busy server is asked again after as long as it says", async () => {
  const full = failure("busy", "the queue is full", 429, { "Retry-After": "3" });
  const patient = engineOf({ "POST /at/v1/jobs": [full, full, json({ id: "j1" }, 202)] });
  await patient.engine.fill(REQUEST, {});
  assert.deepEqual(patient.waits, [3, 3]);
  const hopeless = engineOf({ "POST /at/v1/jobs": full });
  await assert.rejects(hopeless.engine.fill(REQUEST, {}), { type: "busy", message: "the queue is full" });
});

test("a token is asked for where it lacks, again where it is wrong, and then kept", async () => {
  const locked = (init) =>
    init.headers.get("Authorization") === "Bearer right"
      ? json({ id: "j1" }, 202)
      : failure("auth", "a token is needed", 401);
  const given = ["wrong", "right"];
  const asks = [];
  const { engine } = engineOf({ "POST /at/v1/jobs": locked }, async (wrong) => (asks.push(wrong), given.shift()));
  await engine.fill(REQUEST, {});
  await engine.fill(REQUEST, {});
  assert.deepEqual(asks, [false, true]);
  await assert.rejects(engineOf({ "POST /at/v1/jobs": locked }).engine.fill(REQUEST, {}), { type: "auth" });
});

test("aborting cancels the job", async () => {
  const controller = new AbortController();
  const hanging = () =>
    new Response(
      new ReadableStream({
        start: (stream) => {
          controller.signal.addEventListener("abort", () => stream.error(controller.signal.reason));
          setTimeout(() => controller.abort());
        },
      }),
    );
  const { engine, names } = engineOf({ "GET /at/v1/jobs/j1/events": hanging });
  await assert.rejects(engine.fill(REQUEST, { signal: controller.signal }), { name: "AbortError" });
  assert.equal(names().at(-1), "DELETE /at/v1/jobs/j1");
});

test("a server that is not there", async () => {
  const { engine } = engineOf({
    "GET /at/v1/info": () => new TypeError("refused"),
    "POST /at/v1/jobs": new Response("<html>", { status: 502, statusText: "Bad Gateway" }),
  });
  await assert.rejects(engine.open(), { type: "network" });
  await assert.rejects(engine.fill(REQUEST, {}), { type: "worker", message: "the server answers 502 Bad Gateway" });
});

test("events are read however they are cut", async () => {
  const text = ": ping\n\nid: 7\nevent: é\ndata: one\ndata: two\n\ndata:three\r\n\r\nevent: lost\ndata: no end";
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 7, 1000]) {
    const body = new ReadableStream({
      start(stream) {
        for (let at = 0; at < bytes.length; at += size) stream.enqueue(bytes.slice(at, at + size));
        stream.close();
      },
    });
    const all = [];
    for await (const event of serverEvents(body)) all.push(event);
    assert.deepEqual(
      all,
      [
        { event: "é", data: "one\ntwo", id: "7" },
        { event: "message", data: "three", id: null },
      ],
      `cut to ${size}`,
    );
  }
});
