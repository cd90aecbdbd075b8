/**
 * What the page shows, in one object; parts of the page watch the keys that they render.
 *
 * @typedef {import("./canvas/rle.js").Rows} Rows
 *
 * @typedef {object} Mask as the server sends it, with its rows once they are decoded
 * @property {string} key
 * @property {number | null} annotation
 * @property {number} revision
 * @property {"accepted" | "proposed" | "click"} state
 * @property {string} category empty for a proposal that nobody has named
 * @property {string} color
 * @property {number | null} score
 * @property {string} source
 * @property {number} area
 * @property {[number, number, number, number]} bbox
 * @property {boolean} duplicate
 * @property {boolean} out_of_vocabulary
 * @property {string[]} reference_of
 * @property {string[]} [negative_reference_of]
 * @property {string} [rle]
 * @property {Rows} [rows]
 *
 * @typedef {object} ImageItem
 * @property {number} id
 * @property {string} title
 * @property {number} width
 * @property {number} height
 * @property {"none" | "proposed" | "done" | "complete" | "excluded"} status
 * @property {number} masks
 * @property {number} proposals
 * @property {string} pixels address
 * @property {string} thumbnail address
 * @property {number} [score]
 *
 * @typedef {{id: number, name: string, color: string, hotkey: number | null, order: number, synonyms: string[], masks: number}} Class
 *
 * @typedef {{annotation: number, category: string, shows: boolean}} Reference an accepted mask as an example
 *
 * @typedef {object} ClickPrompt the open points and box, with the candidate masks of the last answer
 * @property {number} image
 * @property {number[][]} points x, y, 1 or 0
 * @property {number[] | null} box left, top, right, bottom
 * @property {number | null} corrects annotation whose mask the clicks correct
 * @property {Mask[]} candidates
 * @property {number} chosen
 * @property {number} version grows with each mark
 * @property {number} answered version that the candidates belong to
 * @property {{points: number[][], box: number[] | null}[]} steps the marks before each step, for undo
 *
 * @typedef {{id: string, label: string, image: number, since: number, done: number, total: number, stage: string, waiting: number, stop: () => void}} Busy
 */

/** @returns {any} */
function initial() {
  return {
    ready: false,
    project: null,
    user: "",
    login: false,
    change: 0,
    preset: null,
    presets: [],
    choices: { refine: [], cleaning: [] },
    /** @type {{name: string, label: string, sentence: string}[]} */ formats: [],
    /** @type {Class[]} */ classes: [],
    /** @type {ImageItem | null} */ image: null,
    images: { total: 0, items: /** @type {(ImageItem | undefined)[]} */ ([]), query: { status: "", class: "", phrase: "" } },
    /** @type {Map<string, Mask>} */ masks: new Map(),
    /** @type {string | null} */ selected: null,
    /** @type {string | null} */ hovered: null,
    tool: "select",
    positive: true,
    brush: 24,
    /** name of the class that a mask without one gets */ className: "",
    /** @type {ClickPrompt | null} */ click: null,
    /** @type {any} */ drawing: null,
    /** @type {Reference[]} */ references: [],
    /** the class that is searched for by example */ like: "",
    /** what the model thinks a mask shows */ suggestions: /** @type {{key: string, names: {name: string, probability: number}[]} | null} */ (null),
    /** what background cleaning left without a name */ unlabelled: /** @type {Rows | null} */ (null),
    /** @type {Busy[]} */ busy: [],
    /** @type {string[]} */ words: [],
    /** words that the model was trained on */ vocabulary: /** @type {string[]} */ ([]),
    options: { method: "", background: true, threshold: 0.5, cleaning: "", refine: "", instances: true },
    display: { opacity: 45, outlines: true, hidden: false, names: false, shades: false, duplicates: false, proposals: true, accepted: true, classesOff: /** @type {string[]} */ ([]) },
    review: { above: 0.5, autoNext: true, sort: "score" },
    saved: { text: "", error: false },
    /** @type {{id: number, text: string, kind: string, actions: {label: string, act: () => void}[]}[]} */ notices: [],
    jobs: [],
    finetune: null,
    drawer: "",
    tab: "tools",
    scale: 1,
  };
}

export class Store {
  constructor() {
    this.state = initial();
    /** @type {{keys: string[], render: () => void}[]} */
    this.watchers = [];
    /** @type {Set<string>} */
    this.changed = new Set();
  }

  /**
   * Replace some keys; whatever watches them renders before the next frame.
   *
   * @param {Record<string, any>} patch
   */
  set(patch) {
    for (const [key, value] of Object.entries(patch)) {
      if (this.state[key] === value) continue;
      this.state[key] = value;
      if (!this.changed.size) queueMicrotask(() => this._render());
      this.changed.add(key);
    }
  }

  /**
   * Replace some fields of an object among the keys.
   *
   * @param {string} key
   * @param {Record<string, any>} patch
   */
  merge(key, patch) {
    this.set({ [key]: { ...this.state[key], ...patch } });
  }

  /**
   * Render now, and again whenever one of the keys changes.
   *
   * @param {string[]} keys
   * @param {() => void} render
   */
  watch(keys, render) {
    this.watchers.push({ keys, render });
    render();
  }

  _render() {
    const changed = this.changed;
    this.changed = new Set();
    for (const { keys, render } of this.watchers) if (keys.some((key) => changed.has(key))) render();
  }
}
