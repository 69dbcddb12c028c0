// Both stems on one clock, in pieces of a few seconds. What is heard is a sum: g_v vocals + g_i instrumental, the song
// itself at 1 and 1, so that every switch is a change of two gains and never a change of place. Pieces are fetched a
// little ahead and forgotten behind: an hour takes as much memory as a minute.

const PIECE_SECONDS = 5;
// Pieces come at half their level.
const PIECE_GAIN = 2;
const AHEAD_SECONDS = 1.5;
const LEAD_SECONDS = 0.04;
const KEPT = 10;
const FADE_SECONDS = 0.012;
const SEAM_SECONDS = 0.004;
export const STEMS = ["vocals", "instrumental"];

/** An audio context at the song's rate, so that the browser resamples nothing, where it has one. */
function contextAt(sampleRate) {
  try {
    return new AudioContext({ sampleRate, latencyHint: "interactive" });
  } catch {
    return new AudioContext();
  }
}

export class Player {
  /** `address(stem, index)`: of a piece. `changed()` is called after every change and while playing; `failed(text)`. */
  constructor({ sampleRate, seconds, address, changed, failed }) {
    Object.assign(this, { sampleRate, duration: seconds, address, changed, failed });
    this.gains = { vocals: 1, instrumental: 1 };
    this.loop = { on: false, start: 0, end: seconds };
    this.playing = false;
    this.waiting = false;
    this.offset = 0;
    this.pieces = new Map();
    this.parts = [];
    this.turn = 0;
  }

  /** Seconds from the start of the song. */
  get position() {
    if (!this.playing || !this.parts.length) return this.offset;
    const now = this.context.currentTime;
    const part = this.parts.findLast(({ when }) => when <= now) ?? this.parts[0];
    return part.from + Math.min(Math.max(0, now - part.when), part.length);
  }

  async play() {
    if (this.playing) return;
    this.open();
    this.playing = true;
    await this.context.resume();
    if (this.playing) this.restart(this.offset >= this.duration - 0.01 ? 0 : this.offset);
  }

  pause() {
    if (!this.playing) return;
    this.offset = this.position;
    this.playing = this.waiting = false;
    this.silence();
    this.changed();
  }

  /** Go to `seconds`, or as near as the loop allows. */
  seek(seconds) {
    const { on, start, end } = this.loop;
    const target = Math.min(Math.max(seconds, on ? start : 0), on ? end - 0.02 : this.duration);
    if (this.playing) this.restart(target);
    else this.offset = target;
    this.changed();
  }

  /** Play from `start` to `end` again and again, or on to the end. */
  setLoop(on, start = this.loop.start, end = this.loop.end) {
    const here = this.position;
    const low = Math.max(0, Math.min(start, this.duration - 0.1));
    this.loop = { on, start: low, end: Math.min(this.duration, Math.max(end, low + 0.1)) };
    this.seek(here);
  }

  setGains(gains) {
    this.gains = gains;
    if (this.context) {
      for (const stem of STEMS) this.levels[stem].gain.setTargetAtTime(gains[stem] * PIECE_GAIN, this.context.currentTime, FADE_SECONDS / 3);
    }
    this.changed();
  }

  /** Other samples at the same addresses' places: forget what was fetched and go on where it plays. */
  renew(address) {
    this.address = address;
    this.pieces.clear();
    if (this.playing) this.restart(this.position);
  }

  close() {
    this.pause();
    this.context?.close();
    this.context = null;
  }

  // A browser lets a page sound only after its user did something: the context is made by the first "play".
  open() {
    if (this.context) return;
    this.context = contextAt(this.sampleRate);
    this.levels = {};
    for (const stem of STEMS) {
      this.levels[stem] = new GainNode(this.context, { gain: this.gains[stem] * PIECE_GAIN });
      this.levels[stem].connect(this.context.destination);
    }
  }

  /** Begin anew at `seconds`; what was scheduled before fades out. */
  restart(seconds) {
    this.silence();
    this.offset = seconds;
    this.cursor = seconds;
    this.next = null;
    this.turn += 1;
    this.feed(this.turn);
  }

  silence() {
    clearTimeout(this.timer);
    this.turn += 1;
    if (!this.context) return;
    const now = this.context.currentTime;
    for (const { source, envelope } of this.parts.flatMap(({ voices }) => voices)) {
      envelope.gain.cancelScheduledValues(now);
      envelope.gain.setTargetAtTime(0, now, FADE_SECONDS / 4);
      source.stop(now + FADE_SECONDS);
    }
    this.parts = [];
  }

  /** Schedule pieces until there is enough ahead, then look again in a moment. */
  async feed(turn) {
    try {
      while (turn === this.turn && this.playing) {
        const { currentTime } = this.context;
        this.parts = this.parts.filter(({ when, length }, i) => when + length > currentTime - 1 || i === this.parts.length - 1);
        if (!this.loop.on && this.cursor >= this.duration - 1e-6) {
          if (this.next !== null && currentTime >= this.next) return this.finish();
          break;
        }
        if (this.next !== null && this.next > currentTime + AHEAD_SECONDS) break;
        await this.schedule(turn);
      }
    } catch (error) {
      if (turn !== this.turn) return;
      this.pause();
      this.failed(error.message);
      return;
    }
    if (turn !== this.turn || !this.playing) return;
    this.changed();
    this.timer = setTimeout(() => this.feed(turn), 60);
  }

  finish() {
    this.playing = false;
    this.silence();
    this.offset = 0;
    this.changed();
  }

  async schedule(turn) {
    if (this.loop.on && (this.cursor >= this.loop.end - 1e-6 || this.cursor < this.loop.start)) this.cursor = this.loop.start;
    const index = Math.floor(this.cursor / PIECE_SECONDS + 1e-9);
    this.waiting = !this.ready(index);
    if (this.waiting) this.changed();
    const buffers = await this.piece(index);
    if (turn !== this.turn || !this.playing) return;
    this.piece(index + 1)?.catch(() => {});
    this.waiting = false;
    const from = this.cursor;
    const limit = this.loop.on ? this.loop.end : this.duration;
    const until = Math.min((index + 1) * PIECE_SECONDS, limit);
    const length = until - from;
    const { currentTime } = this.context;
    // Late only at the start, or where a piece did not come in time.
    const when = this.next === null || this.next < currentTime + LEAD_SECONDS / 2 ? currentTime + LEAD_SECONDS : this.next;
    const voices = STEMS.map((stem) => this.voice(stem, buffers[stem], when, from, length));
    for (const { source } of voices) source.start(when, from - index * PIECE_SECONDS, length);
    this.parts.push({ when, from, length, voices });
    this.cursor = until;
    this.next = when + length;
  }

  /** A source with an envelope of its own, which takes the click away where a loop begins and ends. */
  voice(stem, buffer, when, from, length) {
    const source = new AudioBufferSourceNode(this.context, { buffer });
    const envelope = new GainNode(this.context, { gain: 1 });
    const { on, start, end } = this.loop;
    if (on && from === start) {
      envelope.gain.setValueAtTime(0, when);
      envelope.gain.linearRampToValueAtTime(1, when + SEAM_SECONDS);
    }
    if (on && Math.abs(from + length - end) < 1e-6) {
      envelope.gain.setValueAtTime(1, when + length - SEAM_SECONDS);
      envelope.gain.linearRampToValueAtTime(0, when + length);
    }
    source.connect(envelope).connect(this.levels[stem]);
    return { source, envelope };
  }

  /** The stems of a piece, as buffers; null behind the end. */
  piece(index) {
    if (index * PIECE_SECONDS >= this.duration) return null;
    if (!this.pieces.has(index)) {
      const loading = Promise.all(STEMS.map((stem) => this.load(stem, index)))
        .then(([vocals, instrumental]) => ({ vocals, instrumental }));
      const entry = { loading, ready: false };
      loading.then(() => { entry.ready = true; }, () => { if (this.pieces.get(index) === entry) this.pieces.delete(index); });
      this.pieces.set(index, entry);
      for (const key of this.pieces.keys()) if (this.pieces.size > KEPT && key !== index) this.pieces.delete(key);
    }
    return this.pieces.get(index).loading;
  }

  ready(index) {
    return this.pieces.get(index)?.ready ?? false;
  }

  async load(stem, index) {
    const reply = await fetch(this.address(stem, index)).catch(() => null);
    if (!reply?.ok) throw new Error(reply ? "This result is not there any more; load the page again." : "The server cannot be reached.");
    return this.context.decodeAudioData(await reply.arrayBuffer());
  }
}
