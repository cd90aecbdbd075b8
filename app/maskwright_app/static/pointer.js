// position of a pointer event in pixels of the image, which object-fit centers in its element
const position = (event) => {
  const image = element.querySelector("img.mw-image");
  if (!image) return null;
  const bounds = image.getBoundingClientRect(), width = +image.dataset.width, height = +image.dataset.height;
  const scale = Math.min(bounds.width / width, bounds.height / height);
  const x = (event.clientX - bounds.left - (bounds.width - width * scale) / 2) / scale;
  const y = (event.clientY - bounds.top - (bounds.height - height * scale) / 2) / scale;
  return {x: Math.min(Math.max(x, 0), width), y: Math.min(Math.max(y, 0), height), scale,
    inside: x >= 0 && y >= 0 && x <= width && y <= height, screen: [event.clientX, event.clientY]};
};
const SUBTRACT = 1, BOX = 2;
const tool = () => [...document.querySelectorAll("#mw-tool input")].findIndex((input) => input.checked);
// a drag starts at `pressed`; a box by two clicks starts at `corner`; `frame` previews either
let pressed = null, corner = null, frame = null;
const preview = (end) => {
  const start = (corner || pressed).screen, stop = end.screen;
  frame ||= document.body.appendChild(Object.assign(document.createElement("div"), {className: "mw-drag"}));
  Object.assign(frame.style, {left: Math.min(start[0], stop[0]) + "px", top: Math.min(start[1], stop[1]) + "px",
    width: Math.abs(start[0] - stop[0]) + "px", height: Math.abs(start[1] - stop[1]) + "px"});
};
const reset = () => { frame?.remove(); pressed = corner = frame = null; };
const sendBox = (start, end) => {
  reset();
  trigger("click", {step: {box: [Math.min(start.x, end.x), Math.min(start.y, end.y), Math.max(start.x, end.x),
    Math.max(start.y, end.y)]}});
};
const isDrag = (start, end) => Math.hypot(start.screen[0] - end.screen[0], start.screen[1] - end.screen[1]) > 6;
element.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.target.closest("img.mw-image")) return;
  const point = position(event);
  if (point?.inside) pressed = point;
});
window.addEventListener("pointermove", (event) => {
  const point = (pressed || corner) && position(event);
  if (point && (corner || isDrag(pressed, point))) preview(point);
});
window.addEventListener("pointerup", (event) => {
  const point = pressed && position(event);
  if (!point) return;
  if (isDrag(pressed, point)) return sendBox(pressed, point);
  if (tool() === BOX) {
    if (corner) return sendBox(corner, point);
    corner = point;
    pressed = null;
    return preview(point);
  }
  reset();
  const subtract = (tool() === SUBTRACT) !== (event.shiftKey || event.altKey);
  trigger("click", {step: {x: point.x, y: point.y, label: subtract ? 0 : 1, near: 8 / point.scale}});
});
window.addEventListener("keydown", (event) => { if (event.key === "Escape") reset(); });
