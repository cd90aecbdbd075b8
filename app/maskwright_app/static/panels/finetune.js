/** Fine-tune the model with the accepted masks, and judge the result honestly. */
import { el, fill, say, svg } from "../dom.js";
import { send } from "../server.js";
import { duration, plural } from "../text.js";
import { judgedImages } from "./judged.js";

/** @typedef {import("../page.js").Page} Page */

const LABELS = /** @type {Record<string, string>} */ ({ pause: "Pause", cancel: "Cancel", resume: "Continue", use: "Use the new model", original: "Back to the old model", delete: "Delete" });

/** @param {Page} page */
export function finetunePanel(page) {
  const facts = el("div");
  const runs = el("div", { style: { display: "grid", gap: "12px" } });
  const act = (/** @type {string} */ what, /** @type {string} */ label, /** @type {Record<string, any>} */ more = {}, kind = "") =>
    el("button", { type: "button", class: `button ${kind}`, data: { act: what }, on: { click: () => {
      if (what === "delete" && !window.confirm(`Delete ${more.run} with its model? This cannot be undone.`)) return;
      void page.attempt(async () => page.store.set({ finetune: await send("POST", "/ui/finetune", { act: what, ...chosen(more) }) }));
    } } }, label);
  const chosen = (/** @type {Record<string, any>} */ more) => Object.assign({}, ...Object.entries(more).map(([name, value]) => (name === "learner" ? JSON.parse(value.value) : { [name]: value instanceof HTMLSelectElement ? value.value : value })));
  /** @type {Map<string, {state: string, card: HTMLElement}>} */
  const cards = new Map();
  let shown = "";
  page.store.watch(["finetune"], () => {
    const { finetune } = page.state;
    if (!finetune) return fill(facts, el("p", { class: "quiet" }, "Reading …"));
    // an open menu or picture stays as it is while a run reports its progress
    const now = JSON.stringify(finetune.plan);
    if (now !== shown) fill(facts, plan(finetune.plan, act));
    shown = now;
    for (const id of cards.keys()) if (!finetune.runs.some((/** @type {any} */ run) => run.id === id)) cards.delete(id);
    for (const run of finetune.runs) {
      const state = JSON.stringify(run);
      if (cards.get(run.id)?.state !== state) cards.set(run.id, { state, card: runCard(page, run, act) });
    }
    runs.replaceChildren(...finetune.runs.map((/** @type {any} */ run) => /** @type {any} */ (cards.get(run.id)).card));
  });
  void page.attempt(async () => page.store.set({ finetune: await send("GET", "/ui/finetune") }));
  return el("div", { class: "panel" }, el("div", { class: "setting" }, el("b", {}, "Fine-tune"),
    el("p", {}, "Trains a copy of the model on what you accepted. Nothing changes until you choose the new model, and the old one stays.")), facts, runs);
}

/**
 * @param {any} facts
 * @param {Function} act
 */
function plan(facts, act) {
  if (!facts) return el("span");
  if (facts.reason) return el("p", { id: "finetune-reason" }, facts.reason);
  const row = (/** @type {string} */ name, /** @type {any} */ value) => (value === null || value === undefined || value === "" ? null : el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, String(value))));
  const held = facts.parts ? `each image once, in ${plural(facts.parts, "part")}` : plural(facts.validation ?? 0, "image");
  const recipe = el("select", { id: "finetune-recipe", "aria-label": "What learns" }, ...facts.recipes.map((/** @type {any} */ one) => el("option", { value: one.name }, `${one.name}: ${one.learns}`)));
  const learner = el("select", { id: "finetune-task", "aria-label": "What it learns for" }, ...facts.learners.map((/** @type {any} */ one) => el("option", { value: JSON.stringify({ task: one.task, method: one.method }) }, one.title)));
  const needs = el("p", { class: "quiet", "aria-live": "polite" });
  const count = async () => {
    say(needs, "Counting what it needs …");
    const { task, method } = JSON.parse(learner.value || "{}");
    const query = new URLSearchParams({ task, ...(method ? { method } : {}) });
    const [answer] = await Promise.allSettled([send("GET", `/ui/finetune/needs/${recipe.value}?${query}`)]);
    say(needs, answer.status === "fulfilled" ? answer.value?.needs ?? "" : "");
  };
  for (const select of [recipe, learner]) select.addEventListener("change", () => void count());
  void count();
  return el("div", { style: { display: "grid", gap: "8px" } }, el("table", { class: "facts" }, el("tbody", {},
    row("Model", facts.base),
    row("Trains on", plural(facts.images, "image")),
    row("Held out to judge", `${held}, with ${plural(facts.judged_by ?? 0, "mask")} by people`),
    row("Left out", facts.left_out?.map((/** @type {any} */ one) => one.name ?? one).join(", ")),
    row("Classes", facts.classes?.map((/** @type {any} */ one) => `${one.name} ${one.masks}`).join(", ")),
    row("Complete images", facts.complete || ""),
    row("Rejected masks", facts.rejected || ""),
    row("Licence of the result", facts.licence))),
  ...(facts.notes ?? []).map((/** @type {string} */ note) => el("p", { class: "quiet" }, note)),
  needs,
  act("start", "Fine-tune", { recipe, learner }, "main"),
  el("details", {}, el("summary", {}, "Advanced"), el("div", { style: { display: "grid", gap: "8px" } },
    el("label", {}, "Learns for ", learner), el("label", {}, "Recipe ", recipe))));
}

/**
 * @param {Page} page
 * @param {any} run
 * @param {Function} act
 */
function runCard(page, run, act) {
  const training = run.phase?.endsWith("training");
  const [done, all] = training ? [run.step, run.total] : [run.done, run.of];
  const share = all ? Math.round((100 * done) / all) : 0;
  const running = ["running", "pausing"].includes(run.state);
  const wide = { style: { "grid-column": "2 / -1" } };
  const doing = running ? `${run.phase ?? "starting"}${all ? `, ${done} of ${all}` : ""}${training && run.seconds_left ? `, about ${duration(run.seconds_left)} left` : ""}` : "";
  return el("div", { class: `option run${run.active ? " on" : ""}`, data: { state: run.state } }, el("span", {}, run.active ? "✓" : ""), el("b", {}, `Run ${run.id}`), el("span", { class: "quiet" }, `${run.active ? "in use" : run.state}, ${run.created.slice(0, 10)}`),
    running ? el("div", { class: "progress", ...wide, role: "progressbar", "aria-valuenow": String(share), "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": `Run ${run.id}` }, el("i", { style: { width: `${share}%` } })) : null,
    doing ? el("p", { class: "quiet" }, doing) : null,
    run.curve?.length > 1 ? curve(run.curve, "loss", plural(run.curve[run.curve.length - 1][0], "step")) : null,
    run.metrics?.length ? curve(run.metrics, run.task === "click" ? "IoU after five clicks" : "mIoU", `a few held-out images`) : null,
    run.message ? el("p", {}, run.message) : null,
    run.judgement ? el("p", { style: { color: "var(--text)" } }, run.judgement) : null,
    ...(running || run.state === "done" ? run.notes ?? [] : []).map((/** @type {string} */ note) => el("p", { class: "quiet" }, note)),
    run.rows?.length ? el("div", wide, scores(run.rows)) : null,
    run.judged ? judgedImages(page, run.id, run.judged) : null,
    run.can?.length ? el("div", { class: "row", ...wide }, ...run.can.map((/** @type {string} */ what) => act(what, LABELS[what] ?? what, { run: run.id }, what === run.default ? "main" : ""))) : null);
}

/**
 * IoU of each class before and after; its contours, precision and recall in the tooltip.
 *
 * @param {any[]} rows
 */
function scores(rows) {
  const text = (/** @type {number | null | undefined} */ value) => (value === null || value === undefined ? "–" : value.toFixed(3));
  const pair = (/** @type {(number | null)[]} */ values) => values.map(text).join(" → ");
  const measured = rows.some((row) => row.boundary?.some((/** @type {any} */ value) => value !== null));
  const head = (/** @type {string} */ name) => el("th", { class: "number" }, name);
  const cell = (/** @type {string} */ value) => el("td", { class: "number" }, value);
  return el("table", { class: "facts" },
    el("thead", {}, el("tr", {}, el("th", {}, "Class"), head("IoU before"), head("after"), measured ? head("contours") : null, measured ? head("precision") : null, measured ? head("recall") : null)),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, el("td", {}, row.name), cell(text(row.before)), cell(text(row.after)), ...(measured ? [row.boundary, row.precision, row.recall].map((values) => cell(pair(values))) : [])))));
}

/**
 * Loss or quality so far.
 *
 * @param {[number, number][]} points
 * @param {string} measure
 * @param {string} where
 */
function curve(points, measure, where) {
  const [width, height] = [300, 60];
  const last = points[points.length - 1];
  const values = points.map((point) => point[1]);
  const least = measure === "loss" ? 0 : Math.min(...values);
  const most = Math.max(...values, least + 1e-6);
  const line = points.map(([step, value]) => `${((width * step) / Math.max(last[0], 1)).toFixed(1)},${(height - (height * (value - least)) / (most - least)).toFixed(1)}`).join(" ");
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${measure} ${last[1].toFixed(3)} after ${last[0]} steps` },
    svg("polyline", { points: line, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
  return el("div", { class: "quiet", style: { "grid-column": "2 / -1" } }, drawing, `${measure} ${last[1].toFixed(3)}${measure === "loss" ? ` after ${where}` : `, ${points[0][1].toFixed(3)} at first, on ${where}`}`);
}
