/** The tools, one key each, and what belongs to the tool in hand. */
import { clean, splitSelected } from "../actions/drawing.js";
import { findLike } from "../actions/examples.js";
import { completeImage, confirmRemoval, markImage } from "../actions/images.js";
import { undo } from "../actions/masks.js";
import { findEverything } from "../actions/prompts.js";
import { el, icon, iconButton, say } from "../dom.js";

/** @typedef {import("../page.js").Page} Page */

/** @type {[string, any, string, string][]} name, icon, title, key */
export const TOOLS = [
  ["select", "select", "Select", "S"],
  ["point", "point", "Point", "C"],
  ["box", "box", "Box", "W"],
  ["brush", "brush", "Brush", "B"],
  ["eraser", "eraser", "Eraser", "E"],
  ["polygon", "polygon", "Polygon", "P"],
  ["lasso", "lasso", "Lasso", "L"],
  ["vertices", "vertices", "Outline points", "T"],
];

/** What the tool in hand does, for the status bar. */
export const HINTS = {
  select: "Click selects a mask; the same place again takes the one below.",
  point: "Click on an object. Shift+click: not this. Drag: a box around it.",
  box: "Drag a box around an object, or click two corners.",
  brush: "Paint on the selected mask, or a new one. Shift erases.",
  eraser: "Erase from the selected mask.",
  polygon: "Click the corners; the first again or Enter closes. Alt cuts out.",
  lasso: "Drag around what belongs to the mask. Alt cuts out.",
  vertices: "Drag a point; press the line for a new one; Alt+click removes.",
};

/**
 * Take a tool in hand.
 *
 * @param {Page} page
 * @param {string} name
 */
export function chooseTool(page, name) {
  page.store.set({ tool: name });
}

/** @param {Page} page */
export function createToolbar(page) {
  const bar = /** @type {HTMLElement} */ (document.getElementById("tools"));
  const button = (/** @type {any} */ symbol, /** @type {string} */ label, /** @type {string} */ key, /** @type {() => void} */ act, more = {}) => {
    const made = iconButton(symbol, key ? `${label} (${key})` : label, act, { "aria-keyshortcuts": key || null, ...more });
    made.append(el("span", { class: "label", "aria-hidden": "true" }, label));
    return made;
  };
  const tools = TOOLS.map(([name, symbol, title, key]) =>
    button(symbol, title, key, () => chooseTool(page, name), { id: `tool-${name}`, "aria-pressed": "false", data: { tool: name } }));
  const others = [
    button("fill", "Fill holes", "F", () => clean(page, "holes"), { id: "fill-holes" }),
    button("specks", "Remove specks", "X", () => clean(page, "specks"), { id: "remove-specks" }),
    button("split", "Split parts", "V", () => void splitSelected(page), { id: "split-parts" }),
    el("hr"),
    button("undo", "Undo", "Ctrl+Z", () => void undo(page, "undo"), { id: "undo" }),
    button("redo", "Redo", "Ctrl+Shift+Z", () => void undo(page, "redo"), { id: "redo" }),
    // a phone has no room for them in the bars on top and at the bottom
    ...[
      button("everything", "Every object", "O", () => void findEverything(page)),
      button("like", "Find like", "R", () => void findLike(page)),
      button("check", "Complete", "D", () => void completeImage(page)),
      button("hidden", "Leave out", "", () => void markImage(page, { excluded: page.state.image?.status !== "excluded" })),
      button("trash", "Remove image", "", () => confirmRemoval(page)),
      button("help", "Help", "?", () => page.help()),
    ].map((one) => {
      one.classList.add("phone");
      return one;
    }),
  ];
  bar.append(...tools.slice(0, 1), el("hr"), ...tools.slice(1, 3), el("hr"), ...tools.slice(3), el("hr"), ...others);
  page.store.watch(["tool"], () => {
    for (const one of tools) one.setAttribute("aria-pressed", String(one.dataset.tool === page.state.tool));
    page.stage.use(page.tools[page.state.tool]);
    if (page.state.tool === "vertices") page.tools.vertices.refresh?.();
  });
  page.store.watch(["selected", "drawing", "masks"], () => {
    if (page.state.tool === "vertices") page.tools.vertices.refresh?.();
  });
}

/**
 * Over the image: the sign or size of the tool in hand.
 *
 * @param {Page} page
 * @param {HTMLElement} over
 */
export function createToolBar(page, over) {
  const sign = el("button", { type: "button", class: "button", id: "sign", title: "Add or subtract (K)", on: { click: () => page.store.set({ positive: !page.state.positive }) } });
  const size = el("input", { type: "range", id: "brush-size", min: "1", max: "200", "aria-label": "Brush size in pixels", on: { input: () => setBrush(page, Number(size.value)) } });
  const number = el("span", { class: "quiet" });
  const sizes = el("span", { class: "row" }, size, number);
  const bar = el("div", { class: "float tool-bar", id: "tool-bar" }, sign, sizes);
  over.append(bar);
  page.store.watch(["tool", "positive", "brush", "image"], () => {
    const { tool, positive, brush, image } = page.state;
    bar.hidden = !image || !["point", "brush", "eraser"].includes(tool);
    sign.hidden = tool !== "point";
    sizes.hidden = tool !== "brush" && tool !== "eraser";
    sign.replaceChildren(icon(positive ? "plus" : "cross"), positive ? "Add" : "Subtract");
    sign.setAttribute("aria-pressed", String(!positive));
    size.value = String(brush);
    say(number, `${Math.round(brush)} px`);
  });
}

/**
 * @param {Page} page
 * @param {number} pixels
 */
export function setBrush(page, pixels) {
  const brush = Math.min(400, Math.max(1, pixels));
  page.store.set({ brush });
  const { marks } = page.stage;
  if (marks.brush) marks.brush.radius = brush / 2;
  page.stage.invalidate("marks");
}
