// Requests of a study's page. The link's secret part stands behind # in the address and goes into a header: it is never
// part of a requested address, so no log and no history of another site holds it.

import { announce, el } from "./dom.js";
import { RequestError, json, request, sending } from "./requests.js";

export { RequestError };

/** The part of the address behind #: a token, or on the server's own machine a listener's number. */
export function ownCode() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function known() {
  return { headers: { authorization: `Bearer ${encodeURIComponent(ownCode())}` } };
}

/** The JSON at `path`. */
export function get(path) {
  return json(path, known());
}

/** Send `table` to `path`; the JSON that comes back. */
export function post(path, table) {
  return json(path, sending(table, known()));
}

/** The bytes of the sound `audio/<id>.wav`. */
export async function sound(audio) {
  const reply = await request(`/api/${audio.replace(/\.wav$/, "")}`, known());
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
