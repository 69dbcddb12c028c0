// Play, position, loop: what all pages of a study with sounds have in common.

import { clock } from "./clock.js";
import { el } from "./dom.js";
import { withKey } from "./keys.js";
import { loopFromHere, loopToHere } from "./loop.js";

// Seconds of the shortest loop.
const LEAST = 0.25;

export class Transport {
  constructor(player) {
    this.player = player;
    this.play = el("button", { class: "primary play", type: "button", on: { click: () => this.toggle() } });
    this.time = el("span", { class: "time", ariaHidden: "true" });
    this.position = el("input", {
      type: "range", min: "0", max: String(player.duration), step: "0.01", "aria-label": "Position",
      on: { input: () => player.seek(Number(this.position.value)) },
    });
    this.region = el("div", { class: "region", ariaHidden: "true" });
    this.loop = this.button("Loop", "L", () => this.toggleLoop());
    this.from = this.button("From here", "[", () => loopFromHere(this.player, LEAST));
    this.to = this.button("To here", "]", () => loopToHere(this.player, LEAST));
    this.whole = el("button", { type: "button", text: "Whole", on: { click: () => this.wholeLoop() } });
    this.from.setAttribute("aria-label", "Loop from here");
    this.to.setAttribute("aria-label", "Loop to here");
    this.whole.setAttribute("aria-label", "Loop over the whole sound");
    this.node = el(
      "section", { class: "transport", "aria-label": "Playback" },
      el("div", { class: "line" }, this.play, this.time, el("div", { class: "track" }, this.region, this.position)),
      el("div", { class: "line loops" }, this.loop, this.from, this.to, this.whole),
    );
    this.update();
  }

  button(text, key, act) {
    return el("button", { type: "button", on: { click: act } }, ...withKey(text, key));
  }

  /** The keys of the transport, as a table for `bindKeys`. */
  get keys() {
    const nudge = (seconds) => () => this.player.seek(this.player.position + seconds);
    const toggle = () => this.toggle();
    return {
      " ": toggle, p: toggle, ",": nudge(-1), ".": nudge(1),
      l: () => this.toggleLoop(), "[": () => loopFromHere(this.player, LEAST), "]": () => loopToHere(this.player, LEAST),
    };
  }

  toggle() {
    if (this.player.playing) this.player.pause();
    else if (this.player.selected === null) this.player.choose([...this.player.buffers.keys()][0]);
    else this.player.play();
  }

  toggleLoop() {
    this.player.setLoop(!this.player.loop.on);
  }

  wholeLoop() {
    this.player.setLoop(true, 0, this.player.duration);
  }

  /** Show the player's state. */
  update() {
    const { playing, position, duration, loop } = this.player;
    if (this.shown !== playing) {
      this.play.replaceChildren(...withKey(playing ? "Pause" : "Play", "Space"));
      this.shown = playing;
    }
    this.time.textContent = `${clock(position)} / ${clock(duration)}`;
    this.position.value = String(position);
    this.position.setAttribute("aria-valuetext", `${position.toFixed(0)} of ${duration.toFixed(0)} seconds`);
    this.loop.setAttribute("aria-pressed", String(loop.on));
    const part = loop.on && loop.end - loop.start < duration - 0.01;
    this.region.hidden = !part;
    this.region.style.left = `${(100 * loop.start) / duration}%`;
    this.region.style.width = `${(100 * (loop.end - loop.start)) / duration}%`;
    this.whole.disabled = !part;
  }
}

/** The keys of every page with sounds, and what they do. */
export const KEYS = [
  ["Space", "play or pause"], [", .", "one second back, forward"], ["L", "loop on or off"],
  ["[ ]", "loop from here, to here"], ["Enter", "next page"],
];
