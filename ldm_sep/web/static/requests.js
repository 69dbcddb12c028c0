// Requests to our own server.

const TIMEOUT_MS = 30000;

/** What the server refused (`status`), or that it could not be reached (`status` 0). */
export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The reply to a request; it waits where the server says that there were too many. `RequestError` otherwise. */
export async function request(path, options = {}) {
  for (let attempt = 0; ; attempt += 1) {
    let reply;
    try {
      reply = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
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

/** The JSON in the reply to a request. */
export async function json(path, options = {}) {
  const reply = await request(path, options);
  return reply.json().catch(() => {
    throw new RequestError(0, "The server's answer broke off.");
  });
}

/** Options for a request that sends `table`. */
export function sending(table, options = {}) {
  const headers = { "content-type": "application/json", ...options.headers };
  return { method: "POST", body: JSON.stringify(table), ...options, headers };
}
