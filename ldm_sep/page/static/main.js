// The page's addresses: all songs, one song, the model. The server keeps everything; a reload shows what is there.

import { RequestError, json, sending } from "./requests.js";
import { el, show } from "./dom.js";
import { bindKeys } from "./keys.js";
import { modelPage } from "./model.js";
import { songPage } from "./song.js";
import { songsPage } from "./songs.js";

let leave = () => {};
let turn = 0;

function problem(title, text) {
  show(el("h1", { text: title }), el("p", { text }),
    el("button", { type: "button", class: "primary", text: "Load again", on: { click: () => location.reload() } }));
}

// A link holds its token behind #, which no server sees; the token becomes a cookie that scripts cannot read.
async function enter() {
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (token !== undefined) {
    await json("/api/door", sending({ token: decodeURIComponent(token) }));
    history.replaceState(null, "", "#/");
  }
  const { open } = await json("/api/door");
  if (!open) throw new RequestError(401, "Please open the whole link that you were given; its last part lets you in.");
}

async function follow() {
  const now = ++turn;
  leave();
  leave = () => {};
  bindKeys({});
  try {
    const model = await json("/api/model");
    const [, page, id] = location.hash.split("/");
    const shown = page === "songs" && id ? await songPage(id, model) : page === "model" ? modelPage(model) : songsPage(model);
    // Another address may have been chosen while this one was loaded.
    if (now !== turn) return shown.leave();
    document.title = shown.title;
    show(...shown.nodes);
    shown.begin();
    leave = shown.leave;
  } catch (error) {
    failed(error);
  }
}

function failed(error) {
  if (error instanceof RequestError) problem(error.status === 401 ? "Your link is needed" : "This did not work", error.message);
  else {
    problem("Something went wrong", "The songs on the server are safe. Please load the page again.");
    throw error;
  }
}

window.addEventListener("hashchange", follow);
enter().then(follow, failed);
