// The things that ratings are entered with. Each has `short` (its name), `node`, `value` (null while unrated), `isOpen`,
// `enable(on)` and `focus()`, and calls `changed()`.

import { el } from "./dom.js";

/** All values of a question's scale, lowest first. */
export function scaleValues(question) {
  const count = Math.round((question.maximum - question.minimum) / question.step) + 1;
  return Array.from({ length: count }, (_, i) => question.minimum + i * question.step);
}

/** One of a few values: radio buttons. `options`: {value, mark, text}, the mark being what stands large. */
export class Choice {
  constructor(legend, short, options, name, changed) {
    this.short = short;
    this.options = options;
    this.inputs = options.map(() => el("input", { type: "radio", name, on: { change: changed } }));
    const labels = options.map(({ mark, text }, i) =>
      el("label", {}, this.inputs[i], el("span", { class: "mark", text: mark }), el("span", { class: "word", text }),
        mark === String(i + 1) ? null : el("kbd", { text: String(i + 1), ariaHidden: "true" })));
    this.node = el("fieldset", { class: "choice" }, el("legend", { text: legend }), el("div", { class: options.length > 3 ? "options many" : "options" }, ...labels));
  }

  get value() {
    const place = this.inputs.findIndex((input) => input.checked);
    return place < 0 ? null : this.options[place].value;
  }

  set value(value) {
    this.options.forEach((option, i) => { this.inputs[i].checked = option.value === value; });
  }

  /** Choose the option at `place`, as a key does; whether there is one and it can be chosen. */
  pick(place) {
    if (!this.isOpen || place >= this.inputs.length) return false;
    this.inputs[place].checked = true;
    this.inputs[place].dispatchEvent(new Event("change"));
    return true;
  }

  get isOpen() {
    return !this.node.disabled;
  }

  enable(on) {
    this.node.disabled = !on;
  }

  focus() {
    (this.inputs.find((input) => input.checked) ?? this.inputs[0]).focus();
  }
}

/** One of many values: a slider that counts as unrated until it was touched. */
export class Slider {
  constructor(name, question, changed) {
    this.short = name;
    this.question = question;
    this.touched = false;
    this.changed = changed;
    const touch = () => {
      if (this.input.disabled) return;
      this.touched = true;
      this.update();
      this.changed();
    };
    // A tap or a key that leaves the value at the end where it stood sends no input event, and is a rating as well.
    const keyed = (event) => {
      if (/^(Arrow|Page|Home|End)/.test(event.key)) touch();
    };
    this.input = el("input", {
      type: "range", min: String(question.minimum), max: String(question.maximum), step: String(question.step),
      "aria-label": `Rating of ${name}`, on: { input: touch, pointerup: touch, keyup: keyed },
    });
    this.input.value = String(question.minimum);
    this.output = el("output", { class: "rating" });
    this.node = el("div", { class: "slider" }, this.input, this.output);
    this.update();
  }

  get value() {
    return this.touched ? Number(this.input.value) : null;
  }

  set value(value) {
    this.touched = value !== null;
    this.input.value = String(value ?? this.question.minimum);
    this.update();
  }

  update() {
    const value = Number(this.input.value);
    const near = [...this.question.labels].sort((a, b) => Math.abs(a.value - value) - Math.abs(b.value - value))[0];
    this.node.classList.toggle("unrated", !this.touched);
    this.output.textContent = this.touched ? String(value) : "–";
    this.input.setAttribute("aria-valuetext", this.touched ? `${value}${near ? `, ${near.text}` : ""}` : "not rated");
  }

  get isOpen() {
    return !this.input.disabled;
  }

  enable(on) {
    this.input.disabled = !on;
  }

  focus() {
    this.input.focus();
  }
}

/** The words of a scale above its sliders. */
export function scaleWords(question) {
  const span = question.maximum - question.minimum;
  const words = question.labels.map((label) => {
    const word = el("span", { text: label.text });
    word.style.left = `${(100 * (label.value - question.minimum)) / span}%`;
    return word;
  });
  return el("div", { class: "words", ariaHidden: "true" }, ...words);
}
