/** The engine "server": photos are filled by the server that this page came from. */

/** @import {Engine, FillAnswer, FillProgress, FillRequest, Info, SettingValue} from "./types.js" */
import { EngineError } from "./messages.js";
import { maskToPng } from "./png.js";
import { serverEvents } from "./server_events.js";

const TOKEN = "moebius-token";
/** How often a lost stream of events is taken up again, and a busy server asked again. */
const TRIES = 4;
const LONGEST_WAIT = 10;

/** @type {Record<number, string>} */
const TYPES = {
  401: "auth",
  404: "not_found",
  408: "request",
  413: "limit",
  429: "busy",
  503: "busy",
  504: "deadline",
};

/**
 * @param {object} options
 * @param {string} options.base   address of the page: the server's paths are found beside it
 * @param {(wrong: boolean) => Promise<string | null>} options.askToken   null: none is given
 * @param {Pick<Storage, "getItem" | "setItem"> | null} [options.storage]
 * @param {typeof fetch} [options.fetcher]
 * @param {(seconds: number) => Promise<void>} [options.wait]
 * @returns {Engine}
 */
export function createServerEngine({
  base,
  askToken,
  storage = null,
  fetcher = (...all) => fetch(...all),
  wait = pause,
}) {
  let token = storage?.getItem(TOKEN) ?? null;

  /** @param {string} path @param {RequestInit} [init] @returns {Promise<Response>} */
  async function send(path, init = {}) {
    const headers = new Headers(init.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    try {
      return await fetcher(new URL(path, base), { ...init, headers });
    } catch (error) {
      init.signal?.throwIfAborted();
      throw new EngineError("network", `the server does not answer: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** As `send`, asking for a token where it lacks, and waiting where the server is busy.
   * @param {string} path @param {RequestInit} [init] @param {() => void} [onWait] */
  async function request(path, init = {}, onWait = () => undefined) {
    for (let attempt = 1; ; attempt += 1) {
      const response = await send(path, init);
      if (response.status === 401) {
        const given = await askToken(token !== null);
        if (given === null) throw await failure(response);
        token = given;
        storage?.setItem(TOKEN, given);
      } else if ((response.status === 429 || response.status === 503) && attempt < TRIES) {
        onWait();
        await wait(Math.min(Number(response.headers.get("Retry-After")) || 1, LONGEST_WAIT));
        init.signal?.throwIfAborted();
      } else if (!response.ok) {
        throw await failure(response);
      } else {
        return response;
      }
    }
  }

  /** Follows a job to its end. @param {string} path @param {AbortSignal | undefined} signal
   * @param {(progress: FillProgress) => void} onProgress @returns {Promise<{format: string, result: object}>} */
  async function follow(path, signal, onProgress) {
    let last = "";
    for (let attempt = 1; ; attempt += 1) {
      try {
        const response = await request(`${path}/events`, { signal, headers: last ? { "Last-Event-ID": last } : {} });
        if (!response.body) throw new EngineError("network", "the server sends no events");
        for await (const { event, data, id } of serverEvents(response.body)) {
          last = id ?? last;
          const content = JSON.parse(data);
          if (event === "queued") onProgress({ state: "queued", fraction: 0, position: content.position });
          else if (event === "progress") onProgress({ ...content, state: "running" });
          else if (event === "done") return content;
          else if (event === "failed") throw new EngineError(content.error.type, content.error.message);
          else if (event === "cancelled") throw new EngineError("cancelled", "the server has cancelled the fill");
        }
      } catch (error) {
        signal?.throwIfAborted();
        const known = error instanceof EngineError && error.type !== "network";
        if (known || attempt >= TRIES) throw error;
      }
      if (attempt >= TRIES) throw new EngineError("network", "the server has stopped answering");
      await wait(attempt / 2);
    }
  }

  return {
    kind: "server",

    async open() {
      return /** @type {Info} */ (await (await request("v1/info")).json());
    },

    async fill(asked, { signal, onProgress = () => undefined }) {
      const queued = () => onProgress({ state: "queued", fraction: 0 });
      queued();
      const body = await form(asked);
      signal?.throwIfAborted();
      const job = await (await request("v1/jobs?previews=true", { method: "POST", body, signal }, queued)).json();
      const path = `v1/jobs/${encodeURIComponent(job.id)}`;
      const forget = () => send(path, { method: "DELETE", keepalive: true }).catch(() => undefined);
      try {
        const done = await follow(path, signal, onProgress);
        const response = await request(`${path}/result`, { signal });
        const seed = response.headers.get("X-Moebius-Seed") ?? String(asked.settings.seed ?? 0);
        return { file: await response.blob(), format: done.format, seed, report: done.result };
      } finally {
        void forget(); // stops it where it still runs; the server need not keep the picture
      }
    },
  };
}

/** @param {FillRequest} asked */
async function form({ file, name, mask, settings, format, quality }) {
  const data = new FormData();
  data.append("image", file, name);
  data.append("mask", await maskToPng(mask), "mask.png");
  /** @type {Record<string, SettingValue>} */
  const fields = { ...settings, format, quality };
  for (const [key, value] of Object.entries(fields)) if (value !== null) data.append(key, String(value));
  return data;
}

/** @param {Response} response */
async function failure(response) {
  const { error } = await response.json().catch(() => ({}));
  const type = error?.type ?? TYPES[response.status] ?? "worker";
  return new EngineError(type, error?.message ?? `the server answers ${response.status} ${response.statusText}`);
}

/** @param {number} seconds @returns {Promise<void>} */
function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
