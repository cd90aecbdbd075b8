/**
 * Fetches and decodes an image away from the page's thread, with halved copies that look good when zoomed out.
 *
 * In: {job, address}. Out: {job, levels: [ImageBitmap, half, quarter, ...]} or {job, error}.
 */
const scope = /** @type {any} */ (self);
const SMALLEST = 900;

scope.onmessage = async (/** @type {MessageEvent} */ { data: { job, address } }) => {
  try {
    const response = await fetch(address);
    if (!response.ok) {
      const body = await response.json().catch(() => ({}));
      throw new Error(body.error ? `${body.error} ${body.hint ?? ""}`.trim() : `The image could not be loaded (${response.status}).`);
    }
    const levels = [await createImageBitmap(await response.blob())];
    for (let last = levels[0]; Math.max(last.width, last.height) > SMALLEST; last = levels[levels.length - 1]) {
      const [resizeWidth, resizeHeight] = [Math.ceil(last.width / 2), Math.ceil(last.height / 2)];
      levels.push(await createImageBitmap(last, { resizeWidth, resizeHeight, resizeQuality: "medium" }));
    }
    scope.postMessage({ job, levels }, levels);
  } catch (error) {
    scope.postMessage({ job, error: /** @type {Error} */ (error).message });
  }
};
