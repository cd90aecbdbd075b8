/** The three layers that are pixels: the image, the settled masks, and what is being worked on. */
import { GRID_SCALE } from "./view.js";
import { paint, sample, shade } from "./raster.js";

/**
 * @typedef {import("./view.js").View} View
 * @typedef {import("./view.js").Size} Size
 * @typedef {import("./raster.js").Style} Style
 * @typedef {import("./rle.js").Rows} Rows
 */

/** More pixels than this are drawn at one per CSS pixel, whatever the screen has. */
const MOST_MASK_PIXELS = 2_600_000;
/** Milliseconds between two views that the worker draws while the image moves. */
const LEAST_INTERVAL = 40;

/** The image, from the halved copy that fits the zoom. */
export class ImageLayer {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: true }));
    /** @type {CanvasImageSource[]} */
    this.levels = [];
  }

  /**
   * @param {View} view
   * @param {Size} image
   * @param {number} ratio device pixels per CSS pixel
   */
  draw(view, image, ratio) {
    const { canvas, context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.levels.length) return;
    const scale = view.scale * ratio;
    let number = 0;
    while (number + 1 < this.levels.length && scale * 2 ** (number + 1) <= 1.01) number++;
    const level = /** @type {ImageBitmap} */ (this.levels[number]);
    const [fx, fy] = [level.width / image.width, level.height / image.height];
    const left = Math.max(0, Math.floor(-view.x / view.scale));
    const top = Math.max(0, Math.floor(-view.y / view.scale));
    const right = Math.min(image.width, Math.ceil((canvas.width / ratio - view.x) / view.scale));
    const bottom = Math.min(image.height, Math.ceil((canvas.height / ratio - view.y) / view.scale));
    if (left >= right || top >= bottom) return;
    context.imageSmoothingEnabled = scale < 2;
    context.setTransform(scale, 0, 0, scale, view.x * ratio, view.y * ratio);
    const [width, height] = [right - left, bottom - top];
    context.drawImage(level, left * fx, top * fy, width * fx, height * fy, left, top, width, height);
    if (view.scale >= GRID_SCALE) this._grid(view, ratio, [left, top, right, bottom]);
  }

  /**
   * @param {View} view
   * @param {number} ratio
   * @param {number[]} box
   */
  _grid(view, ratio, [left, top, right, bottom]) {
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.beginPath();
    const [x0, x1] = [left * view.scale + view.x, right * view.scale + view.x];
    const [y0, y1] = [top * view.scale + view.y, bottom * view.scale + view.y];
    for (let x = left; x <= right; x++) {
      const at = Math.round(x * view.scale + view.x) + 0.5;
      context.moveTo(at, y0);
      context.lineTo(at, y1);
    }
    for (let y = top; y <= bottom; y++) {
      const at = Math.round(y * view.scale + view.y) + 0.5;
      context.moveTo(x0, at);
      context.lineTo(x1, at);
    }
    context.strokeStyle = "rgba(128,128,128,0.45)";
    context.lineWidth = 1;
    context.stroke();
  }
}

/** All settled masks as one bitmap, drawn by the worker for a view; moved with the view until the next one is there. */
export class MaskLayer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Worker} worker
   * @param {() => void} changed
   */
  constructor(canvas, worker, changed) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.worker = worker;
    this.changed = changed;
    /** @type {[string, Style][]} */
    this.masks = [];
    /** @type {{view: View, width: number, bitmap: ImageBitmap} | null} */
    this.drawn = null;
    this.job = 0;
    this.flying = false;
    this.stale = false;
    this.askedAt = 0;
    /** @type {any} */
    this.timer = 0;
    /** @type {{view: View, size: Size, ratio: number} | null} */
    this.wanted = null;
  }

  /** @param {[string, Style][]} masks in the order of drawing */
  show(masks) {
    this.masks = masks;
    this.stale = true;
  }

  /** Forget the bitmap, as it belongs to another image. */
  clear() {
    this.drawn?.bitmap.close();
    this.drawn = null;
    this.masks = [];
    this.job++;
    this.flying = false;
    this.stale = false;
  }

  /**
   * @param {View} view
   * @param {Size} size of the window in CSS pixels
   * @param {number} ratio
   */
  draw(view, size, ratio) {
    const { canvas, context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.drawn) {
      const { view: old, bitmap, width } = this.drawn;
      const factor = view.scale / old.scale;
      context.imageSmoothingEnabled = factor < 1;
      const [x, y] = [(view.x - old.x * factor) * ratio, (view.y - old.y * factor) * ratio];
      const drawnWidth = width * factor * ratio;
      context.drawImage(bitmap, x, y, drawnWidth, (bitmap.height * drawnWidth) / bitmap.width);
    }
    this.wanted = { view, size, ratio };
    this._ask();
  }

  _ask() {
    if (this.flying || !this.wanted) return;
    const wait = this.askedAt + LEAST_INTERVAL - performance.now();
    if (wait > 0 && !this.stale) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this._ask(), wait);
      return;
    }
    const { view, size, ratio } = this.wanted;
    const old = this.drawn?.view;
    const same = old && old.scale === view.scale && old.x === view.x && old.y === view.y && this.drawn?.width === size.width;
    if (same && !this.stale) return;
    this.stale = false;
    this.flying = true;
    this.askedAt = performance.now();
    const k = maskRatio(size, ratio);
    const scaled = { scale: view.scale * k, x: view.x * k, y: view.y * k };
    const [width, height] = [Math.round(size.width * k), Math.round(size.height * k)];
    const thickness = k > 1.4 ? 3 : 2;
    this.asked = { view, width: size.width };
    this.worker.postMessage({ type: "draw", job: ++this.job, view: scaled, width, height, thickness, masks: this.masks });
  }

  /** @param {{job: number, bitmap: ImageBitmap}} answer */
  receive({ job, bitmap }) {
    if (job !== this.job || !this.asked) {
      bitmap.close();
      return;
    }
    this.flying = false;
    this.drawn?.bitmap.close();
    this.drawn = { ...this.asked, bitmap };
    this.changed();
  }
}

/**
 * @param {Size} size
 * @param {number} ratio
 */
function maskRatio(size, ratio) {
  return size.width * size.height * ratio * ratio > MOST_MASK_PIXELS ? 1 : ratio;
}

/** What is selected, pointed at, clicked or painted: few masks, drawn at once. */
export class ActiveLayer {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    /** @type {{rows: Rows, style: Style, thickness: number}[]} */
    this.items = [];
    /** @type {{edit: import("./edit.js").Edit, style: Style} | null} */
    this.painted = null;
    this.labels = new Uint16Array(0);
    /** whether nothing is drawn */
    this.empty = true;
  }

  /**
   * @param {View} view
   * @param {Size} size
   * @param {number} ratio
   */
  draw(view, size, ratio) {
    const k = maskRatio(size, ratio);
    const [width, height] = [Math.round(size.width * k), Math.round(size.height * k)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    } else if (!this.empty) this.context.clearRect(0, 0, width, height);
    if (this.labels.length !== width * height) this.labels = new Uint16Array(width * height);
    const scaled = { scale: view.scale * k, x: view.x * k, y: view.y * k };
    this.scaled = scaled;
    if (this.painted) {
      this.empty = false;
      const [left, top, right, bottom] = this.painted.edit.box ?? [0, 0, 0, 0];
      this.painted.edit.takeDirty();
      this._paint([left, top, right, bottom]);
      return;
    }
    if (!this.items.length && this.empty) return;
    this.empty = !this.items.length;
    this.labels.fill(0);
    const styles = [/** @type {any} */ (null)];
    let box = [width, height, 0, 0];
    let thickness = 1;
    for (const item of this.items) {
      styles.push(item.style);
      paint(this.labels, width, height, item.rows, scaled, styles.length - 1);
      box = joined(box, onScreen(rowsBox(item.rows), scaled, width, height));
      thickness = Math.max(thickness, item.thickness);
    }
    this._put(box, styles, k > 1.4 ? thickness * 2 : thickness);
  }

  /** Draw what the last stroke changed, and nothing else. */
  drawDirty() {
    const dirty = this.painted?.edit.takeDirty();
    if (dirty && this.scaled) this._paint(dirty);
  }

  /** @param {number[]} box of the image that changed: left, top, right, bottom */
  _paint(box) {
    if (!this.painted || !this.scaled) return;
    const { edit, style } = this.painted;
    const { width, height } = this.canvas;
    const area = onScreen(box, this.scaled, width, height);
    if (area[0] >= area[2] || area[1] >= area[3]) return;
    sample(this.labels, width, edit.bytes, edit.image, this.scaled, area);
    this._put(area, [/** @type {any} */ (null), style], 2);
  }

  /**
   * @param {number[]} box
   * @param {Style[]} styles
   * @param {number} thickness
   */
  _put(box, styles, thickness) {
    const [left, top, right, bottom] = box;
    if (left >= right || top >= bottom) return;
    const { width, height } = this.canvas;
    const data = new ImageData(right - left, bottom - top);
    shade(this.labels, width, height, styles, new Uint32Array(data.data.buffer), { box, thickness });
    this.context.putImageData(data, left, top);
  }
}

/** @param {Rows} rows */
function rowsBox(rows) {
  return [rows.x, rows.y, rows.x + rows.width, rows.y + rows.height];
}

/**
 * @param {number[]} box left, top, right, bottom in the image
 * @param {View} view
 * @param {number} width
 * @param {number} height
 */
function onScreen([left, top, right, bottom], view, width, height) {
  return [
    Math.max(0, Math.floor(left * view.scale + view.x) - 3),
    Math.max(0, Math.floor(top * view.scale + view.y) - 3),
    Math.min(width, Math.ceil(right * view.scale + view.x) + 3),
    Math.min(height, Math.ceil(bottom * view.scale + view.y) + 3),
  ];
}

/**
 * @param {number[]} a
 * @param {number[]} b
 */
function joined(a, b) {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}
