// Waveforms and spectrograms of the part of a song that is in view, from the server's peaks and tiles.

import { el } from "./dom.js";
import { RequestError, json, request } from "./requests.js";

const TILE_PIXELS = 512;
const FRAMES_PER_SECOND = 50;
const TOP_LEVEL = 12;
const KEPT_TILES = 60;

/** One lane: a canvas that shows `view` ({start, end} in seconds) as "wave" or "spectrum". */
export class Lane {
  /** `address()`: of the lane of the present take; `name`: what it shows. */
  constructor(lane, name, address) {
    Object.assign(this, { lane, address });
    this.canvas = el("canvas", { class: `lane ${lane}`, role: "img", "aria-label": `Picture of the ${name}` });
    this.tiles = new Map();
    this.turn = 0;
    this.peaks = null;
  }

  /** Draw anew, for another view, look, size or take. */
  async draw(view, look) {
    const turn = ++this.turn;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    try {
      const drawn = look === "wave" ? await this.wave(view, width) : await this.spectrum(view, width);
      if (turn !== this.turn) return;
      Object.assign(this.canvas, { width, height });
      drawn(this.canvas.getContext("2d"), width, height);
      this.canvas.dataset.drawn = `${look} ${view.start} ${view.end}`;
    } catch (error) {
      // Another take has come; the page that shows it draws again.
      if (!(error instanceof RequestError)) throw error;
    }
  }

  async wave({ start, end }, width) {
    const pixels = Math.min(width, 2048);
    const { peaks } = await json(`${this.address()}/peaks?start=${start}&end=${end}&pixels=${pixels}`);
    const style = getComputedStyle(this.canvas);
    return (pen, wide, high) => {
      pen.fillStyle = style.color;
      const each = wide / pixels;
      peaks.forEach(([low, top], i) => {
        const y = (high / 2) * (1 - top / 127);
        pen.fillRect(i * each, y, Math.max(each, 1), Math.max(1, (high / 2) * ((top - low) / 127)));
      });
    };
  }

  async spectrum({ start, end }, width) {
    const perPixel = ((end - start) * FRAMES_PER_SECOND) / width;
    const level = Math.min(TOP_LEVEL, Math.max(0, Math.floor(Math.log2(Math.max(perPixel, 1)))));
    const seconds = (TILE_PIXELS * 2 ** level) / FRAMES_PER_SECOND;
    const indices = [];
    for (let index = Math.floor(start / seconds); index * seconds < end; index += 1) indices.push(index);
    const pictures = await Promise.all(indices.map((index) => this.tile(level, index)));
    return (pen, wide, high) => {
      pen.imageSmoothingEnabled = true;
      pictures.forEach((picture, i) => {
        if (picture === null) return;
        const scale = (wide / (end - start)) * (2 ** level / FRAMES_PER_SECOND);
        pen.drawImage(picture, ((indices[i] * seconds - start) / (end - start)) * wide, 0, picture.width * scale + 0.5, high);
      });
    };
  }

  async tile(level, index) {
    const path = `${this.address()}/tiles/${level}/${index}`;
    if (!this.tiles.has(path)) {
      const loading = request(path).then(async (reply) => createImageBitmap(await reply.blob())).catch((error) => {
        this.tiles.delete(path);
        if (error instanceof RequestError && error.status === 404) return null;
        throw error;
      });
      this.tiles.set(path, loading);
      for (const key of this.tiles.keys()) if (this.tiles.size > KEPT_TILES) this.tiles.delete(key);
    }
    return this.tiles.get(path);
  }
}

/**
 * Lanes above one another with a line where the song is and a mark over the loop. A press goes there, a pull marks a
 * loop. `player` may be null while there is nothing to play.
 */
export class Lanes {
  constructor(seconds, lanes) {
    this.seconds = seconds;
    this.lanes = lanes;
    this.look = "wave";
    this.view = { start: 0, end: seconds };
    this.player = null;
    const overlay = (name) => lanes.map(() => el("div", { class: name, ariaHidden: "true" }));
    this.heads = overlay("head");
    this.marks = overlay("mark");
    this.sheets = lanes.map((lane, i) => el("div", { class: "sheet" }, lane.canvas, this.marks[i], this.heads[i]));
    for (const sheet of this.sheets) this.listen(sheet);
    this.resized = new ResizeObserver(() => this.redraw());
  }

  begin() {
    this.resized.observe(this.lanes[0].canvas);
  }

  close() {
    this.resized.disconnect();
  }

  redraw() {
    cancelAnimationFrame(this.due);
    this.due = requestAnimationFrame(() => { for (const lane of this.lanes) lane.draw(this.view, this.look); });
    this.place();
  }

  setLook(look) {
    this.look = look;
    for (const sheet of this.sheets) sheet.classList.toggle("spectrum", look === "spectrum");
    this.redraw();
  }

  /** Show `factor` times as much, around the place where the song is; all of it at most. */
  zoom(factor) {
    const { start, end } = this.view;
    const here = this.player?.position ?? start;
    const length = Math.min(this.seconds, Math.max(0.5, (end - start) * factor));
    const centre = here >= start && here <= end ? here : (start + end) / 2;
    this.show(centre - length / 2, length);
  }

  show(start, length) {
    const low = Math.min(Math.max(0, start), Math.max(0, this.seconds - length));
    this.view = { start: low, end: low + length };
    this.redraw();
  }

  whole() {
    this.show(0, this.seconds);
  }

  /** Keep what is heard in view, and the line on it. */
  follow() {
    const { start, end } = this.view;
    const here = this.player?.position ?? 0;
    if (this.player?.playing && !this.pulling && (here > end || here < start)) this.show(here, end - start);
    else this.place();
  }

  place() {
    const { start, end } = this.view;
    const share = (seconds) => (100 * (seconds - start)) / (end - start);
    const here = share(this.player?.position ?? 0);
    for (const head of this.heads) {
      head.hidden = here < 0 || here > 100;
      head.style.left = `${here}%`;
    }
    const loop = this.player?.loop;
    const whole = !loop || loop.end - loop.start > this.seconds - 0.01;
    const left = whole ? 0 : Math.max(0, share(loop.start));
    const right = whole ? 0 : Math.min(100, share(loop.end));
    for (const mark of this.marks) {
      mark.hidden = right <= left;
      mark.classList.toggle("off", !loop?.on);
      mark.style.left = `${left}%`;
      mark.style.width = `${right - left}%`;
    }
  }

  listen(sheet) {
    const at = (event) => {
      const { left, width } = sheet.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
      return this.view.start + share * (this.view.end - this.view.start);
    };
    let from = null;
    sheet.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.player) return;
      from = { x: event.clientX, seconds: at(event) };
      sheet.setPointerCapture(event.pointerId);
    });
    sheet.addEventListener("pointermove", (event) => {
      if (from === null || Math.abs(event.clientX - from.x) < 6) return;
      this.pulling = true;
      const here = at(event);
      this.player.loop = { on: this.player.loop.on, start: Math.min(from.seconds, here), end: Math.max(from.seconds, here) };
      this.place();
    });
    const end = (event) => {
      if (from === null) return;
      const pulled = this.pulling;
      this.pulling = false;
      if (pulled) this.player.setLoop(true);
      else if (event.type === "pointerup") {
        const target = at(event);
        // A press outside the loop leaves it.
        if (this.player.loop.on && (target < this.player.loop.start || target > this.player.loop.end)) this.player.setLoop(false);
        this.player.seek(target);
      }
      from = null;
    };
    sheet.addEventListener("pointerup", end);
    sheet.addEventListener("pointercancel", end);
    sheet.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      const { start, end: last } = this.view;
      if (event.ctrlKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8);
      else this.show(start + ((last - start) * event.deltaX) / 600, last - start);
    }, { passive: false });
  }
}
