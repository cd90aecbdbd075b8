/**
 * Shapes as masks and masks as shapes: polygons, strokes, contours, holes and specks; pure functions on bytes.
 *
 * A mask is a Uint8Array, row-major; a ring is a list of points on the edges of pixels.
 *
 * @typedef {import("./view.js").Point} Point
 * @typedef {import("./view.js").Size} Size
 */

/**
 * Rows of pixels whose centres lie inside the rings (even-odd rule).
 *
 * @param {readonly (readonly Point[])[]} rings
 * @param {Size} image
 * @param {(row: number, from: number, until: number) => void} emit columns from...until-1 of a row are inside
 */
export function scanRings(rings, image, emit) {
  let top = Infinity;
  let bottom = -Infinity;
  for (const ring of rings) {
    for (const { y } of ring) {
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  for (let row = Math.max(0, Math.floor(top)); row < Math.min(image.height, Math.ceil(bottom)); row++) {
    const middle = row + 0.5;
    const crossings = [];
    for (const ring of rings) {
      for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
        const [a, b] = [ring[j], ring[i]];
        if (a.y <= middle !== b.y <= middle) crossings.push(a.x + ((middle - a.y) / (b.y - a.y)) * (b.x - a.x));
      }
    }
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.max(0, Math.ceil(crossings[i] - 0.5));
      const until = Math.min(image.width, Math.ceil(crossings[i + 1] - 0.5));
      if (from < until) emit(row, from, until);
    }
  }
}

/**
 * Rows of pixels under a round brush that moved from one place to another.
 *
 * @param {Point} from
 * @param {Point} to
 * @param {number} radius
 * @param {Size} image
 * @param {(row: number, from: number, until: number) => void} emit
 */
export function scanStroke(from, to, radius, image, emit) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy);
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
  const bottom = Math.min(image.height, Math.ceil(Math.max(from.y, to.y) + radius) + 1);
  for (let row = top; row < bottom; row++) {
    const y = row + 0.5;
    let [left, right] = [Infinity, -Infinity];
    for (const end of [from, to]) {
      const half = Math.sqrt(Math.max(0, radius * radius - (y - end.y) ** 2));
      if (Math.abs(y - end.y) > radius) continue;
      left = Math.min(left, end.x - half);
      right = Math.max(right, end.x + half);
    }
    if (length) {
      // the band between the two circles: where the row meets its long sides
      const [nx, ny] = [(-dy / length) * radius, (dx / length) * radius];
      for (const side of [1, -1]) {
        const a = { x: from.x + side * nx, y: from.y + side * ny };
        if (Math.abs(dy) < 1e-9) continue;
        const t = (y - a.y) / dy;
        if (t < 0 || t > 1) continue;
        left = Math.min(left, a.x + t * dx);
        right = Math.max(right, a.x + t * dx);
      }
    }
    const first = Math.max(0, Math.ceil(left - 0.5));
    const last = Math.min(image.width, Math.floor(right - 0.5) + 1);
    if (first < last) emit(row, first, last);
  }
  // a brush smaller than a pixel still paints the pixel under it
  const [column, row] = [Math.floor(to.x), Math.floor(to.y)];
  if (column >= 0 && row >= 0 && column < image.width && row < image.height) emit(row, column, column + 1);
}

/**
 * Contours along the edges of pixels, outer ones and those of holes.
 *
 * @param {Uint8Array} bytes
 * @param {Size} image
 * @param {readonly number[]} box x, y, width, height that holds the mask
 * @returns {Point[][]}
 */
export function contours(bytes, image, box) {
  const [left, top, width, height] = box;
  const inside = (/** @type {number} */ x, /** @type {number} */ y) =>
    x >= 0 && y >= 0 && x < image.width && y < image.height && bytes[y * image.width + x] === 1;
  const seen = new Uint8Array((width + 1) * (height + 1));
  const rings = [];
  for (let y = top; y <= top + height; y++) {
    for (let x = left; x < left + width; x++) {
      // an edge with the mask below and none above begins a ring that keeps the mask on its right
      if (!inside(x, y) || inside(x, y - 1) || seen[(y - top) * (width + 1) + x - left]) continue;
      const ring = [];
      let [px, py, dx, dy] = [x, y, 1, 0];
      do {
        if (dx === 1) seen[(py - top) * (width + 1) + px - left] = 1;
        px += dx;
        py += dy;
        // the two pixels ahead: right of the direction and left of it
        const ahead = (/** @type {number} */ sx, /** @type {number} */ sy) =>
          inside(px + (dx + sx - 1) / 2, py + (dy + sy - 1) / 2);
        const right = ahead(-dy, dx);
        const leftSide = ahead(dy, -dx);
        let [nx, ny] = [dx, dy];
        if (!right) [nx, ny] = [-dy, dx];
        else if (leftSide) [nx, ny] = [dy, -dx];
        if (nx !== dx || ny !== dy) ring.push({ x: px, y: py });
        [dx, dy] = [nx, ny];
      } while (px !== x || py !== y || dx !== 1 || dy !== 0);
      rings.push(ring);
    }
  }
  return rings;
}

/**
 * A ring with fewer points, none further than `tolerance` from the old outline (Douglas and Peucker 1973).
 *
 * @param {readonly Point[]} ring
 * @param {number} tolerance
 * @returns {Point[]}
 */
export function simplify(ring, tolerance) {
  if (ring.length < 4) return [...ring];
  let far = 0;
  for (let i = 1; i < ring.length; i++) if (distance(ring[i], ring[0]) > distance(ring[far], ring[0])) far = i;
  const first = part(ring.slice(0, far + 1), tolerance);
  const second = part([...ring.slice(far), ring[0]], tolerance);
  return [...first.slice(0, -1), ...second.slice(0, -1)];
}

/**
 * @param {readonly Point[]} line
 * @param {number} tolerance
 * @returns {Point[]}
 */
function part(line, tolerance) {
  const keep = new Uint8Array(line.length);
  keep[0] = keep[line.length - 1] = 1;
  const open = [[0, line.length - 1]];
  for (let range = open.pop(); range; range = open.pop()) {
    const [start, end] = range;
    let [most, at] = [tolerance, -1];
    for (let i = start + 1; i < end; i++) {
      const away = toSegment(line[i], line[start], line[end]);
      if (away > most) [most, at] = [away, i];
    }
    if (at > 0) {
      keep[at] = 1;
      open.push([start, at], [at, end]);
    }
  }
  return line.filter((_, i) => keep[i]);
}

/**
 * @param {Point} a
 * @param {Point} b
 */
export function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

/**
 * Distance of a point to the segment from a to b.
 *
 * @param {Point} point
 * @param {Point} a
 * @param {Point} b
 */
export function toSegment(point, a, b) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const square = dx * dx + dy * dy;
  const t = square ? Math.min(1, Math.max(0, ((point.x - a.x) * dx + (point.y - a.y) * dy) / square)) : 0;
  return Math.hypot(point.x - a.x - t * dx, point.y - a.y - t * dy);
}

/**
 * Label the 4-connected regions of pixels with a value inside a box.
 *
 * @param {Uint8Array} bytes
 * @param {number} imageWidth
 * @param {readonly number[]} box
 * @param {number} value
 * @returns {{pixels: number[], touchesBorder: boolean}[]} the pixels of each region
 */
function regions(bytes, imageWidth, box, value) {
  const [left, top, width, height] = box;
  const seen = new Uint8Array(width * height);
  const found = [];
  for (let start = 0; start < seen.length; start++) {
    if (seen[start] || bytes[(top + Math.floor(start / width)) * imageWidth + left + (start % width)] !== value) continue;
    const region = { pixels: /** @type {number[]} */ ([]), touchesBorder: false };
    const open = [start];
    seen[start] = 1;
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      const [x, y] = [place % width, Math.floor(place / width)];
      region.pixels.push((top + y) * imageWidth + left + x);
      if (x === 0 || y === 0 || x === width - 1 || y === height - 1) region.touchesBorder = true;
      for (const next of [x > 0 && place - 1, x < width - 1 && place + 1, y > 0 && place - width, y < height - 1 && place + width]) {
        if (next === false || seen[next]) continue;
        if (bytes[(top + Math.floor(next / width)) * imageWidth + left + (next % width)] !== value) continue;
        seen[next] = 1;
        open.push(next);
      }
    }
    found.push(region);
  }
  return found;
}

/**
 * Pixels of all holes: background that the mask encloses.
 *
 * @param {Uint8Array} bytes
 * @param {number} imageWidth
 * @param {readonly number[]} box that holds the mask
 * @returns {number[]}
 */
export function holes(bytes, imageWidth, box) {
  return regions(bytes, imageWidth, box, 0)
    .filter((region) => !region.touchesBorder)
    .flatMap((region) => region.pixels);
}

/**
 * Pixels of all parts smaller than a share of the largest part.
 *
 * @param {Uint8Array} bytes
 * @param {number} imageWidth
 * @param {readonly number[]} box that holds the mask
 * @param {number} share
 * @returns {number[]}
 */
export function specks(bytes, imageWidth, box, share = 0.05) {
  const parts = regions(bytes, imageWidth, box, 1);
  const largest = Math.max(0, ...parts.map((region) => region.pixels.length));
  return parts.filter((region) => region.pixels.length < share * largest).flatMap((region) => region.pixels);
}
