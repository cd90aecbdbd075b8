/** Polygon and lasso. */
import { openDrawing, strokeEnded } from "../actions/drawing.js";
import { mark, point, reach } from "./gestures.js";
import { distance } from "./shapes.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("./stage.js").Tool} Tool
 * @typedef {import("./view.js").Point} Point
 */

/**
 * Add the inside of an outline to the mask; with Alt or Shift, take it away.
 *
 * @param {Page} page
 * @param {Point[]} ring
 * @param {boolean} subtract
 */
function closeOutline(page, ring, subtract) {
  mark(page, { line: null });
  if (ring.length < 3) return;
  const drawing = openDrawing(page);
  if (!drawing) return;
  page.syncActive();
  drawing.edit.begin();
  drawing.edit.polygon([ring], subtract ? 0 : 1);
  if (drawing.edit.end()) strokeEnded(page);
  page.stage.invalidate("active");
}

/**
 * A point for each press; the first one again, a double press or Enter closes the outline.
 *
 * @param {Page} page
 * @returns {Tool & {finish: () => boolean, back: () => boolean}}
 */
export function polygonTool(page) {
  /** @type {Point[]} */
  let ring = [];
  const finish = (subtract = false) => {
    if (!ring.length) return false;
    const done = ring;
    ring = [];
    closeOutline(page, done, subtract);
    return true;
  };
  return {
    cursor: "crosshair",
    finish: () => finish(),
    back: () => {
      if (!ring.length) return false;
      ring.pop();
      mark(page, { line: ring.length ? [...ring] : null });
      return true;
    },
    hover: (p) => ring.length && mark(page, { line: [...ring, point(page, p)] }),
    up: (p) => {
      const place = point(page, p);
      const near = reach(page, p.touch ? 18 : 8);
      const again = ring.length > 0 && distance(place, ring[ring.length - 1]) < reach(page, 3);
      if (ring.length > 2 && (distance(place, ring[0]) <= near || again)) finish(p.alt || p.shift);
      else if (!again) {
        ring.push(place);
        mark(page, { line: [...ring] });
      }
    },
    cancel: () => {
      ring = [];
      mark(page, { line: null });
    },
    leave: () => ring.length && mark(page, { line: [...ring] }),
  };
}

/**
 * A free outline, closed where the pointer is lifted.
 *
 * @param {Page} page
 * @returns {Tool}
 */
export function lassoTool(page) {
  /** @type {Point[]} */
  let ring = [];
  return {
    cursor: "crosshair",
    down: (p) => (ring = [point(page, p)]),
    move: (p) => {
      for (const place of p.path) ring.push(point(page, place));
      mark(page, { line: ring, handles: false });
    },
    up: (p) => {
      const done = ring;
      ring = [];
      page.stage.marks.handles = true;
      closeOutline(page, done, p.alt || p.shift);
    },
    cancel: () => {
      ring = [];
      mark(page, { line: null, handles: true });
    },
  };
}
