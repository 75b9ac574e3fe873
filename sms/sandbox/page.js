"use strict";
// New texts appear by themselves; a phone that was scrolled up to be read stays where it is.
let seen = document.body.dataset.version;
const main = document.getElementById("phones");
const boxes = () => [...main.querySelectorAll(".texts")];
for (const box of boxes()) box.scrollTop = box.scrollHeight;
async function look() {
  try {
    const answer = await fetch(`/phones?seen=${seen}`);
    if (answer.status === 200) {
      seen = answer.headers.get("X-Version");
      const had = new Set([...main.querySelectorAll(".text")].map((text) => text.id));
      const up = new Map(boxes().map((box) => [box.ariaLabel, box]).filter(([, box]) => box.scrollHeight - box.scrollTop - box.clientHeight > 60).map(([name, box]) => [name, box.scrollTop]));
      const focused = document.activeElement?.ariaLabel;
      main.innerHTML = await answer.text();
      for (const box of boxes()) {
        box.scrollTop = up.get(box.ariaLabel) ?? box.scrollHeight;
        if (focused === box.ariaLabel) box.focus();
      }
      for (const text of main.querySelectorAll(".text")) if (!had.has(text.id)) text.classList.add("new");
    }
  } catch { /* the sandbox is away for a moment */ }
  setTimeout(look, document.hidden ? 3000 : 500);
}
look();
