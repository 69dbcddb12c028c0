// Play, position, loop, and what the lanes show.

import { clock } from "./clock.js";
import { el } from "./dom.js";
import { withKey } from "./keys.js";
import { loopFromHere, loopToHere } from "./loop.js";
import { exact } from "./words.js";

const NUDGE = 2;
// Seconds of the shortest loop.
const LEAST = 0.1;

export class Transport {
  constructor(player, lanes) {
    Object.assign(this, { player, lanes, taps: [], tempo: 120 });
    this.play = el("button", { class: "primary play", type: "button", on: { click: () => this.toggle() } });
    this.time = el("span", { class: "time", ariaHidden: "true" });
    this.position = el("input", {
      type: "range", min: "0", max: String(player.duration), step: "0.01", "aria-label": "Position",
      on: { input: () => player.seek(Number(this.position.value)) },
    });
    this.loop = button("Loop", "L", () => this.toggleLoop());
    this.from = button("From here", "[", () => loopFromHere(this.player, LEAST));
    this.to = button("To here", "]", () => loopToHere(this.player, LEAST));
    this.bar = button("A bar from here", "R", () => this.loopBar());
    this.range = el("span", { class: "range hint" });
    this.beats = el("input", { type: "number", min: "30", max: "300", step: "0.1", value: "120", on: { change: () => this.setTempo(Number(this.beats.value)) } });
    this.tap = button("Tap", "T", () => this.tapBeat());
    this.tap.setAttribute("aria-label", "Tap the beat to set the tempo");
    this.nodes = [
      el("section", { class: "transport", "aria-label": "Playback" },
        el("div", { class: "line" }, this.play, this.time, el("div", { class: "track" }, this.position))),
      el("section", { class: "line small loops", "aria-label": "Loop" }, this.loop, this.from, this.to, this.bar,
        el("label", { class: "tempo" }, this.beats, " BPM"), this.tap, this.range),
    ];
    this.wave = button("Waveform", "", () => this.setLook("wave"));
    this.spectrum = button("Spectrogram", "", () => this.setLook("spectrum"));
    const zoom = (text, label, act) => el("button", { type: "button", text, "aria-label": label, on: { click: act } });
    this.views = el("div", { class: "line small views" }, this.wave, this.spectrum,
      zoom("+", "Zoom in", () => lanes.zoom(0.5)), zoom("−", "Zoom out", () => lanes.zoom(2)), zoom("All", "Show the whole song", () => lanes.whole()));
    this.setLook("wave");
    this.update();
  }

  get keys() {
    const nudge = (seconds) => () => this.player.seek(this.player.position + seconds);
    const toggle = () => this.toggle();
    return {
      " ": toggle, p: toggle, ",": nudge(-NUDGE), ".": nudge(NUDGE), l: () => this.toggleLoop(), "[": () => loopFromHere(this.player, LEAST),
      "]": () => loopToHere(this.player, LEAST), r: () => this.loopBar(), t: () => this.tapBeat(), "+": () => this.lanes.zoom(0.5), "-": () => this.lanes.zoom(2),
      v: () => this.setLook(this.lanes.look === "wave" ? "spectrum" : "wave"),
    };
  }

  toggle() {
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  toggleLoop() {
    this.player.setLoop(!this.player.loop.on);
  }

  /** Four beats from here. A loop that is on moves on by its length, so that the same key goes from bar to bar. */
  loopBar() {
    const { on, start, end } = this.player.loop;
    const length = 240 / this.tempo;
    const next = on && Math.abs(end - start - length) < 0.01 ? end : this.player.position;
    if (next + 0.1 < this.player.duration) {
      this.player.setLoop(true, next, next + length);
      this.player.seek(next);
    }
  }

  setTempo(tempo) {
    if (tempo >= 30 && tempo <= 300) this.tempo = tempo;
    this.beats.value = String(Math.round(10 * this.tempo) / 10);
  }

  // The mean distance of up to eight taps; a pause begins anew.
  tapBeat() {
    const now = performance.now();
    if (this.taps.length && now - this.taps.at(-1) > 2000) this.taps = [];
    this.taps = [...this.taps.slice(-7), now];
    if (this.taps.length > 1) this.setTempo((60000 * (this.taps.length - 1)) / (now - this.taps[0]));
  }

  setLook(look) {
    this.lanes.setLook(look);
    this.wave.setAttribute("aria-pressed", String(look === "wave"));
    this.spectrum.setAttribute("aria-pressed", String(look === "spectrum"));
  }

  /** Show the player's state. */
  update() {
    const { playing, waiting, position, duration, loop } = this.player;
    const words = waiting ? "Loading" : playing ? "Pause" : "Play";
    if (this.shown !== words) {
      this.play.replaceChildren(...withKey(words, "Space"));
      this.shown = words;
    }
    this.time.textContent = `${clock(position)} / ${clock(duration)}`;
    this.position.value = String(position);
    this.position.setAttribute("aria-valuetext", `${clock(position)} of ${clock(duration)}`);
    this.loop.setAttribute("aria-pressed", String(loop.on));
    this.range.textContent = loop.end - loop.start > duration - 0.01 ? "" : `${exact(loop.start)} to ${exact(loop.end)}`;
  }
}

function button(text, key, act) {
  return el("button", { type: "button", on: { click: act } }, ...(key ? withKey(text, key) : [el("span", { text })]));
}

/** The page's keys, and what they do. */
export const KEYS = [
  ["Space", "play or pause"], [", .", "two seconds back, forward"], ["L", "loop on or off"], ["[ ]", "loop from here, to here"],
  ["R", "loop a bar from here; again: the next"], ["T", "tap the beat"], ["B", "A/B: the song itself, your blend"],
  ["A S", "vocals, instrumental alone"], ["Q W", "vocals, instrumental off"], ["N", "renew the loop"],
  ["V", "waveform or spectrogram"], ["+ -", "zoom"],
];
