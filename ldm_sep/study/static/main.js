// From consent to the last answer: the server says which step comes next, after every step, so that a reload, another
// device and a restarted server all go on where the listener was.

import { RequestError, get, ownCode, untilItWorks } from "./api.js";
import { announce, el, show } from "./dom.js";
import { bindKeys } from "./keys.js";
import { listenerTable } from "./listeners.js";
import { ratePage } from "./rating.js";
import * as steps from "./steps.js";

function showPlace({ step, page, done, total }) {
  const bar = document.getElementById("bar");
  const place = document.getElementById("place");
  bar.hidden = place.hidden = step !== "page";
  bar.max = total;
  bar.value = done;
  place.textContent = page?.training ? "Practice" : `Page ${done + 1} of ${total}`;
}

function problem(title, text) {
  bindKeys({});
  show(el("h1", { text: title }), el("p", { text }),
    el("button", { type: "button", class: "primary", text: "Load again", on: { click: () => location.reload() } }));
}

async function chooseListener() {
  const { listeners } = await get("/api/progress");
  show(el("h1", { text: "Which listener are you?" }), listenerTable(listeners, true),
    el("p", {}, el("a", { href: "/static/progress.html", text: "For the experimenter: how far everybody is" })));
}

async function follow(session, local) {
  let position = session;
  for (;;) {
    showPlace(position);
    if (position.repeated) announce("This was answered before, in another window perhaps; the first answer counts.");
    if (position.step === "done") return steps.done(session, local);
    try {
      position = position.step === "page" ? await ratePage(session, position) : await steps[position.step](session);
    } catch (error) {
      if (!(error instanceof RequestError) || error.status !== 409) throw error;
      // Another window went on meanwhile: go where the listener is now.
      position = await get("/api/session");
    }
  }
}

async function begin() {
  window.addEventListener("hashchange", () => location.reload());
  const box = el("div");
  show(box);
  const { local, title } = await untilItWorks(() => get("/api/door"), box, "The study could not be opened.");
  document.title = title;
  document.getElementById("title").textContent = title;
  if (ownCode() === "") {
    if (local) return chooseListener();
    return problem("Your link is needed", "Please open the whole link that you were given; its last part tells the server who you are.");
  }
  const session = await untilItWorks(() => get("/api/session"), box, "The study could not be opened.");
  return follow(session, local);
}

begin().catch((error) => {
  if (error instanceof RequestError) problem("This did not work", error.message);
  else {
    problem("Something went wrong", "What you have saved is safe. Please load the page again.");
    throw error;
  }
});
