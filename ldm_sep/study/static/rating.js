// One page of ratings: sounds on one clock and a form for them. It is done when everything was heard, rated and saved.

import { post, sound, untilItWorks } from "./api.js";
import { announce, el, paragraphs, show } from "./dom.js";
import { Draft } from "./draft.js";
import { layOut, letterOf, makeForm } from "./forms.js";
import { bindKeys, keyHelp } from "./keys.js";
import { Player, audioContext } from "./player.js";
import { KEYS, Transport } from "./transport.js";

const REFERENCE = "reference";

/** Load and decode sounds, name -> AudioBuffer, however often it takes. `sounds`: pairs of name and audio file. */
export async function loadSounds(context, sounds) {
  const bar = el("progress", { max: sounds.length, value: 0, "aria-label": "Sounds loaded" });
  const box = el("div");
  show(el("p", { class: "loading", text: "Loading the sounds …" }), bar, box);
  const buffers = new Map();
  for (const [name, audio] of sounds) {
    const data = await untilItWorks(() => sound(audio), box, "A sound could not be loaded.");
    buffers.set(name, await context.decodeAudioData(data));
    bar.value = buffers.size;
  }
  return buffers;
}

class RatingPage {
  // One of `done(position)` and `failed(error)` is called in the end.
  constructor(session, page, context, buffers, done, failed) {
    this.session = session;
    this.page = page;
    this.done = done;
    this.failed = failed;
    this.heardAfter = Math.min(session.heard, 0.9 * page.trial.seconds);
    this.player = new Player(context, buffers, () => this.update());
    this.transport = new Transport(this.player);
    this.form = makeForm(session, page, (i) => this.rated(this.form[i]));
    this.buttons = new Map([...buffers.keys()].map((name) => [name, this.soundButton(name)]));
    this.next = el("button", { class: "primary next", type: "button", on: { click: () => this.submit() } },
      el("span", { text: "Save and go on" }), el("kbd", { text: "Enter", ariaHidden: "true" }));
    this.message = el("div", { class: "message" });
    this.draft = new Draft(session.listener, page, this.form, this.player);
    this.saving = false;
  }

  placeOf(name) {
    return this.page.stimuli.findIndex((stimulus) => stimulus.id === name);
  }

  nameOf(name) {
    if (name === REFERENCE) return this.session.texts.reference;
    return this.session.method === "p835" ? "Sound to rate" : `Sound ${letterOf(this.placeOf(name))}`;
  }

  keyOf(name) {
    return name === REFERENCE ? "R" : letterOf(this.placeOf(name));
  }

  soundButton(name) {
    return el("button", { type: "button", class: "sound", on: { click: () => this.choose(name) } },
      el("span", { text: this.nameOf(name) }), el("kbd", { text: this.keyOf(name), ariaHidden: "true" }));
  }

  /** `explain`: whether the instructions are unfolded. */
  show(explain) {
    const { training, stimuli } = this.page;
    const { texts, method } = this.session;
    const intro = el("details", { class: "intro", open: explain },
      el("summary", { text: "What to do" }), ...paragraphs(training ? `${texts.training}\n\n${texts.instructions}` : texts.instructions));
    const rows = [[stimuli.map((_, i) => letterOf(i)).slice(0, 9).join(" "), stimuli.length > 1 ? "hear that sound" : "hear the sound to rate"]];
    if (this.buttons.has(REFERENCE)) rows.unshift(["R", `hear: ${texts.reference}`]);
    rows.push(this.form[0].live === null ? ["1 … 9", "rate, by the place on the scale"] : ["← →", "move the slider by one step"]);
    show(
      el("h1", { text: training ? "Practice" : method === "ab" ? "Which do you prefer?" : "Listen and rate" }),
      intro,
      ...layOut(this.session, this.form, this.transport.node, stimuli.map(({ id }) => this.buttons.get(id)),
        this.buttons.get(REFERENCE) ?? null),
      this.message, this.next, keyHelp([...rows, ...KEYS]),
    );
    this.bindKeys();
    this.update();
  }

  bindKeys() {
    const table = { ...this.transport.keys, Enter: () => this.submit() };
    for (const name of this.buttons.keys()) table[this.keyOf(name).toLowerCase()] = () => this.choose(name);
    if (this.form[0].live === null) {
      for (let i = 0; i < 9; i += 1) table[String(i + 1)] = () => this.pick(i);
    }
    bindKeys(table);
  }

  // A digit answers the question that has the focus, else the first that is left, and goes on to the next.
  pick(place) {
    const focused = this.form.find(({ scale }) => scale.node.contains(document.activeElement));
    const { scale } = focused ?? this.form.find((entry) => entry.scale.value === null) ?? this.form.at(-1);
    if (!scale.pick(place)) return;
    const left = this.form.find((entry) => entry.scale.value === null);
    if (left) left.scale.focus();
    else this.next.focus();
  }

  async choose(name) {
    await this.player.choose(name);
    announce(`${this.nameOf(name)} plays`);
  }

  isHeard(name) {
    return this.player.listened.get(name) >= this.heardAfter;
  }

  rated(entry) {
    for (const cell of entry.cells) cell.answered = new Date().toISOString();
    this.message.replaceChildren();
    this.draft.keep();
    this.update();
  }

  update() {
    const { selected, playing } = this.player;
    this.transport.update();
    for (const [name, button] of this.buttons) {
      button.setAttribute("aria-pressed", String(name === selected));
      button.classList.toggle("playing", name === selected && playing);
      button.classList.toggle("heard", this.isHeard(name));
    }
    for (const { scale, needs, after, live } of this.form) {
      const open = needs.every((name) => this.isHeard(name)) && (after === null || after.scale.value !== null);
      const wasOpen = scale.isOpen;
      scale.enable(open && (live === null || (live === selected && playing)));
      // A slider opens a moment after its sound began: the arrow keys are its own from then on, unless they are in use.
      if (live !== null && scale.isOpen && !wasOpen && document.activeElement.matches("body, h1, .sound")) scale.focus();
    }
    this.next.classList.toggle("ready", this.missing().length === 0);
  }

  /** What is still to do, in words. */
  missing() {
    const unheard = this.page.stimuli.map(({ id }) => id).filter((name) => !this.isHeard(name));
    const unrated = this.form.filter(({ scale }) => scale.value === null);
    return [
      ...(unheard.length ? [`Listen to: ${unheard.map((name) => this.nameOf(name)).join(", ")}.`] : []),
      ...(unrated.length ? [`Rate: ${unrated.map(({ scale }) => scale.short).join(", ")}.`] : []),
    ];
  }

  async submit() {
    if (this.saving) return;
    const missing = this.missing();
    if (missing.length) {
      this.message.replaceChildren(el("div", { class: "alert", role: "alert" },
        el("p", { text: "Before you go on:" }), el("ul", {}, ...missing.map((text) => el("li", { text })))));
      return;
    }
    this.saving = true;
    this.player.pause();
    this.next.disabled = true;
    bindKeys({});
    announce("Saving");
    const answers = this.form.flatMap(({ scale, cells }) => cells.map(({ rating, ...cell }) => ({
      ...cell, rating: rating(scale.value), trial: this.page.trial.id, session: this.draft.session,
      started: this.draft.started, listened: this.player.listened.get(cell.stimulus),
    })));
    try {
      const save = () => post("/api/answers", { answers });
      const position = await untilItWorks(save, this.message, "Your ratings are not saved yet; they are still here.");
      this.draft.forget();
      this.done(position);
    } catch (error) {
      this.failed(error);
    } finally {
      this.player.close();
    }
  }
}

/** Show the page of a position and return the position after it, when its ratings are saved. */
export async function ratePage(session, { page, done: before }) {
  const context = audioContext(session.sample_rate);
  const sounds = page.stimuli.map(({ id, audio }) => [id, audio]);
  if (page.trial.reference) sounds.unshift([REFERENCE, page.trial.reference]);
  const buffers = await loadSounds(context, sounds);
  return new Promise((done, failed) => {
    new RatingPage(session, page, context, buffers, done, failed).show(before === 0);
  });
}
