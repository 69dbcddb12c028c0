// What each method asks on a page. A form is a list of entries:
//   scale   what the listener enters a value with
//   cells   the ratings that the value gives: stimulus, question, and the rating as a function of the value
//   needs   the sounds that must have been heard before the scale opens
//   after   the entry that must be rated first, or null
//   live    the sound that must be playing while the scale is moved, or null

import { el, randomId } from "./dom.js";
import { Choice, Slider, scaleValues, scaleWords } from "./scales.js";

// Without L, P and R, which are keys of the player.
const LETTERS = "ABCDEFGHIJKMNOQSTUVWXYZ";

/** The name by which the sound at `place` of the page's order goes. */
export function letterOf(place) {
  return LETTERS[place] ?? String(place + 1);
}

function cell(stimulus, question, rating = (value) => value) {
  return { stimulus: stimulus.id, question: question.id, rating, event: randomId(), answered: null };
}

// ITU-T P.835: one sound, and its questions one after another.
function questionsInOrder(session, page, changed) {
  const [stimulus] = page.stimuli;
  const entries = [];
  session.questions.forEach((question, i) => {
    // A label may begin with its value, for places that show the label alone; here the value stands above it.
    const words = new Map(question.labels.map(({ value, text }) => [value, text.replace(/^[\d.]+\s*:\s*/, "")]));
    const options = scaleValues(question).map((value) => ({ value, mark: String(value), text: words.get(value) ?? "" }));
    const scale = new Choice(`${i + 1}. ${question.text}`, `question ${i + 1}`, options, question.id, () => changed(i));
    entries.push({ scale, cells: [cell(stimulus, question)], needs: [stimulus.id], after: entries[i - 1] ?? null, live: null });
  });
  return entries;
}

// A/B: one choice, which rates both sounds.
function preference(session, page, changed) {
  const [question] = session.questions;
  const [a, b] = page.stimuli;
  const options = [{ value: 1, mark: "A", text: "is better" }, { value: 0, mark: "B", text: "is better" }];
  if (scaleValues(question).length > 2) options.splice(1, 0, { value: 0.5, mark: "=", text: "no preference" });
  const scale = new Choice(question.text, "the preference", options, question.id, () => changed(0));
  const cells = [cell(a, question), cell(b, question, (value) => 1 - value)];
  return [{ scale, cells, needs: [a.id, b.id], after: null, live: null }];
}

// MUSHRA and BS.2132: a slider for each sound, which moves while that sound plays.
function sliders(session, page, changed) {
  const [question] = session.questions;
  return page.stimuli.map((stimulus, i) => {
    const scale = new Slider(`Sound ${letterOf(i)}`, question, () => changed(i));
    return { scale, cells: [cell(stimulus, question)], needs: [stimulus.id], after: null, live: stimulus.id };
  });
}

/** The entries of a page. `changed(i)` is called when the value of entry i has changed. */
export function makeForm(session, page, changed) {
  const make = { p835: questionsInOrder, ab: preference, mushra: sliders, bs2132: sliders };
  return make[session.method](session, page, changed);
}

/** The form as it stands on the page. `buttons`: the buttons of the page's sounds, in their order; `reference`: its own. */
export function layOut(session, entries, transport, buttons, reference) {
  const [question] = session.questions;
  if (entries[0].live === null) {
    if (buttons.length > 1) reference?.classList.add("alone");
    const sounds = el("div", { class: "sounds", role: "group", "aria-label": "Sounds" }, reference, ...buttons);
    return [sounds, transport, ...entries.map((entry) => entry.scale.node)];
  }
  const given = reference === null ? null : el("div", { class: "sounds" }, reference);
  const rows = entries.map((entry, i) => el("div", { class: "row" }, buttons[i], entry.scale.node));
  return [
    ...(given === null ? [] : [given]), transport,
    el("section", { class: "sliders", "aria-label": "Ratings" },
      el("h2", { text: question.text }), el("div", { class: "row head" }, scaleWords(question)), ...rows),
  ];
}
