/** Accepted masks as examples of what to find, and of what not; the project keeps them. */
import { send } from "../server.js";
import { mergeMasks, selectedMask, took } from "./masks.js";
import { propose } from "./prompts.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").Reference} Reference
 */

/**
 * The class that is searched for by example, with its accepted masks; empty without an example.
 *
 * @param {Page} page
 */
export function examples(page) {
  const { references, like } = page.state;
  const shown = references.filter((/** @type {Reference} */ one) => one.shows).map((/** @type {Reference} */ one) => one.category);
  const category = shown.includes(like) ? like : (shown.at(-1) ?? "");
  const of = (/** @type {boolean} */ shows) => references
    .filter((/** @type {Reference} */ one) => one.category === category && one.shows === shows)
    .map((/** @type {Reference} */ one) => one.annotation);
  return { category, positive: /** @type {number[]} */ (of(true)), negative: /** @type {number[]} */ (of(false)) };
}

/**
 * Mark an accepted mask as an example, or as what is none; null takes the mark back.
 *
 * @param {Page} page
 * @param {number} annotation
 * @param {{shows: boolean | null, category: string}} mark
 * @param {string} sentence to show then
 */
async function mark(page, annotation, { shows, category }, sentence) {
  const { image } = page.state;
  await page.attempt(async () => {
    const answer = await send("PUT", `/ui/masks/${annotation}/reference`, { shows, category });
    page.store.set({ references: answer.references, ...(shows ? { like: category } : {}) });
    if (image && page.known.get(image.id)?.has(`stored:${annotation}`)) mergeMasks(page, image.id, answer.masks);
    took(page, answer);
    page.notify(sentence);
  }, { retry: true });
}

/**
 * Find what looks like the examples; a selected accepted mask becomes one first.
 *
 * @param {Page} page
 */
export async function findLike(page) {
  const mask = selectedMask(page);
  const known = examples(page);
  if (mask?.state === "accepted" && mask.annotation !== null) {
    if (mask.negative_reference_of?.includes(known.category)) {
      page.notify("This mask shows what not to find. Select another one as the example.");
      return;
    }
    if (!mask.reference_of.includes(mask.category)) {
      const sentence = `This ${mask.category} is an example now. Turn to another image and press R to find its like there.`;
      await mark(page, mask.annotation, { shows: true, category: mask.category }, sentence);
      return;
    }
    if (known.category !== mask.category) {
      page.store.set({ like: mask.category });
      page.notify(`R finds more ${mask.category} from now on.`);
      return;
    }
  }
  if (!known.positive.length) {
    page.notify("Select an accepted mask first: it becomes the example of what to find.");
    return;
  }
  const body = { references: known.positive, negative_references: known.negative, category: known.category };
  await propose(page, `Finding more ${known.category}`, "/ui/prompts/like", body);
}

/**
 * Take the selected accepted mask as an example of what not to find, or take that back.
 *
 * @param {Page} page
 */
export async function notLike(page) {
  const mask = selectedMask(page);
  const { category } = examples(page);
  if (mask?.state !== "accepted" || mask.annotation === null || !category) {
    page.notify(category ? "Select an accepted mask first: it then shows what not to find." : "Choose an example of what to find first, with R.");
    return;
  }
  const known = mask.negative_reference_of?.includes(category);
  const sentence = known ? "This mask says nothing about examples any more." : `R leaves out what looks like this mask when it finds ${category}.`;
  await mark(page, mask.annotation, { shows: known ? null : false, category }, sentence);
}

/**
 * An accepted mask is no example any more.
 *
 * @param {Page} page
 * @param {import("../store.js").Mask} mask
 */
export async function noExample(page, mask) {
  if (mask.annotation !== null) await mark(page, mask.annotation, { shows: null, category: mask.category }, `This ${mask.category} is no example any more.`);
}

/**
 * Forget all examples of the class that is searched for.
 *
 * @param {Page} page
 */
export async function forgetExamples(page) {
  const { category, positive, negative } = examples(page);
  for (const annotation of [...positive, ...negative]) {
    await mark(page, annotation, { shows: null, category }, `There is no example of ${category} any more.`);
  }
}
