/** How prompts are answered, how masks are shown, and which model answers; each with one plain sentence. */
import { removeSamples } from "../actions/images.js";
import { el, fill, say } from "../dom.js";
import { send } from "../server.js";
import { switchTheme } from "./top.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function settingsPanel(page) {
  return el("div", { class: "panel" }, prompts(page), display(page), models(page));
}

/**
 * @param {string} title
 * @param {string} sentence
 * @param {...HTMLElement} controls
 */
function setting(title, sentence, ...controls) {
  return el("div", { class: "setting" }, el("b", {}, title), ...controls, el("p", {}, sentence));
}

/**
 * @param {Page} page
 * @param {string} key of the state
 * @param {string} field
 * @param {string} title
 * @param {string} sentence
 */
function toggle(page, key, field, title, sentence) {
  const box = el("input", { type: "checkbox", id: `set-${field}`, on: { change: () => page.store.merge(key, { [field]: box.checked }) } });
  page.store.watch([key], () => (box.checked = Boolean(page.state[key][field])));
  return el("div", { class: "setting" }, el("label", { class: "row", for: `set-${field}` }, box, el("b", {}, title)), el("p", {}, sentence));
}

/**
 * Choices with one sentence each.
 *
 * @param {Page} page
 * @param {string} field of the options
 * @param {string} title
 * @param {() => {key: string, title: string, sentence: string}[]} choices
 */
function choice(page, field, title, choices) {
  const select = el("select", { id: `set-${field}`, "aria-label": title, on: { change: () => page.store.merge("options", { [field]: select.value }) } });
  const sentence = el("p");
  page.store.watch(["preset", "choices", "options"], () => {
    const all = choices();
    const key = all.map((one) => one.key).join(",");
    if (select.dataset.keys !== key) {
      select.dataset.keys = key;
      fill(select, ...all.map((one) => el("option", { value: one.key }, one.title)));
    }
    const chosen = all.find((one) => one.key === page.state.options[field]) ?? all[0];
    select.value = chosen?.key ?? "";
    say(sentence, chosen?.sentence ?? "");
    // a choice of another model is forgotten
    if (all.length && chosen && page.state.options[field] !== chosen.key && page.state.ready) page.store.merge("options", { [field]: chosen.key });
  });
  return el("div", { class: "setting" }, el("b", {}, title), select, sentence);
}

/** @param {Page} page */
function prompts(page) {
  const threshold = el("input", { type: "range", min: "0", max: "1", step: "0.01", id: "set-threshold", "aria-label": "Threshold", on: { input: () => page.store.merge("options", { threshold: Number(threshold.value) }) } });
  const number = el("span", { class: "quiet" });
  const least = setting("Threshold", "How sure the model must be of a word; lower finds more, and more that is wrong.", el("div", { class: "row" }, threshold, number));
  page.store.watch(["options"], () => {
    threshold.value = String(page.state.options.threshold);
    say(number, page.state.options.threshold.toFixed(2));
    least.hidden = !page.state.options.background;
  });
  const none = { key: "", title: "None", sentence: "Outlines stay as the model draws them." };
  const automatic = { key: "", title: "As the model prefers", sentence: "The model decides whether unsure pixels are left out." };
  return el("section", {}, el("h2", {}, "Finding by words"),
    choice(page, "method", "Method", () => page.state.preset?.methods ?? []),
    toggle(page, "options", "background", "Background class", "Pixels that fit none of the words stay without a name. Off: every pixel gets one of the words."),
    least,
    choice(page, "cleaning", "Background cleaning", () => [automatic, ...page.state.choices.cleaning]),
    choice(page, "refine", "Refinement", () => [none, ...page.state.choices.refine]),
    toggle(page, "options", "instances", "One mask for each object", "Things that can be counted, such as cows, get a mask each; grass and sky stay whole."));
}

/** @param {Page} page */
function display(page) {
  const opacity = el("input", { type: "range", min: "0", max: "100", id: "set-opacity", "aria-label": "Opacity of masks", on: { input: () => page.store.merge("display", { opacity: Number(opacity.value) }) } });
  page.store.watch(["display"], () => (opacity.value = String(page.state.display.opacity)));
  return el("section", {}, el("h2", {}, "On the image"),
    setting("Opacity", "How much of the image shows through the masks.", opacity),
    toggle(page, "display", "outlines", "Outlines", "Dashed around proposals, solid around accepted masks."),
    toggle(page, "display", "names", "Names on the image (M)", "Each mask carries its class name."),
    toggle(page, "display", "shades", "Each object in its own shade", "Objects of one class differ in brightness, so that neighbours can be told apart."),
    toggle(page, "display", "duplicates", "Show duplicates", "Proposals that repeat an accepted mask are hidden otherwise."),
    toggle(page, "review", "autoNext", "Go to the next proposal by itself", "After a decision the next one is selected."),
    el("div", { class: "setting" }, el("button", { type: "button", class: "button", on: { click: () => switchTheme() } }, "Dark or light"),
      el("button", { type: "button", class: "button", on: { click: () => page.walk() } }, "Show the first steps again"),
      el("button", { type: "button", class: "button", id: "remove-samples", on: { click: () => void removeSamples(page) } }, "Remove the sample images")));
}

/** @param {Page} page */
function models(page) {
  const list = el("div", { style: { display: "grid", gap: "8px", "padding-top": "8px" }, id: "presets" });
  page.store.watch(["presets", "preset"], () => {
    fill(list, ...page.state.presets.map((/** @type {any} */ one) => model(page, one)));
  });
  return el("section", {}, el("h2", {}, "Get a stronger model"), list);
}

/**
 * @param {Page} page
 * @param {any} one
 */
function model(page, one) {
  const facts = [one.size, one.licence, one.message].filter(Boolean).join(" · ");
  const act = { ready: ["Use", "use"], fetch: ["Get it", "fetch"], fetching: ["Stop", "cancel"] }[/** @type {"ready"} */ (one.state)];
  const button = act && el("button", { type: "button", class: "button", on: { click: () => void page.attempt(async () => {
    const answer = await send("POST", `/ui/presets/${act[1]}`, { preset: one.name });
    page.notify(answer.notice ?? "");
    page.store.set({ preset: answer.preset, presets: answer.presets, choices: answer.choices });
  }) } }, act[0]);
  return el("div", { class: `option${one.state === "in use" ? " on" : ""}` }, el("span", {}, one.state === "in use" ? "✓" : ""), el("b", {}, one.title), button || el("span", { class: "quiet" }, one.state === "in use" ? `in use${one.used_for?.length ? `: ${one.used_for.join(", ")}` : ""}` : one.state), el("p", {}, one.improves), el("p", {}, facts), one.state === "fetching" ? el("div", { class: "progress", style: { "grid-column": "2 / -1" }, role: "progressbar", "aria-label": `Fetching ${one.title}`, "aria-valuenow": String(Math.round(100 * (one.share ?? 0))), "aria-valuemin": "0", "aria-valuemax": "100" }, el("i", { style: { width: `${100 * (one.share ?? 0)}%` } })) : null);
}
