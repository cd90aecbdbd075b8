/**
 * COCO run-length encoding, and masks as spans of rows, which draw and answer "is this pixel inside?" fast.
 *
 * Runs go down the columns, background first; the text packs each run (from the fourth on as the difference to the
 * run before the last) into base-48 characters of five bits. Source: the COCO API's mask format.
 *
 * @typedef {object} Rows
 * @property {number} x left edge of the bounding box
 * @property {number} y top edge
 * @property {number} width
 * @property {number} height
 * @property {Uint32Array} starts for each row of the box, and one more, the index of its first span
 * @property {Int32Array} spans pairs [first column, column after the last], row after row
 * @property {number} area number of pixels
 */

/**
 * Run lengths of the compressed text.
 *
 * @param {string} text
 * @returns {number[]}
 */
export function runsFromText(text) {
  /** @type {number[]} */
  const runs = [];
  for (let i = 0; i < text.length; ) {
    let value = 0;
    let factor = 1;
    let digit;
    do {
      digit = text.charCodeAt(i++) - 48;
      value += (digit & 31) * factor;
      factor *= 32;
    } while (digit & 32);
    if (digit & 16) value -= factor;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/**
 * The compressed text of run lengths.
 *
 * @param {readonly number[]} runs
 * @returns {string}
 */
export function runsToText(runs) {
  const codes = [];
  for (let i = 0; i < runs.length; i++) {
    let value = i > 2 ? runs[i] - runs[i - 2] : runs[i];
    for (;;) {
      const digit = value & 31;
      value = Math.floor(value / 32);
      const more = digit & 16 ? value !== -1 : value !== 0;
      codes.push(digit + 48 + (more ? 32 : 0));
      if (!more) break;
    }
  }
  let text = "";
  for (let i = 0; i < codes.length; i += 8192) text += String.fromCharCode(...codes.slice(i, i + 8192));
  return text;
}

/**
 * Spans of rows from runs down the columns.
 *
 * Between two neighbouring columns only those rows begin or end a span that are in one of them and not in the other;
 * so the work grows with the outline of the mask, not with its area.
 *
 * @param {readonly number[]} runs
 * @param {number} imageHeight
 * @returns {Rows}
 */
export function rowsFromRuns(runs, imageHeight) {
  const changes = columnChanges(runs, imageHeight);
  const counts = new Uint32Array(imageHeight + 1);
  for (let i = 0; i < changes.length; i += 3) {
    for (let row = changes[i + 1]; row < changes[i + 2]; row++) counts[row]++;
  }
  let top = 0;
  while (top < imageHeight && !counts[top]) top++;
  let bottom = imageHeight;
  while (bottom > top && !counts[bottom - 1]) bottom--;
  const starts = new Uint32Array(bottom - top + 1);
  for (let row = top; row < bottom; row++) starts[row - top + 1] = starts[row - top] + counts[row] / 2;
  const spans = new Int32Array(2 * starts[bottom - top]);
  const next = new Uint32Array(bottom - top);
  for (let row = 0; row < bottom - top; row++) next[row] = 2 * starts[row];
  for (let i = 0; i < changes.length; i += 3) {
    for (let row = changes[i + 1] - top; row < changes[i + 2] - top; row++) spans[next[row]++] = changes[i];
  }
  return boxed(top, bottom - top, starts, spans);
}

/**
 * Triples [column, first row, row after the last]: rows that are in this column or in the one before, not in both.
 *
 * @param {readonly number[]} runs
 * @param {number} imageHeight
 * @returns {number[]}
 */
function columnChanges(runs, imageHeight) {
  /** @type {number[]} */
  const changes = [];
  /** @type {number[]} edges of the column before, and of the present one */
  let before = [];
  /** @type {number[]} */
  let current = [];
  let column = 0;
  const close = () => {
    pushDifference(before, current, column, changes);
    [before, current] = [current, before];
    current.length = 0;
    column++;
  };
  let position = 0;
  for (let i = 0; i < runs.length; i++) {
    const end = position + runs[i];
    for (let from = position; i % 2 && from < end; ) {
      const place = Math.floor(from / imageHeight);
      while (column < place) {
        if (!current.length && !before.length) column = place;
        else close();
      }
      const until = Math.min(end, (place + 1) * imageHeight);
      current.push(from - place * imageHeight, until - place * imageHeight);
      from = until;
    }
    position = end;
  }
  close();
  close();
  return changes;
}

/**
 * Add the rows that lie between the edges of one of two columns and not of the other.
 *
 * @param {number[]} before ascending edges: in, out, in, ...
 * @param {number[]} current
 * @param {number} column
 * @param {number[]} changes
 */
function pushDifference(before, current, column, changes) {
  let [i, j] = [0, 0];
  let since = -1;
  while (i < before.length || j < current.length) {
    const [a, b] = [i < before.length ? before[i] : Infinity, j < current.length ? current[j] : Infinity];
    if (a === b) {
      // both change here, so that whether they differ does not
      i++;
      j++;
      continue;
    }
    const edge = a < b ? before[i++] : current[j++];
    if (since < 0) since = edge;
    else {
      changes.push(column, since, edge);
      since = -1;
    }
  }
}

/**
 * Rows with their horizontal extent and area.
 *
 * @param {number} y
 * @param {number} height
 * @param {Uint32Array} starts
 * @param {Int32Array} spans
 * @returns {Rows}
 */
function boxed(y, height, starts, spans) {
  let left = Infinity;
  let right = 0;
  let area = 0;
  for (let i = 0; i < spans.length; i += 2) {
    if (spans[i] < left) left = spans[i];
    if (spans[i + 1] > right) right = spans[i + 1];
    area += spans[i + 1] - spans[i];
  }
  const x = spans.length ? left : 0;
  return { x, y: spans.length ? y : 0, width: right - x, height, starts, spans, area };
}

/**
 * Rows of a compressed mask.
 *
 * @param {string} text
 * @param {number} imageHeight
 * @returns {Rows}
 */
export function decode(text, imageHeight) {
  return rowsFromRuns(runsFromText(text), imageHeight);
}

/**
 * Whether a pixel is inside.
 *
 * @param {Rows} rows
 * @param {number} x
 * @param {number} y
 * @returns {boolean}
 */
export function contains(rows, x, y) {
  const [column, row] = [Math.floor(x), Math.floor(y) - rows.y];
  if (row < 0 || row >= rows.height || column < rows.x || column >= rows.x + rows.width) return false;
  let low = rows.starts[row];
  let high = rows.starts[row + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows.spans[2 * middle + 1] <= column) low = middle + 1;
    else high = middle;
  }
  return low < rows.starts[row + 1] && rows.spans[2 * low] <= column;
}

/**
 * A place inside for a name: the middle of the longest of some rows; the middle of the box of an empty mask.
 *
 * @param {Rows} rows
 * @returns {{x: number, y: number}}
 */
export function middle(rows) {
  const place = { x: rows.x + rows.width / 2, y: rows.y + rows.height / 2 };
  let longest = 0;
  const step = Math.max(1, Math.floor(rows.height / 16));
  for (let row = Math.floor(step / 2); row < rows.height; row += step) {
    for (let i = 2 * rows.starts[row]; i < 2 * rows.starts[row + 1]; i += 2) {
      const length = rows.spans[i + 1] - rows.spans[i];
      if (length <= longest) continue;
      longest = length;
      [place.x, place.y] = [rows.spans[i] + length / 2, rows.y + row + 0.5];
    }
  }
  return place;
}

/**
 * Write rows into a mask of the image, row-major bytes.
 *
 * @param {Rows} rows
 * @param {Uint8Array} bytes
 * @param {number} imageWidth
 */
export function fillBytes(rows, bytes, imageWidth) {
  for (let row = 0; row < rows.height; row++) {
    const base = (rows.y + row) * imageWidth;
    for (let i = rows.starts[row]; i < rows.starts[row + 1]; i++) {
      bytes.fill(1, base + rows.spans[2 * i], base + rows.spans[2 * i + 1]);
    }
  }
}

/**
 * Rows of a mask of the image, looked for in a box.
 *
 * @param {Uint8Array} bytes row-major
 * @param {number} imageWidth
 * @param {readonly number[]} box x, y, width, height
 * @returns {Rows}
 */
export function rowsFromBytes(bytes, imageWidth, box) {
  const [left, top, width, height] = box;
  const starts = new Uint32Array(height + 1);
  /** @type {number[]} */
  const spans = [];
  for (let row = 0; row < height; row++) {
    const base = (top + row) * imageWidth;
    let inside = 0;
    for (let x = left; x < left + width; x++) {
      if (bytes[base + x] !== inside) {
        spans.push(x);
        inside ^= 1;
      }
    }
    if (inside) spans.push(left + width);
    starts[row + 1] = spans.length / 2;
  }
  return boxed(top, height, starts, Int32Array.from(spans));
}

/**
 * Compressed text of a mask of the image, whose pixels all lie in a box.
 *
 * @param {Uint8Array} bytes row-major
 * @param {import("./view.js").Size} image
 * @param {readonly number[]} box x, y, width, height
 * @returns {string}
 */
export function encode(bytes, image, box) {
  const [left, top, width, height] = box;
  const runs = [];
  let inside = 0;
  let since = 0;
  const at = (/** @type {number} */ position) => {
    runs.push(position - since);
    since = position;
    inside ^= 1;
  };
  for (let x = left; x < left + width; x++) {
    for (let y = top; y < top + height; y++) {
      if (bytes[y * image.width + x] !== inside) at(x * image.height + y);
    }
    const goesOn = height === image.height && x + 1 < left + width;
    if (inside && !goesOn) at(x * image.height + top + height);
  }
  if (since < image.width * image.height) runs.push(image.width * image.height - since);
  return runsToText(runs);
}
