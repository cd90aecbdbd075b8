/** Marks of constant size over the image: points, boxes, outlines with handles, the brush, names. */
import { svg } from "../dom.js";
import { toScreen } from "./view.js";

/**
 * @typedef {import("./view.js").View} View
 * @typedef {import("./view.js").Point} Point
 *
 * @typedef {object} Marks in image coordinates
 * @property {number[][]} [points] x, y, 1 or 0
 * @property {number[] | null} [box] left, top, right, bottom
 * @property {Point[][]} [rings] closed outlines with handles
 * @property {Point[] | null} [line] an open outline
 * @property {boolean} [handles] whether the open outline shows its points
 * @property {{x: number, y: number, radius: number, erase: boolean} | null} [brush]
 * @property {{x: number, y: number, text: string}[]} [names]
 */

const HANDLE = 4;

/**
 * Draw all marks anew.
 *
 * @param {SVGElement} layer
 * @param {Marks} marks
 * @param {View} view
 * @param {import("./view.js").Size} size of the window
 */
export function drawMarks(layer, marks, view, size) {
  const at = (/** @type {number} */ x, /** @type {number} */ y) => toScreen(view, x, y);
  /** @type {SVGElement[]} */
  const parts = [];
  for (const { x, y, text } of marks.names ?? []) {
    const place = at(x, y);
    if (place.x < -80 || place.y < -20 || place.x > size.width || place.y > size.height + 20) continue;
    const label = svg("text", { x: place.x, y: place.y, class: "mark-name" });
    label.textContent = text;
    parts.push(label);
  }
  for (const ring of marks.rings ?? []) parts.push(...outline(ring, true, true, view, size));
  if (marks.line?.length) parts.push(...outline(marks.line, false, marks.handles ?? true, view, size));
  if (marks.box) {
    const [a, b] = [at(marks.box[0], marks.box[1]), at(marks.box[2], marks.box[3])];
    const rect = { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(b.x - a.x), height: Math.abs(b.y - a.y) };
    parts.push(svg("rect", { ...rect, class: "mark-back" }), svg("rect", { ...rect, class: "mark-box" }));
  }
  for (const [x, y, label] of marks.points ?? []) parts.push(pointMark(at(x, y), label));
  if (marks.brush) {
    const place = at(marks.brush.x, marks.brush.y);
    const circle = { cx: place.x, cy: place.y, r: Math.max(1.5, marks.brush.radius * view.scale) };
    const kind = marks.brush.erase ? "mark-brush erase" : "mark-brush";
    parts.push(svg("circle", { ...circle, class: "mark-back" }), svg("circle", { ...circle, class: kind }));
  }
  layer.replaceChildren(...parts);
}

/**
 * A positive point is a disc with a plus, a negative one a square with a minus: the shape tells them apart, too.
 *
 * @param {Point} place
 * @param {number} label
 */
function pointMark(place, label) {
  const shape = label
    ? svg("circle", { r: 7, class: "mark-point positive" })
    : svg("rect", { x: -6.5, y: -6.5, width: 13, height: 13, class: "mark-point negative" });
  const sign = svg("path", { d: label ? "M-3.5 0h7M0-3.5v7" : "M-3.5 0h7", class: "mark-sign" });
  return svg("g", { transform: `translate(${place.x} ${place.y})`, class: label ? "positive" : "negative" }, shape, sign);
}

/**
 * @param {Point[]} ring
 * @param {boolean} closed
 * @param {boolean} handles
 * @param {View} view
 * @param {import("./view.js").Size} size
 */
function outline(ring, closed, handles, view, size) {
  const places = ring.map(({ x, y }) => toScreen(view, x, y));
  const d = `M${places.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}${closed ? "Z" : ""}`;
  const parts = [svg("path", { d, class: "mark-back" }), svg("path", { d, class: "mark-line" })];
  if (!handles) return parts;
  for (const { x, y } of places) {
    if (x < -HANDLE || y < -HANDLE || x > size.width + HANDLE || y > size.height + HANDLE) continue;
    const rect = { x: x - HANDLE, y: y - HANDLE, width: 2 * HANDLE, height: 2 * HANDLE };
    parts.push(svg("rect", { ...rect, class: "mark-handle" }));
  }
  return parts;
}
