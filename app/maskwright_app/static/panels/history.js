/** Lists in a dialog: what happened to a mask, what became of files. */
import { el } from "../dom.js";
import { send } from "../server.js";

/**
 * @param {string} title
 * @param {string[]} lines
 */
export function showLines(title, lines) {
  const list = el("ol", { style: { margin: "0", "padding-left": "24px", display: "grid", gap: "4px" } }, ...lines.map((line) => el("li", {}, line)));
  const dialog = el("dialog", { "aria-label": title, on: { close: () => dialog.remove() } },
    el("div", {}, el("h2", {}, title), list, el("div", { class: "row", style: { "justify-content": "flex-end" } },
      el("button", { type: "button", class: "button main", on: { click: () => dialog.close() } }, "Close"))));
  document.body.append(dialog);
  dialog.showModal();
}

/**
 * @param {import("../page.js").Page} page
 * @param {import("../store.js").Mask} mask
 */
export async function showHistory(page, mask) {
  const answer = await page.attempt(() => send("GET", `/ui/masks/${mask.annotation}/history`));
  if (answer) showLines(`History of ${mask.category}`, answer.history);
}
