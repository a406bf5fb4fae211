/** Picks what fills: "server" (where the page came from) or "browser". Nothing else on the page knows which. */

/** @import {Engine} from "./types.js" */

/**
 * @typedef {object} Picked
 * @property {Engine} engine
 * @property {boolean} eager     opening costs nothing; otherwise it fetches a model, and waits for a photo
 * @property {string} privacy    where photos go, in a sentence
 */

/**
 * @param {string | null} kind   "server" or "browser"
 * @param {(wrong: boolean) => Promise<string | null>} askToken
 * @returns {Promise<Picked>}
 */
export async function pickEngine(kind, askToken) {
  if (kind === "browser") {
    /** @type {string} */
    const path = "./browser_engine.js"; // fetched only where it is used
    const { createBrowserEngine } = await import(path);
    return { engine: createBrowserEngine(), eager: false, privacy: "Your photo never leaves this browser." };
  }
  const { createServerEngine } = await import("./server_engine.js");
  const engine = createServerEngine({ base: document.baseURI, askToken, storage: sessionStorage });
  const privacy = "Photos go to the computer that runs this page and no further. Nothing is stored there.";
  return { engine, eager: true, privacy };
}
