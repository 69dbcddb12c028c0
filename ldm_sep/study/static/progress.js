// The experimenter's page: who is how far. It shows no ratings, so that nobody is tempted to stop when they look good.

import { get } from "./api.js";
import { el, show } from "./dom.js";
import { listenerTable } from "./listeners.js";

const EVERY_MS = 5000;

async function refresh(table, summary, told) {
  try {
    const { title, listeners, now } = await get("/api/progress");
    document.title = `Progress: ${title}`;
    document.getElementById("title").textContent = title;
    const finished = listeners.filter(({ step }) => step === "done").length;
    const begun = listeners.filter(({ step }) => step !== "consent").length;
    summary.textContent = `${finished} of ${listeners.length} listeners have finished, ${begun - finished} are under way.`;
    table.replaceChildren(listenerTable(listeners, false, new Date(now)));
    told.replaceChildren();
  } catch (error) {
    told.replaceChildren(el("div", { class: "alert", role: "alert" }, el("p", { text: error.message })));
  }
  setTimeout(() => refresh(table, summary, told), EVERY_MS);
}

const table = el("div");
const summary = el("p");
const told = el("div");
show(el("h1", { text: "Progress" }), summary, table, told,
  el("p", { class: "hint", text: "Ratings are not shown before the study is over. Headphones: right answers of six, for each attempt." }));
refresh(table, summary, told);
