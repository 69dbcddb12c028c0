// Requests to our own server. The link's secret part stands behind # in the address and goes into a header: it is never
// part of a requested address, so no log and no history of another site holds it.

import { announce, el } from "./dom.js";

const TIMEOUT_MS = 30000;

/** What the server refused (`status`), or that it could not be reached (`status` 0). */
export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The part of the address behind #: a token, or on the server's own machine a listener's number. */
export function ownCode() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

async function request(path, options = {}) {
  const headers = { authorization: `Bearer ${encodeURIComponent(ownCode())}`, ...options.headers };
  for (let attempt = 0; ; attempt += 1) {
    let reply;
    try {
      reply = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    } catch {
      throw new RequestError(0, "The server cannot be reached.");
    }
    if (reply.ok) return reply;
    if (reply.status === 429 && attempt < 3) {
      const seconds = Math.min(Number(reply.headers.get("retry-after")) || 1, 5);
      await new Promise((done) => setTimeout(done, 1000 * seconds));
      continue;
    }
    const table = await reply.json().catch(() => ({}));
    throw new RequestError(reply.status, table.error ?? `The server answered ${reply.status}.`);
  }
}

/** The JSON at `path`. */
export async function get(path) {
  const reply = await request(path);
  return reply.json().catch(() => {
    throw new RequestError(0, "The server's answer broke off.");
  });
}

/** Send `table` to `path`; the JSON that comes back. */
export async function post(path, table) {
  const headers = { "content-type": "application/json" };
  const reply = await request(path, { method: "POST", body: JSON.stringify(table), headers });
  return reply.json().catch(() => {
    throw new RequestError(0, "The server's answer broke off.");
  });
}

/** The bytes of the sound `audio/<id>.wav`. */
export async function sound(audio) {
  const reply = await request(`/api/${audio.replace(/\.wav$/, "")}`);
  return reply.arrayBuffer().catch(() => {
    throw new RequestError(0, "A sound could not be loaded completely.");
  });
}

/**
 * Do `work` and return its result. Where it fails, `box` says so and offers to try again, for as long as it takes; what
 * the listener has entered stays as it is.
 */
export async function untilItWorks(work, box, lead) {
  for (;;) {
    try {
      const result = await work();
      box.replaceChildren();
      return result;
    } catch (error) {
      if (!(error instanceof RequestError) || [401, 409, 422].includes(error.status)) throw error;
      await new Promise((again) => {
        const button = el("button", { class: "primary", text: "Try again", on: { click: again } });
        box.replaceChildren(el("div", { class: "alert", role: "alert" }, el("p", { text: `${lead} ${error.message}` }), button));
        button.focus();
      });
      announce("Trying again");
    }
  }
}
