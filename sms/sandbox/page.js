"use strict";
// Poll for changes and redraw the page. Scroll positions, the keyboard focus and a half-written reply are kept.
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

// Describe the element with the keyboard focus, so that it can get the focus again after a redraw.
function placeOf(node) {
  const owner = node.closest(".texts, .prompt, .reply, .switches form, .last");
  if (!owner) return null;
  return { owner: owner.ariaLabel ?? "", phone: owner.closest(".phone")?.ariaLabel, name: node.tagName === "BUTTON" ? node.textContent : "", input: node.tagName === "INPUT" };
}

function goTo(place) {
  if (!place) return;
  const within = place.phone ? every(".phone").find((phone) => phone.ariaLabel === place.phone) : document.querySelector(".switches");
  if (place.input) {
    within?.querySelector(".reply input")?.focus({ preventScroll: true });
    return;
  }
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
  const drafts = new Map(every(".reply input").map((input) => [input.ariaLabel, input.value]));
  main.innerHTML = fresh.innerHTML;
  for (const input of every(".reply input")) input.value = drafts.get(input.ariaLabel) ?? "";
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
    const answer = await fetch(`/?${new URLSearchParams([...new URLSearchParams(location.search), ["seen", seen]])}`);
    if (answer.status === 200) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      seen = page.body.dataset.version;
      document.title = page.title;
      showPhones(page.getElementById("phones"));
      showSwitches(page.querySelector(".switches"));
    }
  } catch { /* The sandbox does not respond. The next poll tries again. */ }
}

// Send forms without leaving the page. If the request fails, let the browser submit the form.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method === "get") return;
  event.preventDefault();
  const fields = new URLSearchParams(new FormData(form, event.submitter));
  try {
    await fetch(form.action, { method: "POST", body: fields, redirect: "manual" });
    if (form.matches(".reply")) form.reset();
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
