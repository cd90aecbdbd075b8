/** All keys, and the walk of a first visit. */
import { el } from "../dom.js";
import { SHORTCUTS } from "../shortcuts.js";

/** Show the keys. */
export function showHelp() {
  const groups = [...new Set(SHORTCUTS.map((one) => one.group))];
  const body = groups.flatMap((group) => [
    el("h3", {}, group),
    ...SHORTCUTS.filter((one) => one.group === group).map((one) => el("div", {}, el("span", {}, ...one.keys.map((key) => el("kbd", {}, key))), el("span", {}, one.does))),
  ]);
  const dialog = el("dialog", { "aria-label": "Keys", id: "help", on: { close: () => dialog.remove() } },
    el("div", {}, el("h2", {}, "Keys"), el("div", { class: "keys" }, ...body),
      el("div", { class: "row" }, el("a", { class: "grow", href: "/api", target: "_blank", rel: "noopener" }, "Endpoints for other programs"), el("button", { type: "button", class: "button main", on: { click: () => dialog.close() } }, "Close"))));
  document.body.append(dialog);
  dialog.showModal();
}

const STEPS = [
  ["1 of 3: say what to find", "Type class names into the field on top, with commas between them, and press Enter (or Find, where they stand there already). Each object comes as a proposal with a dashed outline."],
  ["2 of 3: keep what is right", "Click on a mask to select it. G accepts it, U rejects it, and the brush (B) or a few clicks (C) put it right. Keys 1 to 9 change its class."],
  ["3 of 3: let one show the others", "Select an accepted mask and press R: it becomes the example. On the next image R finds its like. The question mark shows all keys."],
];

/**
 * Three steps for a first visit.
 *
 * @param {import("../page.js").Page} page
 */
export function showWalk(page) {
  document.querySelector(".walk")?.remove();
  let number = 0;
  const title = el("h2");
  const text = el("p");
  const end = () => {
    card.remove();
    localStorage.setItem("walked", "yes");
    page.stage.host.focus({ preventScroll: true });
  };
  const next = el("button", { type: "button", class: "button main", id: "walk-next", on: { click: () => (number + 1 < STEPS.length ? show(number + 1) : end()) } });
  const skip = el("button", { type: "button", class: "button", id: "walk-skip", on: { click: end } }, "Skip");
  const card = el("div", { class: "float walk", role: "dialog", "aria-label": "First steps" }, title, text, el("div", { class: "row", style: { "justify-content": "flex-end" } }, skip, next));
  const show = (/** @type {number} */ step) => {
    number = step;
    [title.textContent, text.textContent] = STEPS[step];
    next.textContent = step + 1 < STEPS.length ? "Next" : "Begin";
  };
  show(0);
  document.getElementById("over")?.append(card);
}
