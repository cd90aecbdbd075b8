/** From the state to the stage: which masks are drawn, in which colours, with which marks. */
import { isVisible, nameOf, selectedMask } from "./actions/masks.js";
import { pixel } from "./canvas/raster.js";
import { middle } from "./canvas/rle.js";
import { shadeOf } from "./text.js";

/**
 * @typedef {import("./page.js").Page} Page
 * @typedef {import("./store.js").Mask} Mask
 */

const NAMELESS = "#8a8f98";

/**
 * The colour of a class, or of what has no name.
 *
 * @param {Page} page
 * @param {string} name
 */
export function classColor(page, name) {
  const known = page.state.classes.find((/** @type {any} */ one) => one.name === name);
  return known?.color ?? NAMELESS;
}

/**
 * @param {Page} page
 * @param {Mask} mask
 */
export function maskColor(page, mask) {
  if (mask.category && mask.color) return mask.color;
  const name = nameOf(page, mask);
  return name ? classColor(page, name) : mask.color || NAMELESS;
}

/**
 * Keep the stage in step with the state.
 *
 * @param {Page} page
 */
export function connectOverlay(page) {
  const { store } = page;
  store.watch(["masks", "display", "classes", "click", "drawing", "className", "image"], () => showMasks(page));
  const active = ["masks", "selected", "hovered", "unlabelled", "click", "drawing", "display", "className", "classes", "image"];
  store.watch(active, () => showActive(page));
  store.watch(["click", "masks", "display", "image", "hovered"], () => showMarks(page));
}

/** @param {Page} page */
function showMasks(page) {
  const { display, drawing } = page.state;
  page.stage.masks.show(display.hidden ? [] : styled(page).filter(([key]) => key !== drawing?.target));
  page.stage.invalidate("masks");
}

/**
 * The visible masks in the order of drawing, each with its style.
 *
 * @param {Page} page
 * @returns {[string, import("./canvas/raster.js").Style][]}
 */
export function styled(page) {
  const { display, masks } = page.state;
  const alpha = display.opacity / 100;
  const shown = /** @type {Mask[]} */ ([...masks.values()].filter((mask) => mask.rows && isVisible(page, mask)));
  /** @type {Map<string, number>} */
  const counts = new Map();
  const number = new Map([...shown].sort((a, b) => a.key.localeCompare(b.key)).map((mask) => {
    const name = nameOf(page, mask);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    return [mask.key, counts.get(name) ?? 0];
  }));
  const patterned = patternedClasses(page);
  // the smallest are drawn last, over the others
  return shown.sort((a, b) => b.area - a.area).map((mask) => {
    const plain = maskColor(page, mask);
    const name = nameOf(page, mask);
    // masks without a name have one grey in common, and are told apart by its shades
    const color = display.shades || !name ? shadeOf(plain, number.get(mask.key) ?? 0) : plain;
    const proposed = mask.state !== "accepted";
    const style = {
      fill: pixel(color, proposed ? alpha * 0.75 : alpha),
      edge: pixel(color, Math.min(1, alpha + 0.5)),
      dashed: proposed,
      hatched: proposed && !name,
      striped: patterned.has(name),
      bare: !display.outlines,
    };
    return [mask.key, style];
  });
}

/**
 * Classes whose colour an earlier one has, too: they are drawn with stripes.
 *
 * @param {Page} page
 * @returns {Set<string>}
 */
export function patternedClasses(page) {
  const colors = new Set();
  const repeated = new Set();
  for (const { name, color } of page.state.classes) {
    if (colors.has(color)) repeated.add(name);
    colors.add(color);
  }
  return repeated;
}

/** @param {Page} page */
function showActive(page) {
  const { stage } = page;
  const { display, hovered, click, drawing, selected } = page.state;
  const alpha = display.opacity / 100;
  stage.active.items = [];
  if (drawing) {
    const name = drawing.target === null ? page.state.className : drawing.category;
    const color = name ? classColor(page, name) : NAMELESS;
    stage.active.painted = { edit: drawing.edit, style: { fill: pixel(color, Math.max(0.35, alpha)), edge: pixel("#ffffff", 0.95), dashed: false, hatched: false } };
    stage.invalidate("active");
    return;
  }
  stage.active.painted = null;
  const add = (/** @type {Mask} */ mask, /** @type {number} */ fill, /** @type {string} */ edge, /** @type {number} */ thickness) => {
    if (!mask.rows) return;
    const style = { fill: pixel(maskColor(page, mask), fill), edge: pixel(edge, 0.95), dashed: false, hatched: false };
    stage.active.items.push({ rows: mask.rows, style, thickness });
  };
  const candidate = click?.candidates[click.chosen];
  const { unlabelled } = page.state;
  if (unlabelled && !display.hidden) {
    const style = { fill: pixel(NAMELESS, 0.15), edge: pixel(NAMELESS, 0.9), dashed: true, hatched: true };
    stage.active.items.push({ rows: unlabelled, style, thickness: 1 });
  }
  if (candidate) add(candidate, Math.max(0.4, alpha), "#ffffff", 2);
  else if (!display.hidden) {
    const over = hovered !== null && hovered !== selected ? page.state.masks.get(hovered) : undefined;
    if (over) add(over, 0.2, maskColor(page, over), 2);
    const mask = selectedMask(page);
    if (mask) add(mask, 0.15, "#ffffff", 2);
  }
  stage.invalidate("active");
}

/** @param {Page} page */
function showMarks(page) {
  const { stage } = page;
  const { click, display, masks, image } = page.state;
  const mine = click && click.image === image?.id ? click : null;
  stage.marks.points = mine?.points ?? [];
  stage.marks.box = mine?.box ?? null;
  stage.marks.names = [];
  if (display.names && !display.hidden) {
    for (const mask of masks.values()) {
      if (!isVisible(page, mask)) continue;
      if (mask.rows) stage.marks.names.push({ ...middle(mask.rows), text: nameOf(page, mask) || "no name" });
    }
  }
  stage.invalidate("marks");
}

/**
 * Show the drawing before the next frame, as a stroke begins in it.
 *
 * @param {Page} page
 */
export function syncActive(page) {
  showActive(page);
}
