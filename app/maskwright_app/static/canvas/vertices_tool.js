/** The outline of the selected mask with points to drag. */
import { dropDrawing, openDrawing, strokeEnded } from "../actions/drawing.js";
import { selectedMask } from "../actions/masks.js";
import { REACH, hover, mark, point, reach, selectAt } from "./gestures.js";
import { contours, distance, simplify, toSegment } from "./shapes.js";

/**
 * @typedef {import("./stage.js").Pointer} Pointer
 * @typedef {import("./view.js").Point} Point
 */

/**
 * A press on a line adds a point, with Alt a press on a point takes it away. The points are a simpler outline than
 * the mask's own; moving one changes only the pixels between the outline before and after.
 */
export class VerticesTool {
  /** @param {import("../page.js").Page} page */
  constructor(page) {
    this.page = page;
    this.cursor = "default";
    /** @type {Point[][]} */
    this.rings = [];
    /** @type {{ring: number, index: number, before: Point[]} | null} */
    this.held = null;
    /** the mask and the version of it that the rings show */
    this.source = "";
  }

  /** Follow the selection and its changes. */
  refresh() {
    const { drawing } = this.page.state;
    const mask = selectedMask(this.page);
    if (!mask && !drawing) {
      this.source = "";
      this.rings = [];
    } else if (!this.held) {
      const opened = drawing ?? openDrawing(this.page);
      const source = opened && `${opened.target} ${opened.version}`;
      if (opened && source !== this.source) {
        this.page.syncActive();
        this.source = source;
        this._trace(opened.edit);
      }
    }
    mark(this.page, { rings: this.rings });
  }

  /** @param {import("./edit.js").Edit} edit */
  _trace(edit) {
    const tolerance = Math.max(0.7, reach(this.page, 2.2));
    const rings = contours(edit.bytes, edit.image, edit.area());
    this.rings = rings.map((ring) => simplify(ring, tolerance)).filter((ring) => ring.length > 2);
  }

  /** @param {Pointer} p */
  _pointAt(p) {
    let nearest = reach(this.page, p.touch ? 18 : 8);
    /** @type {{ring: number, index: number} | null} */
    let found = null;
    for (const [r, ring] of this.rings.entries()) {
      for (const [i, place] of ring.entries()) {
        const away = distance(place, p);
        if (away < nearest) [nearest, found] = [away, { ring: r, index: i }];
      }
    }
    return found;
  }

  /** @param {Pointer} p */
  _lineAt(p) {
    const near = reach(this.page, p.touch ? 14 : REACH);
    for (const [r, ring] of this.rings.entries()) {
      const i = ring.findIndex((place, n) => toSegment(p, place, ring[(n + 1) % ring.length]) <= near);
      if (i >= 0) return { ring: r, index: i + 1 };
    }
    return null;
  }

  /**
   * @param {number} number of the ring that was changed
   * @param {Point[]} before
   */
  _apply(number, before) {
    const drawing = openDrawing(this.page);
    if (!drawing) return;
    const after = this.rings[number];
    drawing.edit.begin();
    drawing.edit.reshape([before], after.length > 2 ? [after] : []);
    if (after.length < 3) this.rings.splice(number, 1);
    this.source = `${drawing.target} ${drawing.version + 1}`;
    if (drawing.edit.end()) strokeEnded(this.page);
    else this.source = `${drawing.target} ${drawing.version}`;
    this.page.stage.invalidate("active");
    mark(this.page, { rings: this.rings });
  }

  /** @param {Pointer} p */
  hover(p) {
    hover(this.page, p);
    this.page.stage.host.style.cursor = this._pointAt(p) ? "grab" : this._lineAt(p) ? "copy" : "default";
  }

  /** @param {Pointer} p */
  down(p) {
    const found = this._pointAt(p);
    if (found && p.alt) {
      const before = this.rings[found.ring];
      this.rings[found.ring] = before.filter((_, i) => i !== found.index);
      this._apply(found.ring, before);
      return;
    }
    const line = found ? null : this._lineAt(p);
    const at = found ?? line;
    if (!at) return;
    const before = [...this.rings[at.ring]];
    if (line) this.rings[at.ring] = [...before.slice(0, at.index), point(this.page, p), ...before.slice(at.index)];
    this.held = { ...at, before };
  }

  /** @param {Pointer} p */
  move(p) {
    const { held } = this;
    if (!held) return;
    this.rings[held.ring] = this.rings[held.ring].map((place, i) => (i === held.index ? point(this.page, p) : place));
    mark(this.page, { rings: this.rings });
  }

  /** @param {Pointer} p */
  up(p) {
    const { held } = this;
    this.held = null;
    if (held) this._apply(held.ring, held.before);
    else if (!p.alt) selectAt(this.page, p);
  }

  cancel() {
    if (this.held) this.rings[this.held.ring] = this.held.before;
    this.held = null;
    mark(this.page, { rings: this.rings });
  }

  leave() {
    if (this.page.state.tool === "vertices") return;
    this.source = "";
    this.rings = [];
    mark(this.page, { rings: [] });
    const { drawing } = this.page.state;
    if (drawing && drawing.target !== null && drawing.version === drawing.saved) dropDrawing(this.page);
  }
}
