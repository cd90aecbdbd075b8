/** Bottom bar, and on a phone the tabs. */
import { completeImage, confirmRemoval, markImage, turnImage } from "../actions/images.js";
import { el, icon, iconButton, say } from "../dom.js";
import { send } from "../server.js";
import { plural } from "../text.js";
import { HINTS } from "./toolbar.js";

/** @typedef {import("../page.js").Page} Page */

/** @param {Page} page */
export function createStatus(page) {
  const bar = /** @type {HTMLElement} */ (document.getElementById("status"));
  const saved = el("span", { class: "saved", role: "status", id: "saved" });
  const image = el("span", { id: "image-name" });
  const hint = el("span", { class: "grow", id: "hint" });
  const project = el("span", { id: "project" });
  const zoom = el("span", { id: "zoom" });
  const user = el("span", { id: "user" });
  const logout = el("button", { type: "button", class: "button", id: "logout", on: { click: () => void send("POST", "/logout").finally(() => location.reload()) } }, "Log out");
  const complete = el("button", { type: "button", class: "button", id: "complete", title: "Everything is marked: on to the next image (D)", on: { click: () => void completeImage(page) } });
  const exclude = iconButton("hidden", "Leave this image out, or take it in again", () => void markImage(page, { excluded: page.state.image?.status !== "excluded" }), { id: "exclude" });
  const remove = iconButton("trash", "Remove this image from the project", () => confirmRemoval(page), { id: "remove-image" });
  const before = el("button", { type: "button", class: "icon-button", "aria-label": "Previous image", title: "Previous image (Shift+N)", id: "previous", on: { click: () => void turnImage(page, -1) } }, "‹");
  const after = el("button", { type: "button", class: "icon-button", "aria-label": "Next image", title: "Next image (N)", id: "next", on: { click: () => void turnImage(page, 1) } }, "›");
  bar.append(saved, before, image, after, complete, exclude, remove, hint, project, user, logout, zoom);
  for (const button of [before, after, exclude, remove]) button.style.cssText = "width:26px;height:22px";
  logout.style.cssText = "height:22px;font-size:12px;padding:0 8px";
  complete.style.cssText = "height:22px;font-size:12px;padding:0 8px";
  page.store.watch(["saved"], () => {
    say(saved, page.state.saved.text);
    saved.classList.toggle("error", page.state.saved.error);
  });
  page.store.watch(["image"], () => {
    const one = page.state.image;
    say(image, one ? `${one.title} · ${one.width} × ${one.height}` : "");
    for (const button of [complete, exclude, remove, before, after]) button.hidden = !one;
    say(complete, one?.status === "complete" ? "✓ Complete" : "Complete");
    complete.setAttribute("aria-pressed", String(one?.status === "complete"));
    exclude.setAttribute("aria-pressed", String(one?.status === "excluded"));
    document.title = one ? `${one.title} · Maskwright` : "Maskwright";
  });
  page.store.watch(["project", "user", "login"], () => {
    const { project: now, user: name, login } = page.state;
    const counts = now?.counts ?? {};
    say(project, now ? `${now.name}: ${plural(counts.masks ?? 0, "mask")} in ${plural(counts.images ?? 0, "image")}` : "");
    project.title = now?.folder ?? "";
    say(user, name ?? "");
    logout.hidden = !login;
  });
  page.store.watch(["tool", "image"], () => say(hint, page.state.image ? HINTS[/** @type {keyof typeof HINTS} */ (page.state.tool)] : ""));
  page.store.watch(["scale"], () => say(zoom, `${Math.round(page.state.scale * 100)} %`));
  createTabs(page);
}

/** @param {Page} page */
function createTabs(page) {
  const tabs = /** @type {HTMLElement} */ (document.getElementById("tabs"));
  const choices = /** @type {[string, any, string][]} */ ([["tools", "tools", "Tools"], ["classes", "tag", "Classes"], ["masks", "list", "Masks"], ["images", "images", "Images"], ["more", "more", "More"]]);
  const buttons = choices.map(([name, symbol, label]) => el("button", { type: "button", role: "tab", data: { tab: name }, on: { click: () => choose(name) } }, icon(symbol), label));
  tabs.append(...buttons);
  const choose = (/** @type {string} */ name) => page.store.set(name === "more" ? { drawer: "batch" } : { tab: name });
  page.store.watch(["tab"], () => {
    document.body.dataset.tab = page.state.tab;
    for (const button of buttons) button.setAttribute("aria-selected", String(button.dataset.tab === page.state.tab));
  });
}
