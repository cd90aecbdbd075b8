/** One key each; while somebody types, the keys are the field's. */
import { clean, dropDrawing, keepDrawing, splitSelected, undoStroke } from "./actions/drawing.js";
import { findLike, notLike } from "./actions/examples.js";
import { completeImage, nextUnreviewed, turnImage } from "./actions/images.js";
import { decide, decideCurrent, giveClass, masksAt, proposals, removeSelected, select, selectNext, undo } from "./actions/masks.js";
import { suggestNames } from "./actions/names.js";
import { dropClicks, findEverything, findWords, keepClick, nextCandidate, undoClick } from "./actions/prompts.js";
import { TOOLS, chooseTool, setBrush } from "./panels/toolbar.js";

/**
 * @typedef {import("./page.js").Page} Page
 * @typedef {{keys: string[], does: string, group: string, act?: (page: Page) => unknown}} Shortcut keys as `describe` gives them
 */

/** @type {Shortcut[]} */
export const SHORTCUTS = [
  ...TOOLS.map(([name, , title, key]) => ({ keys: [key], does: `${title} tool`, group: "Tools", act: (/** @type {Page} */ page) => chooseTool(page, name) })),
  { keys: ["K"], does: "Add or subtract points", group: "Tools", act: (page) => page.store.set({ positive: !page.state.positive }) },
  { keys: ["["], does: "Smaller brush", group: "Tools", act: (page) => setBrush(page, Math.min(page.state.brush - 1, page.state.brush / 1.25)) },
  { keys: ["]"], does: "Larger brush", group: "Tools", act: (page) => setBrush(page, Math.max(page.state.brush + 1, page.state.brush * 1.25)) },
  { keys: ["F"], does: "Fill holes", group: "Tools", act: (page) => clean(page, "holes") },
  { keys: ["X"], does: "Remove specks", group: "Tools", act: (page) => clean(page, "specks") },
  { keys: ["V"], does: "Split the mask into its parts", group: "Tools", act: (page) => splitSelected(page) },
  { keys: ["Q"], does: "Find the words", group: "Find", act: (page) => findWords(page) },
  { keys: ["/"], does: "Go to the words", group: "Find", act: (page) => page.focusWords() },
  { keys: ["R"], does: "Selected mask as example; find its like", group: "Find", act: (page) => findLike(page) },
  { keys: ["Shift+R"], does: "Selected mask shows what not to find", group: "Find", act: (page) => notLike(page) },
  { keys: ["I"], does: "Which class the mask may be", group: "Find", act: (page) => suggestNames(page) },
  { keys: ["O"], does: "Find every object", group: "Find", act: (page) => findEverything(page) },
  { keys: ["Z"], does: "Take back the last click or stroke", group: "Find", act: (page) => page.tools.polygon.back?.() || undoStroke(page) || undoClick(page) },
  { keys: ["J"], does: "Another mask for the clicks; next proposal", group: "Decide", act: (page) => (page.state.click ? nextCandidate(page) : selectNext(page, 1)) },
  { keys: ["Shift+J"], does: "Previous proposal", group: "Decide", act: (page) => selectNext(page, -1) },
  { keys: ["G", "Enter"], does: "Keep or accept: selected, else all", group: "Decide", act: (page) => keep(page) },
  { keys: ["U"], does: "Reject: selected, else all", group: "Decide", act: (page) => (page.state.click ? dropClicks(page) : decideCurrent(page, "reject")) },
  { keys: ["Shift+G"], does: "Accept all", group: "Decide", act: (page) => decide(page, "accept", proposals(page)) },
  { keys: ["Shift+U"], does: "Reject all", group: "Decide", act: (page) => decide(page, "reject", proposals(page)) },
  { keys: ["1-9"], does: "Class of the selected or next mask", group: "Decide" },
  { keys: ["Delete", "Backspace"], does: "Delete the selected mask", group: "Decide", act: (page) => removeSelected(page) },
  { keys: ["Escape"], does: "Drop the clicks, the stroke, the selection", group: "Decide", act: (page) => escape(page) },
  { keys: ["Ctrl+Z"], does: "Undo", group: "Decide", act: (page) => undoStroke(page) || undo(page, "undo") },
  { keys: ["Ctrl+Shift+Z", "Ctrl+Y"], does: "Redo", group: "Decide", act: (page) => undo(page, "redo") },
  { keys: ["Tab"], does: "On the image: next mask below the pointer", group: "Decide" },
  { keys: ["N"], does: "Next image", group: "Images", act: (page) => turnImage(page, 1) },
  { keys: ["Shift+N"], does: "Previous image", group: "Images", act: (page) => turnImage(page, -1) },
  { keys: ["."], does: "Next image to review", group: "Images", act: (page) => nextUnreviewed(page) },
  { keys: ["D"], does: "Image complete, and on", group: "Images", act: (page) => completeImage(page) },
  { keys: ["Wheel"], does: "Zoom at the pointer", group: "View" },
  { keys: ["Space"], does: "Hold to move the image", group: "View" },
  { keys: ["Arrows"], does: "Move the image", group: "View" },
  { keys: ["+", "="], does: "Zoom in", group: "View", act: (page) => page.stage.zoom(1.5) },
  { keys: ["-"], does: "Zoom out", group: "View", act: (page) => page.stage.zoom(1 / 1.5) },
  { keys: ["0"], does: "Whole image", group: "View", act: (page) => page.stage.fit() },
  { keys: ["Shift+0"], does: "One to one", group: "View", act: (page) => page.stage.actualSize() },
  { keys: ["H"], does: "Hide or show masks", group: "View", act: (page) => page.store.merge("display", { hidden: !page.state.display.hidden }) },
  { keys: ["M"], does: "Names on the image", group: "View", act: (page) => page.store.merge("display", { names: !page.state.display.names }) },
  { keys: ["?"], does: "All keys", group: "View", act: (page) => page.help() },
];

/**
 * How a key press is called, such as "Ctrl+Shift+Z".
 *
 * @param {{key: string, code?: string, ctrlKey?: boolean, metaKey?: boolean, shiftKey?: boolean, altKey?: boolean}} event
 */
export function describe(event) {
  const letter = event.key.length === 1 && /[a-z]/i.test(event.key);
  // on every layout Shift and the digit are that digit
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code ?? "")?.[1];
  const key = digit !== undefined ? digit : letter ? event.key.toUpperCase() : event.key;
  const shift = event.shiftKey && (letter || digit !== undefined || event.key.length > 1);
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${shift ? "Shift+" : ""}${key}`;
}

/**
 * Whether a key belongs to the element that has the focus.
 *
 * @param {EventTarget | null} target
 */
function typesInto(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "range", "button"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** @param {Page} page */
export function connectShortcuts(page) {
  const table = new Map(SHORTCUTS.flatMap((one) => (one.act ? one.keys.map((key) => [key, one.act]) : [])));
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || typesInto(event.target) || document.querySelector("dialog[open]")) {
      if (event.key === "Escape" && typesInto(event.target)) /** @type {HTMLElement} */ (event.target).blur();
      return;
    }
    const key = describe(event);
    const onStage = event.target === page.stage.host || event.target === document.body;
    if (key === " " && onStage) page.stage.holdSpace(true);
    else if (key === "Tab" && onStage && cycle(page)) event.stopPropagation();
    else if (/^[1-9]$/.test(key)) byKey(page, Number(key));
    else if (onStage && arrows(page, key)) event.stopPropagation();
    else if (key === "Enter" && !onStage) return;
    else {
      const act = table.get(key);
      if (!act || (event.repeat && !"[]+-=J".includes(key))) return;
      void act(page);
    }
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => event.key === " " && page.stage.holdSpace(false));
  window.addEventListener("blur", () => page.stage.holdSpace(false));
}

/**
 * @param {Page} page
 * @param {string} key
 */
function arrows(page, key) {
  const way = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[key];
  if (way) page.stage.pan(way[0], way[1]);
  return Boolean(way);
}

/**
 * Select the next of the masks under the pointer; false where there is none, so that Tab leaves the image.
 *
 * @param {Page} page
 */
function cycle(page) {
  if (!page.pointer) return false;
  const under = masksAt(page, page.pointer.x, page.pointer.y);
  if (!under.length) return false;
  const at = under.findIndex((mask) => mask.key === page.state.selected);
  select(page, under[(at + 1) % under.length].key);
  return true;
}

/**
 * @param {Page} page
 * @param {number} number
 */
function byKey(page, number) {
  const one = page.state.classes.find((/** @type {any} */ other) => other.hotkey === number);
  if (one) void giveClass(page, one.name);
  else page.notify(`No class has the key ${number}.`);
}

/** @param {Page} page */
async function keep(page) {
  if (page.tools.polygon.finish?.()) return;
  if (page.state.drawing && page.state.drawing.target === null) await keepDrawing(page);
  else if (page.state.click) await keepClick(page);
  else await decideCurrent(page, "accept");
}

/** @param {Page} page */
function escape(page) {
  if (page.state.drawer) page.store.set({ drawer: "" });
  else if (page.state.click) dropClicks(page);
  else if (page.state.drawing && page.state.drawing.target === null) dropDrawing(page);
  else if (page.state.selected) select(page, null);
  else if (page.state.tool !== "select") chooseTool(page, "select");
  page.stage.tool.cancel?.();
}
