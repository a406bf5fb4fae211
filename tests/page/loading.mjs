/** The page's modules for node, from a copy where .js means module. */

import { pathToFileURL } from "node:url";

const folder = process.env.MOEBIUS_PAGE;

/** @param {string} name */
export function load(name) {
  return import(pathToFileURL(`${folder}/${name}`).href);
}

/** Numbers in [0, 1) that are the same every time. @param {number} seed */
export function random(seed) {
  let state = seed * 2654435769;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) | 0;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}
