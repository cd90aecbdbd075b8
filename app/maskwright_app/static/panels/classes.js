/** The classes of the project, and the name that the next mask will get. */
import { refreshState } from "../actions/images.js";
import { giveClass, refreshMasks, selectedMask } from "../actions/masks.js";
import { suggestNames } from "../actions/names.js";
import { el, icon, iconButton, reconcile, say } from "../dom.js";
import { classColor, patternedClasses } from "../overlay.js";
import { send } from "../server.js";
import { editClass } from "./class_dialog.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").Class} Class
 */

/**
 * @param {Page} page
 * @param {HTMLElement} side
 */
export function createClasses(page, side) {
  side.append(nextName(page));
  const list = el("ul", { class: "plain", "aria-label": "Classes", id: "classes" });
  const input = el("input", { class: "field", id: "new-class", placeholder: "New class", "aria-label": "Name of a new class", maxlength: "100", autocomplete: "off",
    on: {
      keydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
        event.stopPropagation();
        if (event.key === "Enter" && input.value.trim()) void addClass(page, input.value.trim());
        input.value = "";
        input.blur();
        page.stage.host.focus({ preventScroll: true });
      },
    } });
  const section = el("section", { class: "section classes", "aria-label": "Classes" },
    el("header", {}, el("h2", {}, "Classes")), list, el("div", { class: "row" }, input));
  side.append(section);
  page.askName = () => {
    page.store.set({ tab: "classes" });
    page.notify("What is it? Choose a class (keys 1-9) or type a new one, then keep the mask.");
    if (!page.state.classes.length) input.focus();
    else if (!page.state.drawing) void suggestNames(page);
  };
  page.store.watch(["classes", "className", "selected", "masks", "display"], () => {
    const { classes } = page.state;
    const active = activeName(page);
    reconcile(list, classes, (/** @type {Class} */ one) => String(one.id), () => row(page), (element, one) => update(page, element, one, active));
    section.querySelector(".empty")?.remove();
    if (!classes.length) list.after(el("p", { class: "empty" }, "Classes come with the masks you accept, or type one below."));
  });
}

/**
 * Class of the selected mask, else of the next one.
 *
 * @param {Page} page
 */
function activeName(page) {
  const mask = selectedMask(page);
  if (mask && !page.state.click) return mask.category;
  return page.state.className;
}

/** @param {Page} page */
function nextName(page) {
  const swatch = el("span", { class: "swatch" });
  const label = el("span", { class: "quiet" });
  const name = el("strong");
  page.store.watch(["className", "classes", "selected", "masks", "click", "drawing"], () => {
    const mask = selectedMask(page);
    const open = mask && !page.state.click && page.state.drawing?.target !== null;
    const text = open ? activeName(page) : page.state.className;
    say(label, open ? "Selected mask:" : "Next mask:");
    say(name, text || "no name yet");
    swatch.style.setProperty("--color", text ? classColor(page, text) : "transparent");
  });
  return el("div", { class: "next-name", id: "next-name", role: "status" }, label, swatch, name);
}

/** @param {Page} page */
function row(page) {
  const find = (/** @type {Element} */ element) => page.state.classes.find((/** @type {Class} */ one) => String(one.id) === /** @type {HTMLElement} */ (element).dataset.key);
  const item = el("li", { class: "class-row" });
  const pick = el("button", { type: "button", class: "pick", on: { click: () => void giveClass(page, find(item).name) } },
    el("span", { class: "swatch" }), el("span", { class: "name" }), el("span", { class: "count" }), el("kbd"));
  const eye = el("button", { type: "button", class: "icon-button eye", on: { click: () => toggle(page, find(item).name) } }, icon("eye"));
  const more = iconButton("more", "Change class", () => void editClass(page, find(item)), { class: "icon-button edit" });
  item.append(pick, eye, more);
  return item;
}

/**
 * @param {Page} page
 * @param {HTMLElement} element
 * @param {Class} one
 * @param {string} active
 */
function update(page, element, one, active) {
  const off = page.state.display.classesOff.includes(one.name);
  element.classList.toggle("active", one.name === active);
  const [pick, eye, more] = /** @type {HTMLElement[]} */ ([...element.children]);
  pick.setAttribute("aria-pressed", String(one.name === active));
  pick.title = one.synonyms.length ? `${one.name} (also: ${one.synonyms.join(", ")})` : one.name;
  const swatch = /** @type {HTMLElement} */ (pick.children[0]);
  swatch.style.setProperty("--color", one.color);
  swatch.classList.toggle("striped", patternedClasses(page).has(one.name));
  say(pick.children[1], one.name);
  say(pick.children[2], one.masks ? String(one.masks) : "");
  say(pick.children[3], one.hotkey ? String(one.hotkey) : "");
  /** @type {HTMLElement} */ (pick.children[3]).hidden = !one.hotkey;
  if (eye.classList.contains("off") !== off || !eye.title) eye.replaceChildren(icon(off ? "hidden" : "eye"));
  eye.classList.toggle("off", off);
  eye.title = off ? `Show ${one.name}` : `Hide ${one.name}`;
  eye.setAttribute("aria-label", eye.title);
  eye.setAttribute("aria-pressed", String(off));
  more.setAttribute("aria-label", `Change class ${one.name}`);
  more.title = "Rename, colour, key, merge, delete";
}

/**
 * @param {Page} page
 * @param {string} name
 */
function toggle(page, name) {
  const { classesOff } = page.state.display;
  const off = classesOff.includes(name) ? classesOff.filter((/** @type {string} */ other) => other !== name) : [...classesOff, name];
  page.store.merge("display", { classesOff: off });
}

/**
 * @param {Page} page
 * @param {string} name
 */
export async function addClass(page, name) {
  const known = page.state.classes.find((/** @type {Class} */ one) => one.name.toLocaleLowerCase() === name.toLocaleLowerCase());
  if (!known) {
    const done = await page.attempt(async () => {
      await send("POST", "/ui/classes", { name });
      await refreshState(page);
      return true;
    });
    if (!done) return;
  }
  await giveClass(page, known?.name ?? name);
}

/**
 * After a class changed, masks have other names and colours.
 *
 * @param {Page} page
 */
export async function classesChanged(page) {
  await page.attempt(() => Promise.all([refreshState(page), refreshMasks(page)]));
  page.saved();
}
