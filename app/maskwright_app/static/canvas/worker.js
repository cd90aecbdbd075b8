/**
 * Decodes masks and draws the settled ones, away from the thread that answers the pointer.
 *
 * In: {type: "open", height} forgets all masks; {type: "masks", add: [{key, rle}], remove: [key]};
 * {type: "draw", job, view, width, height, thickness, masks: [[key, style]]}, in the order of drawing.
 * Out: {type: "decoded", job, items: [{key, rows}]}; {type: "drawn", job, view, bitmap}.
 */
import { decode } from "./rle.js";
import { paint, shade } from "./raster.js";

const scope = /** @type {any} */ (self);
/** @type {Map<string, import("./rle.js").Rows>} */
const masks = new Map();
let imageHeight = 0;
/** @type {any} */
let waiting = null;

scope.onmessage = (/** @type {MessageEvent} */ { data }) => {
  if (data.type === "open") {
    masks.clear();
    imageHeight = data.height;
  } else if (data.type === "masks") change(data);
  else {
    // of several views that wait only the last one is drawn
    if (!waiting) setTimeout(draw);
    waiting = data;
  }
};

/** @param {{job: number, add: {key: string, rle: string}[], remove: string[]}} data */
function change({ job, add, remove }) {
  for (const key of remove) masks.delete(key);
  const items = [];
  for (const { key, rle } of add) {
    const rows = decode(rle, imageHeight);
    masks.set(key, rows);
    items.push({ key, rows });
  }
  scope.postMessage({ type: "decoded", job, items });
}

async function draw() {
  const { job, view, width, height, thickness, masks: order } = waiting;
  waiting = null;
  const labels = new Uint16Array(width * height);
  /** @type {import("./raster.js").Style[]} */
  const styles = [/** @type {any} */ (null)];
  for (const [key, style] of order) {
    const rows = masks.get(key);
    if (!rows) continue;
    styles.push(style);
    paint(labels, width, height, rows, view, styles.length - 1);
  }
  const data = new ImageData(width, height);
  shade(labels, width, height, styles, new Uint32Array(data.data.buffer), { thickness });
  const bitmap = await createImageBitmap(data);
  scope.postMessage({ type: "drawn", job, view, width, height, bitmap }, [bitmap]);
}
