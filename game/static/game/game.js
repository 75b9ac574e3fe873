"use strict";
// The pages work without this: it fills in presets, hides what is not asked, counts down, shares, and moves on.
const form = document.querySelector("form.stake");
const presets = document.querySelector(".presets");
if (presets) {
  presets.hidden = false;
  const amount = document.getElementById("id_stake_amount");
  const pay = form.querySelector("button.main");
  // The button says what it takes: the stake and the fee.
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
  // A second tap on a slow network is not a second stake.
  const button = form.querySelector("button.main");
  form.addEventListener("submit", () => { button.disabled = true; });
  addEventListener("pageshow", () => { button.disabled = false; });
}

const part = document.getElementById("part");
function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without https there is no clipboard: the link is selected, and copied the old way.
  getSelection().selectAllChildren(document.getElementById("link"));
  return document.execCommand("copy") ? Promise.resolve() : Promise.reject(new Error("copy"));
}
async function share(button) {
  try {
    if (navigator.share) return await navigator.share({ text: button.dataset.text, url: button.dataset.url });
  } catch (error) {
    if (error.name === "AbortError") return; // the player closed the share sheet
  }
  try {
    await copy(button.dataset.url);
    button.textContent = button.dataset.done;
    document.getElementById("said").textContent = button.dataset.done;
  } catch { /* the link stands above, selected */ }
}

if (part) {
  const ahead = Date.now() - part.dataset.now; // a phone's clock may be wrong
  let over = false;
  const tick = () => {
    for (const clock of part.querySelectorAll("[data-ends]")) {
      const left = Math.max(0, Math.ceil((clock.dataset.ends - Date.now() + ahead) / 1000));
      const two = (number) => String(number).padStart(2, "0");
      clock.textContent = `${two(Math.floor(left / 60))}:${two(left % 60)}`;
      if (left === 0 && !over) { over = true; setTimeout(poll, 300); }
    }
    const button = part.querySelector("#share");
    if (button && button.hidden) {
      button.hidden = false;
      button.addEventListener("click", () => share(button));
    }
  };
  // The CSRF field and the clock differ each time; only what else a reader sees counts.
  const plain = (root) => {
    const copied = root.cloneNode(true);
    for (const node of copied.querySelectorAll("input[type=hidden]")) node.remove();
    for (const node of copied.querySelectorAll("[data-ends]")) node.textContent = "";
    return copied.firstElementChild.outerHTML;
  };
  const said = (root) => [...root.querySelectorAll("h1, .say")].map((node) => node.textContent.trim()).join(". ");
  // One missed poll is nothing; after two the page may be old, and says so.
  const offline = document.getElementById("offline");
  let missed = 0;
  const heard = (well) => {
    missed = well ? 0 : missed + 1;
    offline.hidden = missed < 2;
    offline.textContent = missed < 2 ? "" : offline.dataset.text;
  };
  const live = () => part.querySelector("[data-live]");
  let last = plain(part);
  tick();
  setInterval(tick, 500);
  async function poll() {
    if (!live()) return;
    try {
      const patience = new AbortController();
      const timer = setTimeout(() => patience.abort(), 8000);
      const answer = await fetch(part.dataset.poll, { headers: { "X-Part": "1" }, redirect: "manual", signal: patience.signal });
      clearTimeout(timer);
      if (answer.type === "opaqueredirect") return location.reload();
      heard(answer.ok);
      if (!answer.ok) return;
      const next = document.createElement("template");
      next.innerHTML = (await answer.text()).trim();
      const now = plain(next.content);
      if (now !== last) {
        last = now;
        const focused = part.contains(document.activeElement) && document.activeElement.id;
        const before = said(part);
        part.replaceChildren(next.content);
        tick();
        // The part is no live region, or each tick of the clock would be read out.
        if (said(part) !== before) document.getElementById("said").textContent = said(part);
        if (focused) (document.getElementById(focused) || document.getElementById("main")).focus();
      }
    } catch { heard(false); }
  }
  const again = async () => { await poll(); if (live()) setTimeout(again, document.hidden ? 10000 : 3000); };
  setTimeout(again, 3000);
}
