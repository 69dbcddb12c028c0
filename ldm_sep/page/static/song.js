// One song: its lanes on one clock, what is heard of them, and what can be made and taken away.

import { RequestError, json } from "./requests.js";
import { clock } from "./clock.js";
import { announce, el } from "./dom.js";
import { bindKeys, keyHelp } from "./keys.js";
import { downloads } from "./downloads.js";
import { Lane, Lanes } from "./lanes.js";
import { Mixer } from "./mixer.js";
import { Player } from "./player.js";
import { againForm, renewForm } from "./renewal.js";
import { KEYS, Transport } from "./transport.js";
import { isActive, state, title } from "./words.js";

const LANES = { mixture: "song", vocals: "vocals", instrumental: "instrumental" };
const BUSY_MS = 1000;

export async function songPage(id, model) {
  let job = await json(`/api/jobs/${id}`);
  const box = el("div", { role: "alert" });
  const say = (text) => box.replaceChildren(...(text ? [el("p", { class: "alert", text })] : []));
  const words = el("p", { class: "state" });
  const bar = el("progress", { max: 1, "aria-label": "Progress" });
  const cancel = el("button", { type: "button", text: "Cancel", on: { click: () => act("/order", { method: "DELETE" }) } });
  const work = el("div", { class: "work" }, words, el("div", { class: "line" }, bar, cancel));
  const body = el("div");
  let desk = null;
  let timer = null;
  let gone = false;

  async function act(path, options) {
    try {
      say("");
      update(await json(`/api/jobs/${id}${path}`, options));
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      say(error.message);
    }
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const now = await json(`/api/jobs/${id}`);
      if (!gone) update(now);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      say(error.message);
      if (!gone && error.status !== 404) timer = setTimeout(refresh, BUSY_MS);
    }
  }

  function update(now) {
    const before = job;
    job = now;
    const active = isActive(job);
    work.hidden = !active && !job.error && job.state === "done";
    words.textContent = state(job);
    words.classList.toggle("bad", Boolean(job.error));
    bar.hidden = cancel.hidden = !active;
    if (job.state === "separating") bar.value = job.progress;
    else bar.removeAttribute("value");
    if (isActive(before) && !active) announce(state(job));
    if (job.sound && (desk === null || desk.take !== job.take)) {
      if (desk !== null && desk.take > 0 && job.take > 0) desk.renew(job);
      else {
        desk?.close();
        desk = openDesk(job, model, act, say);
        body.replaceChildren(...desk.nodes);
        desk.begin();
      }
    }
    desk?.update(job);
    clearTimeout(timer);
    if (active && !gone) timer = setTimeout(refresh, BUSY_MS);
  }

  const remove = el("button", { type: "button", text: "Delete this song", on: { click: () => sure(remove, async () => {
    await json(`/api/jobs/${id}`, { method: "DELETE" }).catch((error) => say(error.message));
    location.hash = "#/";
  }) } });
  const facts = el("p", { class: "hint" });
  facts.textContent = factsOf(job);
  return {
    title: title(job),
    nodes: [
      el("p", { class: "back" }, el("a", { href: "#/", text: "All songs" })), el("h1", { text: title(job) }), facts, box, work, body,
      el("p", { class: "end" }, remove),
    ],
    begin: () => update(job),
    leave() {
      gone = true;
      clearTimeout(timer);
      desk?.close();
    },
  };
}

function factsOf({ sound, seconds, notes }) {
  if (!sound) return "";
  const rate = `${(sound.sample_rate / 1000).toLocaleString("en", { maximumFractionDigits: 3 })} kHz`;
  const lines = [`${clock(seconds)}, ${rate}, ${sound.channels === 1 ? "mono" : "stereo"}`, ...notes];
  return lines.join(". ");
}

/** Asks once more by the button itself: no window that a phone or a screen reader may hide. */
function sure(button, act) {
  if (button.dataset.sure) return act();
  const text = button.textContent;
  button.dataset.sure = "yes";
  button.textContent = `${text}: press again if you are sure`;
  setTimeout(() => {
    button.textContent = text;
    delete button.dataset.sure;
  }, 4000);
}

/** Everything about the sound itself. Without a result there is the picture of the song alone. */
function openDesk(first, model, act, say) {
  let job = first;
  const base = (lane) => `/api/jobs/${job.id}/takes/${job.take}/${lane}`;
  const names = Object.keys(LANES).filter((lane) => job.take > 0 || lane === "mixture");
  const lanes = new Lanes(job.seconds, names.map((lane) => new Lane(lane, LANES[lane], () => base(lane))));
  const file = (stem, format, query = "") => `/api/jobs/${job.id}/files/${stem}.${format}${query}`;
  if (job.take === 0) {
    return {
      take: 0, nodes: [el("div", { class: "lanes" }, laneRow(el("p", { class: "lanename", text: "Song" }), lanes.sheets[0]))],
      begin: () => lanes.begin(), close: () => lanes.close(), update() {}, renew() {},
    };
  }
  const pieces = () => {
    const { id, take } = job;
    return (stem, index) => `/api/jobs/${id}/takes/${take}/${stem}/pieces/${index}`;
  };
  const changed = () => {
    transport.update();
    lanes.follow();
    renewal.update(job);
  };
  const player = new Player({ sampleRate: job.sound.sample_rate, seconds: job.seconds, address: pieces(), changed, failed: say });
  lanes.player = player;
  const transport = new Transport(player, lanes);
  const renewal = renewForm(player, act);
  const mixer = new Mixer((gains) => player.setGains(gains));
  const again = againForm(model, job, act);
  const blend = (format) => file("blend", format, `?${new URLSearchParams(mixer.gains)}`);
  const rows = [
    laneRow(el("div", { class: "laneside" }, el("p", { class: "lanename", text: "Song" }), mixer.original), lanes.sheets[0]),
    laneRow(el("div", { class: "laneside" }, el("p", { class: "lanename", text: "Vocals" }), mixer.buttons.vocals), lanes.sheets[1]),
    laneRow(el("div", { class: "laneside" }, el("p", { class: "lanename", text: "Instrumental" }), mixer.buttons.instrumental), lanes.sheets[2]),
  ];
  const loudest = el("p", { class: "hint" });
  bindKeys({ ...transport.keys, ...mixer.keys, n: () => renewal.press() });
  return {
    take: job.take,
    nodes: [
      ...transport.nodes, el("div", { class: "lanes" }, ...rows), transport.views,
      el("div", { class: "cards" },
        el("section", { class: "card" }, el("h2", { text: "Blend" }), mixer.node,
          el("p", { class: "hint", text: "What you hear now, to take away:" }), downloads("what you hear", blend, say)),
        el("section", { class: "card" }, el("h2", { text: "Stems" }),
          el("div", { class: "stem" }, el("span", { text: "Vocals" }), downloads("the vocals", (format) => file("vocals", format), say)),
          el("div", { class: "stem" }, el("span", { text: "Instrumental" }), downloads("the instrumental", (format) => file("instrumental", format), say)),
          el("p", { class: "hint", text: "In wav (32 bit float) both add up to the song, sample by sample." }), loudest),
        el("section", { class: "card" }, el("h2", { text: "Renew a part" }), renewal.node),
        el("section", { class: "card" }, el("h2", { text: "The whole song again" }), again.node)),
      keyHelp(KEYS),
    ],
    begin() {
      lanes.begin();
      changed();
    },
    close() {
      player.close();
      lanes.close();
    },
    renew(now) {
      job = now;
      this.take = job.take;
      player.renew(pieces());
      lanes.redraw();
    },
    update(now) {
      job = now;
      renewal.update(job);
      again.update(job);
      const over = Object.entries(job.peaks).filter(([lane, peak]) => lane !== "mixture" && peak > 1);
      loudest.hidden = over.length === 0;
      loudest.textContent = over.map(([lane, peak]) => `The ${lane} pass full scale by ${(20 * Math.log10(peak)).toFixed(1)} dB: flac clips that, wav keeps it.`).join(" ");
    },
  };
}

function laneRow(side, sheet) {
  return el("div", { class: "lanerow" }, side, sheet);
}
