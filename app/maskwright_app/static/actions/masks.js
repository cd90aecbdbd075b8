/** Masks of the image in view: fetch what changed, decide, name, delete, undo. */
import { contains } from "../canvas/rle.js";
import { RequestError, send } from "../server.js";
import { plural } from "../text.js";
import { finishDrawing } from "./drawing.js";
import { askNames } from "./names.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").Mask} Mask
 */

/**
 * Fetch the masks of the image in view; run lengths come only for those that are not known in this revision.
 *
 * @param {Page} page
 */
export async function refreshMasks(page) {
  const { image } = page.state;
  if (!image) return;
  const turn = page.turn;
  const known = page.known.get(image.id) ?? new Map();
  const revisions = Object.fromEntries([...known.values()].map((mask) => [mask.key, mask.revision]));
  const answer = await send("POST", `/ui/images/${image.id}/masks`, { known: revisions });
  if (turn !== page.turn) return;
  if (answer.change < page.state.change && page.state.image.id === image.id) {
    // something was decided while this answer was on its way
    await refreshMasks(page);
    return;
  }
  page.store.set({ change: Math.max(page.state.change, answer.change) });
  showMasks(page, answer.masks.map(fromServer));
}

/**
 * A mask as the page holds it; the size of the run lengths is that of the image.
 *
 * @param {any} mask
 * @returns {Mask}
 */
export function fromServer(mask) {
  const base = { annotation: null, score: null, out_of_vocabulary: false, reference_of: [], ...mask, category: mask.category ?? "" };
  return mask.rle ? { ...base, rle: mask.rle.counts } : base;
}

/**
 * Take a whole list of masks of the image in view.
 *
 * @param {Page} page
 * @param {Mask[]} list
 */
function showMasks(page, list) {
  const { image } = page.state;
  const before = page.known.get(image.id) ?? new Map();
  const masks = new Map(list.map((mask) => {
    const old = before.get(mask.key);
    const same = old && old.revision === mask.revision;
    return [mask.key, { ...mask, rle: mask.rle ?? old?.rle, rows: same && (!mask.rle || mask.rle === old.rle) ? old.rows : undefined }];
  }));
  remember(page, image.id, masks);
  publish(page, masks);
}

/**
 * Add or replace a few masks, and forget others.
 *
 * @param {Page} page
 * @param {number} imageId
 * @param {any[]} changed as the server sends them
 * @param {string[]} [gone]
 */
export function mergeMasks(page, imageId, changed, gone = []) {
  const masks = new Map(page.known.get(imageId) ?? []);
  for (const key of gone) masks.delete(key);
  for (const mask of changed.map(fromServer)) {
    const old = masks.get(mask.key);
    masks.set(mask.key, { ...mask, rle: mask.rle ?? old?.rle, rows: mask.rle ? undefined : old?.rows });
  }
  remember(page, imageId, masks);
  if (page.state.image?.id === imageId) publish(page, masks);
}

/**
 * @param {Page} page
 * @param {number} imageId
 * @param {Map<string, Mask>} masks
 */
function remember(page, imageId, masks) {
  page.known.delete(imageId);
  page.known.set(imageId, masks);
  for (const id of page.known.keys()) {
    if (page.known.size <= 8) break;
    if (id !== page.state.image?.id) page.known.delete(id);
  }
}

/**
 * Let the worker decode what has no rows yet; the masks are shown when all of them have.
 *
 * @param {Page} page
 * @param {Map<string, Mask>} masks
 */
function publish(page, masks) {
  const decoded = page.decoded;
  const add = [...masks.values()].filter((mask) => mask.rle && (!mask.rows || !decoded.has(mask.key)));
  const remove = [...decoded].filter((key) => !masks.has(key));
  for (const key of remove) decoded.delete(key);
  for (const mask of add) decoded.add(mask.key);
  if (!add.length && !remove.length) {
    page.store.set({ masks });
    return;
  }
  const items = add.map(({ key, rle }) => ({ key, rle }));
  page.stage.worker.postMessage({ type: "masks", job: page.turn, add: items, remove });
}

/**
 * Rows that the worker decoded.
 *
 * @param {Page} page
 * @param {{job: number, items: {key: string, rows: import("../canvas/rle.js").Rows}[]}} answer
 */
export function receiveRows(page, { job, items }) {
  if (job !== page.turn || !page.state.image) return;
  const masks = new Map(page.known.get(page.state.image.id) ?? []);
  for (const { key, rows } of items) {
    const mask = masks.get(key);
    if (mask) masks.set(key, { ...mask, rows });
  }
  page.known.set(page.state.image.id, masks);
  page.store.set({ masks });
  const { selected } = page.state;
  if (selected && !masks.has(selected)) page.store.set({ selected: null });
}

// which masks

/**
 * The name that a mask will get, or has.
 *
 * @param {Page} page
 * @param {Mask} mask
 */
export function nameOf(page, mask) {
  return mask.state === "click" ? page.state.className : mask.category;
}

/**
 * Whether the mask is drawn, listed and decided on with the others.
 *
 * @param {Page} page
 * @param {Mask} mask
 */
export function isVisible(page, mask) {
  const { display, click } = page.state;
  if ((mask.duplicate && !display.duplicates) || isHidden(page, mask)) return false;
  if (click && click.corrects !== null && mask.annotation === click.corrects && mask.state === "accepted" && click.candidates.length) return false;
  return true;
}

/**
 * Whether an eye in the lists is closed for the mask.
 *
 * @param {Page} page
 * @param {Mask} mask
 */
export function isHidden(page, mask) {
  const { display } = page.state;
  return display.classesOff.includes(nameOf(page, mask)) || (mask.state === "proposed" && !display.proposals) || (mask.state === "accepted" && !display.accepted);
}

/**
 * Open proposals of the image in the order of the review, the most certain first.
 *
 * @param {Page} page
 * @returns {Mask[]}
 */
export function proposals(page) {
  return ordered(page, [...page.state.masks.values()].filter((mask) => mask.state === "proposed" && isVisible(page, mask)));
}

/**
 * @param {Page} page
 * @param {Mask[]} masks
 */
export function ordered(page, masks) {
  const { sort } = page.state.review;
  const name = (/** @type {Mask} */ mask) => nameOf(page, mask).toLocaleLowerCase();
  if (sort === "name") return masks.sort((a, b) => name(a).localeCompare(name(b)) || (b.score ?? 0) - (a.score ?? 0));
  if (sort === "area") return masks.sort((a, b) => b.area - a.area);
  return masks.sort((a, b) => (b.score ?? -1) - (a.score ?? -1) || a.key.localeCompare(b.key));
}

/**
 * Visible masks under a pixel, the smallest first.
 *
 * @param {Page} page
 * @param {number} x
 * @param {number} y
 * @returns {Mask[]}
 */
export function masksAt(page, x, y) {
  const { display, masks } = page.state;
  if (display.hidden) return [];
  return [...masks.values()]
    .filter((mask) => isVisible(page, mask) && mask.rows && contains(mask.rows, x, y))
    .sort((a, b) => a.area - b.area);
}

/**
 * Select a mask, or none.
 *
 * @param {Page} page
 * @param {string | null} key
 * @param {{reveal?: boolean}} [options] reveal: bring it into the window
 */
export function select(page, key, options = {}) {
  if (key !== page.state.selected) void finishDrawing(page);
  page.store.set({ selected: key });
  const mask = key && page.state.masks.get(key);
  if (mask && options.reveal) page.stage.reveal(mask.bbox);
}

/** @param {Page} page */
export function selectedMask(page) {
  const { selected, masks } = page.state;
  return /** @type {Mask | undefined} */ (selected ? masks.get(selected) : undefined);
}

/**
 * Select the next or previous proposal of the review; all masks when there is none.
 *
 * @param {Page} page
 * @param {number} step
 */
export function selectNext(page, step = 1) {
  const open = proposals(page);
  const list = open.length ? open : ordered(page, [...page.state.masks.values()].filter((mask) => isVisible(page, mask)));
  if (!list.length) return;
  const place = list.findIndex((mask) => mask.key === page.state.selected);
  const next = place < 0 ? (step > 0 ? 0 : list.length - 1) : (place + step + list.length) % list.length;
  select(page, list[next].key, { reveal: true });
}

// decisions

/**
 * Accept or reject proposals in one step; nameless ones are kept only with a name.
 *
 * @param {Page} page
 * @param {"accept" | "reject"} decision
 * @param {Mask[]} masks
 */
export async function decide(page, decision, masks) {
  const { image } = page.state;
  const named = decision === "reject" ? masks : masks.filter((mask) => mask.category);
  const nameless = masks.filter((mask) => !named.includes(mask));
  if (nameless.length) askNames(page, nameless);
  if (!named.length || !image) return;
  const keys = named.map((mask) => mask.key);
  const following = nextAfter(page, keys);
  await page.attempt(async () => {
    const answer = await send("POST", "/ui/decisions", { image: image.id, [decision]: keys });
    mergeMasks(page, image.id, answer.masks, [...keys, ...answer.removed]);
    took(page, answer);
    if (keys.length > 1) {
      const what = `${decision === "accept" ? "Accepted" : "Rejected"} ${plural(keys.length, "mask")}.`;
      page.notify(what, "info", [{ label: "Undo", act: () => void undo(page) }]);
    }
    if (page.state.review.autoNext && page.state.image?.id === image.id) select(page, following, { reveal: true });
    else if (keys.includes(page.state.selected)) select(page, null);
  }, { retry: true });
}

/**
 * The proposal to look at once these are decided.
 *
 * @param {Page} page
 * @param {string[]} keys
 */
function nextAfter(page, keys) {
  const list = proposals(page);
  const place = list.findIndex((mask) => keys.includes(mask.key));
  const rest = [...list.slice(place + 1), ...list.slice(0, Math.max(0, place))];
  return keys.length === 1 ? (rest.find((mask) => !keys.includes(mask.key))?.key ?? null) : null;
}

/**
 * Accept or reject what is selected, else all open proposals.
 *
 * @param {Page} page
 * @param {"accept" | "reject"} decision
 */
export async function decideCurrent(page, decision) {
  const mask = selectedMask(page);
  if (mask?.state === "accepted") {
    page.notify(decision === "accept" ? "This mask is accepted already." : "Press Delete to remove an accepted mask.");
    return;
  }
  const masks = mask ? [mask] : proposals(page);
  if (!masks.length) page.notify("There is no open proposal. Type words and press Q, or click on an object.");
  else await decide(page, decision, masks);
}

/**
 * Proposals at least as certain as the slider says.
 *
 * @param {Page} page
 */
export function certain(page) {
  return proposals(page).filter((mask) => (mask.score ?? 0) >= page.state.review.above);
}

/**
 * Note what an answer that changed the project says.
 *
 * @param {Page} page
 * @param {any} answer
 */
export function took(page, answer) {
  if (answer.change) page.store.set({ change: Math.max(page.state.change, answer.change) });
  page.saved();
}

/**
 * Give the selected mask a class, or choose it for the next mask.
 *
 * @param {Page} page
 * @param {string} name
 */
export async function giveClass(page, name) {
  const mask = selectedMask(page);
  if (!mask || page.state.click || page.state.drawing?.target === null) {
    page.store.set({ className: name });
    return;
  }
  const { image } = page.state;
  if (mask.category === name) return;
  await finishDrawing(page);
  await page.attempt(async () => {
    const answer = await send("PATCH", `/ui/masks/${mask.annotation}`, { category: name, revision: mask.revision });
    mergeMasks(page, image.id, answer.masks);
    took(page, answer);
  }, { retry: true });
}

/**
 * Delete the selected accepted mask, or reject the selected proposal.
 *
 * @param {Page} page
 */
export async function removeSelected(page) {
  const mask = selectedMask(page);
  const { image } = page.state;
  if (!mask || !image) return;
  if (mask.state !== "accepted") {
    await decide(page, "reject", [mask]);
    return;
  }
  await finishDrawing(page);
  await page.attempt(async () => {
    const answer = await send("DELETE", `/ui/masks/${mask.annotation}`);
    mergeMasks(page, image.id, answer.masks, answer.removed);
    took(page, answer);
    page.notify("Deleted 1 mask.", "info", [{ label: "Undo", act: () => void undo(page) }]);
    select(page, null);
  }, { retry: true });
}

/**
 * Undo or redo the last step on the image in view.
 *
 * @param {Page} page
 * @param {"undo" | "redo"} direction
 */
export async function undo(page, direction = "undo") {
  const { image } = page.state;
  if (!image) return;
  await finishDrawing(page);
  try {
    const answer = await send("POST", `/ui/${direction}`, { image: image.id });
    took(page, answer);
    page.notify(answer.sentence);
    await page.attempt(() => refreshMasks(page));
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    const other = error.body.image;
    const go = { label: "Go there", act: () => void page.open(other) };
    page.notify(error.message, typeof other === "number" ? "info" : "error", typeof other === "number" ? [go] : []);
  }
}
