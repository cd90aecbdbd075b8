/** Requests to the server: JSON both ways, one sentence when something goes wrong. */

export class RequestError extends Error {
  /**
   * @param {string} message a sentence for people
   * @param {number} status 0 when no answer came
   * @param {any} body
   */
  constructor(message, status, body = {}) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/**
 * Send a request; the answer as JSON.
 *
 * @param {string} method
 * @param {string} path
 * @param {any} [body] JSON, or FormData as it is
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function send(method, path, body, signal) {
  return (await respond(method, path, body, signal)).json();
}

/**
 * Send a request; the answer as a file with its name.
 *
 * @param {string} path
 * @param {any} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<{name: string, blob: Blob}>}
 */
export async function download(path, body, signal) {
  const response = await respond("POST", path, body, signal);
  const disposition = response.headers.get("content-disposition") ?? "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(disposition)?.[1];
  const name = encoded ? decodeURIComponent(encoded) : (/filename="?([^";]+)/.exec(disposition)?.[1] ?? "export");
  return { name, blob: await response.blob() };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {AbortSignal} [signal]
 */
async function respond(method, path, body, signal) {
  /** @type {RequestInit} */
  const options = { method, signal, headers: {} };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (/** @type {Error} */ (error).name === "AbortError") throw error;
    throw new RequestError("The server does not answer. Is Maskwright still running?", 0);
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) location.reload();
  const sentence = typeof answer.error === "string" ? answer.error : `The server answered ${response.status}.`;
  throw new RequestError([sentence, answer.hint].filter(Boolean).join(" "), response.status, answer);
}
