// How far everybody is: for the experimenter, and to choose one's number on the server's own machine.

import { el } from "./dom.js";

const STEPS = {
  consent: "not begun", level: "sets the level", headphones: "checks headphones", page: "rates", training: "after practice",
  finished: "last words", done: "finished",
};

function when(time, now) {
  if (time === null) return "–";
  const minutes = Math.max(0, Math.round((now - new Date(time)) / 60000));
  if (minutes < 1) return "just now";
  if (minutes < 120) return `${minutes} min ago`;
  return new Date(time).toLocaleString();
}

/** A table of `listeners`. With `choose`, the numbers are links to their pages. */
export function listenerTable(listeners, choose, now = new Date()) {
  const head = ["Listener", "Where", "Pages", ...(choose ? [] : ["Headphones", "Last answer"])];
  const rows = listeners.map(({ listener, step, done, total, headphones, last }) => {
    const name = choose ? el("a", { href: `/#${listener}`, text: `Listener ${listener}` }) : String(listener);
    const bar = el("progress", { max: total, value: done, "aria-label": `Pages of listener ${listener}` });
    return el("tr", { class: step === "done" ? "done" : "" },
      el("th", { scope: "row" }, name), el("td", { text: STEPS[step] }),
      el("td", { class: "pages" }, bar, el("span", { text: `${done}/${total}` })),
      ...(choose ? [] : [
        el("td", { text: headphones.length ? headphones.map((right) => `${right}/6`).join(", ") : "–" }),
        el("td", { text: when(last, now) }),
      ]));
  });
  return el("div", { class: "scroll" }, el("table", { class: "listeners" },
    el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...rows)));
}
