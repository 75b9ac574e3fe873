// Refresh the marked parts of a page every 10 s. Scroll position, keyboard focus, open details and selected text stay.
(() => {
  "use strict";
  const EVERY = 10000;
  const parts = () => [...document.querySelectorAll("[data-refresh]")];
  const focusables = (part) => [...part.querySelectorAll("a, button, input, summary")];

  // Nothing is replaced while the user is typing in a part, or has selected some of its text.
  const isBusy = (part) => {
    const active = document.activeElement;
    const selection = document.getSelection();
    const typing = part.contains(active) && active.matches("input:not([type=hidden]), textarea, select");
    return typing || (selection && !selection.isCollapsed && part.contains(selection.anchorNode));
  };

  const replace = (part, fresh) => {
    if (part.innerHTML === fresh.innerHTML || isBusy(part)) return;
    const active = document.activeElement;
    const focused = part.contains(active) ? focusables(part).indexOf(active) : -1;
    const label = focused >= 0 ? active.textContent : "";
    const open = [...part.querySelectorAll("details")].map((details) => details.open);
    const scroll = [window.scrollX, window.scrollY];
    part.replaceChildren(...fresh.childNodes);
    part.querySelectorAll("details").forEach((details, index) => { details.open = Boolean(open[index]); });
    if (focused >= 0) {
      const now = focusables(part);
      const same = now[focused] && now[focused].textContent === label;
      const target = same ? now[focused] : now.find((element) => element.textContent === label);
      if (target) target.focus({ preventScroll: true });
    }
    window.scrollTo(...scroll);
  };

  const refresh = async () => {
    if (document.hidden || !parts().length) return;
    const response = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of parts()) {
      const fresh = page.querySelector(`[data-refresh="${part.dataset.refresh}"]`);
      if (fresh) replace(part, fresh);
    }
  };

  setInterval(() => refresh().catch(() => {}), EVERY);
})();
