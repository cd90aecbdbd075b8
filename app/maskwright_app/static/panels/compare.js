/** Two models side by side on the image in view; nothing of it is stored. */
import { drawMasks } from "../actions/snapshot.js";
import { busyRequest } from "../actions/busy.js";
import { decode } from "../canvas/rle.js";
import { pixel } from "../canvas/raster.js";
import { el, fill, say } from "../dom.js";
import { classColor } from "../overlay.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function comparePanel(page) {
  const selects = ["first", "second"].map((which) => el("select", { id: `compare-${which}`, "aria-label": `The ${which} model` }));
  const what = el("p");
  const sides = el("div", { style: { display: "grid", gap: "12px" }, id: "compare-sides" });
  const run = el("button", { type: "button", class: "button main", id: "compare-run", on: { click: () => void compare(page, selects.map((one) => one.value), sides) } }, "Compare");
  page.store.watch(["presets"], () => {
    const usable = page.state.presets.filter((/** @type {any} */ one) => one.state === "in use" || one.state === "ready");
    for (const [i, select] of selects.entries()) {
      const before = select.value;
      fill(select, ...usable.map((/** @type {any} */ one) => el("option", { value: one.name }, one.title)));
      select.value = before || usable[Math.min(i, usable.length - 1)]?.name || "";
    }
  });
  page.store.watch(["words", "image"], () => {
    const { words, image } = page.state;
    run.disabled = !words.length || !image;
    say(what, words.length ? `Both look for: ${words.join(", ")}.` : "Type words on top first.");
  });
  return el("div", { class: "panel" }, el("div", { class: "setting" }, el("b", {}, "Compare two models on this image"), ...selects, what, run, el("p", {}, "Only to look at: nothing is stored.")), sides);
}

/**
 * @param {Page} page
 * @param {string[]} presets
 * @param {HTMLElement} sides
 */
async function compare(page, presets, sides) {
  const { image, words } = page.state;
  if (!image) return;
  const answer = await page.attempt(() => busyRequest(page, "Comparing", "/ui/compare", { image: image.id, words: words.join(", "), presets }));
  if (!answer) return;
  fill(sides, ...answer.sides.map((/** @type {any} */ side) => el("figure", { style: { margin: "0", display: "grid", gap: "4px" } },
    el("figcaption", {}, el("b", {}, side.title ?? side.preset), el("span", { class: "quiet" }, ` ${side.masks.length} masks, ${Number(side.seconds).toFixed(1)} s`)),
    picture(page, image, side.masks, page.stage.image.levels[0]), side.notice ? el("p", { class: "quiet" }, side.notice) : null)));
}

/**
 * An image with masks over it.
 *
 * @param {Page} page
 * @param {{width: number, height: number}} image
 * @param {any[]} masks
 * @param {CanvasImageSource | null | undefined} pixels
 */
export function picture(page, image, masks, pixels) {
  const width = 740;
  const height = Math.max(1, Math.round((width * image.height) / image.width));
  const canvas = el("canvas", { width: String(width), height: String(height), role: "img", "aria-label": masks.map((mask) => mask.category).join(", ") || "no masks", style: { width: "100%", "border-radius": "6px", display: "block" } });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const styles = [...masks].sort((a, b) => b.area - a.area).map((mask) => {
    const color = mask.color || classColor(page, mask.category);
    return /** @type {[any, any]} */ ([decode(mask.rle.counts, image.height), { fill: pixel(color, 0.5), edge: pixel(color, 1), dashed: false, hatched: false }]);
  });
  if (pixels) context.drawImage(pixels, 0, 0, width, height);
  context.drawImage(drawMasks(styles, { width, height, scale: width / image.width }), 0, 0);
  return canvas;
}
