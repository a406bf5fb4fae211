/** Popovers near the buttons that open them (`popovertarget`), inside the window. */

const GAP = 8;

/** @param {ParentNode} root */
export function mountMenus(root) {
  for (const element of root.querySelectorAll("[popover]")) {
    const menu = /** @type {HTMLElement} */ (element);
    const button = /** @type {HTMLElement} */ (document.querySelector(`[popovertarget="${menu.id}"]`));
    menu.addEventListener("toggle", () => {
      const open = menu.matches(":popover-open");
      button.setAttribute("aria-expanded", String(open));
      if (open) place(menu, button);
    });
    menu.addEventListener("click", (event) => {
      if (/** @type {HTMLElement} */ (event.target).closest("[data-closes]")) menu.hidePopover();
    });
    button.setAttribute("aria-expanded", "false");
  }
}

/** @param {HTMLElement} menu @param {HTMLElement} button */
function place(menu, button) {
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const left = Math.min(Math.max(at.left + at.width / 2 - width / 2, GAP), window.innerWidth - width - GAP);
  const below = at.top < window.innerHeight / 2;
  menu.style.left = `${left}px`;
  menu.style.top = `${below ? at.bottom + GAP : at.top - height - GAP}px`;
}
