/** Fine-tune the model with the accepted masks, and judge the result honestly. */
import { el, fill } from "../dom.js";
import { send } from "../server.js";
import { duration, plural } from "../text.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function finetunePanel(page) {
  const body = el("div", { style: { display: "grid", gap: "12px" } });
  const act = (/** @type {string} */ what, /** @type {string} */ label, /** @type {string | undefined} */ run, kind = "") =>
    el("button", { type: "button", class: `button ${kind}`, data: { act: what }, on: { click: () => void page.attempt(async () => {
      page.store.set({ finetune: await send("POST", "/ui/finetune", run === undefined ? { act: what } : { act: what, run }) });
    }) } }, label);
  page.store.watch(["finetune"], () => {
    const { finetune } = page.state;
    if (!finetune) fill(body, el("p", { class: "quiet" }, "Reading …"));
    else fill(body, plan(finetune.plan, act), ...finetune.runs.map((/** @type {any} */ run) => runCard(run, act)));
  });
  void page.attempt(async () => page.store.set({ finetune: await send("GET", "/ui/finetune") }));
  return el("div", { class: "panel" }, el("div", { class: "setting" }, el("b", {}, "Fine-tune"),
    el("p", {}, "Trains a copy of the model on what you accepted. Nothing changes until you choose the new model, and the old one stays.")), body);
}

/**
 * @param {any} facts
 * @param {Function} act
 */
function plan(facts, act) {
  if (!facts) return el("span");
  if (facts.reason) return el("p", { id: "finetune-reason" }, facts.reason);
  const row = (/** @type {string} */ name, /** @type {any} */ value) => (value === null || value === undefined || value === "" ? null : el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, String(value))));
  return el("div", { style: { display: "grid", gap: "8px" } }, el("table", { class: "facts" }, el("tbody", {},
    row("Model", facts.base),
    row("Trains on", `${plural(facts.images, "image")}`),
    row("Held out to judge", `${plural(facts.validation ?? 0, "image")} with ${plural(facts.judged_by ?? 0, "mask")} by people`),
    row("Left out", facts.left_out?.map((/** @type {any} */ one) => one.name ?? one).join(", ")),
    row("Classes", facts.classes?.map((/** @type {any} */ one) => `${one.name} ${one.masks}`).join(", ")),
    row("Computer", facts.device),
    row("Takes about", facts.minutes ? duration(60 * facts.minutes) : ""),
    row("Licence of the result", facts.licence))),
  act("start", "Fine-tune", undefined, "main"));
}

/**
 * @param {any} run
 * @param {Function} act
 */
function runCard(run, act) {
  const share = run.total ? Math.round((100 * run.step) / run.total) : 0;
  const running = run.can?.includes("cancel");
  const labels = /** @type {Record<string, string>} */ ({ cancel: "Cancel", resume: "Go on", use: "Use the new model", original: "Back to the old model", delete: "Delete" });
  const score = (/** @type {number | null | undefined} */ value) => (value === null || value === undefined ? "–" : value.toFixed(3));
  const table = run.rows?.length ? el("table", { class: "facts" },
    el("thead", {}, el("tr", {}, el("th", {}, "Class"), el("th", { class: "number" }, "IoU before"), el("th", { class: "number" }, "after"))),
    el("tbody", {}, ...run.rows.map((/** @type {any} */ row) => el("tr", {}, el("td", {}, row.name), el("td", { class: "number" }, score(row.before)), el("td", { class: "number" }, score(row.after)))))) : null;
  return el("div", { class: `option run${run.active ? " on" : ""}`, data: { state: run.state } }, el("span", {}, run.active ? "✓" : ""), el("b", {}, `Run ${run.id}`), el("span", { class: "quiet" }, run.active ? "in use" : run.state),
    running ? el("div", { class: "progress", style: { "grid-column": "2 / -1" }, role: "progressbar", "aria-valuenow": String(share), "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": `Run ${run.id}` }, el("i", { style: { width: `${share}%` } })) : null,
    run.message ? el("p", {}, run.message) : null,
    run.judgement ? el("p", { style: { color: "var(--text)" } }, run.judgement) : null,
    table && el("div", { style: { "grid-column": "2 / -1" } }, table),
    run.can?.length ? el("div", { class: "row", style: { "grid-column": "2 / -1" } }, ...run.can.map((/** @type {string} */ what) => act(what, labels[what] ?? what, run.id, what === run.default ? "main" : ""))) : null);
}
