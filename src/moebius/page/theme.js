/** Light or dark as the system has it, or as the switch says. Loaded first and by itself, so that nothing flashes. */

(() => {
  const NAME = "moebius-theme";
  const root = document.documentElement;
  try {
    const kept = localStorage.getItem(NAME);
    if (kept) root.dataset.theme = kept;
  } catch {
    // no storage here: the system's choice holds
  }
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", () => {
      const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      const theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
      root.dataset.theme = theme;
      try {
        if (theme === system) localStorage.removeItem(NAME);
        else localStorage.setItem(NAME, theme);
      } catch {
        // it holds until the page is left
      }
    });
  });
})();
