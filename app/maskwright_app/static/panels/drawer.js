/** The drawer: settings, many images, files, fine-tuning, comparing. */
import { el, iconButton } from "../dom.js";
import { batchPanel } from "./batch.js";
import { comparePanel } from "./compare.js";
import { filesPanel } from "./files.js";
import { finetunePanel } from "./finetune.js";
import { settingsPanel } from "./settings.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function createDrawer(page) {
  const drawer = /** @type {HTMLElement} */ (document.getElementById("drawer"));
  const panels = /** @type {[string, string, (page: Page) => HTMLElement][]} */ ([
    ["settings", "Settings", settingsPanel],
    ["batch", "Batch", batchPanel],
    ["files", "Files", filesPanel],
    ["finetune", "Fine-tune", finetunePanel],
    ["compare", "Compare", comparePanel],
  ]);
  const body = el("div", { class: "drawer-body", role: "tabpanel" });
  const tabs = panels.map(([name, label]) => el("button", { type: "button", role: "tab", data: { panel: name }, on: { click: () => page.store.set({ drawer: name }) } }, label));
  const close = iconButton("close", "Close (Esc)", () => page.store.set({ drawer: "" }), { id: "close-drawer" });
  drawer.append(el("div", { class: "drawer-head" }, el("div", { role: "tablist", "aria-label": "Drawer", class: "row grow" }, ...tabs), close), body);
  /** @type {Map<string, HTMLElement>} */
  const made = new Map();
  page.store.watch(["drawer"], () => {
    const name = page.state.drawer;
    drawer.hidden = !name;
    const panel = panels.find(([other]) => other === name);
    for (const tab of tabs) tab.setAttribute("aria-selected", String(tab.dataset.panel === name));
    if (!panel) return;
    if (!made.has(name)) made.set(name, panel[2](page));
    body.replaceChildren(/** @type {HTMLElement} */ (made.get(name)));
    body.scrollTop = 0;
    tabs.find((tab) => tab.dataset.panel === name)?.focus({ preventScroll: true });
  });
}
