/** Starts the page: the stage, the panels, the keys, the news. */
import { addFiles, dropped, loadImages, openImage, refreshState } from "./actions/images.js";
import { receiveRows } from "./actions/masks.js";
import { Stage } from "./canvas/stage.js";
import { createTools } from "./canvas/tools.js";
import { connectNews } from "./news.js";
import { connectOverlay, syncActive } from "./overlay.js";
import { Page } from "./page.js";
import { createClasses } from "./panels/classes.js";
import { createDrawer } from "./panels/drawer.js";
import { showHelp, showWalk } from "./panels/help.js";
import { createImages } from "./panels/images.js";
import { createMasks } from "./panels/masks.js";
import { createOver } from "./panels/over.js";
import { createStatus } from "./panels/status.js";
import { createToolbar } from "./panels/toolbar.js";
import { createTop } from "./panels/top.js";
import { connectShortcuts } from "./shortcuts.js";

const REMEMBERED = ["options", "display", "review", "brush", "like"];

const page = new Page();
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
recall();
page.stage = new Stage(/** @type {HTMLElement} */ (document.getElementById("stage")), {
  decoded: (data) => receiveRows(page, data),
  viewed: (view) => page.store.set({ scale: view.scale }),
  failed: (sentence) => page.notify(sentence, "error", [{ label: "Find it in a folder…", act: () => page.chooseFolder() }]),
});
page.tools = createTools(page);
page.open = (/** @type {number} */ id) => openImage(page, id);
page.syncActive = () => syncActive(page);
page.help = () => showHelp();
page.walk = () => showWalk(page);
connectOverlay(page);
createTop(page);
createImages(page);
createToolbar(page);
const side = /** @type {HTMLElement} */ (document.getElementById("side"));
createClasses(page, side);
createMasks(page, side);
createOver(page);
createStatus(page);
createDrawer(page);
connectShortcuts(page);
connectDrops();
void start();

async function start() {
  await page.attempt(() => Promise.all([refreshState(page), loadImages(page, 0, true)]));
  page.store.set({ ready: true });
  connectNews(page);
  const wanted = Number(location.hash.slice(1));
  const first = page.state.images.items[0];
  if (wanted > 0) await openImage(page, wanted);
  if (!page.state.image && first) await openImage(page, first.id);
  if (page.state.image && !localStorage.getItem("walked")) showWalk(page);
  window.addEventListener("hashchange", () => void openImage(page, Number(location.hash.slice(1))));
  document.body.dataset.ready = "yes";
}

/** What was chosen before, where it still fits. */
function recall() {
  for (const key of REMEMBERED) {
    const text = localStorage.getItem(key);
    if (text === null) continue;
    const value = JSON.parse(text);
    if (typeof value === "object") page.store.merge(key, value);
    else page.store.set({ [key]: value });
  }
  page.store.set({ words: JSON.parse(localStorage.getItem("words") ?? "[]") });
  page.store.watch(REMEMBERED, () => {
    for (const key of REMEMBERED) localStorage.setItem(key, JSON.stringify(page.state[key]));
  });
}

/** Images may be dropped anywhere, and pasted. */
function connectDrops() {
  const center = /** @type {HTMLElement} */ (document.getElementById("center"));
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    center.classList.add("drop");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? center.classList.remove("drop"));
  document.addEventListener("drop", (event) => {
    center.classList.remove("drop");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    void dropped(event.dataTransfer).then((files) => addFiles(page, files));
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) void addFiles(page, files);
  });
}
