/** Images: the list, the one in view, adding and leaving out. */
import { send } from "../server.js";
import { showLines } from "../panels/history.js";
import { parseWords, plural } from "../text.js";
import { whileBusy } from "./busy.js";
import { finishDrawing } from "./drawing.js";
import { refreshMasks } from "./masks.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").ImageItem} ImageItem
 */

export const CHUNK = 100;

/**
 * Read what belongs to the project as a whole.
 *
 * @param {Page} page
 */
export async function refreshState(page) {
  const state = await send("GET", "/ui/state");
  const { className } = page.state;
  const names = state.classes.map((/** @type {any} */ one) => one.name);
  page.store.set({
    project: state.project,
    user: state.user,
    login: state.login,
    preset: state.preset,
    presets: state.presets ?? [],
    choices: state.choices ?? page.state.choices,
    formats: state.formats ?? page.state.formats,
    classes: state.classes,
    references: state.references,
    samples: state.samples,
    change: Math.max(page.state.change, state.change),
    className: className && !names.includes(className) && !page.state.newNames?.includes(className) ? "" : className,
  });
}

/**
 * Read part of the list of images; `fresh` forgets the rest of it.
 *
 * @param {Page} page
 * @param {number} offset
 * @param {boolean} [fresh]
 */
export async function loadImages(page, offset = 0, fresh = false) {
  const { query } = page.state.images;
  const wanted = Object.entries(query).filter(([, value]) => value);
  const parameters = new URLSearchParams([...wanted, ["offset", String(offset)], ["limit", String(CHUNK)]]);
  const answer = await send("GET", `/ui/images?${parameters}`);
  const { images } = page.state;
  if (images.query !== query) return;
  const items = fresh ? [] : images.items.slice(0, answer.total);
  answer.items.forEach((/** @type {ImageItem} */ item, /** @type {number} */ i) => (items[offset + i] = item));
  page.store.merge("images", { total: answer.total, items });
  const current = answer.items.find((/** @type {ImageItem} */ item) => item.id === page.state.image?.id);
  if (current) page.store.set({ image: { ...page.state.image, ...current } });
}

/**
 * Show only some images.
 *
 * @param {Page} page
 * @param {{status?: string, class?: string, phrase?: string}} patch
 */
export async function filterImages(page, patch) {
  page.store.merge("images", { query: { ...page.state.images.query, ...patch }, items: [], total: 0 });
  await page.attempt(() => loadImages(page, 0, true));
}

/**
 * Open an image of the project.
 *
 * @param {Page} page
 * @param {number} id
 */
export async function openImage(page, id) {
  if (page.state.image?.id === id) return;
  if (!(await finishDrawing(page))) return;
  let item = page.state.images.items.find((/** @type {ImageItem} */ one) => one?.id === id);
  item ??= await page.attempt(() => send("GET", `/ui/images/${id}`));
  if (!item) return;
  page.turn++;
  page.decoded.clear();
  page.store.set({ image: item, masks: new Map(), selected: null, hovered: null, click: null, drawing: null, suggestions: null, unlabelled: null });
  page.stage.open(item, item.pixels, item.thumbnail);
  history.replaceState(null, "", `#${id}`);
  const turn = page.turn;
  await page.attempt(() => refreshMasks(page));
  if (turn === page.turn) prefetch(page);
}

/**
 * Fetch the pixels of the next image into the browser's cache.
 *
 * @param {Page} page
 */
function prefetch(page) {
  const next = neighbour(page, 1);
  if (next) void fetch(next.pixels, { priority: "low" }).catch(() => undefined);
}

/**
 * @param {Page} page
 * @param {number} step
 * @returns {ImageItem | undefined}
 */
function neighbour(page, step) {
  const { items } = page.state.images;
  const place = items.findIndex((/** @type {ImageItem} */ item) => item?.id === page.state.image?.id);
  return items[place < 0 ? 0 : place + step];
}

/**
 * Open the next or previous image of the list.
 *
 * @param {Page} page
 * @param {number} step
 */
export async function turnImage(page, step) {
  const next = neighbour(page, step);
  if (next) await openImage(page, next.id);
  else page.notify(step > 0 ? "This is the last image of the list." : "This is the first image of the list.");
}

/**
 * Open the next image that nobody has finished.
 *
 * @param {Page} page
 */
export async function nextUnreviewed(page) {
  const after = page.state.image ? `?after=${page.state.image.id}` : "";
  const answer = await page.attempt(() => send("GET", `/ui/images/next${after}`));
  if (!answer) return;
  const id = answer.id ?? answer.image?.id ?? answer.image ?? null;
  if (id === null) page.notify("Every image is reviewed.");
  else await openImage(page, id);
}

/**
 * Mark the image in view as complete or excluded, or not any more.
 *
 * @param {Page} page
 * @param {{complete?: boolean, excluded?: boolean}} patch
 */
export async function markImage(page, patch) {
  const { image } = page.state;
  if (!image || !(await finishDrawing(page))) return false;
  const done = await page.attempt(async () => {
    await send("POST", `/ui/images/${image.id}`, patch);
    page.saved();
    return true;
  });
  if (done) await page.attempt(() => reloadLists(page));
  return done === true;
}

/**
 * Read the list of images and the counts again.
 *
 * @param {Page} page
 */
export async function reloadLists(page) {
  const { items } = page.state.images;
  const place = Math.max(0, items.findIndex((/** @type {ImageItem} */ item) => item?.id === page.state.image?.id));
  await Promise.all([refreshState(page), loadImages(page, Math.floor(place / CHUNK) * CHUNK)]);
}

/**
 * The files of a drop, also those in folders.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function dropped(transfer) {
  // the list is empty after the first wait
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  const files = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.map((entry) => (entry ? filesIn(entry) : [])));
  return found.flat();
}

/**
 * @param {any} entry
 * @returns {Promise<File[]>}
 */
async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    // a reader answers with a part of the folder at a time
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return files;
    files.push(...(await Promise.all(part.map(filesIn))).flat());
  }
}

/**
 * Whether a file may be an image: by its kind where the browser knows it, otherwise the server looks at its content.
 *
 * @param {File} file
 */
function maybeImage(file) {
  return !file.name.startsWith(".") && file.name !== "Thumbs.db" && (/^$|^image\/|zip/.test(file.type) || /\.zip$/i.test(file.name));
}

/**
 * Add files to the project and open the first of them.
 *
 * @param {Page} page
 * @param {Iterable<File>} files
 * @param {{pages?: "all"}} [options] pages: every page of a TIFF, not the first alone
 */
export async function addFiles(page, files, options = {}) {
  const all = [...files];
  const sent = all.filter(maybeImage);
  const passed = all.filter((file) => !maybeImage(file) && !file.name.startsWith(".")).map((file) => file.name);
  const others = passed.length > 5 ? ` and ${passed.length - 5} more` : "";
  const sentence = passed.length ? `Passed over, because they are no images: ${passed.slice(0, 5).join(", ")}${others}.` : "";
  if (!sent.length) {
    page.notify(sentence, "error");
    return;
  }
  const form = new FormData();
  for (const file of sent) form.append("files", file, file.name);
  if (options.pages) form.append("pages", options.pages);
  const answer = await added(page, `Adding ${plural(sent.length, "file")}`, (request, signal) => {
    form.append("request", request);
    return send("POST", "/ui/images", form, signal);
  });
  page.notify(sentence);
  const names = new Set(answer?.lines.filter((/** @type {any} */ line) => line.pages > 1).map((/** @type {any} */ line) => line.name));
  const stacks = sent.filter((file) => names.has(file.name));
  if (!stacks.length) return;
  const act = { label: "Add every page", act: () => void addFiles(page, stacks, { pages: "all" }) };
  page.notify(`Of ${stacks.length === 1 ? stacks[0].name : plural(stacks.length, "file")}, which has several pages, the first is used.`, "info", [act]);
}

/** @param {Page} page */
export async function addSamples(page) {
  await added(page, "Adding the samples", async (_, signal) => {
    const answer = await send("POST", "/ui/images/samples", undefined, signal);
    // what the first of them shows, to begin with
    if (!page.state.words.length) page.store.set({ words: parseWords(answer.words) });
    return answer;
  });
  page.walk();
}

/** @param {Page} page */
export async function removeSamples(page) {
  const answer = await page.attempt(() => whileBusy(page, "Removing the samples", 0, (_, signal) => send("DELETE", "/ui/images/samples", undefined, signal)));
  if (!answer) return;
  page.notify(answer.removed ? `${plural(answer.removed, "sample image")} removed; Undo brings them back, one after the other.` : "No sample image is in this project.");
  await page.attempt(() => Promise.all([refreshState(page), loadImages(page, 0, true)]));
  const { items } = page.state.images;
  if (items.some((/** @type {ImageItem} */ item) => item.id === page.state.image?.id)) return;
  if (items[0]) await openImage(page, items[0].id);
  else closeImage(page);
}

/**
 * @param {Page} page
 * @param {string} label
 * @param {(request: string, signal: AbortSignal) => Promise<any>} upload
 * @returns {Promise<any>} the server's answer, or null
 */
async function added(page, label, upload) {
  const answer = await page.attempt(() => whileBusy(page, label, 0, upload));
  if (!answer) return null;
  page.store.merge("images", { query: { status: "", class: "", phrase: "" }, items: [] });
  await page.attempt(() => Promise.all([refreshState(page), loadImages(page, 0, true)]));
  const { lines, ids } = answer;
  const failed = lines.filter((/** @type {any} */ line) => line.error);
  const each = { label: "Show each file", act: () => showLines("Files", lines.map((/** @type {any} */ line) => line.error ?? `${line.name}: ${line.notice ?? "added."}`)) };
  if (ids.length) {
    const noted = lines.length > 1 && lines.some((/** @type {any} */ line) => line.error || line.notice);
    const fresh = lines.filter((/** @type {any} */ line) => line.new).length;
    const known = lines.length - failed.length - fresh;
    page.notify([fresh || !known ? `${plural(fresh, "image")} added.` : "", known ? `${plural(known, "image")} known already.` : ""].join(" ").trim(), "info", noted ? [each] : []);
    await openImage(page, ids[0]);
  }
  if (failed.length === 1) page.notify(failed[0].error, "error");
  else if (failed.length) page.notify(`${plural(failed.length, "file")} could not be added.`, "error", [each]);
  if (ids.length && !localStorage.getItem("walked")) page.walk();
  return answer;
}

/**
 * Remove the image in view from the project.
 *
 * @param {Page} page
 */
export async function removeImage(page) {
  const { image } = page.state;
  if (!image) return;
  const { items } = page.state.images;
  const place = items.findIndex((/** @type {ImageItem} */ item) => item?.id === image.id);
  const following = items[place + 1] ?? items[place - 1];
  const done = await page.attempt(() => send("DELETE", `/ui/images/${image.id}`));
  if (!done) return;
  page.notify(`${image.title} is out of the project with ${plural(done.masks, "mask")}; Undo brings it back.`);
  page.known.delete(image.id);
  page.store.merge("images", { items: [] });
  await page.attempt(() => Promise.all([refreshState(page), loadImages(page, 0, true)]));
  if (following) await openImage(page, following.id);
  else closeImage(page);
}

/** @param {Page} page */
export function closeImage(page) {
  page.turn++;
  page.decoded.clear();
  page.store.set({ image: null, masks: new Map(), selected: null, click: null, drawing: null });
  page.stage.close();
}

/**
 * Mark the image as complete and go on; once more takes the mark away.
 *
 * @param {Page} page
 */
export async function completeImage(page) {
  const complete = page.state.image?.status !== "complete";
  if ((await markImage(page, { complete })) && complete) await nextUnreviewed(page);
}

/**
 * Ask before the image in view is removed.
 *
 * @param {Page} page
 */
export function confirmRemoval(page) {
  const { image } = page.state;
  if (!image) return;
  const act = { label: "Remove it", act: () => void removeImage(page) };
  page.notify(`Remove ${image.title} with its masks from the project? The file itself stays where it is.`, "info", [act]);
}
