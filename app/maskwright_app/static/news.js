/** The stream of events: what other windows and processes change, and how far long work is. */
import { reloadLists } from "./actions/images.js";
import { refreshMasks } from "./actions/masks.js";

/** @typedef {import("./page.js").Page} Page */

/**
 * @param {Page} page
 * @param {typeof EventSource} [Source]
 */
export function connectNews(page, Source = EventSource) {
  const source = new Source("/ui/events");
  for (const kind of ["change", "progress", "jobs", "finetune", "presets"]) {
    source.addEventListener(kind, ({ data }) => receive(page, kind, JSON.parse(data)));
  }
  source.onerror = () => {
    if (!page.state.saved.error) page.store.set({ saved: { text: "Connecting …", error: false } });
  };
  let opened = false;
  source.onopen = () => {
    // what changed while there was no connection
    if (opened) void page.attempt(() => Promise.all([reloadLists(page), refreshMasks(page)])).then(() => page.saved());
    opened = true;
  };
  window.addEventListener("pagehide", () => source.close());
}

/**
 * @param {Page} page
 * @param {string} kind
 * @param {any} news
 */
export function receive(page, kind, news) {
  if (kind === "progress") {
    const busy = page.state.busy.map((/** @type {any} */ one) => (one.id === news.request ? { ...one, ...news } : one));
    page.store.set({ busy });
  } else if (kind === "change") changed(page, news);
  else if (kind === "presets") {
    const presets = page.state.presets.map((/** @type {any} */ one) => (one.name === news.name ? news : one));
    page.store.set({ presets });
  }
  else page.store.set({ [kind]: news });
}

/**
 * @param {Page} page
 * @param {{change: number, images: number[], others: boolean, complete: boolean}} news
 */
function changed(page, news) {
  if (!news.images.length && news.change <= page.state.change && news.complete) return;
  const current = page.state.image && (news.images.includes(page.state.image.id) || news.others || !news.complete);
  page.store.set({ change: Math.max(page.state.change, news.change) });
  // what this very window changed costs little to ask for again: run lengths that are known are not sent
  if (current && !page.saving) void page.attempt(() => refreshMasks(page));
  clearTimeout(page.newsTimer);
  page.newsTimer = setTimeout(() => void page.attempt(() => reloadLists(page)), 250);
}
