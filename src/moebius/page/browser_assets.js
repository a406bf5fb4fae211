/**
 * The model and its runtime: files in shards, listed in model/manifest.json with sizes and SHA-256, checked, and kept in
 * the browser's cache shard by shard, so that a broken download goes on where it stopped.
 */
import { joined, unpacked } from "./core/bytes.js";
import { sha256 } from "./core/sha256.js";
import { EngineError } from "./messages.js";

/**
 * @typedef {{path: string, bytes: number, sha256: string}} Shard  paths are relative to the site
 * @typedef {{bytes: number, packed: boolean, shards: Shard[]}} Asset  bytes: unpacked; packed: by gzip, as a whole
 * @typedef {object} Manifest
 * @property {number} format
 * @property {string} version  of moebius
 * @property {string} hash  of the model's weights
 * @property {import("./core/settings.js").Model} model
 * @property {Record<string, import("./core/settings.js").SettingSchema>} settings
 * @property {{side: number, timestep: number, latents: number[], prediction: number[], image: number[]}} check
 * @property {Record<string, Asset>} assets
 * @property {Record<string, {script: string, binary: string}>} runtimes  by device, "wasm" and "webgpu"
 */

const CACHE = "moebius-shards";
const FORMAT = 1;
const TRIES = 3;
const AT_ONCE = 4;

/** @param {URL} root address of the site's folder @returns {Promise<Manifest>} */
export async function readManifest(root) {
  const response = await ask(new URL("model/manifest.json", root), {});
  const manifest = await response.json().catch(() => null);
  if (manifest?.format !== FORMAT) {
    throw new EngineError("network", `model/manifest.json: expected format ${FORMAT}, got ${manifest?.format ?? "no JSON"}`);
  }
  return manifest;
}

/** Loads assets, and tells how far all that were announced have come. */
export class Assets {
  /**
   * @param {URL} root @param {Manifest} manifest
   * @param {(progress: {loaded: number, total: number}) => void} onProgress in bytes as they travel
   */
  constructor(root, manifest, onProgress) {
    this.root = root;
    this.manifest = manifest;
    this.onProgress = onProgress;
    this.loaded = 0;
    this.total = 0;
  }

  /** @param {string[]} names @returns {Promise<Uint8Array<ArrayBuffer>[]>} */
  async load(names) {
    const assets = names.map((name) => {
      const asset = this.manifest.assets[name];
      if (asset === undefined) throw new EngineError("network", `model/manifest.json: expected ${name}, which is missing`);
      return asset;
    });
    const shards = assets.flatMap((asset) => asset.shards);
    this._count(0, shards.reduce((sum, shard) => sum + shard.bytes, 0));
    const cache = await openCache();
    /** @type {Map<Shard, Uint8Array>} */
    const read = new Map();
    const waiting = [...shards];
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (let shard = waiting.shift(); shard !== undefined; shard = waiting.shift()) {
        read.set(shard, await this._shard(shard, cache));
      }
    }));
    return Promise.all(assets.map((asset) => assembled(asset, asset.shards.map((shard) => read.get(shard)))));
  }

  /** Drop kept shards of other versions. */
  async forgetOthers() {
    const cache = await openCache();
    const shards = Object.values(this.manifest.assets).flatMap((asset) => asset.shards);
    const wanted = new Set(shards.map(({ path }) => new URL(path, this.root).href));
    for (const { url } of (await cache?.keys()) ?? []) {
      if (url.startsWith(this.root.href) && !wanted.has(url)) await cache?.delete(url);
    }
  }

  /** @param {Shard} shard @param {Cache | null} cache @returns {Promise<Uint8Array>} */
  async _shard(shard, cache) {
    const url = new URL(shard.path, this.root);
    const kept = await cache?.match(url);
    if (kept) {
      const bytes = new Uint8Array(await kept.arrayBuffer());
      if ((await wrongWith(bytes, shard)) === null) {
        this._count(bytes.length, 0);
        return bytes;
      }
      await cache?.delete(url);
    }
    for (let attempt = 1; ; attempt++) {
      const before = this.loaded;
      try {
        // Asked for again, a file must not come from the cache that gave a damaged one.
        const bytes = await this._fetched(url, attempt === 1 ? {} : { cache: "reload" });
        const wrong = await wrongWith(bytes, shard);
        if (wrong !== null) throw new EngineError("network", `${shard.path}: ${wrong}; the download is damaged`);
        await cache?.put(url, new Response(bytes)).catch(() => undefined); // a full disk does not stop this run
        return bytes;
      } catch (error) {
        this.loaded = before;
        this._count(0, 0);
        if (attempt >= TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, 250 * attempt));
      }
    }
  }

  /** @param {URL} url @param {RequestInit} init */
  async _fetched(url, init) {
    const response = await ask(url, init);
    const reader = response.body?.getReader();
    /** @type {Uint8Array[]} */
    const parts = [];
    for (let part = await reader?.read(); part?.value; part = await reader?.read()) {
      parts.push(part.value);
      this._count(part.value.length, 0);
    }
    return joined(parts);
  }

  /** @param {number} more @param {number} announced */
  _count(more, announced) {
    this.loaded += more;
    this.total += announced;
    this.onProgress({ loaded: this.loaded, total: this.total });
  }
}

/** @param {Asset} asset @param {(Uint8Array | undefined)[]} parts @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function assembled(asset, parts) {
  const whole = joined(parts.filter((part) => part !== undefined));
  return asset.packed ? unpacked(whole, "gzip") : whole;
}

/** One line on what is wrong with a shard; null if nothing is. @param {Uint8Array} bytes @param {Shard} shard */
async function wrongWith(bytes, shard) {
  if (bytes.length !== shard.bytes) return `expected ${shard.bytes} bytes, got ${bytes.length}`;
  const sum = await sha256(bytes);
  return sum === shard.sha256 ? null : `expected SHA-256 ${shard.sha256.slice(0, 12)}…, got ${sum.slice(0, 12)}…`;
}

/** @param {URL} url @param {RequestInit} init */
async function ask(url, init) {
  const response = await fetch(url, init).catch((error) => {
    throw new EngineError("network", `${url.pathname}: expected a file, got no answer (${error.message})`);
  });
  if (!response.ok) throw new EngineError("network", `${url.pathname}: expected a file, got status ${response.status}`);
  return response;
}

/** Null where the page has none: over plain HTTP from another machine, or in a private window. */
async function openCache() {
  return "caches" in globalThis ? caches.open(CACHE).catch(() => null) : null;
}
