/**
 * A mask that is being drawn: bytes at the resolution of the image, strokes that can be taken back one by one.
 */
import { encode, fillBytes } from "./rle.js";
import { holes, scanRings, scanStroke, specks } from "./shapes.js";

/**
 * @typedef {import("./view.js").Size} Size
 * @typedef {import("./view.js").Point} Point
 * @typedef {[number, number, number, number]} Box left, top, right, bottom
 */

export class Edit {
  /**
   * @param {Size} image
   * @param {import("./rle.js").Rows | null} rows the mask to begin with
   */
  constructor(image, rows = null) {
    this.image = image;
    this.bytes = new Uint8Array(image.width * image.height);
    /** @type {Box | null} box around all that was ever inside */
    this.box = null;
    if (rows && rows.area) {
      fillBytes(rows, this.bytes, image.width);
      this.box = [rows.x, rows.y, rows.x + rows.width, rows.y + rows.height];
    }
    /** @type {Map<number, Uint8Array>} rows as they were before the open stroke */
    this.saved = new Map();
    /** @type {Map<number, Uint8Array>[]} */
    this.strokes = [];
    /** @type {Box | null} what changed since `takeDirty` */
    this.dirty = null;
  }

  /** Begin a stroke; everything until `end` is one step. */
  begin() {
    this.saved = new Map();
  }

  /** Finish a stroke; whether it changed anything. */
  end() {
    const changed = [...this.saved].some(([row, before]) => {
      const base = row * this.image.width;
      return before.some((value, x) => value !== this.bytes[base + x]);
    });
    if (changed) this.strokes.push(this.saved);
    this.saved = new Map();
    return changed;
  }

  /** Take back the last stroke; false when there is none. */
  undo() {
    const stroke = this.strokes.pop();
    if (!stroke) return false;
    for (const [row, before] of stroke) {
      this.bytes.set(before, row * this.image.width);
      this._touch(row, 0, this.image.width);
    }
    return true;
  }

  /**
   * @param {Point} from
   * @param {Point} to
   * @param {number} radius in pixels of the image
   * @param {0 | 1} value
   */
  stroke(from, to, radius, value) {
    scanStroke(from, to, radius, this.image, (row, first, last) => this._span(row, first, last, value));
  }

  /**
   * @param {readonly (readonly Point[])[]} rings
   * @param {0 | 1} value
   */
  polygon(rings, value) {
    scanRings(rings, this.image, (row, first, last) => this._span(row, first, last, value));
  }

  /**
   * Replace one outline by another: only pixels between the two change.
   *
   * @param {readonly (readonly Point[])[]} before
   * @param {readonly (readonly Point[])[]} after
   */
  reshape(before, after) {
    scanRings([...before, ...after], this.image, (row, first, last) => {
      this._keep(row);
      const base = row * this.image.width;
      for (let x = first; x < last; x++) this.bytes[base + x] ^= 1;
      this._touch(row, first, last);
    });
  }

  /** Fill the holes as one stroke; how many pixels changed. */
  fillHoles() {
    return this._set(this.box ? holes(this.bytes, this.image.width, this.area()) : [], 1);
  }

  /** Remove small parts as one stroke; how many pixels changed. */
  removeSpecks() {
    return this._set(this.box ? specks(this.bytes, this.image.width, this.area()) : [], 0);
  }

  /** x, y, width, height of all that was ever inside. */
  area() {
    const [left, top, right, bottom] = this.box ?? [0, 0, 0, 0];
    return [left, top, right - left, bottom - top];
  }

  /** Whether no pixel is inside. */
  empty() {
    return !this.bytes.includes(1);
  }

  /** Run lengths for the server. */
  rle() {
    return { size: [this.image.height, this.image.width], counts: encode(this.bytes, this.image, this.area()) };
  }

  /** What changed since the last call, or null. */
  takeDirty() {
    const dirty = this.dirty;
    this.dirty = null;
    return dirty;
  }

  /**
   * @param {number[]} pixels
   * @param {0 | 1} value
   */
  _set(pixels, value) {
    this.begin();
    for (const place of pixels) {
      const row = Math.floor(place / this.image.width);
      const x = place % this.image.width;
      this._span(row, x, x + 1, value);
    }
    this.end();
    return pixels.length;
  }

  /**
   * @param {number} row
   * @param {number} first
   * @param {number} last
   * @param {0 | 1} value
   */
  _span(row, first, last, value) {
    this._keep(row);
    const base = row * this.image.width;
    this.bytes.fill(value, base + first, base + last);
    this._touch(row, first, last);
  }

  /** @param {number} row */
  _keep(row) {
    if (this.saved.has(row)) return;
    const base = row * this.image.width;
    this.saved.set(row, this.bytes.slice(base, base + this.image.width));
  }

  /**
   * @param {number} row
   * @param {number} first
   * @param {number} last
   */
  _touch(row, first, last) {
    this.box = grown(this.box, row, first, last);
    this.dirty = grown(this.dirty, row, first, last);
  }
}

/**
 * @param {Box | null} box
 * @param {number} row
 * @param {number} first
 * @param {number} last
 * @returns {Box}
 */
function grown(box, row, first, last) {
  if (!box) return [first, row, last, row + 1];
  if (first < box[0]) box[0] = first;
  if (row < box[1]) box[1] = row;
  if (last > box[2]) box[2] = last;
  if (row + 1 > box[3]) box[3] = row + 1;
  return box;
}
