/** The tools: what pointing, pressing and dragging on the image does. */
import { openDrawing, strokeEnded } from "../actions/drawing.js";
import { addMark, removePoint } from "../actions/prompts.js";
import { REACH, hover, mark, onImage, point, reach, selectAt } from "./gestures.js";
import { lassoTool, polygonTool } from "./outline_tools.js";
import { distance } from "./shapes.js";
import { VerticesTool } from "./vertices_tool.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("./stage.js").Pointer} Pointer
 * @typedef {import("./stage.js").Tool} Tool
 * @typedef {import("./view.js").Point} Point
 */

/**
 * All tools by name.
 *
 * @param {Page} page
 * @returns {Record<string, Tool>}
 */
export function createTools(page) {
  return {
    select: selectTool(page),
    point: clickTool(page, false),
    box: clickTool(page, true),
    brush: brushTool(page, 1),
    eraser: brushTool(page, 0),
    polygon: polygonTool(page),
    lasso: lassoTool(page),
    vertices: new VerticesTool(page),
  };
}

/**
 * @param {Page} page
 * @returns {Tool}
 */
function selectTool(page) {
  return {
    cursor: "default",
    pansByTouch: true,
    hover: (p) => hover(page, p),
    leave: () => page.store.set({ hovered: null }),
    up: (p) => selectAt(page, p),
  };
}

/**
 * Points by pressing, a box by dragging; with `boxOnly` two presses are the corners of a box, too.
 *
 * @param {Page} page
 * @param {boolean} boxOnly
 * @returns {Tool}
 */
function clickTool(page, boxOnly) {
  /** @type {Pointer | null} */
  let start = null;
  /** @type {Point | null} */
  let corner = null;
  const boxTo = (/** @type {Point} */ from, /** @type {Point} */ to) => {
    const [a, b] = [point(page, from), point(page, to)];
    return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
  };
  const far = (/** @type {Pointer} */ p, /** @type {Point} */ from) => distance(p, from) > reach(page, p.touch ? 14 : REACH);
  const drags = (/** @type {Pointer} */ p) => boxOnly || !p.touch;
  const finish = (/** @type {number[]} */ box) => {
    corner = null;
    page.stage.marks.box = null;
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) addMark(page, { box });
    else mark(page, {});
  };
  return {
    cursor: "crosshair",
    pansByTouch: !boxOnly,
    down: (p) => (start = p),
    move: (p) => start && drags(p) && far(p, start) && mark(page, { box: boxTo(start, p) }),
    hover: (p) => {
      if (corner) mark(page, { box: boxTo(corner, p) });
      else hover(page, p);
    },
    up: (p) => {
      const begun = start;
      start = null;
      if (!begun) return;
      if (drags(p) && far(p, begun)) finish(boxTo(begun, p));
      else if (corner) finish(boxTo(corner, p));
      else if (boxOnly) corner = onImage(page, p) ? { x: p.x, y: p.y } : null;
      else if (onImage(page, p)) press(page, p);
      else page.notify("That point is outside the image.");
    },
    cancel: () => {
      start = corner = null;
      mark(page, { box: page.state.click?.box ?? null });
    },
    leave: () => {
      page.store.set({ hovered: null });
      if (!start && corner) {
        corner = null;
        mark(page, { box: page.state.click?.box ?? null });
      }
    },
  };
}

/**
 * A point that is pressed again goes away; Shift or Alt turns the sign around.
 *
 * @param {Page} page
 * @param {Pointer} p
 */
function press(page, p) {
  const { click, positive, image } = page.state;
  const points = click?.image === image?.id ? click.points : [];
  const hit = points.findIndex((/** @type {number[]} */ [x, y]) => distance({ x, y }, p) <= reach(page, p.touch ? 16 : REACH));
  if (hit >= 0 && Date.now() - page.pressedAt > 400) removePoint(page, hit);
  else addMark(page, { point: [p.x, p.y, positive !== (p.shift || p.alt) ? 1 : 0] });
  page.pressedAt = Date.now();
}

/**
 * @param {Page} page
 * @param {0 | 1} value 1 paints, 0 erases
 * @returns {Tool}
 */
function brushTool(page, value) {
  /** @type {Point | null} */
  let last = null;
  const show = (/** @type {Pointer} */ p) => {
    mark(page, { brush: p.touch ? null : { x: p.x, y: p.y, radius: page.state.brush / 2, erase: value === 0 } });
  };
  const paint = (/** @type {Pointer} */ p) => {
    const { drawing } = page.state;
    if (!last || !drawing) return;
    const erase = value === 0 || p.shift || p.alt;
    for (const place of p.path) {
      drawing.edit.stroke(last, place, page.state.brush / 2, erase ? 0 : 1);
      last = place;
    }
    page.stage.invalidate("dirty", "marks");
  };
  return {
    cursor: "none",
    hover: show,
    down: (p) => {
      const drawing = openDrawing(page);
      if (!drawing) return;
      page.syncActive();
      drawing.edit.begin();
      last = { x: p.x, y: p.y };
      paint(p);
      show(p);
    },
    move: (p) => {
      paint(p);
      show(p);
    },
    up: () => {
      last = null;
      if (page.state.drawing?.edit.end()) strokeEnded(page);
    },
    cancel: () => {
      last = null;
      const { drawing } = page.state;
      if (!drawing?.edit.end()) return;
      drawing.edit.undo();
      page.stage.invalidate("active");
    },
    leave: () => mark(page, { brush: null }),
  };
}
