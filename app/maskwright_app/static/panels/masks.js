/** The masks of the image: proposals to decide on first, then what is accepted. */
import { certain, decide, isHidden, isVisible, nameOf, ordered, proposals, removeSelected, select } from "../actions/masks.js";
import { el, icon, reconcile, say } from "../dom.js";
import { maskColor } from "../overlay.js";
import { plural } from "../text.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").Mask} Mask
 */

/**
 * @param {Page} page
 * @param {HTMLElement} side
 */
export function createMasks(page, side) {
  const title = el("h2", {}, "Masks");
  const sort = el("select", { "aria-label": "Order of the masks", id: "sort", on: { change: () => page.store.merge("review", { sort: sort.value }) } },
    el("option", { value: "score" }, "by certainty"), el("option", { value: "area" }, "by size"), el("option", { value: "name" }, "by class"));
  const list = el("div", { class: "mask-list", "aria-label": "Masks of the image", id: "masks", tabindex: "0", on: { keydown: (/** @type {KeyboardEvent} */ event) => move(page, event) } });
  const section = el("section", { class: "section masks", "aria-label": "Masks" }, el("header", {}, title, sort), list);
  side.append(section, decisions(page));
  page.store.watch(["masks", "display", "classes", "review", "image", "click"], () => {
    const items = entries(page);
    reconcile(list, items, (item) => item.key, (item) => (item.mask ? maskRow(page, item.key) : group(page, item)), (element, item) => {
      if (item.mask) updateRow(page, element, item.mask);
      else updateGroup(page, element, item);
    });
    list.querySelector(".empty")?.remove();
    if (!items.length) list.append(emptyState(page));
    // a grid without rows is none
    list.setAttribute("role", items.length ? "grid" : "group");
    markRows(page, list);
  });
  page.store.watch(["selected", "hovered"], () => {
    markRows(page, list);
    const row = list.querySelector('[aria-selected="true"]');
    row?.scrollIntoView({ block: "nearest" });
  });
}

/**
 * A row of the list: a mask, or the title of a group with what its eye shows and hides.
 *
 * @typedef {{key: string, mask?: Mask, title?: string, eye?: "proposals" | "accepted"}} Entry
 */

/**
 * @param {Page} page
 * @returns {Entry[]}
 */
function entries(page) {
  const { display } = page.state;
  const all = /** @type {Mask[]} */ ([...page.state.masks.values()]);
  const open = proposals(page);
  const accepted = ordered(page, all.filter((mask) => mask.state === "accepted" && isVisible(page, mask)));
  const duplicates = display.duplicates ? 0 : all.filter((mask) => mask.duplicate).length;
  const hidden = all.filter((mask) => isHidden(page, mask)).length;
  /** @type {Entry[]} */
  const rows = [];
  if (open.length || !display.proposals) rows.push({ key: "#open", eye: "proposals", title: display.proposals ? `${plural(open.length, "proposal")} to decide on` : "Proposals are hidden" });
  rows.push(...open.map((mask) => ({ key: mask.key, mask })));
  if (accepted.length || !display.accepted) rows.push({ key: "#accepted", eye: "accepted", title: display.accepted ? plural(accepted.length, "accepted mask") : "Accepted masks are hidden" });
  rows.push(...accepted.map((mask) => ({ key: mask.key, mask })));
  if (hidden) rows.push({ key: "#hidden", title: `${plural(hidden, "mask")} hidden by a closed eye` });
  if (duplicates) rows.push({ key: "#duplicates", title: `${plural(duplicates, "duplicate")} hidden (settings show them)` });
  return rows;
}

/**
 * @param {Page} page
 * @param {Entry} item
 */
function group(page, { eye }) {
  const toggle = eye && el("button", { type: "button", class: "icon-button eye", on: { click: () => page.store.merge("display", { [eye]: !page.state.display[eye] }) } }, icon("eye"));
  return el("div", { class: "group", role: "row" }, el("span", { class: "grow", role: "gridcell" }), toggle && el("span", { role: "gridcell" }, toggle));
}

/**
 * @param {Page} page
 * @param {HTMLElement} element
 * @param {Entry} item
 */
function updateGroup(page, element, { eye, title }) {
  say(element.children[0], title ?? "");
  const toggle = element.querySelector("button");
  if (!eye || !toggle) return;
  const shown = page.state.display[eye];
  if (toggle.getAttribute("aria-pressed") === String(!shown)) return;
  toggle.replaceChildren(icon(shown ? "eye" : "hidden"));
  toggle.setAttribute("aria-pressed", String(!shown));
  toggle.title = `${shown ? "Hide" : "Show"} ${eye === "accepted" ? "accepted masks" : "proposals"}`;
  toggle.setAttribute("aria-label", toggle.title);
}

/** @param {Page} page */
function emptyState(page) {
  if (!page.state.image) return el("div", { class: "empty" }, el("p", {}, "No image is open."));
  return el("div", { class: "empty" },
    el("p", {}, "No masks yet."),
    el("p", {}, "Type words above and press Enter, take the point tool (", el("kbd", {}, "C"), ") and click on an object, or paint one (", el("kbd", {}, "B"), ")."));
}

/**
 * @param {Page} page
 * @param {string} key
 */
function maskRow(page, key) {
  const mask = () => /** @type {Mask} */ (page.state.masks.get(key));
  const act = (/** @type {() => void} */ what) => (/** @type {Event} */ event) => {
    event.stopPropagation();
    what();
  };
  const accept = el("button", { type: "button", class: "icon-button accept", tabindex: "-1", on: { click: act(() => void decide(page, "accept", [mask()])) } }, icon("check"));
  const reject = el("button", { type: "button", class: "icon-button reject", tabindex: "-1", on: { click: act(() => remove(page, key)) } }, icon("cross"));
  return el("div", {
    class: "mask-row", role: "row", id: `mask-${key}`,
    on: {
      click: () => select(page, key, { reveal: true }),
      pointerenter: () => page.store.set({ hovered: key }),
      pointerleave: () => page.store.set({ hovered: null }),
    },
  }, el("span", { class: "swatch", role: "gridcell" }), el("span", { class: "name", role: "gridcell" }), el("span", { class: "score", role: "gridcell" }),
  el("span", { class: "row", role: "gridcell" }, accept, reject));
}

/**
 * @param {Page} page
 * @param {string} key
 */
function remove(page, key) {
  const mask = page.state.masks.get(key);
  if (mask?.state === "accepted") {
    select(page, key);
    void removeSelected(page);
  } else if (mask) void decide(page, "reject", [mask]);
}

/**
 * @param {Page} page
 * @param {HTMLElement} element
 * @param {Mask} mask
 */
function updateRow(page, element, mask) {
  const [swatch, name, score, buttons] = /** @type {HTMLElement[]} */ ([...element.children]);
  const [accept, reject] = /** @type {HTMLElement[]} */ ([...buttons.children]);
  const text = nameOf(page, mask);
  const proposed = mask.state !== "accepted";
  swatch.className = `swatch${proposed ? " dashed" : ""}`;
  swatch.style.setProperty("--color", maskColor(page, mask));
  swatch.setAttribute("aria-label", proposed ? "proposal" : "accepted");
  const unknown = proposed && mask.out_of_vocabulary;
  const marks = [unknown ? " ?" : "", mask.reference_of.length ? " ★" : "", mask.duplicate ? " (duplicate)" : ""].join("");
  say(name, (text || "no name") + marks);
  name.classList.toggle("missing", !text);
  name.title = unknown ? `${text}: the model was not taught this word; expect little of it.` : text;
  say(score, mask.score === null ? "" : mask.score.toFixed(2));
  accept.hidden = !proposed;
  accept.title = `Accept as ${text || "…"} (G)`;
  accept.setAttribute("aria-label", `Accept ${text}`);
  reject.title = proposed ? "Reject (U)" : "Delete (Del)";
  reject.setAttribute("aria-label", `${proposed ? "Reject" : "Delete"} ${text}`);
}

/**
 * @param {Page} page
 * @param {HTMLElement} list
 */
function markRows(page, list) {
  const { selected, hovered } = page.state;
  if (selected) list.setAttribute("aria-activedescendant", `mask-${selected}`);
  else list.removeAttribute("aria-activedescendant");
  for (const element of /** @type {HTMLElement[]} */ ([...list.children])) {
    if (!element.classList.contains("mask-row")) continue;
    const chosen = String(element.dataset.key === selected);
    if (element.getAttribute("aria-selected") !== chosen) element.setAttribute("aria-selected", chosen);
    element.classList.toggle("hovered", element.dataset.key === hovered);
  }
}

/**
 * Arrows choose in the list.
 *
 * @param {Page} page
 * @param {KeyboardEvent} event
 */
function move(page, event) {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  event.preventDefault();
  event.stopPropagation();
  const keys = entries(page).filter((item) => item.mask).map((item) => item.key);
  if (!keys.length) return;
  const at = keys.indexOf(page.state.selected);
  const next = event.key === "ArrowDown" ? at + 1 : at < 0 ? keys.length - 1 : at - 1;
  select(page, keys[Math.min(keys.length - 1, Math.max(0, next))], { reveal: true });
}

/** @param {Page} page */
function decisions(page) {
  const accept = el("button", { type: "button", class: "button good", id: "accept-all", title: "Accept all proposals (Shift+G)", on: { click: () => void decide(page, "accept", proposals(page)) } });
  const reject = el("button", { type: "button", class: "button bad", id: "reject-all", title: "Reject all proposals (Shift+U)", on: { click: () => void decide(page, "reject", proposals(page)) } });
  const slider = el("input", { type: "range", min: "0", max: "1", step: "0.01", id: "above", "aria-label": "Accept above this certainty", on: { input: () => page.store.merge("review", { above: Number(slider.value) }) } });
  const above = el("button", { type: "button", class: "button", id: "accept-above", title: "Accept all proposals above this certainty, in one step", on: { click: () => void decide(page, "accept", certain(page)) } });
  const auto = el("input", { type: "checkbox", id: "auto-next", on: { change: () => page.store.merge("review", { autoNext: auto.checked }) } });
  page.store.watch(["masks", "review", "display", "image", "click"], () => {
    const open = proposals(page);
    const sure = certain(page).length;
    say(accept, `Accept all ${open.length || ""}`.trim());
    say(reject, `Reject all ${open.length || ""}`.trim());
    say(above, `≥ ${page.state.review.above.toFixed(2)}: accept ${sure}`);
    accept.disabled = reject.disabled = !open.length;
    above.disabled = !sure;
    slider.value = String(page.state.review.above);
    auto.checked = page.state.review.autoNext;
  });
  return el("div", { class: "decide" }, el("div", { class: "row" }, accept, reject), el("div", { class: "row slider" }, slider, above),
    el("label", { class: "row slider", for: "auto-next" }, auto, "Go to the next proposal by itself"));
}
