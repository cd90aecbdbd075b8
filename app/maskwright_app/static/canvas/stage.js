/** The stage: layers over each other, navigation by wheel, pinch and drag, and a tool that gets everything else. */
import { el, svg } from "../dom.js";
import { ActiveLayer, ImageLayer, MaskLayer } from "./layers.js";
import { drawMarks } from "./marks.js";
import { centred, clamp, fit, reveal, toImage, zoomAt } from "./view.js";

/**
 * @typedef {import("./view.js").View} View
 * @typedef {import("./view.js").Size} Size
 *
 * @typedef {object} Pointer a pointer event in image coordinates
 * @property {number} x
 * @property {number} y
 * @property {boolean} shift
 * @property {boolean} alt
 * @property {boolean} touch
 * @property {{x: number, y: number}[]} path all places since the last event, the present one last
 *
 * @typedef {object} Tool
 * @property {string} cursor
 * @property {(p: Pointer) => void} [down]
 * @property {(p: Pointer) => void} [move] while pressed
 * @property {(p: Pointer) => void} [up]
 * @property {(p: Pointer) => void} [hover]
 * @property {() => void} [leave]
 * @property {() => void} [cancel] the gesture became a pinch
 * @property {boolean} [pansByTouch] one finger moves the image
 */

const NO_TOOL = { cursor: "default" };

export class Stage {
  /**
   * @param {HTMLElement} host
   * @param {{decoded: (data: any) => void, viewed: (view: View) => void, failed: (sentence: string) => void}} listeners
   */
  constructor(host, listeners) {
    this.host = host;
    this.listeners = listeners;
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.loader = new Worker(new URL("./loader.js", import.meta.url), { type: "module" });
    const layers = ["image", "masks", "active"].map((name) => el("canvas", { class: `layer ${name}`, "aria-hidden": "true" }));
    this.marksLayer = svg("svg", { class: "layer marks", "aria-hidden": "true" });
    host.append(...layers, this.marksLayer);
    this.image = new ImageLayer(layers[0]);
    this.masks = new MaskLayer(layers[1], this.worker, () => this.invalidate("masks"));
    this.active = new ActiveLayer(layers[2]);
    /** @type {import("./marks.js").Marks} */
    this.marks = {};
    /** @type {Tool} */
    this.tool = NO_TOOL;
    /** @type {Size | null} */
    this.size = null;
    /** @type {View} */
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitted = true;
    this.ratio = 1;
    /** @type {Size} the room on the screen, in CSS pixels */
    this.window = { width: 0, height: 0 };
    this.job = 0;
    /** @type {Set<string>} */
    this.stale = new Set();
    /** @type {Map<number, PointerEvent>} */
    this.pointers = new Map();
    /** @type {"tool" | "pan" | "pinch" | null} */
    this.gesture = null;
    this.spacePressed = false;
    this.worker.onmessage = ({ data }) => (data.type === "drawn" ? this.masks.receive(data) : listeners.decoded(data));
    this.loader.onmessage = ({ data }) => this._loaded(data);
    this._listen();
    new ResizeObserver(() => this._resized()).observe(host);
    this._resized();
  }

  /**
   * Show another image; its pixels come from the address, and until then the small picture stands in for them.
   *
   * @param {Size} size
   * @param {string} address
   * @param {string} small
   */
  open(size, address, small) {
    this.size = { width: size.width, height: size.height };
    const job = ++this.job;
    this.image.levels = [];
    this.masks.clear();
    this.active.items = [];
    this.active.painted = null;
    this.marks = {};
    this.fit();
    this.worker.postMessage({ type: "open", height: size.height });
    this.loader.postMessage({ job, address });
    const picture = new Image();
    picture.onload = () => {
      if (job !== this.job || this.image.levels.length) return;
      this.image.levels = [picture];
      this.invalidate("image");
    };
    picture.src = small;
    this.host.dataset.loaded = "";
  }

  /** Show no image. */
  close() {
    this.size = null;
    this.job++;
    this.image.levels = [];
    this.masks.clear();
    this.active.items = [];
    this.active.painted = null;
    this.marks = {};
    this.invalidate();
  }

  /** @param {{job: number, levels?: ImageBitmap[], error?: string}} data */
  _loaded({ job, levels, error }) {
    if (job !== this.job) return;
    if (!levels) {
      this.listeners.failed(error ?? "");
      return;
    }
    this.image.levels = levels;
    this.host.dataset.loaded = "yes";
    this.invalidate("image");
  }

  /**
   * Draw in the next frame.
   *
   * @param {...("image" | "masks" | "active" | "dirty" | "marks")} layers all when none is named
   */
  invalidate(...layers) {
    if (!this.stale.size) requestAnimationFrame(() => this._draw());
    for (const layer of layers.length ? layers : ["image", "masks", "active", "marks"]) this.stale.add(layer);
  }

  _draw() {
    const stale = this.stale;
    this.stale = new Set();
    const size = this.size ?? { width: 1, height: 1 };
    if (stale.has("image")) this.image.draw(this.view, size, this.ratio);
    if (stale.has("masks")) this.masks.draw(this.view, this.window, this.ratio);
    if (stale.has("active")) this.active.draw(this.view, this.window, this.ratio);
    else if (stale.has("dirty")) this.active.drawDirty();
    if (stale.has("marks")) drawMarks(this.marksLayer, this.size ? this.marks : {}, this.view, this.window);
  }

  _resized() {
    const { clientWidth: width, clientHeight: height } = this.host;
    const before = this.window;
    this.ratio = window.devicePixelRatio || 1;
    this.window = { width: Math.max(1, width), height: Math.max(1, height) };
    for (const layer of [this.image, this.masks]) {
      layer.canvas.width = Math.round(this.window.width * this.ratio);
      layer.canvas.height = Math.round(this.window.height * this.ratio);
    }
    if (!this.size) return;
    if (this.fitted || !before.width) this.fit();
    else this.look(this.view);
  }

  // the view

  /** @param {View} view */
  look(view) {
    if (!this.size) return;
    this.view = clamp(view, this.size, this.window);
    // where the image lies, for scripts that act on the page
    this.host.dataset.view = `${this.view.scale} ${this.view.x} ${this.view.y}`;
    this.invalidate();
    this.listeners.viewed(this.view);
  }

  /** The whole image. */
  fit() {
    if (!this.size) return;
    this.look(fit(this.size, this.window));
    this.fitted = true;
  }

  /** One pixel of the image on one of the screen, around the middle of the window. */
  actualSize() {
    if (this.size) this.zoom(1 / this.view.scale);
  }

  /**
   * @param {number} factor
   * @param {{x: number, y: number}} [around] on the stage; the middle when left out
   */
  zoom(factor, around = { x: this.window.width / 2, y: this.window.height / 2 }) {
    if (!this.size) return;
    this.fitted = false;
    const least = Math.min(1, fit(this.size, this.window).scale) / 4;
    this.look(zoomAt(this.view, around.x, around.y, factor, least));
  }

  /**
   * @param {number} dx
   * @param {number} dy
   */
  pan(dx, dy) {
    this.fitted = false;
    this.look({ scale: this.view.scale, x: this.view.x + dx, y: this.view.y + dy });
  }

  /** @param {readonly number[]} box x, y, width, height in image pixels */
  reveal(box) {
    const view = reveal(this.view, box, this.window);
    if (view.scale !== this.view.scale || view.x !== this.view.x || view.y !== this.view.y) {
      this.fitted = false;
      this.look(view);
    }
  }

  /** The middle of the window, in image coordinates; where keys act. */
  middle() {
    const place = this.size ? centred(this.size, this.window, 1) : null;
    return place && toImage(this.view, this.window.width / 2, this.window.height / 2);
  }

  // pointers

  /** @param {Tool} tool */
  use(tool) {
    if (this.gesture === "tool") this.tool.cancel?.();
    this.tool.leave?.();
    this.tool = tool;
    this._cursor();
  }

  /** @param {boolean} pressed */
  holdSpace(pressed) {
    this.spacePressed = pressed;
    this._cursor();
  }

  _cursor() {
    this.host.style.cursor = this.gesture === "pan" ? "grabbing" : this.spacePressed ? "grab" : this.tool.cursor;
  }

  /** @param {PointerEvent | WheelEvent} event */
  _place(event) {
    const box = this.host.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /**
   * @param {PointerEvent} event
   * @returns {Pointer}
   */
  _pointer(event) {
    const inImage = (/** @type {PointerEvent} */ e) => {
      const place = this._place(e);
      return toImage(this.view, place.x, place.y);
    };
    const here = inImage(event);
    const all = event.type === "pointermove" && event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    const path = all.length > 1 ? all.map(inImage) : [here];
    return { ...here, shift: event.shiftKey, alt: event.altKey, touch: event.pointerType === "touch", path };
  }

  _listen() {
    const { host } = this;
    host.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    host.addEventListener("pointerdown", (event) => this._down(event));
    host.addEventListener("pointermove", (event) => this._move(event));
    host.addEventListener("pointerup", (event) => this._up(event));
    host.addEventListener("pointercancel", (event) => this._up(event));
    host.addEventListener("pointerleave", () => this.gesture || this.tool.leave?.());
    host.addEventListener("contextmenu", (event) => event.preventDefault());
    // the middle button would scroll
    host.addEventListener("mousedown", (event) => event.button === 1 && event.preventDefault());
  }

  /** @param {WheelEvent} event */
  _wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    if (event.shiftKey && !event.ctrlKey) {
      this.pan(-(event.deltaX + event.deltaY) * unit, 0);
      return;
    }
    const factor = Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0016));
    this.zoom(Math.min(2, Math.max(0.5, factor)), this._place(event));
  }

  /** @param {PointerEvent} event */
  _down(event) {
    if (!this.size || event.button === 2) return;
    this.host.focus({ preventScroll: true });
    this.host.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      if (this.gesture === "tool") this.tool.cancel?.();
      this.gesture = "pinch";
    } else if (this.pointers.size === 1) {
      const byTouch = event.pointerType === "touch" && this.tool.pansByTouch;
      this.gesture = event.button === 1 || this.spacePressed ? "pan" : "tool";
      this.pressed = { x: event.clientX, y: event.clientY, mayPan: byTouch };
      if (this.gesture === "tool") this.tool.down?.(this._pointer(event));
    }
    this._cursor();
  }

  /** @param {PointerEvent} event */
  _move(event) {
    if (!this.size) return;
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.tool.hover?.(this._pointer(event));
      return;
    }
    if (this.gesture === "tool" && this.pressed?.mayPan) {
      if (Math.hypot(event.clientX - this.pressed.x, event.clientY - this.pressed.y) < 8) return;
      this.tool.cancel?.();
      this.gesture = "pan";
    }
    if (this.gesture === "pan") this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    else if (this.gesture === "pinch") this._pinch(before, event);
    else if (this.gesture === "tool") this.tool.move?.(this._pointer(event));
    this.pointers.set(event.pointerId, event);
  }

  /**
   * @param {PointerEvent} before
   * @param {PointerEvent} event
   */
  _pinch(before, event) {
    const other = [...this.pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
    if (!other) return;
    const [a, b, c] = [before, event, other].map((pointer) => this._place(pointer));
    const factor = Math.hypot(b.x - c.x, b.y - c.y) / Math.max(1, Math.hypot(a.x - c.x, a.y - c.y));
    this.pan((b.x - a.x) / 2, (b.y - a.y) / 2);
    this.zoom(factor, { x: (b.x + c.x) / 2, y: (b.y + c.y) / 2 });
  }

  /** @param {PointerEvent} event */
  _up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.gesture === "tool") {
      if (event.type === "pointercancel") this.tool.cancel?.();
      else this.tool.up?.(this._pointer(event));
    }
    // after a pinch the finger that is left does nothing until it is lifted
    if (!this.pointers.size) this.gesture = null;
    else if (this.gesture === "tool") this.gesture = "pinch";
    this._cursor();
  }
}
