// Elements without markup in strings: whatever a text holds, it is shown as text.

/** An element with properties (`class`, `text`, `on` for listeners, else attributes or DOM properties) and children. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Paragraphs of a plain text; empty lines part them. */
export function paragraphs(text) {
  return text.split(/\n\s*\n/).filter((part) => part.trim()).map((part) => el("p", { class: "prose", text: part.trim() }));
}

/** Put `children` on the page and move the reading position to its heading. */
export function show(...children) {
  document.getElementById("main").replaceChildren(...children);
  const heading = document.querySelector("main h1");
  if (heading) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  window.scrollTo(0, 0);
}

/** Say something to those who listen to the page rather than see it. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

/** A random id. Not randomUUID, which browsers keep from pages that come by plain http over a network. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A whole number in [0, count), evenly drawn. */
export function randomBelow(count) {
  const limit = 2 ** 32 - (2 ** 32 % count);
  const one = new Uint32Array(1);
  do crypto.getRandomValues(one); while (one[0] >= limit);
  return one[0] % count;
}

/** A shuffled copy (Fisher and Yates). */
export function shuffled(list) {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; i -= 1) {
    const j = randomBelow(i + 1);
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}
