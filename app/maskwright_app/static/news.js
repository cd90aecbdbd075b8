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
  source.onmessage = ({ data }) => receive(page, JSON.parse(data));
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
 * @param {any} news
 */
export function receive(page, news) {
  for (const progress of news.progress ?? []) {
    const busy = page.state.busy.map((/** @type {any} */ one) => (one.id === progress.request ? { ...one, ...progress } : one));
    page.store.set({ busy });
  }
  if (news.jobs) page.store.set({ jobs: news.jobs });
  if (news.finetune) page.store.set({ finetune: { ...page.state.finetune, ...news.finetune } });
  if (!news.change && !news.images?.length) return;
  // a change of this very window is on screen already; its lists are not
  const mine = news.change <= page.state.change;
  const current = page.state.image && news.images?.includes(page.state.image.id);
  if (!mine && current && !page.saving && !page.state.drawing) void page.attempt(() => refreshMasks(page));
  if (news.change) page.store.set({ change: Math.max(page.state.change, news.change) });
  clearTimeout(page.newsTimer);
  page.newsTimer = setTimeout(() => void page.attempt(() => reloadLists(page)), 250);
}
