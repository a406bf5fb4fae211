/**
 * The static site without a network: what the page consists of is kept at the first visit and served from then on. The
 * export writes `MOEBIUS_SITE` in front of this file: a hash of the site's content, and its files. Another hash is another
 * service worker to the browser, which then fetches all of them anew, and changes over when no tab shows the old page.
 * Shards of the model are kept by the page itself.
 */
(() => {
  /** @type {{version: string, files: string[]}} */
  const site = /** @type {any} */ (self).MOEBIUS_SITE;
  const scope = /** @type {any} */ (self);
  const PREFIX = "moebius-site-";
  const folder = new URL("./", scope.location.href);
  /** Caches of one address belong to all sites on it. */
  const name = `${PREFIX}${folder.pathname}#${site.version}`;

  async function keep() {
    const cache = await caches.open(name);
    await Promise.all(site.files.map(async (path) => {
      const url = new URL(path, folder);
      const response = await fetch(url, { cache: "no-cache" });
      if (!response.ok) throw new Error(`${url.pathname}: expected a file, got status ${response.status}`);
      await cache.put(url, response);
    }));
  }

  async function takeOver() {
    const ours = (await caches.keys()).filter((each) => each.startsWith(`${PREFIX}${folder.pathname}#`));
    await Promise.all(ours.filter((each) => each !== name).map((each) => caches.delete(each)));
    await scope.clients.claim();
  }

  /** @param {Request} request */
  async function answer(request) {
    const cache = await caches.open(name);
    return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
  }

  scope.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(keep()));
  scope.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(takeOver()));
  scope.addEventListener("fetch", (/** @type {any} */ event) => {
    const url = new URL(event.request.url);
    if (event.request.method === "GET" && url.href.startsWith(folder.href)) event.respondWith(answer(event.request));
  });
})();
