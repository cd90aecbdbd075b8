/** Annotations in and out. */
import { whileBusy } from "../actions/busy.js";
import { reloadLists } from "../actions/images.js";
import { refreshMasks } from "../actions/masks.js";
import { snapshot } from "../actions/snapshot.js";
import { el, fill } from "../dom.js";
import { download, send } from "../server.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function filesPanel(page) {
  return el("div", { class: "panel" }, exportPart(page), snapshotPart(page), importPart(page));
}

/** @param {Page} page */
function exportPart(page) {
  const choice = (/** @type {{name: string, label: string, sentence: string}} */ { name, label, sentence }, /** @type {number} */ i) => {
    const radio = el("input", { type: "radio", name: "format", value: name, id: `format-${name}`, checked: i === 0 });
    return el("label", { class: "option", for: `format-${name}` }, radio, el("b", {}, label), el("span"), el("p", {}, sentence));
  };
  const images = el("input", { type: "checkbox", id: "export-images" });
  const button = el("button", { type: "button", class: "button main", id: "export" }, "Export");
  const group = el("div", { role: "radiogroup", "aria-label": "Format", style: { display: "grid", gap: "6px" } });
  page.store.watch(["formats"], () => fill(group, ...page.state.formats.map(choice)));
  button.addEventListener("click", () => void page.attempt(async () => {
    const chosen = /** @type {HTMLInputElement} */ (group.querySelector("input:checked")).value;
    button.disabled = true;
    try {
      const body = { format: chosen, images: images.checked };
      const { name, blob } = await whileBusy(page, "Exporting", 0, (request, signal) => download("/ui/export", { ...body, request }, signal));
      save(page, name, blob);
    } finally {
      button.disabled = false;
    }
  }));
  return el("div", { class: "setting" }, el("b", {}, "Export"), el("p", {}, "All accepted masks of the project."), group,
    el("label", { class: "row", for: "export-images" }, images, "With the images, as a zip file"), button);
}

/**
 * Hand a file to the browser's downloads.
 *
 * @param {Page} page
 * @param {string} name
 * @param {Blob} blob
 */
function save(page, name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  page.notify(`${name} is in your downloads.`);
}

/** @param {Page} page */
function snapshotPart(page) {
  const button = el("button", { type: "button", class: "button", id: "save-snapshot", on: { click: () => void snapshot(page).then(({ name, blob }) => save(page, name, blob)) } }, "Save as PNG");
  page.store.watch(["image"], () => (button.disabled = !page.state.image));
  return el("div", { class: "setting" }, el("b", {}, "This image with its masks"), el("p", {}, "As it is shown: with this opacity, these outlines, without what is hidden."), button);
}

/** @param {Page} page */
function importPart(page) {
  const report = el("div", { id: "import-report", "aria-live": "polite", style: { display: "grid", gap: "6px" } });
  const input = el("input", { type: "file", accept: ".json,.xml,.zip", id: "import-file", class: "field", "aria-label": "File of annotations", style: { height: "auto", padding: "4px" } });
  const post = (/** @type {File} */ file, /** @type {boolean} */ dry, update = false) => {
    const form = new FormData();
    form.append("file", file, file.name);
    form.append("dry_run", String(dry));
    form.append("update", String(update));
    return whileBusy(page, dry ? "Reading the file" : "Importing", 0, (request, signal) => {
      form.append("request", request);
      return send("POST", "/ui/import", form, signal);
    });
  };
  input.addEventListener("change", () => void page.attempt(async () => {
    const file = input.files?.[0];
    fill(report);
    if (!file) return;
    const answer = await post(file, true);
    const update = el("input", { type: "checkbox", id: "import-update" });
    const corrections = answer.changed
      ? [el("label", { class: "row", for: "import-update" }, update, `Take the corrections of ${answer.changed} masks`)]
      : [];
    const go = el("button", { type: "button", class: "button main", id: "import-go", on: { click: () => void page.attempt(async () => {
      const done = await post(file, false, update.checked);
      fill(report, ...lines(done));
      input.value = "";
      page.notify("Imported.");
      await Promise.all([reloadLists(page), refreshMasks(page)]);
      page.saved();
    }) } }, "Import");
    fill(report, el("p", {}, "Nothing is written yet. The file would bring:"), ...lines(answer), ...corrections, go);
  }));
  return el("div", { class: "setting" }, el("b", {}, "Import annotations"), el("p", {}, "A file of COCO, CVAT, VIA, LabelMe or Pascal VOC, or a zip archive of these, YOLO, Cityscapes or Supervisely. Shown first, written only when you say so, all or nothing."), input, report);
}

/** @param {any} answer */
function lines(answer) {
  return answer.lines.map((/** @type {string} */ line) => el("p", { style: { color: "var(--text)" } }, line));
}
