"use strict";
// The pages work without this: it fills in presets, hides what is not asked, shares, and moves on by itself.
const presets = document.querySelector(".presets");
if (presets) {
  presets.hidden = false;
  presets.addEventListener("click", (event) => {
    if (event.target.dataset.amount) document.getElementById("id_stake_amount").value = event.target.dataset.amount;
  });
  const form = presets.closest("form");
  form.classList.add("js");
  const show = () => {
    const choice = form.elements.opponent.value;
    document.querySelector(".for-friend").classList.toggle("hide", choice !== "friend");
    document.querySelector(".for-code").classList.toggle("hide", choice !== "code");
  };
  form.addEventListener("change", show);
  show();
}
function shareButton() {
  const button = document.querySelector(".share");
  if (!button) return;
  button.hidden = false;
  button.onclick = async () => {
    try {
      if (navigator.share) await navigator.share({ url: button.dataset.url });
      else {
        await navigator.clipboard.writeText(button.dataset.url);
        button.textContent = button.dataset.done;
      }
    } catch { /* the player closed the share sheet */ }
  };
}
shareButton();
const part = document.getElementById("part");
if (part && part.dataset.poll) {
  let last = part.innerHTML;
  const poll = async () => {
    try {
      const answer = await fetch(part.dataset.poll, { headers: { "X-Part": "1" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload();
      const html = await answer.text();
      // The CSRF field differs each time; only what a reader sees counts.
      const plain = html.replace(/<input type="hidden"[^>]*>/g, "");
      if (answer.ok && plain !== last) {
        last = plain;
        part.innerHTML = html;
        shareButton();
        if (!part.querySelector("form") && !part.querySelector(".players")) return;
      }
    } catch { /* no network for a moment: the next poll may pass */ }
    setTimeout(poll, document.hidden ? 10000 : 3000);
  };
  setTimeout(poll, 3000);
}
