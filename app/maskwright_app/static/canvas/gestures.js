/** What the tools have in common. */
import { masksAt, select } from "../actions/masks.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("./stage.js").Pointer} Pointer
 * @typedef {import("./view.js").Point} Point
 */

/** Screen pixels within which a press is a click, and a point is hit. */
export const REACH = 6;

/**
 * Change some marks of the stage.
 *
 * @param {Page} page
 * @param {import("./marks.js").Marks} marks
 */
export function mark(page, marks) {
  Object.assign(page.stage.marks, marks);
  page.stage.invalidate("marks");
}

/**
 * Image pixels of so many screen pixels.
 *
 * @param {Page} page
 * @param {number} pixels
 */
export function reach(page, pixels = REACH) {
  return pixels / page.stage.view.scale;
}

/**
 * Whether a place lies on the image.
 *
 * @param {Page} page
 * @param {Point} place
 */
export function onImage(page, { x, y }) {
  const { size } = page.stage;
  return size !== null && x >= 0 && y >= 0 && x < size.width && y < size.height;
}

/**
 * The nearest place on the image.
 *
 * @param {Page} page
 * @param {Point} p
 */
export function point(page, p) {
  const { size } = page.stage;
  const [width, height] = size ? [size.width, size.height] : [0, 0];
  return { x: Math.min(width, Math.max(0, p.x)), y: Math.min(height, Math.max(0, p.y)) };
}

/**
 * Show which mask is under the pointer.
 *
 * @param {Page} page
 * @param {Pointer} p
 */
export function hover(page, p) {
  page.pointer = { x: p.x, y: p.y };
  page.store.set({ hovered: masksAt(page, p.x, p.y)[0]?.key ?? null });
}

/**
 * Select the smallest mask under a place; the same place again takes the next one below.
 *
 * @param {Page} page
 * @param {Point} place
 */
export function selectAt(page, place) {
  const under = masksAt(page, place.x, place.y);
  const current = under.findIndex((mask) => mask.key === page.state.selected);
  select(page, under.length ? under[(current + 1) % under.length].key : null);
}
