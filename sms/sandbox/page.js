"use strict";
// What is new appears by itself; who reads, scrolls or has the keyboard somewhere is left there.
let seen = document.body.dataset.version;
const main = document.getElementById("phones");
const said = document.getElementById("said");
const every = (selector) => [...main.querySelectorAll(selector)];
const boxes = () => every(".texts");
const keys = () => new Set(every(".text, .prompt").map(keyOf));
for (const box of boxes()) box.scrollTop = box.scrollHeight;

function keyOf(node) {
  return node.id || node.getAttribute("action");
}

// Where the keyboard is, so that the same place has it again once the page was drawn anew.
function placeOf(node) {
  const owner = node.closest(".texts, .prompt, .switches form, .last");
  if (!owner) return null;
  return { owner: owner.ariaLabel ?? "", phone: owner.closest(".phone")?.ariaLabel, name: node.tagName === "BUTTON" ? node.textContent : "" };
}

function goTo(place) {
  if (!place) return;
  const within = place.phone ? every(".phone").find((phone) => phone.ariaLabel === place.phone) : document.querySelector(".switches");
  const named = [...(within?.querySelectorAll("button") ?? [])].find((button) => button.textContent === place.name);
  (place.name && named ? named : within?.querySelector(".texts"))?.focus({ preventScroll: true });
}

function showPhones(fresh) {
  if (fresh.innerHTML === main.innerHTML) return;
  const had = keys();
  const read = new Map();
  for (const box of boxes()) {
    if (box.scrollHeight - box.scrollTop - box.clientHeight > 60) read.set(box.ariaLabel, box.scrollTop);
  }
  const place = main.contains(document.activeElement) ? placeOf(document.activeElement) : null;
  main.innerHTML = fresh.innerHTML;
  for (const box of boxes()) box.scrollTop = read.get(box.ariaLabel) ?? box.scrollHeight;
  goTo(place);
  const come = every(".text, .prompt").filter((node) => !had.has(keyOf(node)));
  for (const node of come) {
    node.classList.add("new");
    if (node.matches(".prompt")) node.closest(".phone").classList.add("rings");
  }
  if (come.length) said.textContent = come.map(spoken).join(". ");
}

function spoken(node) {
  const words = node.matches(".prompt") ? node.querySelector(".ask") : node.querySelector("p");
  return `${node.closest(".phone").ariaLabel}: ${words.textContent}`;
}

function showSwitches(fresh) {
  const old = document.querySelector(".switches");
  if (fresh.innerHTML === old.innerHTML) return;
  const place = old.contains(document.activeElement) ? placeOf(document.activeElement) : null;
  const top = old.scrollTop;
  old.innerHTML = fresh.innerHTML;
  old.scrollTop = top;
  goTo(place);
}

async function look() {
  try {
    const answer = await fetch(`/?seen=${seen}`);
    if (answer.status === 200) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      seen = page.body.dataset.version;
      document.title = page.title;
      showPhones(page.getElementById("phones"));
      showSwitches(page.querySelector(".switches"));
    }
  } catch { /* the sandbox is away for a moment */ }
}

// A tap is sent without leaving the page; where that fails the form goes its own way.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  try {
    await fetch(form.action, { method: "POST", body: fields, redirect: "manual" });
    await look();
  } catch {
    form.submit();
  }
});

async function keepLooking() {
  await look();
  setTimeout(keepLooking, document.hidden ? 2000 : 300);
}
keepLooking();
