/** Prompts: words, examples, everything, and clicks, which wait in line so that none is lost. */
import { decode } from "../canvas/rle.js";
import { send } from "../server.js";
import { plural, synonyms } from "../text.js";
import { busyRequest } from "./busy.js";
import { fromServer, mergeMasks, nameOf, refreshMasks, selectedMask, took } from "./masks.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").ClickPrompt} ClickPrompt
 */

/**
 * Run a prompt on an image; the answer goes to that image, whichever is in view by then.
 *
 * @param {Page} page
 * @param {string} label
 * @param {string} path
 * @param {any} body
 */
export async function propose(page, label, path, body) {
  const { image } = page.state;
  if (!image) {
    page.notify("Open or select an image first.");
    return;
  }
  await page.attempt(async () => {
    const answer = await busyRequest(page, label, path, { image: image.id, ...body });
    took(page, answer);
    const found = answer.masks.length;
    const sentences = answer.notice || missingSentence(answer);
    if (page.state.image?.id === image.id) {
      await refreshMasks(page);
      const removed = answer.unlabelled && page.stage.size ? decode(answer.unlabelled.counts, page.stage.size.height) : null;
      page.store.set({ selected: null, unlabelled: removed });
      page.notify(sentences || (found ? "" : "Nothing was found."));
    } else {
      const where = `${image.title}: ${plural(found, "mask")} found.`;
      page.notify(`${where} ${sentences}`, "info", [{ label: "Go there", act: () => void page.open(image.id) }]);
    }
  });
}

/** @param {any} answer */
function missingSentence(answer) {
  if (!answer.missing.length) return "";
  const words = answer.missing.map((/** @type {any} */ one) => `${one.name} (best ${one.best.toFixed(2)})`);
  return `Not found: ${words.join(", ")}.`;
}

/** @param {Page} page */
export async function findWords(page) {
  const { words, options } = page.state;
  if (!words.length) {
    page.focusWords();
    page.notify("Type at least one class name.");
    return;
  }
  const body = {
    words: words.join(", "),
    method: options.method || null,
    background: options.background,
    threshold: options.background ? options.threshold : null,
    cleaning: { on: true, off: false }[/** @type {"on" | "off"} */ (options.cleaning)] ?? null,
    refine: options.refine || null,
    instances: options.instances,
  };
  const names = words.map((/** @type {string} */ word) => synonyms(word)[0]);
  await propose(page, `Finding ${names.join(", ")}`, "/ui/prompts/text", body);
}

/** @param {Page} page */
export async function findEverything(page) {
  await propose(page, "Finding every object", "/ui/prompts/everything", {});
}

// clicks

/**
 * Add a mark: it is drawn at once, and asked about as soon as the answer before is there.
 *
 * @param {Page} page
 * @param {{point?: number[], box?: number[]}} mark
 */
export function addMark(page, { point, box }) {
  const { image } = page.state;
  if (!image) return;
  const click = page.state.click?.image === image.id ? page.state.click : newClick(page);
  const steps = [...click.steps, { points: click.points, box: click.box }];
  const points = point ? [...click.points, point] : click.points;
  page.store.set({ click: { ...click, points, box: box ?? click.box, steps, version: click.version + 1 } });
  void answerClicks(page);
}

/**
 * Remove a point.
 *
 * @param {Page} page
 * @param {number} number
 */
export function removePoint(page, number) {
  const { click } = page.state;
  const points = click.points.filter((/** @type {any} */ _, /** @type {number} */ i) => i !== number);
  if (!points.length && !click.box) dropClicks(page);
  else {
    const steps = [...click.steps, { points: click.points, box: click.box }];
    page.store.set({ click: { ...click, points, steps, version: click.version + 1 } });
    void answerClicks(page);
  }
}

/**
 * @param {Page} page
 * @returns {ClickPrompt}
 */
function newClick(page) {
  const mask = selectedMask(page);
  const corrects = mask?.state === "accepted" ? mask.annotation : null;
  const base = { points: [], box: null, candidates: [], chosen: 0, version: 0, answered: 0, steps: [] };
  return { ...base, image: page.state.image.id, corrects };
}

/**
 * Ask about the marks until the answer belongs to the last of them.
 *
 * @param {Page} page
 */
async function answerClicks(page) {
  if (page.clicking) return;
  page.clicking = true;
  try {
    for (;;) {
      const { click } = page.state;
      if (!click || click.answered === click.version) return;
      const { image, points, box, corrects, version } = click;
      const previous = click.candidates[click.chosen]?.key ?? null;
      const body = { image, points, box, previous, corrects };
      const answer = await page.attempt(() => busyRequest(page, "Segmenting", "/ui/prompts/click", body));
      const now = page.state.click;
      if (!now || now.image !== image || now.version < version) continue;
      if (!answer) {
        page.store.set({ click: { ...now, answered: version } });
        return;
      }
      const { height } = page.stage.size ?? { height: 1 };
      const candidates = answer.masks.map(fromServer).map((/** @type {any} */ mask) => ({ ...mask, rows: decode(mask.rle, height) }));
      page.store.set({ click: { ...now, candidates, chosen: 0, answered: version, notice: answer.notice } });
      if (!candidates.length) page.notify(answer.notice || "Nothing was found there. Click somewhere else, or draw a box.");
    }
  } finally {
    page.clicking = false;
  }
}

/**
 * Take back the last click.
 *
 * @param {Page} page
 */
export function undoClick(page) {
  const { click } = page.state;
  if (!click) return false;
  const step = click.steps.at(-1);
  if (!step || (!step.points.length && !step.box)) dropClicks(page);
  else {
    page.store.set({ click: { ...click, ...step, steps: click.steps.slice(0, -1), version: click.version + 1, candidates: [] } });
    void answerClicks(page);
  }
  return true;
}

/** @param {Page} page */
export function dropClicks(page) {
  for (const one of page.state.busy) if (one.label === "Segmenting") one.stop();
  page.store.set({ click: null });
}

/** @param {Page} page */
export function nextCandidate(page) {
  const { click } = page.state;
  if (click?.candidates.length > 1) {
    page.store.set({ click: { ...click, chosen: (click.chosen + 1) % click.candidates.length } });
  }
}

/**
 * Keep the mask of the clicks under the name that is on screen.
 *
 * @param {Page} page
 */
export async function keepClick(page) {
  const { click, image } = page.state;
  const mask = click?.candidates[click.chosen];
  if (!mask || !image) return;
  if (click.answered !== click.version) {
    page.notify("The mask of the last click is not there yet.");
    return;
  }
  const old = click.corrects !== null && [...page.state.masks.values()].find((one) => one.annotation === click.corrects);
  const name = old ? old.category : nameOf(page, mask);
  if (!name) {
    page.askName();
    return;
  }
  await page.attempt(async () => {
    const answer = await send("POST", "/ui/decisions", { image: image.id, accept: [mask.key], category: name });
    if (page.state.click?.image === image.id) page.store.set({ click: null });
    mergeMasks(page, image.id, answer.masks, answer.removed);
    took(page, answer);
  }, { retry: true });
}

