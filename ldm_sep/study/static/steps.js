// The steps around the ratings: each resolves with the position that comes after it.

import { post, untilItWorks } from "./api.js";
import { el, paragraphs, randomId, show } from "./dom.js";
import { TRIALS, checkHeadphones } from "./headphones.js";
import { bindKeys } from "./keys.js";
import { Player, audioContext } from "./player.js";
import { loadSounds } from "./rating.js";
import { Transport } from "./transport.js";

const SESSION = randomId();

/** Record that `step` was passed; the new position. A failed attempt is offered again in `box`. */
function pass(step, box, rest = {}) {
  const table = { kind: "milestone", step, session: SESSION, event: randomId(), at: new Date().toISOString(), ...rest };
  return untilItWorks(() => post("/api/milestones", table), box, "This step is not saved yet.");
}

// A page with one button at its end; resolves with the box for messages when it is pressed.
function untilPressed(button, ...content) {
  return new Promise((pressed) => {
    const box = el("div", { class: "message" });
    const go = () => {
      if (button.disabled) return;
      button.disabled = true;
      bindKeys({});
      pressed(box);
    };
    button.addEventListener("click", go);
    show(...content, box, button);
    bindKeys({ Enter: go });
  });
}

function button(text) {
  return el("button", { type: "button", class: "primary next" }, el("span", { text }),
    el("kbd", { text: "Enter", ariaHidden: "true" }));
}

export async function consent({ texts }) {
  const agree = el("input", { type: "checkbox", on: { change: () => { go.disabled = !agree.checked; } } });
  const go = button("Begin");
  go.disabled = true;
  const box = await untilPressed(go, el("h1", { text: "About this study" }), ...paragraphs(texts.consent),
    el("label", { class: "check" }, agree, "I have read this and I take part."));
  return pass("consent", box);
}

export async function level({ sample_rate, level_audio }) {
  const context = audioContext(sample_rate);
  const buffers = await loadSounds(context, [["level", level_audio]]);
  const go = button("The level is right");
  go.disabled = true;
  const player = new Player(context, buffers, () => {
    transport.update();
    if (player.listened.get("level") > 1) go.disabled = false;
  });
  const transport = new Transport(player);
  const pressed = untilPressed(go,
    el("h1", { text: "Set the level" }),
    el("p", { text: "Put on your headphones. Play the sound and set the volume of your device so that you hear every detail and nothing is too loud." }),
    el("p", { text: "Leave the volume as it is from then on." }), transport.node);
  bindKeys({ ...transport.keys, Enter: () => go.click() });
  const box = await pressed;
  player.close();
  return pass("level", box);
}

export async function headphones({ sample_rate, loudness_lufs, headphones_passed }) {
  const correct = await checkHeadphones(audioContext(sample_rate), loudness_lufs);
  const box = el("div", { class: "message" });
  show(el("h1", { text: "Headphone check" }), box);
  const position = await pass("headphones", box, { correct });
  if (position.step === "headphones") {
    await untilPressed(button("Try again"),
      el("h1", { text: "The headphones were not recognised" }),
      el("p", { text: `${correct} of ${TRIALS} answers were right; ${headphones_passed} are needed.` }),
      el("p", { text: "Are the headphones plugged in and switched on, with both ears playing? Loudspeakers, one ear alone, and sound effects such as virtual surround make the check fail. If it keeps failing, tell the experimenter." }));
  }
  return position;
}

export async function training() {
  const box = await untilPressed(button("Start"),
    el("h1", { text: "The practice is over" }),
    el("p", { text: "From here on your ratings count. You can take a break on any page: what you have saved stays saved, and this link leads back to where you were." }));
  return pass("training", box);
}

export async function finished() {
  const comment = el("textarea", { rows: "5", maxLength: 4000, id: "comment" });
  const box = await untilPressed(button("Finish"), el("h1", { text: "That was the last page" }),
    el("label", { for: "comment", text: "Is there anything that you would like to tell us? (You may leave this empty.)" }), comment);
  return pass("finished", box, { comment: comment.value });
}

export function done({ texts }, local) {
  bindKeys({});
  show(el("h1", { text: "Everything is saved" }), ...paragraphs(texts.thanks),
    local ? el("p", {}, el("a", { href: "/", text: "To the list of listeners" })) : null);
}
