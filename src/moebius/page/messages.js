/** What goes wrong, in one line that says what to do. Pure. */

/** @type {Record<string, string>} */
const ADVICE = {
  busy: "Others are being served; try again in a moment.",
  deadline: "It took too long; try a smaller mask or photo.",
  worker: "Try again.",
  auth: "Run again to enter the token.",
  network: "Check that it is still running, then run again.",
  not_found: "Run again.",
};

/** An error of an engine. `type` is one of the server's error types, or "network". */
export class EngineError extends Error {
  /** @param {string} type @param {string} message */
  constructor(type, message) {
    super(message);
    this.name = "EngineError";
    this.type = type;
  }
}

/** @param {unknown} error */
export function isAbort(error) {
  return error instanceof Error && error.name === "AbortError";
}

/** One line for people. @param {unknown} error @returns {string} */
export function explain(error) {
  if (!(error instanceof Error)) return sentence(String(error));
  const type = /** @type {{type?: unknown}} */ (error).type;
  const advice = typeof type === "string" && Object.hasOwn(ADVICE, type) ? ADVICE[type] : undefined;
  return advice ? `${sentence(error.message)} ${advice}` : sentence(error.message);
}

/** @param {string} text */
function sentence(text) {
  const line = text.trim().replaceAll(/\s+/g, " ");
  return line === ""
    ? "Something went wrong."
    : line[0].toUpperCase() + line.slice(1) + (/[.!?]$/.test(line) ? "" : ".");
}
