// Keyboard operation. One table for each page; what stands in it is also what the page shows.

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

export function keysOn() {
  return enabled;
}

function belongsToTarget(event) {
  const target = event.target;
  if (target.closest("textarea, input[type=text]")) return true;
  const presses = event.key === " " || event.key === "Enter";
  return presses && target.closest("button, a, summary, input[type=checkbox]") !== null;
}

document.addEventListener("keydown", (event) => {
  if (!enabled || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || belongsToTarget(event)) return;
  const act = active.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
  if (act === undefined || (event.repeat && event.key !== "," && event.key !== ".")) return;
  event.preventDefault();
  act();
});
