/** Undo and redo over states of the work. Pure; states share their marks and files, so keeping many costs little. */

/** @import {Doc, History} from "./types.js" */

export const MAX_STATES = 300;
export const MAX_BYTES = 1 << 29;

/** @param {Doc} now @returns {History} */
export function begin(now) {
  return { past: [], now, future: [] };
}

/** @param {History} history @param {Doc} now @returns {History} */
export function push(history, now) {
  return { past: bounded([...history.past, history.now]), now, future: [] };
}

/** The state at hand changes without a step of its own. @param {History} history @param {Doc} now @returns {History} */
export function replace(history, now) {
  return { ...history, now };
}

/** @param {History} history @returns {History} */
export function undo({ past, now, future }) {
  const before = past.at(-1);
  return before ? { past: past.slice(0, -1), now: before, future: [now, ...future] } : { past, now, future };
}

/** @param {History} history @returns {History} */
export function redo({ past, now, future }) {
  const [after, ...rest] = future;
  return after ? { past: [...past, now], now: after, future: rest } : { past, now, future };
}

/** The newest states, as many as are allowed and as their files leave room for. @param {Doc[]} past */
function bounded(past) {
  const files = new Set();
  let bytes = 0;
  let first = past.length;
  while (first > 0 && past.length - first < MAX_STATES) {
    const doc = past[first - 1];
    for (const { file } of [doc.photo, ...doc.tries.map((fill) => fill.photo)]) {
      if (!files.has(file)) bytes += file.size;
      files.add(file);
    }
    if (bytes > MAX_BYTES && first < past.length) break;
    first -= 1;
  }
  return past.slice(first);
}
