// Keyboard operation. One table for each page; what stands in it is also what the page shows.

import { el } from "./dom.js";

let active = new Map();
let enabled = true;

/** `bindings`: key (as KeyboardEvent.key, letters in lower case) -> function. They replace those of the page before. */
export function bindKeys(bindings) {
  active = new Map(Object.entries(bindings));
}

/** Single keys can be switched off, for those whose speech input or reader would press them by accident. */
export function setKeys(on) {
  enabled = on;
}

/** What stands on a button: a word, and the key that does the same. */
export function withKey(text, key) {
  return [el("span", { text }), el("kbd", { text: key, ariaHidden: "true" })];
}

/** A folded list of the page's keys, with the switch for them. `rows`: pairs of keys and what they do. */
export function keyHelp(rows) {
  const toggle = el("input", { type: "checkbox", checked: enabled, on: { change: () => setKeys(toggle.checked) } });
  const list = rows.map(([keys, what]) =>
    el("div", {}, el("dt", {}, ...keys.split(" ").map((key) => el("kbd", { text: key }))), el("dd", { text: what })));
  return el(
    "details", { class: "keys" }, el("summary", { text: "Keys" }), el("dl", {}, ...list),
    el("label", { class: "check" }, toggle, "Use these keys"),
  );
}

// Who came to a button by Tab presses it with Space or Enter. Who came by pointer goes on with the keys of the page.
let tabbed = false;
document.addEventListener("pointerdown", () => { tabbed = false; }, true);

function belongsToTarget({ key, target }) {
  if (target.closest("textarea, input[type=text]")) return true;
  if (key !== " " && key !== "Enter") return false;
  if (target.closest("a, summary") || (tabbed && target.closest("button"))) return true;
  if (key === "Enter") return false;
  return target.matches("input[type=checkbox]") || (tabbed && target.matches("input[type=radio]:not(:checked)"));
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Tab") tabbed = true;
  if (!enabled || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || belongsToTarget(event)) return;
  const act = active.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
  if (act === undefined || (event.repeat && event.key !== "," && event.key !== ".")) return;
  event.preventDefault();
  // Some browsers press a focused button when Space comes up again.
  event.target.closest("button")?.blur();
  act();
});
