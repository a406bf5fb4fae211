/** The one store: what the page knows, and who wants to hear of changes. */

/** @import {State} from "./types.js" */

/** @typedef {ReturnType<typeof createStore>} Store */

/** @type {State} */
export const FIRST = Object.freeze({
  history: null,
  tool: "brush",
  brush: 40,
  view: { zoom: 1, x: 0, y: 0 },
  stage: { width: 1, height: 1 },
  live: null,
  outline: [],
  settings: {},
  info: null,
  loading: null,
  run: null,
  compare: null,
  holding: false,
  message: null,
  saved: null,
});

/** @param {Partial<State>} [start] */
export function createStore(start = {}) {
  /** @type {State} */
  let state = { ...FIRST, ...start };
  /** @type {{keys: readonly (keyof State)[], listener: (state: State) => void}[]} */
  const listeners = [];
  return {
    get: () => state,

    /**
     * Changes some entries and tells those who listen to one of them; an entry set to what it is counts as unchanged.
     * @param {Partial<State>} changes
     */
    set(changes) {
      const before = state;
      state = { ...state, ...changes };
      const changed = (/** @type {keyof State} */ key) => before[key] !== state[key];
      for (const { keys, listener } of [...listeners]) if (keys.some(changed)) listener(state);
    },

    /**
     * Calls the listener now, and whenever one of the entries changes. Returns a function that ends this.
     * @param {readonly (keyof State)[]} keys
     * @param {(state: State) => void} listener
     */
    watch(keys, listener) {
      const entry = { keys, listener };
      listeners.push(entry);
      listener(state);
      return () => void listeners.splice(listeners.indexOf(entry), 1);
    },
  };
}
