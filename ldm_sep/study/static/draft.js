// What has been entered on a page and is not saved yet, so that a reload loses nothing. It stays in this tab.

import { randomId } from "./dom.js";

export class Draft {
  /** Fills `form` and the player's listening times from the draft of this page, if there is one. */
  constructor(listener, page, form, player) {
    this.key = `draft/${listener}/${page.stimuli.map((stimulus) => stimulus.id).join("/")}`;
    this.form = form;
    this.player = player;
    const kept = this.read();
    this.session = kept?.session ?? randomId();
    this.started = kept?.started ?? new Date().toISOString();
    if (kept === null) return;
    form.forEach(({ scale, cells }, i) => {
      scale.value = kept.values[i];
      cells.forEach((cell, k) => Object.assign(cell, kept.cells[i][k]));
    });
    for (const [name, seconds] of kept.listened) if (player.listened.has(name)) player.listened.set(name, seconds);
  }

  read() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.key));
      return kept !== null && kept.values.length === this.form.length ? kept : null;
    } catch {
      return null;
    }
  }

  /** Keep what is entered. The events go with it: the same rating sent from before and after a reload is one. */
  keep() {
    const kept = {
      session: this.session,
      started: this.started,
      values: this.form.map(({ scale }) => scale.value),
      cells: this.form.map(({ cells }) => cells.map(({ event, answered }) => ({ event, answered }))),
      listened: [...this.player.listened],
    };
    try {
      sessionStorage.setItem(this.key, JSON.stringify(kept));
    } catch {
      // A browser that stores nothing still rates; only a reload in mid-page starts that page anew.
    }
  }

  forget() {
    try {
      sessionStorage.removeItem(this.key);
    } catch {
      // As above.
    }
  }
}
