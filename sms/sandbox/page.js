"use strict";
// New texts and changed switches appear by themselves; a phone that was scrolled up to be read stays where it is.
let seen = document.body.dataset.version;
const main = document.getElementById("phones");
const said = document.getElementById("said");
const boxes = () => [...main.querySelectorAll(".texts")];
const ids = () => new Set([...main.querySelectorAll(".text")].map((text) => text.id));
for (const box of boxes()) box.scrollTop = box.scrollHeight;

function showPhones(fresh) {
  if (fresh.innerHTML === main.innerHTML) return;
  const had = ids();
  const read = new Map();
  for (const box of boxes()) {
    if (box.scrollHeight - box.scrollTop - box.clientHeight > 60) read.set(box.ariaLabel, box.scrollTop);
  }
  const focused = document.activeElement?.closest?.(".texts")?.ariaLabel;
  main.innerHTML = fresh.innerHTML;
  for (const box of boxes()) {
    box.scrollTop = read.get(box.ariaLabel) ?? box.scrollHeight;
    if (focused === box.ariaLabel) box.focus();
  }
  const come = [...main.querySelectorAll(".text")].filter((text) => !had.has(text.id));
  for (const text of come) text.classList.add("new");
  if (come.length) {
    said.textContent = come.map((text) => `${text.closest(".phone").ariaLabel}: ${text.querySelector("p").textContent}`).join(". ");
  }
}

function showSwitches(fresh) {
  const old = document.querySelector(".switches");
  if (fresh.innerHTML === old.innerHTML) return;
  const focused = old.contains(document.activeElement) && document.activeElement.textContent;
  old.innerHTML = fresh.innerHTML;
  if (focused) [...old.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus();
}

async function look() {
  try {
    const answer = await fetch(`/?seen=${seen}`);
    if (answer.status === 200) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      seen = page.body.dataset.version;
      showPhones(page.getElementById("phones"));
      showSwitches(page.querySelector(".switches"));
    }
  } catch { /* the sandbox is away for a moment */ }
  setTimeout(look, document.hidden ? 3000 : 500);
}
look();
