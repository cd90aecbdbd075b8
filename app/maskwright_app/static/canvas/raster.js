/**
 * Masks drawn at the resolution of the screen: first a number for each screen pixel, then its colour.
 *
 * The work depends on the size of the window, not on the size of the image, and outlines are sharp at any zoom.
 *
 * @typedef {import("./rle.js").Rows} Rows
 * @typedef {import("./view.js").View} View
 * @typedef {object} Style
 * @property {number} fill 0xAABBGGRR
 * @property {number} edge 0xAABBGGRR of the outline
 * @property {boolean} dashed
 * @property {boolean} hatched
 * @property {boolean} [striped] a second pattern, the other way
 * @property {boolean} [bare] without an outline
 */

/**
 * Write `value` on each screen pixel whose centre lies in the mask.
 *
 * @param {Uint16Array} labels row-major, width * height
 * @param {number} width of the screen
 * @param {number} height of the screen
 * @param {Rows} rows
 * @param {View} view
 * @param {number} value
 */
export function paint(labels, width, height, rows, view, value) {
  const { scale, x: dx, y: dy } = view;
  const top = Math.max(0, Math.ceil(rows.y * scale + dy - 0.5));
  const bottom = Math.min(height, Math.ceil((rows.y + rows.height) * scale + dy - 0.5));
  if (rows.x * scale + dx > width || (rows.x + rows.width) * scale + dx < 0) return;
  for (let y = top; y < bottom; y++) {
    const row = Math.floor((y + 0.5 - dy) / scale) - rows.y;
    if (row < 0 || row >= rows.height) continue;
    const base = y * width;
    for (let i = 2 * rows.starts[row]; i < 2 * rows.starts[row + 1]; i += 2) {
      const from = Math.max(0, Math.ceil(rows.spans[i] * scale + dx - 0.5));
      const until = Math.min(width, Math.ceil(rows.spans[i + 1] * scale + dx - 0.5));
      if (until - from > 8) labels.fill(value, base + from, base + until);
      else for (let x = from; x < until; x++) labels[base + x] = value;
    }
  }
}

/**
 * Write 1 on each screen pixel of a box whose centre lies in a mask of bytes, and 0 on the others.
 *
 * @param {Uint16Array} labels
 * @param {number} width of the screen
 * @param {Uint8Array} bytes row-major mask of the image
 * @param {import("./view.js").Size} image
 * @param {View} view
 * @param {readonly number[]} box left, top, right, bottom on the screen
 */
export function sample(labels, width, bytes, image, view, box) {
  const [left, top, right, bottom] = box;
  const columns = new Int32Array(right - left);
  for (let x = left; x < right; x++) columns[x - left] = Math.floor((x + 0.5 - view.x) / view.scale);
  for (let y = top; y < bottom; y++) {
    const row = Math.floor((y + 0.5 - view.y) / view.scale);
    const outside = row < 0 || row >= image.height;
    const base = row * image.width;
    for (let x = left; x < right; x++) {
      const column = columns[x - left];
      labels[y * width + x] = outside || column < 0 || column >= image.width ? 0 : bytes[base + column];
    }
  }
}

/**
 * Colour the pixels of a box: fills, and an outline inside the border of each mask.
 *
 * @param {Uint16Array} labels
 * @param {number} width
 * @param {number} height
 * @param {readonly Style[]} styles by label; [0] is not used
 * @param {Uint32Array} out pixels of the box, row-major, all zero
 * @param {{box?: readonly number[], thickness?: number}} [options] box: left, top, right, bottom
 */
export function shade(labels, width, height, styles, out, options = {}) {
  const [left, top, right, bottom] = options.box ?? [0, 0, width, height];
  const thickness = options.thickness ?? 1;
  const fills = Uint32Array.from(styles, (style) => style?.fill ?? 0);
  const edges = Uint32Array.from(styles, (style) => style?.edge ?? 0);
  const flags = Uint8Array.from(styles, (style) => (style?.dashed ? 1 : 0) + (style?.hatched ? 2 : 0) + (style?.striped ? 4 : 0) + (style?.bare ? 8 : 0));
  const far = thickness > 1 ? thickness : 1;
  let i = 0;
  for (let y = top; y < bottom; y++) {
    const inside = y >= far && y + far < height;
    for (let x = left, place = y * width + left; x < right; x++, i++, place++) {
      const label = labels[place];
      if (!label) continue;
      const edge =
        inside && x >= far && x + far < width
          ? labels[place - 1] !== label || labels[place + 1] !== label ||
            labels[place - width] !== label || labels[place + width] !== label ||
            (far > 1 && (labels[place - far] !== label || labels[place + far] !== label ||
              labels[place - far * width] !== label || labels[place + far * width] !== label))
          : isEdge(labels, width, height, x, y, far);
      const flag = flags[label];
      if (edge && !(flag & 8)) out[i] = flag & 1 && (x + y) % 10 > 5 ? fills[label] : edges[label];
      else if (flag & 2 && (x + y) % 9 < 2) out[i] = edges[label];
      else out[i] = flag & 4 && (x + height - y) % 9 < 2 ? edges[label] : fills[label];
    }
  }
}

/**
 * Whether a neighbour within the window has another label.
 *
 * @param {Uint16Array} labels
 * @param {number} width
 * @param {number} height
 * @param {number} x
 * @param {number} y
 * @param {number} far
 */
function isEdge(labels, width, height, x, y, far) {
  const place = y * width + x;
  for (const d of [1, far]) {
    if (x >= d && labels[place - d] !== labels[place]) return true;
    if (x + d < width && labels[place + d] !== labels[place]) return true;
    if (y >= d && labels[place - d * width] !== labels[place]) return true;
    if (y + d < height && labels[place + d * width] !== labels[place]) return true;
  }
  return false;
}

/**
 * 0xAABBGGRR of #rrggbb, as little-endian pixels of ImageData.
 *
 * @param {string} color
 * @param {number} alpha 0 to 1
 * @returns {number}
 */
export function pixel(color, alpha) {
  const value = parseInt(color.slice(1), 16);
  const [red, green, blue] = [(value >> 16) & 255, (value >> 8) & 255, value & 255];
  return ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
