/** Work that takes a while: the sign with Stop stays until it has ended. */
import { send } from "../server.js";

/** @typedef {import("../page.js").Page} Page */

/**
 * Show the sign while something runs; Stop ends its requests.
 *
 * @template T
 * @param {Page} page
 * @param {string} label
 * @param {number} image id, 0 for none
 * @param {(request: string, signal: AbortSignal) => Promise<T>} act takes the name under which its progress arrives
 * @returns {Promise<T>}
 */
export async function whileBusy(page, label, image, act) {
  const abort = new AbortController();
  const id = page.requestName();
  const entry = { id, label, image, since: Date.now(), done: 0, total: 0, stage: "", waiting: 0, stop: () => abort.abort() };
  page.store.set({ busy: [...page.state.busy, entry] });
  try {
    return await act(id, abort.signal);
  } finally {
    page.store.set({ busy: page.state.busy.filter((/** @type {any} */ other) => other.id !== id) });
  }
}

/**
 * Send a request that takes a while.
 *
 * @param {Page} page
 * @param {string} label
 * @param {string} path
 * @param {any} body
 */
export function busyRequest(page, label, path, body) {
  return whileBusy(page, label, body.image, (request, signal) => send("POST", path, { ...body, request }, signal));
}
