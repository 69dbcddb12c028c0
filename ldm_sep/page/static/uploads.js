// Uploads, two at a time. What a browser has not sent when it is closed is no song on the server.

import { el } from "./dom.js";

const AT_ONCE = 2;

export class Uploads {
  /** `list` gets a row for each upload while it lasts; `say(text)` tells what went wrong, `done()` that one is there. */
  constructor(model, list, { say, done }) {
    this.largest = model.largest_bytes;
    this.list = list;
    this.say = say;
    this.done = done;
    this.waiting = [];
    this.running = 0;
    this.query = { preset: "", seed: "0" };
  }

  add(files) {
    this.say("");
    for (const file of files) {
      if (file.size > this.largest) {
        this.say(`${file.name} has ${Math.ceil(file.size / 1e6)} MB; ${Math.floor(this.largest / 1e6)} MB are taken here.`);
      } else {
        const bar = el("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
        const cancel = el("button", { type: "button", text: "Cancel", "aria-label": `Cancel the upload of ${file.name}` });
        const row = el("li", {}, el("div", { class: "grow" }, el("span", { class: "name", text: file.name }),
          el("p", { class: "state", text: "Uploading" }), bar), el("div", { class: "line" }, cancel));
        this.list.prepend(row);
        this.waiting.push({ file, row, bar, cancel, query: { ...this.query } });
      }
    }
    this.next();
  }

  next() {
    while (this.running < AT_ONCE && this.waiting.length) this.send(this.waiting.shift());
  }

  // XMLHttpRequest, since fetch does not tell how much has been sent.
  send({ file, row, bar, cancel, query }) {
    this.running += 1;
    const request = new XMLHttpRequest();
    const guard = (event) => event.preventDefault();
    window.addEventListener("beforeunload", guard);
    const end = (text) => {
      window.removeEventListener("beforeunload", guard);
      this.running -= 1;
      row.remove();
      if (text) this.say(text);
      this.done();
      this.next();
    };
    request.upload.addEventListener("progress", (event) => { bar.value = event.loaded / Math.max(1, event.total); });
    request.addEventListener("load", () => {
      let reply = {};
      try {
        reply = JSON.parse(request.responseText);
      } catch { /* The words below are enough. */ }
      end(request.status === 201 ? "" : `${file.name}: ${reply.error ?? `the server answered ${request.status}.`}`);
    });
    request.addEventListener("error", () => end(`${file.name} could not be sent; the server may have refused it or be gone.`));
    request.addEventListener("abort", () => end(""));
    cancel.addEventListener("click", () => request.abort());
    request.open("POST", `/api/jobs?${new URLSearchParams({ name: file.name, ...query })}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.send(file);
  }
}
