/** What all actions and panels share: the state, the stage, and a way to tell something. */
import { RequestError } from "./server.js";
import { Store } from "./store.js";
import { clock } from "./text.js";

let numbers = 0;

export class Page {
  constructor() {
    this.store = new Store();
    /** @type {import("./canvas/stage.js").Stage} */
    this.stage = /** @type {any} */ (null);
    /** @type {Map<number, Map<string, import("./store.js").Mask>>} masks of images that were open, with their run lengths */
    this.known = new Map();
    /** grows with every image that is opened */
    this.turn = 0;
    /** @type {Set<string>} keys of the masks that the worker has decoded */
    this.decoded = new Set();
    /** whether a click waits for its answer */
    this.clicking = false;
    /** whether strokes are being saved */
    this.saving = false;
    /** @type {any} */
    this.saveTimer = 0;
    /** @type {(id: number) => Promise<void>} */
    this.open = async (id) => void id;
    /** @type {() => void} */
    this.focusWords = () => {};
    /** @type {() => void} */
    this.askName = () => {};
    /** shows a drawing before its first stroke */
    this.syncActive = () => {};
    /** @type {{x: number, y: number} | null} where the pointer is on the image */
    this.pointer = null;
    /** @type {Record<string, import("./canvas/stage.js").Tool & {finish?: () => boolean, back?: () => boolean, refresh?: () => void}>} */
    this.tools = {};
    this.help = () => {};
    this.walk = () => {};
    /** opens the file dialog */
    this.chooseFiles = () => {};
    this.chooseFolder = () => {};
    /** @type {any} */
    this.newsTimer = 0;
    /** when the last point was pressed */
    this.pressedAt = 0;
  }

  get state() {
    return this.store.state;
  }

  /**
   * Show a sentence over the image; errors stay until they are closed.
   *
   * @param {string} text
   * @param {"info" | "error"} [kind]
   * @param {{label: string, act: () => void}[]} [actions]
   */
  notify(text, kind = "info", actions = []) {
    if (!text) return;
    const id = ++numbers;
    const others = this.state.notices.filter((/** @type {any} */ notice) => notice.text !== text).slice(-3);
    this.store.set({ notices: [...others, { id, text, kind, actions }] });
    if (kind === "info") setTimeout(() => this.dismiss(id), actions.length ? 12_000 : 6000);
  }

  /** @param {number} id */
  dismiss(id) {
    this.store.set({ notices: this.state.notices.filter((/** @type {any} */ notice) => notice.id !== id) });
  }

  /** Say that everything is on disk. */
  saved() {
    this.store.set({ saved: { text: `Saved ${clock()}`, error: false } });
  }

  /**
   * Run something that may fail; the sentence of a failure is shown, with a way to try again.
   *
   * @param {() => Promise<any>} act
   * @param {{retry?: boolean}} [options] retry: what failed was a decision that is not saved
   */
  async attempt(act, options = {}) {
    try {
      return await act();
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") return undefined;
      if (!(error instanceof RequestError)) throw error;
      const mayRetry = options.retry && (error.status === 0 || error.status >= 500);
      if (mayRetry) this.store.set({ saved: { text: "Not saved", error: true } });
      const retry = { label: "Retry", act: () => void this.attempt(act, options) };
      this.notify(error.message, "error", mayRetry ? [retry] : []);
      return undefined;
    }
  }

  /** A name for a request, under which its progress arrives. */
  requestName() {
    return `${Date.now().toString(36)}-${++numbers}`;
  }
}
