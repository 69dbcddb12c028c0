// Several sounds on one clock. All of them play at once, started at one instant at one position, and all but the chosen
// one are silent: switching is a change of gains, so it never loses a sample.

const FADE_SECONDS = 0.01;
const LEAD_SECONDS = 0.03;

let shared = null;

/** The page's one audio context, at the rate of the study's files so that the browser resamples nothing. */
export function audioContext(sampleRate) {
  if (shared === null) {
    try {
      shared = new AudioContext({ sampleRate, latencyHint: "interactive" });
    } catch {
      shared = new AudioContext();
    }
  }
  return shared;
}

export class Player {
  /** `buffers`: name -> AudioBuffer, all of one length. `changed()` is called after every change and while playing. */
  constructor(context, buffers, changed) {
    this.context = context;
    this.buffers = buffers;
    this.changed = changed;
    this.duration = Math.min(...[...buffers.values()].map((buffer) => buffer.duration));
    this.selected = null;
    this.playing = false;
    this.loop = { on: true, start: 0, end: this.duration };
    this.listened = new Map([...buffers.keys()].map((name) => [name, 0]));
    this.voices = new Map();
    this.offset = 0;
    this.startedAt = 0;
    this.countedAt = 0;
    this.timer = null;
  }

  /** Seconds from the start of the sounds. */
  get position() {
    if (!this.playing) return this.offset;
    const reached = this.offset + Math.max(0, this.context.currentTime - this.startedAt);
    const { on, start, end } = this.loop;
    if (!on || reached < end) return Math.min(reached, this.duration);
    return start + ((reached - end) % (end - start));
  }

  /** Make `name` the audible one; start if nothing plays yet. */
  async choose(name) {
    this.count();
    this.selected = name;
    for (const [other, { gain }] of this.voices) this.fade(gain, other === name ? 1 : 0);
    if (!this.playing) await this.play();
    this.changed();
  }

  async play() {
    if (this.selected === null || this.playing) return;
    this.playing = true;
    await this.context.resume();
    // It may have been stopped while the browser woke its sound output up.
    if (this.playing) this.start(this.offset);
    this.timer ??= setInterval(() => this.tick(), 50);
    this.changed();
  }

  pause() {
    if (!this.playing) return;
    this.count();
    this.offset = this.position;
    this.halt();
    this.changed();
  }

  /** Go to `seconds`, or as near as the loop allows. */
  seek(seconds) {
    const { on, start, end } = this.loop;
    const low = on ? start : 0;
    const high = on ? end - 0.05 : this.duration;
    const target = Math.min(Math.max(seconds, low), high);
    if (this.playing) {
      this.count();
      this.start(target);
    } else {
      this.offset = target;
    }
    this.changed();
  }

  /** Play from `start` to `end` again and again, or to the end of the sounds once. A loop is a quarter second at least. */
  setLoop(on, start = this.loop.start, end = this.loop.end) {
    const here = this.position;
    const low = Math.max(0, Math.min(start, this.duration - 0.25));
    this.loop = { on, start: low, end: Math.min(this.duration, Math.max(end, low + 0.25)) };
    this.seek(here);
  }

  /** Stop for good. */
  close() {
    this.halt();
    this.selected = null;
  }

  start(offset) {
    this.stopVoices();
    const when = this.context.currentTime + LEAD_SECONDS;
    for (const [name, buffer] of this.buffers) {
      const source = new AudioBufferSourceNode(this.context, {
        buffer, loop: this.loop.on, loopStart: this.loop.start, loopEnd: this.loop.end,
      });
      const gain = new GainNode(this.context, { gain: 0 });
      source.connect(gain).connect(this.context.destination);
      source.start(when, offset);
      this.voices.set(name, { source, gain });
    }
    this.fade(this.voices.get(this.selected).gain, 1);
    this.offset = offset;
    this.startedAt = when;
    this.countedAt = when;
  }

  fade(gain, value) {
    const now = this.context.currentTime;
    gain.gain.cancelScheduledValues(now);
    gain.gain.setValueAtTime(gain.gain.value, now);
    gain.gain.linearRampToValueAtTime(value, now + FADE_SECONDS);
  }

  stopVoices() {
    const end = this.context.currentTime + FADE_SECONDS;
    for (const { source, gain } of this.voices.values()) {
      this.fade(gain, 0);
      source.stop(end);
    }
    this.voices.clear();
  }

  halt() {
    this.playing = false;
    this.stopVoices();
    clearInterval(this.timer);
    this.timer = null;
  }

  // Seconds are counted by the audio clock: a page that the browser slows down in the background counts right.
  count() {
    if (!this.playing || this.selected === null) return;
    const now = this.context.currentTime;
    if (now > this.countedAt) {
      this.listened.set(this.selected, this.listened.get(this.selected) + now - this.countedAt);
      this.countedAt = now;
    }
  }

  tick() {
    this.count();
    if (this.playing && !this.loop.on && this.position >= this.duration) {
      this.halt();
      this.offset = 0;
    }
    this.changed();
  }
}
