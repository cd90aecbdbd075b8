/** What happened to a mask, in words. */
import { el, fill } from "../dom.js";
import { send } from "../server.js";

/**
 * @param {import("../page.js").Page} page
 * @param {import("../store.js").Mask} mask
 */
export async function showHistory(page, mask) {
  const answer = await page.attempt(() => send("GET", `/ui/masks/${mask.annotation}/history`));
  if (!answer) return;
  const lines = answer.history;
  const list = el("ol", { style: { margin: "0", "padding-left": "20px", display: "grid", gap: "4px" } });
  fill(list, ...lines.map((/** @type {string} */ line) => el("li", {}, line)));
  const dialog = el("dialog", { "aria-label": "History of the mask", on: { close: () => dialog.remove() } },
    el("div", {}, el("h2", {}, `History of ${mask.category}`), list, el("div", { class: "row", style: { "justify-content": "flex-end" } },
      el("button", { type: "button", class: "button main", on: { click: () => dialog.close() } }, "Close"))));
  document.body.append(dialog);
  dialog.showModal();
}
