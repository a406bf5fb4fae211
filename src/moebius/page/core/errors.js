/** What can go wrong in a fill, by the kinds that the server uses too. */

export class FillError extends Error {
  /**
   * @param {string} type "photo", "mask", "settings", "output", "limit" or "worker"
   * @param {string} message one line: what was expected, what came
   */
  constructor(type, message) {
    super(message);
    this.name = "FillError";
    this.type = type;
  }
}
