/** What lies over the image: the bar of the clicks, names under the pointer, notices, the view, the start. */
import { addSamples } from "../actions/images.js";
import { dropDrawing, keepDrawing } from "../actions/drawing.js";
import { findLike, noExample } from "../actions/examples.js";
import { decideCurrent, giveClass, nameOf, removeSelected, selectedMask } from "../actions/masks.js";
import { suggestNames, suggestions } from "../actions/names.js";
import { dropClicks, keepClick, nextCandidate, undoClick } from "../actions/prompts.js";
import { el, fill, iconButton, reconcile, say } from "../dom.js";
import { classColor, maskColor } from "../overlay.js";
import { toScreen } from "../canvas/view.js";
import { shorten } from "../text.js";
import { showHistory } from "./history.js";
import { chooseTool, createToolBar } from "./toolbar.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function createOver(page) {
  const over = /** @type {HTMLElement} */ (document.getElementById("over"));
  createToolBar(page, over);
  viewBar(page, over);
  actionBar(page, over);
  tag(page, over);
  notices(page, over);
  start(page, over);
}

/**
 * @param {Page} page
 * @param {HTMLElement} over
 */
function viewBar(page, over) {
  const display = (/** @type {string} */ key) => () => page.store.merge("display", { [key]: !page.state.display[key] });
  const hide = iconButton("eye", "Hide or show the masks (H)", display("hidden"), { id: "hide", "aria-pressed": "false" });
  const bar = el("div", { class: "float view-bar", role: "group", "aria-label": "View" }, hide,
    el("button", { type: "button", class: "icon-button", id: "zoom-out", "aria-label": "Zoom out", title: "Zoom out (-)", on: { click: () => page.stage.zoom(1 / 1.5) } }, "−"),
    el("button", { type: "button", class: "icon-button", id: "zoom-in", "aria-label": "Zoom in", title: "Zoom in (+)", on: { click: () => page.stage.zoom(1.5) } }, "+"),
    iconButton("fit", "Whole image (0)", () => page.stage.fit(), { id: "fit" }),
    el("button", { type: "button", class: "icon-button extra", id: "actual", "aria-label": "1:1, one to one", title: "One to one (Shift+0)", on: { click: () => page.stage.actualSize() } }, "1:1"));
  over.append(bar);
  page.store.watch(["image", "display"], () => {
    bar.hidden = !page.state.image;
    hide.setAttribute("aria-pressed", String(page.state.display.hidden));
  });
}

/**
 * @param {Page} page
 * @param {HTMLElement} over
 */
function actionBar(page, over) {
  const bar = el("div", { class: "float action-bar", id: "action-bar", role: "group", "aria-label": "Actions" });
  over.append(bar);
  page.store.watch(["click", "drawing", "className", "selected", "masks", "classes", "suggestions"], () => {
    const parts = actions(page);
    bar.hidden = !parts;
    fill(bar, ...(parts ?? []));
  });
}

/**
 * @param {Page} page
 * @returns {import("../dom.js").Child[] | null}
 */
function actions(page) {
  const { click, drawing, className } = page.state;
  const name = (/** @type {string} */ text, /** @type {string} */ color) => el("span", { class: "name" }, el("span", { class: "swatch", style: { "--color": color } }), el("b", {}, text || "no name yet"));
  const button = (/** @type {string} */ label, /** @type {string} */ key, /** @type {string} */ id, /** @type {() => void} */ act, kind = "") =>
    el("button", { type: "button", class: `button ${kind}`, id, on: { click: act } }, label, " ", el("kbd", {}, key));
  if (drawing && drawing.target === null) {
    return [el("span", { class: "hint quiet" }, "New mask:"), name(className, className ? classColor(page, className) : "transparent"),
      button("Keep", "Enter", "keep", () => void keepDrawing(page), "good"), button("Drop", "Esc", "drop", () => dropDrawing(page))];
  }
  if (click) {
    const mask = click.candidates[click.chosen];
    const corrected = click.corrects !== null ? [...page.state.masks.values()].find((one) => one.annotation === click.corrects) : null;
    const text = corrected ? corrected.category : mask ? nameOf(page, mask) : className;
    const count = click.candidates.length;
    const waits = click.answered !== click.version;
    const keep = button("Keep", "G", "keep", () => void keepClick(page), "good");
    keep.disabled = !mask || waits;
    return [
      el("span", { class: "hint quiet" }, corrected ? "Correct:" : "Keep as:"), name(text, text ? classColor(page, text) : "transparent"),
      mask && mask.score !== null ? el("span", { class: "hint quiet" }, mask.score.toFixed(2)) : null,
      ...(corrected ? [] : naming(page, mask)),
      count > 1 ? button(`Mask ${click.chosen + 1} of ${count}`, "J", "candidate", () => nextCandidate(page)) : null,
      iconButton("undo", "Take back the last click (Z)", () => void undoClick(page), { id: "undo-click" }),
      keep, button("Drop", "Esc", "drop", () => dropClicks(page)),
    ];
  }
  const mask = selectedMask(page);
  if (!mask) return null;
  const text = nameOf(page, mask);
  const shown = [name(text, maskColor(page, mask)), el("span", { class: "hint quiet" }, [mask.score === null ? "" : mask.score.toFixed(2), mask.source].filter(Boolean).join(" · "))];
  if (mask.state === "proposed") {
    return [...shown, ...naming(page, mask), button("Accept", "G", "accept", () => void decideCurrent(page, "accept"), "good"), button("Reject", "U", "reject", () => void decideCurrent(page, "reject"), "bad"),
      button("Outline", "T", "outline", () => chooseTool(page, "vertices"))];
  }
  const example = mask.reference_of.includes(mask.category);
  return [...shown, ...suggestions(page, mask).map((one) => nameButton(page, one)),
    button("Outline", "T", "outline", () => chooseTool(page, "vertices")), button(example ? "Find more" : "Find like this", "R", "find-like", () => void findLike(page)),
    example ? iconButton("star", "This mask is an example; press to take that back", () => void noExample(page, mask), { id: "no-example", "aria-pressed": "true" }) : null,
    iconButton("history", "History of this mask", () => void showHistory(page, mask), { id: "history" }),
    iconButton("trash", "Delete this mask (Del)", () => void removeSelected(page), { id: "delete" })];
}

/**
 * The names that a mask may get: what the model suggests, or the way to ask it.
 *
 * @param {Page} page
 * @param {import("../store.js").Mask | undefined} mask
 */
function naming(page, mask) {
  const names = suggestions(page, mask);
  if (names.length) return names.map((one) => nameButton(page, one));
  if (!mask || nameOf(page, mask) || !page.state.classes.length) return [];
  return [el("button", { type: "button", class: "button", id: "suggest", title: "Compare the mask with the names of the classes (I)", on: { click: () => void suggestNames(page) } }, "What is it? ", el("kbd", {}, "I"))];
}

/**
 * @param {Page} page
 * @param {{name: string, probability: number}} suggestion
 */
function nameButton(page, { name, probability }) {
  return el("button", { type: "button", class: "button suggestion", title: `The model takes it for ${name} with ${Math.round(100 * probability)} %`, on: { click: () => void giveClass(page, name) } },
    el("span", { class: "swatch", style: { "--color": classColor(page, name) } }), shorten(name, 16), el("span", { class: "quiet" }, ` ${Math.round(100 * probability)} %`));
}

/**
 * Name and certainty of the mask under the pointer.
 *
 * @param {Page} page
 * @param {HTMLElement} over
 */
function tag(page, over) {
  const label = el("div", { class: "tag", id: "tag", "aria-hidden": "true" });
  over.append(label);
  page.store.watch(["hovered", "masks"], () => {
    const mask = page.state.hovered && page.state.masks.get(page.state.hovered);
    label.hidden = !mask;
    if (!mask) return;
    const score = mask.score === null ? "" : ` ${mask.score.toFixed(2)}`;
    say(label, `${nameOf(page, mask) || "no name"}${score}${mask.state === "proposed" ? " · proposal" : ""}`);
    const [x, y] = mask.bbox;
    const { width, height } = page.stage.window;
    const place = toScreen(page.stage.view, x, y);
    label.style.left = `${Math.max(6, Math.min(width - label.offsetWidth - 6, place.x))}px`;
    label.style.top = `${Math.min(height - 30, Math.max(52, place.y - 28))}px`;
  });
}

/**
 * @param {Page} page
 * @param {HTMLElement} over
 */
function notices(page, over) {
  const list = el("div", { class: "notices", "aria-live": "polite", id: "notices" });
  over.append(list);
  page.store.watch(["notices"], () => {
    reconcile(list, page.state.notices, (/** @type {any} */ one) => String(one.id), (one) => {
      const buttons = one.actions.map((/** @type {any} */ action) => el("button", { type: "button", class: "button", on: { click: () => { page.dismiss(one.id); action.act(); } } }, action.label));
      const close = iconButton("close", "Close", () => page.dismiss(one.id));
      return el("div", { class: `notice ${one.kind}`, role: one.kind === "error" ? "alert" : "status" }, el("p", {}, one.text), ...buttons, close);
    }, () => undefined);
  });
}

/**
 * What an empty project shows: how to begin.
 *
 * @param {Page} page
 * @param {HTMLElement} over
 */
function start(page, over) {
  const add = el("button", { type: "button", class: "button main", id: "start-add", on: { click: () => page.chooseFiles() } }, "Add images");
  const samples = el("button", { type: "button", class: "button", id: "start-samples", on: { click: () => void addSamples(page) } }, "Try the sample images");
  const filtered = el("p", { id: "start-filtered" }, "No image fits the filter.");
  const first = [el("h1", {}, "Masks by word, by click, by example"),
    el("p", {}, "Drop images or a zip file here, paste one, or choose them. Everything stays on this computer, and every mask is on disk before the page says so."),
    el("div", { class: "cards" }, add, samples)];
  const screen = el("div", { class: "start", id: "start" }, ...first, filtered);
  over.append(screen);
  page.store.watch(["ready", "image", "images", "samples", "project"], () => {
    const { ready, image, images, project } = page.state;
    screen.hidden = !ready || Boolean(image);
    const none = !(project?.counts?.images || images.total);
    for (const part of first) part.hidden = !none;
    filtered.hidden = none;
    if (!none) say(filtered, images.total ? "Choose an image on the left." : "No image fits the filter. Choose another on the left.");
    samples.hidden = page.state.samples === false;
  });
}
