/** Top bar: the words to find as chips, what is running, and the doors to everything else. */
import { examples, findLike, forgetExamples } from "../actions/examples.js";
import { findEverything, findWords } from "../actions/prompts.js";
import { el, fill, icon, iconButton, say } from "../dom.js";
import { classColor } from "../overlay.js";
import { send } from "../server.js";
import { parseWords, plural, shorten, synonyms } from "../text.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function createTop(page) {
  const top = /** @type {HTMLElement} */ (document.getElementById("top"));
  const find = el("button", { type: "button", class: "button main", id: "find", title: "Find masks for these words (Q)", on: { click: () => void findWords(page) } }, "Find");
  const everything = iconButton("everything", "Find every object (O)", () => void findEverything(page), { class: "icon-button top-button", id: "everything" });
  const like = iconButton("like", "Find like the selected mask (R)", () => void findLike(page), { class: "icon-button top-button", id: "like" });
  const open = (/** @type {string} */ name) => () => page.store.set({ drawer: page.state.drawer === name ? "" : name });
  const doors = [
    iconButton("settings", "Settings: method, cleaning, refinement, model", open("settings"), { id: "open-settings", "aria-expanded": "false" }),
    iconButton("batch", "Predict on many images", open("batch"), { class: "icon-button top-button", id: "open-batch", "aria-expanded": "false" }),
    iconButton("files", "Import and export", open("files"), { class: "icon-button top-button", id: "open-files", "aria-expanded": "false" }),
    iconButton("tune", "Fine-tune the model with your masks", open("finetune"), { class: "icon-button top-button", id: "open-finetune", "aria-expanded": "false" }),
    iconButton("compare", "Compare two models", open("compare"), { class: "icon-button top-button", id: "open-compare", "aria-expanded": "false" }),
    iconButton("help", "All keys (?)", () => page.help(), { class: "icon-button top-button", id: "open-help" }),
    iconButton("theme", "Dark or light", () => switchTheme(), { class: "icon-button top-button", id: "theme" }),
  ];
  const brand = el("div", { class: "brand" }, el("img", { src: new URL("../icon.svg", import.meta.url).href, alt: "" }), el("span", {}, "Maskwright"));
  top.append(brand, wordsField(page), find, everything, like, exampleChip(page), busySign(page), ...doors);
  page.store.watch(["image"], () => {
    for (const button of [find, everything, like]) button.disabled = !page.state.image;
  });
  page.store.watch(["preset"], () => {
    const prompts = page.state.preset?.prompts ?? [];
    everything.hidden = page.state.ready && !prompts.includes("everything") && !prompts.includes("click");
    like.hidden = page.state.ready && !prompts.includes("like");
  });
  page.store.watch(["drawer"], () => {
    for (const name of ["settings", "batch", "files", "finetune", "compare"]) {
      document.getElementById(`open-${name}`)?.setAttribute("aria-expanded", String(page.state.drawer === name));
    }
  });
}

/** Dark and light take turns; the choice is remembered. */
export function switchTheme() {
  const root = document.documentElement;
  const light = root.dataset.theme ? root.dataset.theme === "light" : matchMedia("(prefers-color-scheme: light)").matches;
  root.dataset.theme = light ? "dark" : "light";
  localStorage.setItem("theme", root.dataset.theme);
}

/** @param {Page} page */
function wordsField(page) {
  const input = el("input", {
    id: "words-input", type: "text", "aria-label": "Class names to find, separated by commas; synonyms by a bar",
    autocomplete: "off", spellcheck: "false", list: "known-words", maxlength: "2000",
  });
  const known = el("datalist", { id: "known-words" });
  const box = el("div", { id: "words", role: "group", "aria-label": "Words to find", on: { click: (/** @type {Event} */ event) => event.target === box && input.focus() } }, input, known);

  const take = () => {
    if (!input.value.trim()) return;
    const typed = input.value;
    input.value = "";
    page.store.set({ words: parseWords([...page.state.words, typed].join(",")) });
  };
  const edit = (/** @type {string} */ word) => {
    take();
    page.store.set({ words: page.state.words.filter((/** @type {string} */ other) => other !== word) });
    input.value = word;
    input.focus();
  };
  input.addEventListener("input", () => /[,;\n]/.test(input.value) && take());
  input.addEventListener("blur", take);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      take();
      input.blur();
      page.stage.host.focus({ preventScroll: true });
      void findWords(page);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      input.blur();
      page.stage.host.focus({ preventScroll: true });
    } else if (event.key === "Backspace" && !input.value && page.state.words.length) {
      event.preventDefault();
      edit(page.state.words.at(-1));
    }
  });
  page.focusWords = () => input.focus();

  page.store.watch(["words"], () => {
    const { words } = page.state;
    localStorage.setItem("words", JSON.stringify(words));
    box.querySelectorAll(".chip").forEach((chip) => chip.remove());
    for (const word of words) {
      const [name, ...others] = synonyms(word);
      const label = el("button", { type: "button", title: `Change ${word}`, on: { click: () => edit(word) } }, name);
      if (others.length) label.append(el("span", { class: "more" }, ` +${others.length}`));
      const remove = iconButton("cross", `Remove ${name}`, () => page.store.set({ words: page.state.words.filter((/** @type {string} */ other) => other !== word) }));
      box.insertBefore(el("span", { class: "chip" }, label, remove), input);
    }
    input.placeholder = words.length ? "" : "Words to find: cow, grass, sky";
  });
  completeWords(page, input, known);
  return box;
}

/**
 * Offer names while somebody types.
 *
 * @param {Page} page
 * @param {HTMLInputElement} input
 * @param {HTMLElement} known its list
 */
function completeWords(page, input, known) {
  // the list is made when somebody types: a model may know thousands of words
  input.addEventListener("input", () => fill(known, ...completions(page, input.value).map((name) => el("option", { value: name }))));
  let model = "";
  page.store.watch(["preset"], () => {
    const name = page.state.preset?.name ?? "";
    if (!name || name === model) return;
    model = name;
    void page.attempt(async () => page.store.set({ vocabulary: (await send("GET", "/ui/presets/words")).words }));
  });
}

/**
 * Names of classes, and words that the model was trained on, which begin like the text; then those that contain it.
 *
 * @param {Page} page
 * @param {string} text
 * @returns {string[]}
 */
function completions(page, text) {
  const start = text.trim().toLocaleLowerCase();
  if (!start) return [];
  const names = [...new Set([...page.state.classes.map((/** @type {any} */ one) => one.name), ...page.state.vocabulary])];
  const begin = names.filter((name) => name.toLocaleLowerCase().startsWith(start));
  return [...begin, ...names.filter((name) => name.toLocaleLowerCase().includes(start) && !begin.includes(name))].slice(0, 20);
}

/**
 * What is searched for by example.
 *
 * @param {Page} page
 */
function exampleChip(page) {
  const swatch = el("span", { class: "swatch" });
  const name = el("span");
  const remove = iconButton("cross", "Forget these examples", () => void forgetExamples(page), { id: "forget-examples" });
  const chip = el("span", { class: "chip example", id: "example" }, swatch, name, remove);
  page.store.watch(["references", "like", "classes"], () => {
    const { category, positive, negative } = examples(page);
    chip.hidden = !category;
    swatch.style.setProperty("--color", classColor(page, category));
    say(name, shorten(category, 14));
    const not = negative.length ? `, and not like ${plural(negative.length, "other")}` : "";
    chip.title = `R finds more ${category}, like ${plural(positive.length, "example")}${not}.`;
  });
  return chip;
}

/** @param {Page} page */
function busySign(page) {
  const what = el("span", { class: "what", role: "status" });
  const stop = el("button", { type: "button", class: "button", id: "stop", title: "Stop", on: { click: () => page.state.busy.forEach((/** @type {any} */ one) => one.stop?.()) } }, icon("stop"), "Stop");
  const spinner = el("span", { class: "spinner", "aria-hidden": "true" });
  const sign = el("div", { class: "busy", id: "busy" }, spinner, what, stop);
  const render = () => {
    const { busy } = page.state;
    const one = busy[0];
    sign.classList.toggle("on", Boolean(one));
    spinner.hidden = what.hidden = !one;
    stop.hidden = !busy.some((/** @type {any} */ other) => other.stop);
    if (!one) return;
    const seconds = Math.floor((Date.now() - one.since) / 1000);
    const line = one.waiting ? `, ${one.waiting} before it` : "";
    const progress = one.total ? ` ${Math.floor((100 * one.done) / one.total)} %` : `${seconds ? ` ${seconds} s` : ""}${line}`;
    say(what, `${one.label}${progress}${busy.length > 1 ? ` (+${busy.length - 1})` : ""}`);
    what.title = one.stage || one.label;
  };
  page.store.watch(["busy"], render);
  setInterval(() => page.state.busy.length && render(), 1000);
  return sign;
}
