/** Predict on many images: a job of its own, whose proposals wait on each image. */
import { examples } from "../actions/examples.js";
import { el, fill, say } from "../dom.js";
import { send } from "../server.js";
import { duration, plural } from "../text.js";
import { showLines } from "./history.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function batchPanel(page) {
  const summary = el("p", { id: "batch-what" });
  const above = el("input", { type: "range", min: "0", max: "1", step: "0.01", value: "1", id: "batch-above", "aria-label": "Accept at once above this certainty" });
  const number = el("span", { class: "quiet" });
  const aboveOn = el("input", { type: "checkbox", id: "batch-accept", on: { change: () => render() } });
  above.addEventListener("input", () => render());
  const words = el("button", { type: "button", class: "button main", id: "batch-words", on: { click: () => void start({ words: page.state.words.join(", ") }) } }, "Find the words on them");
  const like = el("button", { type: "button", class: "button", id: "batch-like", on: { click: () => void start({ category: examples(page).category }) } }, "Find like the example on them");
  const jobs = el("div", { id: "jobs", style: { display: "grid", gap: "12px" } });

  const start = async (/** @type {any} */ prompt) => {
    const { query } = page.state.images;
    const { options } = page.state;
    const way = prompt.words === undefined ? {} : { method: options.method || null, refine: options.refine || null, threshold: options.background ? options.threshold : null, background: options.background, instances: options.instances };
    const answer = await page.attempt(() => send("POST", "/ui/jobs/predict", {
      ...prompt, ...way, filter: query, accept_above: aboveOn.checked ? Number(above.value) : null,
    }));
    if (!answer) return;
    page.notify("Started. Proposals appear on each image as it is done.");
    await refreshJobs(page);
  };
  const render = () => {
    const { images, words: list } = page.state;
    const { category } = examples(page);
    const filtered = Object.values(images.query).some(Boolean);
    say(summary, `${plural(images.total, "image")}${filtered ? " of the filter" : ": all of the project"}. Choose fewer by the filters on the left.`);
    words.disabled = !list.length || !images.total;
    words.title = list.length ? list.join(", ") : "Type words on top first";
    like.disabled = !category || !images.total;
    like.title = category ? `Example: ${category}` : "Select an accepted mask and press R first";
    above.disabled = !aboveOn.checked;
    say(number, Number(above.value).toFixed(2));
  };
  page.store.watch(["images", "words", "references", "like"], render);
  page.store.watch(["jobs"], () => fill(jobs, ...page.state.jobs.map((/** @type {any} */ job) => jobRow(page, job))));
  void refreshJobs(page);
  return el("div", { class: "panel" },
    el("div", { class: "setting" }, el("b", {}, "Predict on many images"), summary,
      el("label", { class: "row", for: "batch-accept" }, aboveOn, "Accept at once what is surer than"),
      el("div", { class: "row" }, above, number),
      el("div", { class: "row wrap" }, words, like),
      el("p", {}, "You can go on working meanwhile; clicks come first. Pause and go on at any time, also after a restart.")),
    jobs);
}

/** @param {Page} page */
async function refreshJobs(page) {
  const answer = await page.attempt(() => send("GET", "/ui/jobs"));
  if (answer) page.store.set({ jobs: answer.jobs });
}

/**
 * @param {Page} page
 * @param {any} job
 */
function jobRow(page, job) {
  const act = (/** @type {string} */ what, /** @type {string} */ label) => el("button", { type: "button", class: "button", on: { click: () => void page.attempt(async () => {
    await send("POST", `/ui/jobs/${job.id}/${what}`);
    await refreshJobs(page);
  }) } }, label);
  const share = job.total ? Math.round((100 * job.done) / job.total) : 0;
  const left = job.seconds_left ? `, ${duration(job.seconds_left)} left` : "";
  const running = job.state === "running" || job.state === "waiting";
  const skipped = job.notes?.length ? [el("button", { type: "button", class: "button", on: { click: () => showLines("Skipped images", job.notes) } }, `${plural(job.notes.length, "image")} skipped`)] : [];
  const buttons = running ? [act("pause", "Pause"), act("cancel", "Cancel")] : job.state === "paused" || job.state === "interrupted" ? [act("resume", "Go on"), act("cancel", "Cancel")] : [];
  return el("div", { class: "option job" }, el("span"), el("b", {}, job.title ?? job.kind), el("span", { class: "quiet" }, job.state),
    el("div", { class: "progress", style: { "grid-column": "2 / -1" }, role: "progressbar", "aria-valuenow": String(share), "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": job.title ?? job.kind }, el("i", { style: { width: `${share}%` } })),
    el("p", {}, `${job.done} of ${job.total}${left}. ${job.message ?? ""}`),
    buttons.length + skipped.length ? el("div", { class: "row", style: { "grid-column": "2 / -1" } }, ...buttons, ...skipped) : null);
}
