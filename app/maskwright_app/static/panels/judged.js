/** The held-out images of a fine-tuning run: what people drew, and the answers before and after. */
import { el, fill } from "../dom.js";
import { send } from "../server.js";
import { picture } from "./compare.js";

/** @typedef {import("../page.js").Page} Page */

/**
 * @param {Page} page
 * @param {string} run
 * @param {number} count
 */
export function judgedImages(page, run, count) {
  const body = el("div", { style: { display: "grid", gap: "8px" } });
  const details = el("details", { class: "judged", style: { "grid-column": "2 / -1" }, on: { toggle: () => void open() } },
    el("summary", {}, `Look at the ${count === 1 ? "held-out image" : `${count} held-out images`}`), body);
  let asked = false;
  async function open() {
    if (asked || !details.open) return;
    asked = true;
    const answer = await page.attempt(() => send("GET", `/ui/finetune/${encodeURIComponent(run)}/images`));
    if (!answer?.images.length) return fill(body, el("p", { class: "quiet" }, "No image was kept of this run."));
    const choice = el("select", { "aria-label": "Held-out image, the one that got worst first" },
      ...answer.images.map((/** @type {any} */ one) => el("option", { value: String(one.id) }, `${one.name}: ${score(one.before)} → ${score(one.after)}`)));
    const view = el("div", { style: { display: "grid", gap: "8px" } });
    choice.addEventListener("change", () => void show(page, run, Number(choice.value), view));
    fill(body, choice, view);
    await show(page, run, answer.images[0].id, view);
  }
  return details;
}

/**
 * Person's masks, and before and after in one picture that a slider divides.
 *
 * @param {Page} page
 * @param {string} run
 * @param {number} image
 * @param {HTMLElement} view
 */
async function show(page, run, image, view) {
  const [masks, item] = await Promise.all([
    page.attempt(() => send("GET", `/ui/finetune/${encodeURIComponent(run)}/images/${image}`)),
    page.attempt(() => send("GET", `/ui/images/${image}`)),
  ]);
  if (!masks || !item) return;
  const pixels = await load(item.pixels);
  const before = picture(page, masks, masks.before, pixels);
  const after = picture(page, masks, masks.after, pixels);
  const over = el("div", { style: { position: "absolute", inset: "0", overflow: "hidden" } }, after);
  const slider = el("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": "Before on the left, after on the right", style: { width: "100%" } });
  const divide = () => { over.style.clipPath = `inset(0 0 0 ${slider.value}%)`; };
  slider.addEventListener("input", divide);
  divide();
  fill(view,
    el("figure", { style: { margin: "0" } }, el("figcaption", { class: "quiet" }, "By people"), picture(page, masks, masks.person, pixels)),
    el("figure", { style: { margin: "0" } }, el("figcaption", { class: "row quiet" }, el("span", { class: "grow" }, "Before"), el("span", {}, "After")),
      el("div", { style: { position: "relative" } }, before, over), slider));
}

/**
 * @param {string} address
 * @returns {Promise<HTMLImageElement | null>}
 */
async function load(address) {
  const image = el("img", { src: address, alt: "" });
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}

/** @param {number | null} value */
function score(value) {
  return value === null ? "–" : value.toFixed(2);
}
