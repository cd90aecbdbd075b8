/** Drawing by hand: strokes change the selected mask, saved as a revision each, or start a new mask. */
import { Edit } from "../canvas/edit.js";
import { RequestError, send } from "../server.js";
import { plural } from "../text.js";
import { mergeMasks, selectedMask, took, undo } from "./masks.js";

/**
 * @typedef {import("../page.js").Page} Page
 *
 * @typedef {object} Drawing
 * @property {Edit} edit
 * @property {string | null} target key of the mask that is changed; null for a new one
 * @property {number | null} annotation
 * @property {number} revision
 * @property {string} category
 * @property {number} version grows with each stroke
 * @property {number} saved version that is on disk
 */

const SAVE_AFTER = 350;

/**
 * The open drawing, or one of the selected mask, of the clicked mask, or a new one.
 *
 * @param {Page} page
 * @returns {Drawing | null}
 */
export function openDrawing(page) {
  const { image, click } = page.state;
  if (page.state.drawing || !image || !page.stage.size) return page.state.drawing;
  const mask = selectedMask(page);
  const candidate = click?.candidates[click.chosen];
  const base = candidate ?? mask;
  if (base && !base.rows) return null;
  const edit = new Edit(page.stage.size, base?.rows ?? null);
  const changes = candidate ? (click.corrects === null ? null : mask) : mask;
  /** @type {Drawing} */
  const drawing = {
    edit,
    target: changes?.key ?? null,
    annotation: changes?.annotation ?? null,
    revision: changes?.revision ?? 0,
    category: changes?.category ?? "",
    version: candidate ? 1 : 0,
    saved: 0,
  };
  page.store.set({ drawing, click: null });
  return drawing;
}

/**
 * A stroke has ended: a changed mask is saved soon, a new one waits to be kept.
 *
 * @param {Page} page
 */
export function strokeEnded(page) {
  const { drawing } = page.state;
  if (!drawing) return;
  page.store.set({ drawing: { ...drawing, version: drawing.version + 1 } });
  if (drawing.target === null) return;
  clearTimeout(page.saveTimer);
  page.saveTimer = setTimeout(() => void saveDrawing(page), SAVE_AFTER);
  page.store.set({ saved: { text: "Saving …", error: false } });
}

/**
 * Save the strokes on an existing mask as one revision.
 *
 * @param {Page} page
 */
export async function saveDrawing(page) {
  clearTimeout(page.saveTimer);
  const { drawing, image } = page.state;
  if (!drawing || drawing.target === null || drawing.saved === drawing.version) return;
  if (drawing.edit.empty()) {
    page.notify("Nothing is left of this mask. Press Delete to remove it, or undo.");
    return;
  }
  if (page.saving) {
    page.saveTimer = setTimeout(() => void saveDrawing(page), SAVE_AFTER);
    return;
  }
  page.saving = true;
  const { version } = drawing;
  try {
    const answer = await send("PUT", `/ui/masks/${drawing.annotation}`, { rle: drawing.edit.rle(), revision: drawing.revision });
    const mask = answer.masks[0];
    const now = page.state.drawing;
    if (now?.edit === drawing.edit) {
      page.store.set({ drawing: { ...now, revision: mask.revision, target: mask.key, annotation: mask.annotation, saved: version } });
      page.store.set({ selected: mask.key });
    }
    mergeMasks(page, image.id, answer.masks, mask.key === drawing.target ? [] : [drawing.target]);
    took(page, answer);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    page.store.set({ saved: { text: "Not saved", error: true } });
    if (error.status === 409) conflict(page, error);
    else page.notify(error.message, "error", [{ label: "Retry", act: () => void saveDrawing(page) }]);
  } finally {
    page.saving = false;
  }
}

/**
 * Somebody else changed the mask meanwhile: both are there, and the person chooses.
 *
 * @param {Page} page
 * @param {RequestError} error
 */
function conflict(page, error) {
  const theirs = error.body.mask;
  const { image } = page.state;
  const mine = () => {
    const { drawing } = page.state;
    if (!drawing || !theirs) return;
    page.store.set({ drawing: { ...drawing, revision: theirs.revision } });
    void saveDrawing(page);
  };
  const take = () => {
    page.store.set({ drawing: null });
    if (theirs) mergeMasks(page, image.id, [theirs]);
    page.saved();
  };
  page.notify(error.message, "error", [{ label: "Keep mine", act: mine }, { label: "Take theirs", act: take }]);
}

/**
 * Keep a new mask under the name that is on screen.
 *
 * @param {Page} page
 * @returns {Promise<boolean>} whether nothing unsaved is left
 */
export async function keepDrawing(page) {
  const { drawing, image, className } = page.state;
  if (!drawing || drawing.target !== null || !image) return true;
  if (!drawing.version || drawing.edit.empty()) {
    page.store.set({ drawing: null });
    return true;
  }
  if (!className) {
    page.askName();
    return false;
  }
  const done = await page.attempt(async () => {
    const answer = await send("POST", "/ui/masks", { image: image.id, rle: drawing.edit.rle(), category: className });
    if (page.state.drawing?.edit === drawing.edit) page.store.set({ drawing: null });
    mergeMasks(page, image.id, answer.masks);
    took(page, answer);
    if (page.state.image?.id === image.id) page.store.set({ selected: answer.masks[0].key });
    return true;
  }, { retry: true });
  return done === true;
}

/**
 * Leave the drawing: what was drawn is saved first.
 *
 * @param {Page} page
 * @returns {Promise<boolean>} whether nothing unsaved is left
 */
export async function finishDrawing(page) {
  const { drawing } = page.state;
  if (!drawing) return true;
  if (drawing.target === null) return keepDrawing(page);
  const saving = saveDrawing(page);
  if (page.state.drawing?.edit === drawing.edit && drawing.saved === drawing.version) page.store.set({ drawing: null });
  await saving;
  if (page.state.drawing?.edit !== drawing.edit) return true;
  if (page.state.drawing.saved !== page.state.drawing.version) return false;
  page.store.set({ drawing: null });
  return true;
}

/**
 * Drop a new mask that was not kept, or stop changing one.
 *
 * @param {Page} page
 */
export function dropDrawing(page) {
  const { drawing } = page.state;
  if (!drawing) return false;
  if (drawing.target !== null) void finishDrawing(page);
  else page.store.set({ drawing: null });
  return true;
}

/**
 * Take back the last stroke of a new mask; false when there is none.
 *
 * @param {Page} page
 */
export function undoStroke(page) {
  const { drawing } = page.state;
  if (!drawing || drawing.target !== null) return false;
  if (drawing.edit.undo()) page.stage.invalidate("dirty");
  if (drawing.edit.strokes.length) page.store.set({ drawing: { ...drawing, version: drawing.version + 1 } });
  else page.store.set({ drawing: null });
  return true;
}

/**
 * Fill the holes of the mask, or remove its specks, as one step.
 *
 * @param {Page} page
 * @param {"holes" | "specks"} what
 */
export function clean(page, what) {
  if (!selectedMask(page) && !page.state.drawing && !page.state.click?.candidates.length) {
    page.notify("Select a mask first.");
    return;
  }
  const opened = page.state.drawing;
  const drawing = openDrawing(page);
  if (!drawing) return;
  const changed = what === "holes" ? drawing.edit.fillHoles() : drawing.edit.removeSpecks();
  page.stage.invalidate("active");
  if (changed) strokeEnded(page);
  else {
    page.notify(what === "holes" ? "This mask has no holes." : "This mask has no specks.");
    if (!opened) dropDrawing(page);
  }
}

/**
 * Divide the selected mask into its parts, each a mask of its own.
 *
 * @param {Page} page
 */
export async function splitSelected(page) {
  if (!(await finishDrawing(page))) return;
  const mask = selectedMask(page);
  const { image } = page.state;
  if (!mask || !image) {
    page.notify("Select a mask first.");
    return;
  }
  await page.attempt(async () => {
    const answer = await send("POST", `/ui/masks/${mask.annotation}/split`, { revision: mask.revision });
    mergeMasks(page, image.id, answer.masks);
    took(page, answer);
    page.notify(`Now these are ${plural(answer.masks.length, "mask")}.`, "info", [{ label: "Undo", act: () => void undo(page) }]);
  }, { retry: true });
}
