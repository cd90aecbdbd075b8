/** One class: name, colour, key, synonyms, order; merging and deleting it. */
import { refreshState } from "../actions/images.js";
import { refreshMasks } from "../actions/masks.js";
import { el } from "../dom.js";
import { send } from "../server.js";
import { plural, synonyms } from "../text.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").Class} Class
 */

/**
 * @param {Page} page
 * @param {Class} one
 */
export function editClass(page, one) {
  const name = el("input", { class: "field", value: one.name, maxlength: "100", id: "class-name" });
  const color = el("input", { type: "color", value: one.color, id: "class-color" });
  const hotkey = el("select", { id: "class-key" }, el("option", { value: "" }, "none"), ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => el("option", { value: String(n) }, String(n))));
  hotkey.value = one.hotkey ? String(one.hotkey) : "";
  const others = page.state.classes.filter((/** @type {Class} */ other) => other.id !== one.id);
  const also = el("input", { class: "field", value: one.synonyms.join(" | "), id: "class-synonyms", placeholder: "calf | bull", maxlength: "400" });
  const into = el("select", { "aria-label": "Class that it is merged into" }, ...others.map((/** @type {Class} */ other) => el("option", { value: String(other.id) }, other.name)));
  const change = (/** @type {() => Promise<any>} */ act) => async () => {
    const done = await page.attempt(async () => {
      await act();
      return true;
    });
    if (!done) return;
    // closed last: a key pressed right after means what was saved
    await page.attempt(() => Promise.all([refreshState(page), refreshMasks(page)]));
    dialog.close();
    page.saved();
  };
  const save = change(() => send("PATCH", `/ui/classes/${one.id}`, {
    name: name.value.trim(), color: color.value, hotkey: hotkey.value ? Number(hotkey.value) : null, synonyms: synonyms(also.value),
  }));
  const move = (/** @type {number} */ step) => change(async () => send("PATCH", `/ui/classes/${one.id}`, { order: Math.max(0, one.order + step) }));
  const merge = change(() => send("POST", "/ui/classes/merge", { source: one.id, target: Number(into.value) }));
  const remove = change(() => send("DELETE", `/ui/classes/${one.id}`, one.masks ? { masks: fate.value === "delete" ? "delete" : { move_to: Number(fate.value) } } : { masks: "delete" }));
  const fate = el("select", { "aria-label": "What happens to its masks" }, el("option", { value: "delete" }, `Delete ${plural(one.masks, "mask")}`),
    ...others.map((/** @type {Class} */ other) => el("option", { value: String(other.id) }, `Move them to ${other.name}`)));
  const label = (/** @type {string} */ text, /** @type {HTMLElement} */ control) => el("label", { class: "row" }, el("span", { style: { width: "76px", flex: "none" } }, text), control);
  const form = el("form", { on: { submit: (/** @type {Event} */ event) => { event.preventDefault(); void save(); } } },
    el("h2", {}, "Class"),
    label("Name", name), label("Colour", color), label("Key", hotkey), label("Synonyms", also),
    el("div", { class: "row" },
      el("button", { type: "button", class: "button", on: { click: move(-1) } }, "Move up"),
      el("button", { type: "button", class: "button", on: { click: move(1) } }, "Move down")),
    others.length ? el("div", { class: "row" }, el("span", {}, "Merge into"), into, el("button", { type: "button", class: "button", on: { click: merge } }, "Merge")) : null,
    el("div", { class: "row" }, one.masks ? fate : el("span", { class: "grow quiet" }, "It has no masks."), el("button", { type: "button", class: "button bad", id: "class-delete", on: { click: remove } }, "Delete class")),
    el("div", { class: "row", style: { "justify-content": "flex-end" } },
      el("button", { type: "button", class: "button", on: { click: () => dialog.close() } }, "Cancel"),
      el("button", { type: "submit", class: "button main" }, "Save")));
  const dialog = el("dialog", { "aria-label": `Class ${one.name}`, on: { close: () => dialog.remove(), keydown: (/** @type {Event} */ event) => event.stopPropagation() } }, form);
  document.body.append(dialog);
  dialog.showModal();
  name.select();
}
