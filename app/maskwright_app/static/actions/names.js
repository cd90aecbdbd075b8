/** Names for masks that have none: what the model thinks, and one name for many. */
import { send } from "../server.js";
import { busyRequest } from "./busy.js";
import { mergeMasks, selectedMask, took } from "./masks.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").Mask} Mask
 */

const MOST = 3;
const LEAST = 0.05;

/**
 * The mask whose name is in question: that of the clicks, else the selected one.
 *
 * @param {Page} page
 */
function inQuestion(page) {
  const { click } = page.state;
  return click ? click.candidates[click.chosen] : selectedMask(page);
}

/**
 * Ask the model which classes of the project the mask may show; the action bar then offers them.
 *
 * @param {Page} page
 */
export async function suggestNames(page) {
  const { image, classes } = page.state;
  const mask = inQuestion(page);
  if (!mask || !image) {
    page.notify("Select a mask, or click on an object first.");
    return;
  }
  if (!classes.length) {
    page.notify("This project has no class yet. Type a name for the first one into the field below the classes.");
    return;
  }
  const body = { image: image.id, proposal: mask.key };
  const answer = await page.attempt(() => busyRequest(page, "Comparing with the names", "/ui/prompts/names", body));
  if (!answer) return;
  const likely = answer.names.filter((/** @type {any} */ one, /** @type {number} */ i) => i === 0 || one.probability >= LEAST);
  page.store.set({ suggestions: { key: mask.key, names: likely.slice(0, MOST) } });
}

/**
 * Names that the model has suggested for a mask, the best first.
 *
 * @param {Page} page
 * @param {Mask | undefined} mask
 * @returns {{name: string, probability: number}[]}
 */
export function suggestions(page, mask) {
  const known = page.state.suggestions;
  return mask && known?.key === mask.key ? known.names : [];
}

/**
 * Say that masks have no name, and offer to accept them under one.
 *
 * @param {Page} page
 * @param {Mask[]} masks proposals without a name
 */
export function askNames(page, masks) {
  page.store.set({ tab: "classes" });
  if (masks.length === 1) {
    page.askName();
    return;
  }
  const { className, classes } = page.state;
  const names = [...new Set([className, ...classes.map((/** @type {any} */ one) => one.name)].filter(Boolean))].slice(0, 4);
  const actions = names.map((name) => ({ label: name, act: () => void acceptAs(page, masks, name) }));
  const how = names.length ? "Accept all of them as:" : "Add a class first, or select one after the other and name it.";
  page.notify(`${masks.length} masks have no name yet. ${how}`, "error", actions);
}

/**
 * Accept masks under one name, in one step.
 *
 * @param {Page} page
 * @param {Mask[]} masks
 * @param {string} category
 */
async function acceptAs(page, masks, category) {
  const { image } = page.state;
  const keys = masks.map((mask) => mask.key).filter((key) => page.state.masks.has(key));
  if (!image || !keys.length) return;
  await page.attempt(async () => {
    const answer = await send("POST", "/ui/decisions", { image: image.id, accept: keys, category });
    mergeMasks(page, image.id, answer.masks, [...keys, ...answer.removed]);
    took(page, answer);
  }, { retry: true });
}
