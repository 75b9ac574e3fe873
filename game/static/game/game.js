"use strict";
// The pages work without this script. It fills in presets, hides fields of other choices, counts down, shares and polls.
const form = document.querySelector("form.stake");
const presets = document.querySelector(".presets");
if (presets) {
  presets.hidden = false;
  const amount = document.getElementById("id_stake_amount");
  const pay = form.querySelector("button.main");
  // The button shows stake plus fee.
  const price = () => {
    // As read_amount of game/rules/validation.py reads it.
    const typed = amount.value.replace(/\s+/g, " ").trim();
    const found = typed.match(
      /^(?:(?:UGX|USHS?|SHS?)\.? ?)?(\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d{1,12})(?: ?\/[=-])?(?: ?(?:UGX|USHS?|SHS?)\.?)?$/i,
    );
    const known = found !== null;
    const digits = known ? found[1].replace(/[ ,]/g, "") : "";
    const sum = String(Number(digits) + Number(pay.dataset.fee)).replace(/\B(?=(\d{3})+$)/g, ",");
    pay.textContent = known ? pay.dataset.pay.replace("#", sum) : pay.dataset.plain;
    for (const button of presets.children) button.setAttribute("aria-pressed", button.dataset.amount === digits);
  };
  presets.addEventListener("click", (event) => {
    if (!event.target.dataset.amount) return;
    amount.value = event.target.textContent;
    price();
  });
  amount.addEventListener("input", price);
  form.classList.add("js");
  const show = () => {
    const choice = form.elements.opponent.value;
    document.querySelector(".for-friend").classList.toggle("hide", choice !== "friend");
    document.querySelector(".for-code").classList.toggle("hide", choice !== "code");
  };
  form.addEventListener("change", show);
  addEventListener("pageshow", () => { show(); price(); });
  show();
  price();
}
if (form) {
  // On a slow network a second tap must not place a second stake.
  const button = form.querySelector("button.main");
  form.addEventListener("submit", () => { button.disabled = true; });
  addEventListener("pageshow", () => { button.disabled = false; });
}

const part = document.getElementById("part");
function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without HTTPS there is no clipboard API, so select the link and use the older command.
  getSelection().selectAllChildren(document.getElementById("link"));
  return document.execCommand("copy") ? Promise.resolve() : Promise.reject(new Error("copy"));
}
async function share(button) {
  try {
    if (navigator.share) return await navigator.share({ text: button.dataset.text, url: button.dataset.url });
  } catch (error) {
    if (error.name === "AbortError") return; // the player closed the share dialog
  }
  try {
    await copy(button.dataset.url);
    button.textContent = button.dataset.done;
    document.getElementById("said").textContent = button.dataset.done;
  } catch { /* the link is on the page, selected */ }
}

if (part) {
  const ahead = Date.now() - part.dataset.now; // the phone's clock may be wrong
  let over = false;
  const tick = () => {
    for (const clock of part.querySelectorAll("[data-ends]")) {
      const left = Math.max(0, Math.ceil((clock.dataset.ends - Date.now() + ahead) / 1000));
      const two = (number) => String(number).padStart(2, "0");
      clock.textContent = `${two(Math.floor(left / 60))}:${two(left % 60)}`;
      if (left === 0 && !over) { over = true; pollIn(300); }
    }
    const button = part.querySelector("#share");
    if (button && button.hidden) {
      button.hidden = false;
      button.addEventListener("click", () => share(button));
    }
  };
  // Whole sentences for the live region: the heading if it changed, then each sentence marked for reading.
  const heading = () => part.querySelector("h1").textContent.trim();
  const sentences = () => [...part.querySelectorAll(".say")].map((node) => node.textContent.trim()).join(" ");
  // One missed poll is normal on a phone. After two the page may be outdated and says so.
  const offline = document.getElementById("offline");
  let missed = 0;
  const reached = (well) => {
    missed = well ? 0 : missed + 1;
    offline.hidden = missed < 2;
    offline.textContent = missed < 2 ? "" : offline.dataset.text;
  };
  const live = () => part.querySelector("[data-live]");

  let tag = part.dataset.tag;
  const replace = (html) => {
    const next = document.createElement("template");
    next.innerHTML = html.trim();
    const focused = part.contains(document.activeElement) && document.activeElement.id;
    const before = [heading(), sentences()];
    part.replaceChildren(next.content);
    over = false;
    tick();
    const after = [heading(), sentences()];
    document.title = `${after[0]} · PlayMatatu`;
    // The part itself is no live region, or each tick of the clock would be read out.
    if (after.join() !== before.join()) {
      document.getElementById("said").textContent = after[0] === before[0] ? after[1] : `${after[0]}. ${after[1]}`;
    }
    if (focused) (document.getElementById(focused) || document.getElementById("main")).focus();
  };
  async function poll() {
    try {
      const patience = new AbortController();
      const timeout = setTimeout(() => patience.abort(), 8000);
      const headers = { "X-Part": "1", "If-None-Match": tag };
      const answer = await fetch(part.dataset.poll, { headers, redirect: "manual", cache: "no-store", signal: patience.signal });
      clearTimeout(timeout);
      if (answer.type === "opaqueredirect") return location.reload();
      reached(answer.ok || answer.status === 304);
      if (!answer.ok) return;
      tag = answer.headers.get("ETag") || "";
      replace(await answer.text());
    } catch { reached(false); }
  }
  tick();
  setInterval(tick, 500);

  // Poll after 3, 3, 5, 5, then every 10 s, and at once when the page becomes visible.
  const pauses = [3, 3, 5, 5, 10];
  let polls = 0, timer = 0;
  function pollIn(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      if (!live()) return;
      await poll();
      pollIn(1000 * pauses[Math.min(polls++, pauses.length - 1)]);
    }, milliseconds);
  }
  pollIn(1000 * pauses[polls++]);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { polls = 0; pollIn(0); } });
}
