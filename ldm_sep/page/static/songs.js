// All songs: what is uploaded, what waits, what is done.

import { RequestError, json } from "./requests.js";
import { announce, el } from "./dom.js";
import { recorder } from "./recorder.js";
import { Uploads } from "./uploads.js";
import { isActive, state, title } from "./words.js";

const BUSY_MS = 1000;
const IDLE_MS = 6000;

export function songsPage(model) {
  const box = el("div", { role: "alert" });
  const list = el("ul", { class: "songs" });
  const empty = el("p", { class: "hint", text: "Nothing here yet." });
  const rows = new Map();
  let timer = null;
  let gone = false;

  const say = (text) => box.replaceChildren(...(text ? [el("p", { class: "alert", text })] : []));

  async function act(path, options) {
    try {
      say("");
      await json(path, options);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      say(error.message);
    }
    await refresh();
  }

  async function refresh() {
    clearTimeout(timer);
    let jobs = null;
    try {
      ({ jobs } = await json("/api/jobs"));
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      say(`${error.message} What is on the server goes on.`);
    }
    if (gone) return;
    if (jobs !== null) render(jobs);
    timer = setTimeout(refresh, jobs?.some(isActive) ? BUSY_MS : IDLE_MS);
  }

  function render(jobs) {
    const ids = new Set(jobs.map((job) => job.id));
    for (const [id, row] of rows) {
      if (!ids.has(id)) {
        row.node.remove();
        rows.delete(id);
      }
    }
    for (const job of jobs) {
      if (!rows.has(job.id)) {
        const row = songRow(job, act);
        rows.set(job.id, row);
        // The newest is on top.
        list.prepend(row.node);
      }
      rows.get(job.id).update(job);
    }
    empty.hidden = jobs.length > 0;
  }

  const uploads = new Uploads(model, list, { say, done: refresh });
  const choose = el("input", {
    type: "file", multiple: true, accept: "audio/*,video/*", class: "unseen", id: "file", tabIndex: -1,
    "aria-hidden": "true", on: { change: () => { uploads.add(choose.files); choose.value = ""; } },
  });
  const zone = el(
    "div", { class: "drop" }, el("p", { class: "lead", text: "Drop a song here" }),
    el("div", { class: "line" },
      el("button", { type: "button", class: "primary", text: "Choose a file", on: { click: () => choose.click() } }),
      recorder((file) => uploads.add([file]), say), choose),
    el("p", { class: "hint", text: `Anything that plays: wav, flac, mp3, m4a, video. Up to ${Math.floor(model.largest_bytes / 1e6)} MB and ${model.longest_minutes} minutes.` }),
    settings(model, uploads),
  );
  const drop = dropping(zone, (files) => uploads.add(files));
  return {
    title: "Vocals and instrumental",
    nodes: [el("h1", { text: "Separate a song into vocals and instrumental" }), zone, box, el("h2", { text: "Songs" }), empty, list],
    begin: refresh,
    leave() {
      gone = true;
      clearTimeout(timer);
      drop.end();
    },
  };
}

/** Preset and seed of what is uploaded next. */
function settings(model, uploads) {
  const preset = presetChoice(model, "balanced", () => { uploads.query.preset = preset.value; });
  const seed = seedField(0, () => { uploads.query.seed = seed.value || "0"; });
  return el("details", {}, el("summary", { text: "Preset and seed" }),
    el("div", { class: "line fields" }, el("label", {}, "Preset", preset), el("label", {}, "Seed", seed)),
    el("p", { class: "hint", text: "fast takes the least time, best the most. The same seed gives the same result; another one, another try." }));
}

export function presetChoice(model, chosen, change) {
  const options = model.presets.map((name) => el("option", { value: name, text: name, selected: name === chosen }));
  return el("select", { on: { change } }, ...options);
}

export function seedField(value, change) {
  return el("input", { type: "number", min: "0", max: "2147483647", step: "1", value: String(value), inputMode: "numeric", on: { change } });
}

function songRow(first, act) {
  let shown = null;
  const link = el("a", { class: "name", href: `#/songs/${first.id}`, text: title(first) });
  const words = el("p", { class: "state" });
  const bar = el("progress", { max: 1, "aria-label": `Progress of ${title(first)}` });
  const again = el("button", { type: "button", text: "Try again", on: { click: () => act(`/api/jobs/${first.id}/order`, tryAgain(shown)) } });
  const cancel = el("button", { type: "button", text: "Cancel", on: { click: () => act(`/api/jobs/${first.id}/order`, { method: "DELETE" }) } });
  const remove = el("button", { type: "button", text: "Delete", on: { click: () => act(`/api/jobs/${first.id}`, { method: "DELETE" }) } });
  for (const button of [again, cancel, remove]) button.setAttribute("aria-label", `${button.textContent}: ${title(first)}`);
  return {
    node: el("li", { "data-id": first.id }, el("div", { class: "grow" }, link, words, bar), el("div", { class: "line" }, again, cancel, remove)),
    update(job) {
      if (shown !== null && isActive(shown) && !isActive(job)) announce(`${title(job)}: ${state(job)}`);
      const active = isActive(job);
      words.textContent = state(job);
      words.classList.toggle("bad", job.state === "failed" || Boolean(job.error));
      bar.hidden = !active;
      // Without a value it shows that something goes on.
      if (job.state === "separating") bar.value = job.progress;
      else bar.removeAttribute("value");
      again.hidden = active || job.state === "done";
      cancel.hidden = !active;
      remove.hidden = active;
      if (job.take || job.sound) link.href = `#/songs/${job.id}`;
      else link.removeAttribute("href");
      shown = job;
    },
  };
}

function tryAgain(job) {
  const { preset, seed } = job.order?.settings ?? job.settings;
  return { method: "POST", body: JSON.stringify({ preset, seed }), headers: { "content-type": "application/json" } };
}

/** Files that are dropped anywhere on the page. */
function dropping(zone, take) {
  const ends = new AbortController();
  const on = (name, act) => window.addEventListener(name, act, { signal: ends.signal });
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  on("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  on("dragleave", (event) => { if (event.relatedTarget === null) zone.classList.remove("over"); });
  on("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files);
  });
  return { end: () => ends.abort() };
}
