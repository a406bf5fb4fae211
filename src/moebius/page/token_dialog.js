/** Asks for the token of a server that wants one. */

import { element } from "./elements.js";

/** @param {boolean} wrong   one was given, and not taken @returns {Promise<string | null>}   null: none is given */
export function askToken(wrong) {
  const dialog = element("token", HTMLDialogElement);
  const input = element("token-text", HTMLInputElement);
  element("token-wrong", HTMLElement).hidden = !wrong;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        resolve(dialog.returnValue === "ok" && input.value !== "" ? input.value : null);
      },
      { once: true },
    );
  });
}
