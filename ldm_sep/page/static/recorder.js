// A song from the microphone. What browsers do for speech (echo, noise, level) is switched off.

import { el } from "./dom.js";
import { clock } from "./clock.js";

const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/** A button that records; `take(file)` gets what was recorded. Hidden where the browser has no microphone to give. */
export function recorder(take, say) {
  const button = el("button", { type: "button", text: "Record", on: { click: () => (running ? running.stop() : begin()) } });
  // Browsers give microphones to pages of this machine and of https only.
  button.hidden = !(navigator.mediaDevices && window.MediaRecorder);
  let running = null;

  async function begin() {
    say("");
    button.disabled = true;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { ...PLAIN, channelCount: 2 } });
    } catch {
      say("The browser gave no microphone. Allow it for this page, or choose a file.");
      return;
    } finally {
      button.disabled = false;
    }
    const parts = [];
    running = new MediaRecorder(stream, { audioBitsPerSecond: 256000 });
    const began = performance.now();
    const ticking = setInterval(() => { button.textContent = `Stop, ${clock((performance.now() - began) / 1000)}`; }, 250);
    button.textContent = "Stop, 0:00";
    button.classList.add("recording");
    running.addEventListener("dataavailable", (event) => parts.push(event.data));
    running.addEventListener("stop", () => {
      clearInterval(ticking);
      for (const track of stream.getTracks()) track.stop();
      const kind = running.mimeType.split(";")[0];
      running = null;
      button.textContent = "Record";
      button.classList.remove("recording");
      const suffix = kind.endsWith("mp4") ? "m4a" : kind.endsWith("ogg") ? "ogg" : "webm";
      const name = `Recording ${new Date().toLocaleString("sv").replaceAll(":", ".")}.${suffix}`;
      take(new File(parts, name, { type: kind }));
    });
    running.start(1000);
  }
  return button;
}
