// Are headphones worn? Woods, Siegel, Traer and McDermott (2017), "Headphone screening to facilitate web-based auditory
// experiments": of three tones of 200 Hz, one is 6 dB weaker and another is in opposite phase in the two ears. Over
// loudspeakers the opposite phases cancel, and the wrong tone seems to be the quietest.

import { announce, el, randomBelow, show, shuffled } from "./dom.js";
import { bindKeys } from "./keys.js";

export const TRIALS = 6;
const TONE_HZ = 200;
const TONE_SECONDS = 1.0;
const GAP_SECONDS = 0.5;
const RAMP_SECONDS = 0.1;
const QUIET_DB = -6;

/** Six trials: where the quiet tone is (each place twice, in random order) and where the one in opposite phase. */
export function drawTrials() {
  return shuffled([0, 0, 1, 1, 2, 2]).map((quiet) => {
    const opposite = (quiet + 1 + randomBelow(2)) % 3;
    return { quiet, opposite };
  });
}

/** The three tones of a trial as one stereo buffer, as loud as a study of `lufs` (BS.1770, both channels). */
export function makeTones(context, { quiet, opposite }, lufs) {
  const rate = context.sampleRate;
  const tone = Math.round(TONE_SECONDS * rate);
  const gap = Math.round(GAP_SECONDS * rate);
  const ramp = Math.round(RAMP_SECONDS * rate);
  const buffer = context.createBuffer(2, 3 * tone + 2 * gap, rate);
  const [left, right] = [buffer.getChannelData(0), buffer.getChannelData(1)];
  // A sine of amplitude a in both channels has a mean square of a² in all, and -0.691 + 10 log10(a²) LUFS near 200 Hz.
  const amplitude = Math.min(0.5, 10 ** ((lufs + 0.691) / 20));
  for (let place = 0; place < 3; place += 1) {
    const level = amplitude * (place === quiet ? 10 ** (QUIET_DB / 20) : 1);
    const sign = place === opposite ? -1 : 1;
    for (let i = 0; i < tone; i += 1) {
      const edge = Math.min(1, i / ramp, (tone - 1 - i) / ramp);
      const value = level * 0.5 * (1 - Math.cos(Math.PI * edge)) * Math.sin((2 * Math.PI * TONE_HZ * i) / rate);
      left[place * (tone + gap) + i] = value;
      right[place * (tone + gap) + i] = sign * value;
    }
  }
  return buffer;
}

// One trial: the tones may be heard again; resolves with the place that was chosen.
function askTrial(context, trial, number, lufs) {
  return new Promise((chosen) => {
    const buffer = makeTones(context, trial, lufs);
    let source = null;
    let timers = [];
    const stop = () => {
      timers.forEach(clearTimeout);
      timers = [];
      source?.stop();
      source = null;
    };
    const choose = (place) => {
      if (choices[place].disabled) return;
      stop();
      chosen(place);
    };
    const choices = [0, 1, 2].map((place) =>
      el("button", { type: "button", class: "sound", disabled: true, on: { click: () => choose(place) } },
        el("span", { text: `Tone ${place + 1}` }), el("kbd", { text: String(place + 1), ariaHidden: "true" })));
    const light = (place) => choices.forEach((button, i) => button.classList.toggle("playing", i === place));
    const play = async () => {
      if (source !== null) return;
      await context.resume();
      if (source !== null) return;
      source = new AudioBufferSourceNode(context, { buffer });
      source.connect(context.destination);
      source.start();
      const step = 1000 * (TONE_SECONDS + GAP_SECONDS);
      timers = [0, 1, 2].flatMap((i) => [
        setTimeout(() => light(i), i * step),
        setTimeout(() => light(-1), i * step + 1000 * TONE_SECONDS),
      ]);
      source.onended = () => {
        if (source === null) return;
        stop();
        choices.forEach((button) => { button.disabled = false; });
        announce("Which tone was the quietest?");
      };
    };
    bindKeys({ " ": play, p: play, 1: () => choose(0), 2: () => choose(1), 3: () => choose(2) });
    show(
      el("h1", { text: `Headphone check, ${number + 1} of ${TRIALS}` }),
      el("p", { text: "Wear your headphones. Play the three tones and say which one is the quietest." }),
      el("div", { class: "line" }, el("button", { type: "button", class: "primary play", on: { click: play } },
        el("span", { text: "Play the tones" }), el("kbd", { text: "Space", ariaHidden: "true" }))),
      el("h2", { text: "Which tone is the quietest?" }),
      el("div", { class: "sounds three", role: "group", "aria-label": "Quietest tone" }, ...choices),
    );
  });
}

/** All six trials; how many were right. */
export async function checkHeadphones(context, lufs) {
  let correct = 0;
  for (const [number, trial] of drawTrials().entries()) {
    if ((await askTrial(context, trial, number, lufs)) === trial.quiet) correct += 1;
  }
  bindKeys({});
  return correct;
}
