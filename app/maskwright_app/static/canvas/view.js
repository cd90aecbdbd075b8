/**
 * The view: how pixels of the image lie on the screen. screen = image * scale + (x, y).
 *
 * @typedef {{scale: number, x: number, y: number}} View
 * @typedef {{width: number, height: number}} Size
 * @typedef {{x: number, y: number}} Point
 */

export const MAX_SCALE = 64;
/** From this scale on, lines separate the pixels of the image. */
export const GRID_SCALE = 10;
const MARGIN = 12;

/**
 * Image coordinates of a place on the screen.
 *
 * @param {View} view
 * @param {number} x
 * @param {number} y
 * @returns {Point}
 */
export function toImage(view, x, y) {
  return { x: (x - view.x) / view.scale, y: (y - view.y) / view.scale };
}

/**
 * Place on the screen of image coordinates.
 *
 * @param {View} view
 * @param {number} x
 * @param {number} y
 * @returns {Point}
 */
export function toScreen(view, x, y) {
  return { x: x * view.scale + view.x, y: y * view.scale + view.y };
}

/**
 * The whole image, centred, as large as the window allows; never beyond 8:1.
 *
 * @param {Size} image
 * @param {Size} window
 * @returns {View}
 */
export function fit(image, window) {
  const wide = Math.max(1, window.width - 2 * MARGIN) / image.width;
  const high = Math.max(1, window.height - 2 * MARGIN) / image.height;
  return centred(image, window, Math.min(wide, high, 8));
}

/**
 * The middle of the image in the middle of the window.
 *
 * @param {Size} image
 * @param {Size} window
 * @param {number} scale
 * @returns {View}
 */
export function centred(image, window, scale) {
  return {
    scale,
    x: (window.width - image.width * scale) / 2,
    y: (window.height - image.height * scale) / 2,
  };
}

/**
 * Zoom so that what is under (x, y) on the screen stays there.
 *
 * @param {View} view
 * @param {number} x
 * @param {number} y
 * @param {number} factor
 * @param {number} smallest the smallest scale
 * @returns {View}
 */
export function zoomAt(view, x, y, factor, smallest) {
  const scale = Math.min(MAX_SCALE, Math.max(smallest, view.scale * factor));
  const ratio = scale / view.scale;
  return { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
}

/**
 * Keep part of the image in the window: at least 48 screen pixels, or all of it where it is smaller.
 *
 * @param {View} view
 * @param {Size} image
 * @param {Size} window
 * @returns {View}
 */
export function clamp(view, image, window) {
  const along = (/** @type {number} */ offset, /** @type {number} */ length, /** @type {number} */ room) => {
    const least = Math.min(48, length, room);
    return Math.min(room - least, Math.max(least - length, offset));
  };
  return {
    scale: view.scale,
    x: along(view.x, image.width * view.scale, window.width),
    y: along(view.y, image.height * view.scale, window.height),
  };
}

/**
 * Show a box of the image: zoom out or move only as far as needed.
 *
 * @param {View} view
 * @param {readonly number[]} box x, y, width, height in image pixels
 * @param {Size} window
 * @returns {View}
 */
export function reveal(view, box, window) {
  const [left, top, width, height] = box;
  const room = { width: window.width - 2 * MARGIN, height: window.height - 2 * MARGIN };
  const scale = Math.min(view.scale, room.width / Math.max(1, width), room.height / Math.max(1, height));
  const ratio = scale / view.scale;
  const middle = { x: window.width / 2, y: window.height / 2 };
  let { x, y } = { x: middle.x - (middle.x - view.x) * ratio, y: middle.y - (middle.y - view.y) * ratio };
  x += Math.max(0, MARGIN - (left * scale + x)) || Math.min(0, window.width - MARGIN - ((left + width) * scale + x));
  y += Math.max(0, MARGIN - (top * scale + y)) || Math.min(0, window.height - MARGIN - ((top + height) * scale + y));
  return { scale, x, y };
}
