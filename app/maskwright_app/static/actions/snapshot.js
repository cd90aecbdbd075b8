/** The image in view with its masks as one PNG. */
import { paint, shade } from "../canvas/raster.js";
import { styled } from "../overlay.js";

/** Longer side at most: larger canvases fail in some browsers. */
const LONGEST = 8192;

/**
 * @param {import("../page.js").Page} page
 * @returns {Promise<{name: string, blob: Blob}>}
 */
export async function snapshot(page) {
  const { image, masks, display } = page.state;
  const scale = Math.min(1, LONGEST / Math.max(image.width, image.height));
  const [width, height] = [Math.round(image.width * scale), Math.round(image.height * scale)];
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(page.stage.image.levels[0], 0, 0, width, height);
  const drawn = drawMasks(display.hidden ? [] : styled(page).map(([key, style]) => [masks.get(key).rows, style]), { width, height, scale });
  context.drawImage(drawn, 0, 0);
  const stem = image.title.replace(/\.[^.]*$/, "").replace(/[\\/:*?"<>|\s]+/g, "_");
  return { name: `${stem}-masks.png`, blob: await canvas.convertToBlob({ type: "image/png" }) };
}

/**
 * Masks alone, on a canvas that is transparent elsewhere.
 *
 * @param {[import("../canvas/rle.js").Rows, import("../canvas/raster.js").Style][]} masks in the order of drawing
 * @param {{width: number, height: number, scale: number}} size of the canvas, and its pixels for each of the image
 */
export function drawMasks(masks, { width, height, scale }) {
  const labels = new Uint16Array(width * height);
  const styles = [/** @type {any} */ (null)];
  for (const [rows, style] of masks) {
    styles.push(style);
    paint(labels, width, height, rows, { scale, x: 0, y: 0 }, styles.length - 1);
  }
  const data = new ImageData(width, height);
  shade(labels, width, height, styles, new Uint32Array(data.data.buffer), { thickness: 2 });
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")?.putImageData(data, 0, 0);
  return canvas;
}
