// What is heard: the song, or a blend of its stems. Two gains say all of it, since the stems add up to the song.

import { el } from "./dom.js";
import { STEMS } from "./player.js";
import { decibels } from "./words.js";

const OFF_DB = -40;
const TOP_DB = 6;
const NAMES = { vocals: "Vocals", instrumental: "Instrumental" };

export class Mixer {
  /** `changed({vocals, instrumental})` gets the gains. */
  constructor(changed) {
    this.changed = changed;
    this.bypass = false;
    this.muted = { vocals: false, instrumental: false };
    this.solo = null;
    this.level = { vocals: 1, instrumental: 1 };
    this.original = toggle("A/B: original", "B", () => { this.bypass = !this.bypass; this.update(); });
    this.original.setAttribute("aria-label", "A/B: the song as it is, instead of your blend, at the same place");
    this.buttons = {};
    this.mutes = {};
    this.solos = {};
    this.faders = {};
    for (const stem of STEMS) {
      const [mute, solo] = stem === "vocals" ? ["Q", "A"] : ["W", "S"];
      this.mutes[stem] = toggle("Mute", mute, () => this.mute(stem));
      this.solos[stem] = toggle("Solo", solo, () => this.alone(stem));
      this.mutes[stem].setAttribute("aria-label", `Mute the ${stem}`);
      this.solos[stem].setAttribute("aria-label", `Solo the ${stem}`);
      this.buttons[stem] = el("div", { class: "line small" }, this.mutes[stem], this.solos[stem]);
      this.faders[stem] = this.fader(stem);
    }
    this.sum = el("p", { class: "sum", "aria-live": "polite" });
    this.reset = el("button", { type: "button", text: "Back to the song", on: { click: () => this.back() } });
    this.node = el("div", { class: "mixer" }, ...STEMS.map((stem) => this.faders[stem].row), this.sum, el("div", { class: "line" }, this.reset));
    this.update();
  }

  fader(stem) {
    const out = el("output", {});
    const input = el("input", {
      type: "range", min: String(OFF_DB), max: String(TOP_DB), step: "0.5", value: "0", id: `level-${stem}`,
      on: { input: () => this.set(stem, Number(input.value)) },
    });
    const row = el("div", { class: "fader" }, el("label", { for: `level-${stem}`, text: NAMES[stem] }), input, out);
    return { row, input, out };
  }

  set(stem, value) {
    // Near 0 dB it rests there: the song itself is easy to find again.
    const level = Math.abs(value) < 0.75 ? 0 : value;
    this.level[stem] = level <= OFF_DB ? 0 : 10 ** (level / 20);
    this.bypass = false;
    this.update();
  }

  mute(stem) {
    this.muted[stem] = !this.muted[stem];
    this.bypass = false;
    this.update();
  }

  alone(stem) {
    this.solo = this.solo === stem ? null : stem;
    this.bypass = false;
    this.update();
  }

  back() {
    Object.assign(this, { bypass: false, solo: null, muted: { vocals: false, instrumental: false }, level: { vocals: 1, instrumental: 1 } });
    for (const stem of STEMS) this.faders[stem].input.value = "0";
    this.update();
  }

  /** What is heard of each stem. */
  get gains() {
    if (this.bypass) return { vocals: 1, instrumental: 1 };
    const heard = (stem) => (this.solo === null ? !this.muted[stem] : this.solo === stem);
    return Object.fromEntries(STEMS.map((stem) => [stem, heard(stem) ? Math.round(1000 * this.level[stem]) / 1000 : 0]));
  }

  update() {
    this.original.setAttribute("aria-pressed", String(this.bypass));
    for (const stem of STEMS) {
      this.mutes[stem].setAttribute("aria-pressed", String(this.muted[stem]));
      this.solos[stem].setAttribute("aria-pressed", String(this.solo === stem));
      const { input, out } = this.faders[stem];
      const words = this.level[stem] === 0 ? "off" : decibels(this.level[stem]);
      out.textContent = words;
      input.setAttribute("aria-valuetext", words);
    }
    const { gains } = this;
    this.sum.textContent = inWords(gains);
    this.reset.disabled = gains.vocals === 1 && gains.instrumental === 1 && !this.bypass;
    this.changed(gains);
  }

  get keys() {
    return {
      b: () => this.original.click(), q: () => this.mute("vocals"), w: () => this.mute("instrumental"),
      a: () => this.alone("vocals"), s: () => this.alone("instrumental"),
    };
  }
}

/** A blend as the song plus or a stem plus a little of the other. */
function inWords({ vocals, instrumental }) {
  if (vocals === 0 && instrumental === 0) return "You hear nothing: both stems are off.";
  if (vocals === instrumental) return vocals === 1 ? "You hear the song as it is." : `You hear the song at ${decibels(vocals)}.`;
  const [more, less, most, least] = vocals > instrumental ? ["vocals", "instrumental", vocals, instrumental] : ["instrumental", "vocals", instrumental, vocals];
  if (least === 0) return `You hear the ${more} alone${most === 1 ? "" : `, at ${decibels(most)}`}.`;
  if (least === 1) return `You hear the song plus ${Math.round(100 * (most - 1))} % of the ${more}.`;
  return `You hear the ${more} at ${decibels(most)} and the ${less} at ${decibels(least)}.`;
}

function toggle(text, key, act) {
  return el("button", { type: "button", "aria-pressed": "false", on: { click: act } }, el("span", { text }), el("kbd", { text: key, ariaHidden: "true" }));
}
