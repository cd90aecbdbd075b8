"""What the browser does by itself: keys, clicks and drags on the picture, and what the tick brings."""

from __future__ import annotations

__all__ = ["ASK_NEWS", "CLICKED", "DOWNLOAD", "HEAD", "OPACITY", "POINTED", "SHOW_NEWS", "STATUS"]

HEAD = """
<script>
document.addEventListener("keydown", (event) => {
  const typing = "input:not([type=radio], [type=checkbox], [type=range]), textarea, [contenteditable]";
  if (event.target.closest(typing)) return;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "z") {
    // a key that is held down is one step
    if (!event.repeat) document.querySelector(event.shiftKey ? "#mw-redo" : "#mw-undo")?.click();
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "k" || event.key === "w") {
    const tools = [...document.querySelectorAll("#mw-tool input")];
    const now = tools.findIndex((tool) => tool.checked);
    tools[event.key === "w" ? (now === 2 ? 0 : 2) : (now === 0 ? 1 : 0)]?.click();
    event.preventDefault();
    return;
  }
  const button = {
    g: "#mw-accept-all", u: "#mw-reject-all", q: "#mw-run", n: "#mw-next", N: "#mw-previous",
    j: "#mw-click-other", z: "#mw-click-undo", Escape: "#mw-click-clear",
  }[event.key];
  if (button) { document.querySelector(button)?.click(); event.preventDefault(); }
});
</script>
"""

OPACITY = "(share) => document.documentElement.style.setProperty('--mw-opacity', share / 100)"
CLICKED = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  // a double click is one decision; after a failure the button works again
  button.disabled = true;
  setTimeout(() => { button.disabled = false; }, 3000);
  trigger("click", {act: button.dataset.act, id: button.dataset.id});
});
// the list is drawn anew after every decision: whoever goes by the keyboard stays where he was
const lines = () => [...element.querySelectorAll("li:has([data-act])")];
let last = null;
element.addEventListener("focusin", (event) => {
  const button = event.target.closest("[data-act]");
  if (button)
    last = {act: button.dataset.act, id: button.dataset.id, line: lines().indexOf(button.closest("li"))};
});
document.addEventListener("focusin", (event) => { if (!element.contains(event.target)) last = null; });
document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) last = null; });
new MutationObserver(() => {
  if (!last || (document.activeElement && document.activeElement !== document.body)) return;
  const buttons = [...element.querySelectorAll("[data-act]")];
  const same = buttons.find((one) => one.dataset.act === last.act && one.dataset.id === last.id);
  const line = lines()[Math.min(last.line, lines().length - 1)];
  (same || line?.querySelector("[data-act]"))?.focus({preventScroll: true});
}).observe(element, {childList: true, subtree: true});
"""
STATUS = 'element.setAttribute("role", "status");' + CLICKED
"""The same, of a line that is read out when it changes."""
POINTED = """
// a place on the screen in pixels of the picture; the picture lies in the middle of its box
const place = (event) => {
  const image = element.querySelector("img.mw-image");
  if (!image) return null;
  const box = image.getBoundingClientRect(), width = +image.dataset.width, height = +image.dataset.height;
  const scale = Math.min(box.width / width, box.height / height);
  const x = (event.clientX - box.left - (box.width - width * scale) / 2) / scale;
  const y = (event.clientY - box.top - (box.height - height * scale) / 2) / scale;
  return {x: Math.min(Math.max(x, 0), width), y: Math.min(Math.max(y, 0), height), scale,
    inside: x >= 0 && y >= 0 && x <= width && y <= height, screen: [event.clientX, event.clientY]};
};
const tool = () => [...document.querySelectorAll("#mw-tool input")].findIndex((one) => one.checked);
let from = null, corner = null, frame = null;
const draw = (to) => {
  const [start, end] = [(corner || from).screen, to.screen];
  frame ||= document.body.appendChild(Object.assign(document.createElement("div"), {className: "mw-drag"}));
  Object.assign(frame.style, {left: Math.min(start[0], end[0]) + "px", top: Math.min(start[1], end[1]) + "px",
    width: Math.abs(start[0] - end[0]) + "px", height: Math.abs(start[1] - end[1]) + "px"});
};
const done = () => { frame?.remove(); from = corner = frame = null; };
const boxed = (start, end) => {
  done();
  trigger("click", {told: {box: [Math.min(start.x, end.x), Math.min(start.y, end.y), Math.max(start.x, end.x),
    Math.max(start.y, end.y)]}});
};
const far = (start, end) => Math.hypot(start.screen[0] - end.screen[0], start.screen[1] - end.screen[1]) > 6;
element.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.target.closest("img.mw-image")) return;
  const at = place(event);
  if (at?.inside) from = at;
});
window.addEventListener("pointermove", (event) => {
  const at = (from || corner) && place(event);
  if (at && (corner || far(from, at))) draw(at);
});
window.addEventListener("pointerup", (event) => {
  const at = from && place(event);
  if (!at) return;
  if (far(from, at)) return boxed(from, at);
  if (tool() === 2) {
    if (corner) return boxed(corner, at);
    corner = at;
    from = null;
    return draw(at);
  }
  done();
  trigger("click", {told: {x: at.x, y: at.y, near: 8 / at.scale,
    sign: (tool() === 1) !== (event.shiftKey || event.altKey) ? 0 : 1}});
});
window.addEventListener("keydown", (event) => { if (event.key === "Escape") done(); });
"""
# The tick knows the picture it was sent from by its mark, and what it brings is shown only where that one still is:
# meanwhile the person may have turned to another picture, or asked for other masks.
ASK_NEWS = """
(seen, picture, ...rest) => [seen, picture?.match(/data-view="([\\w-]+)"/)?.[1] ?? "", ...rest]
"""
SHOW_NEWS = """
(news, seen, picture, legend, counts) => {
  const mark = picture?.match(/data-view="([\\w-]+)"/)?.[1] ?? "";
  if (!news || news.of !== mark) return [seen, picture, legend, counts];
  return [news.seen, news.picture ?? picture, news.legend ?? legend, news.counts ?? counts];
}
"""
DOWNLOAD = """
() => setTimeout(() => document.querySelector("#mw-coco a[download], #mw-coco a[href*='coco.json']")?.click(), 300)
"""
