/** The images of the project as small pictures; only those in view are in the page. */
import { CHUNK, addFiles, filterImages, loadImages, nextUnreviewed } from "../actions/images.js";
import { el, fill, icon, iconButton, reconcile, say } from "../dom.js";
import { shorten } from "../text.js";

/**
 * @typedef {import("../page.js").Page} Page
 * @typedef {import("../store.js").ImageItem} ImageItem
 */

const STATUS = { none: "", proposed: "proposals", done: "masks", complete: "complete", excluded: "excluded" };
const STEP = 104;
const PHONE_STEP = 138;

/** @param {Page} page */
export function createImages(page) {
  const panel = /** @type {HTMLElement} */ (document.getElementById("images"));
  const list = el("div", { class: "images-list", role: "group", "aria-label": "Images of the project" });
  const inner = el("div", { role: "presentation" });
  list.append(inner);
  panel.append(head(page), list, foot(page));

  const wide = () => matchMedia("(max-width: 720px)").matches;
  const loading = new Set();
  const render = () => {
    const { images, image } = page.state;
    const across = wide();
    const step = across ? PHONE_STEP : STEP;
    const room = across ? list.clientWidth : list.clientHeight;
    const place = across ? list.scrollLeft : list.scrollTop;
    inner.style.cssText = across ? `position:relative;height:110px;width:${images.total * step + 8}px` : `position:relative;height:${images.total * step + 8}px`;
    const first = Math.max(0, Math.floor(place / step) - 2);
    const last = Math.min(images.total, Math.ceil((place + room) / step) + 2);
    const shown = [];
    for (let i = first; i < last; i++) {
      if (images.items[i]) shown.push({ item: images.items[i], place: i });
      else {
        const offset = Math.floor(i / CHUNK) * CHUNK;
        if (loading.has(offset)) continue;
        loading.add(offset);
        void page.attempt(() => loadImages(page, offset)).finally(() => loading.delete(offset));
      }
    }
    // one of them is reached by Tab, the others by arrows
    const tabbed = shown.some(({ item }) => item.id === image?.id) ? image.id : shown[0]?.item.id;
    reconcile(inner, shown, ({ item }) => String(item.id), ({ item }) => thumb(page, item), (element, { item, place: at }) => {
      element.style.top = across ? "6px" : `${at * step + 4}px`;
      element.style.left = across ? `${at * step + 6}px` : "";
      updateThumb(element, item, image?.id === item.id);
      element.tabIndex = item.id === tabbed ? 0 : -1;
    });
  };
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const thumb = document.activeElement;
    if (!step || thumb?.parentElement !== inner) return;
    event.preventDefault();
    /** @type {HTMLElement | null} */ (step > 0 ? thumb.nextElementSibling : thumb.previousElementSibling)?.focus();
  });
  list.addEventListener("scroll", render, { passive: true });
  new ResizeObserver(render).observe(list);
  page.store.watch(["images", "image"], render);
  let shownId = 0;
  page.store.watch(["image", "images"], () => {
    const { image, images } = page.state;
    if (!image || image.id === shownId) return;
    const at = images.items.findIndex((/** @type {ImageItem} */ item) => item?.id === image.id);
    if (at < 0) return;
    shownId = image.id;
    const step = wide() ? PHONE_STEP : STEP;
    const [room, now] = wide() ? [list.clientWidth, list.scrollLeft] : [list.clientHeight, list.scrollTop];
    if (at * step < now || (at + 1) * step > now + room) list.scrollTo(wide() ? { left: at * step - room / 3 } : { top: at * step - room / 3 });
  });
}

/**
 * @param {Page} page
 * @param {ImageItem} item
 */
function thumb(page, item) {
  const picture = el("img", { src: item.thumbnail, alt: "", loading: "lazy", decoding: "async" });
  const button = el("button", { type: "button", class: "thumb", title: item.title, on: { click: () => void page.open(item.id) } },
    picture, el("span", { class: "badge" }), el("span", { class: "caption" }, el("span"), el("span"), el("span", { class: "unseen" })));
  return button;
}

/**
 * @param {HTMLElement} element
 * @param {ImageItem} item
 * @param {boolean} current
 */
function updateThumb(element, item, current) {
  const [title, count, unit] = element.querySelectorAll(".caption span");
  say(title, shorten(item.title, 22));
  say(count, item.masks ? String(item.masks) : "");
  say(unit, item.masks ? "masks" : "no masks");
  const badge = /** @type {HTMLElement} */ (element.querySelector(".badge"));
  badge.className = `badge ${item.status}`;
  badge.hidden = item.status === "none";
  say(badge, item.status === "proposed" ? `${item.proposals} open` : item.status === "done" ? "✓" : STATUS[item.status]);
  element.setAttribute("aria-current", String(current));
}

/** @param {Page} page */
function head(page) {
  const files = el("input", { type: "file", multiple: true, accept: "image/*,.zip,.tif,.tiff,.heic,.heif,.avif,.jfif", class: "unseen", id: "files", tabindex: "-1", "aria-hidden": "true",
    on: { change: () => void addFiles(page, [...(files.files ?? [])]).then(() => (files.value = "")) } });
  const folder = el("input", { type: "file", multiple: true, webkitdirectory: true, class: "unseen", id: "folder", tabindex: "-1", "aria-hidden": "true",
    on: { change: () => void addFiles(page, [...(folder.files ?? [])]).then(() => (folder.value = "")) } });
  const add = el("button", { type: "button", class: "button grow", id: "add", "aria-label": "Add images", title: "Add images or a zip file; drop and paste work, too", on: { click: () => files.click() } }, icon("plus"), "Add");
  const addFolder = iconButton("folder", "Add a folder of images", () => folder.click(), { id: "add-folder" });
  const status = el("select", { "aria-label": "Show images by status", id: "filter-status", on: { change: () => void filterImages(page, { status: status.value }) } });
  const choices = [["", "All images"], ["none", "Not started"], ["next", "To label next"], ["proposed", "With proposals"], ["done", "With masks"], ["complete", "Complete"], ["excluded", "Excluded"]];
  fill(status, ...choices.map(([value, label]) => el("option", { value }, label)));
  const classes = el("select", { "aria-label": "Show images by class", id: "filter-class", on: { change: () => void filterImages(page, { class: classes.value }) } });
  const phrase = el("input", { class: "field", type: "search", id: "filter-phrase", placeholder: "Search: a zebra", "aria-label": "Rank images by a phrase", maxlength: "200",
    on: {
      change: () => void filterImages(page, { phrase: phrase.value.trim() }),
      keydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter" && event.key !== "Escape") return;
        if (event.key === "Escape") phrase.value = "";
        phrase.blur();
        event.stopPropagation();
      },
    } });
  page.chooseFiles = () => files.click();
  page.chooseFolder = () => folder.click();
  page.store.watch(["classes", "images"], () => {
    const { query } = page.state.images;
    const names = page.state.classes.map((/** @type {any} */ one) => one.name);
    if (classes.dataset.names !== names.join("\n") || classes.value !== query.class) {
      classes.dataset.names = names.join("\n");
      fill(classes, el("option", { value: "" }, "Any class"), ...names.map((/** @type {string} */ name) => el("option", { value: name }, shorten(name, 24))));
      classes.value = query.class;
    }
    status.value = query.status;
    if (document.activeElement !== phrase) phrase.value = query.phrase;
  });
  return el("div", { class: "images-head" }, el("div", { class: "row" }, add, addFolder), files, folder, status, classes, phrase);
}

/** @param {Page} page */
function foot(page) {
  const text = el("span");
  const bars = ["complete", "done", "proposed"].map((name) => el("i", { class: name }));
  const meter = el("div", { class: "meter", role: "img" }, ...bars);
  const next = el("button", { type: "button", class: "button", id: "next-open", title: "Next image without masks or with open proposals (.)", on: { click: () => void nextUnreviewed(page) } }, "Next open ", el("kbd", {}, "."));
  page.store.watch(["project", "images"], () => {
    const counts = page.state.project?.counts ?? {};
    const total = counts.images || 0;
    say(text, `${counts.complete ?? 0} of ${total} complete`);
    meter.setAttribute("aria-label", text.textContent ?? "");
    bars.forEach((bar, i) => (bar.style.width = `${total ? (100 * (counts[["complete", "done", "proposed"][i]] ?? 0)) / total : 0}%`));
    next.disabled = !total;
  });
  return el("div", { class: "images-foot" }, text, meter, next);
}
