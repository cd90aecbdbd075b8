import assert from "node:assert/strict";
import { test } from "node:test";
import { clamp, fit, reveal, toImage, toScreen, zoomAt } from "../../../app/maskwright_app/static/canvas/view.js";

const image = { width: 4000, height: 3000 };
const window = { width: 950, height: 824 };

test("screen and image coordinates are each other's inverse", () => {
  const view = { scale: 2.5, x: -113.25, y: 40.5 };
  for (const [x, y] of [[0, 0], [10.5, 3.25], [3999, 2999]]) {
    const there = toScreen(view, x, y);
    const back = toImage(view, there.x, there.y);
    assert.ok(Math.hypot(back.x - x, back.y - y) < 1e-9);
  }
});

test("zooming keeps what is under the cursor there", () => {
  let view = fit(image, window);
  const under = toImage(view, 300, 200);
  for (let i = 0; i < 10; i++) view = zoomAt(view, 300, 200, 1.25, 0.01);
  const still = toImage(view, 300, 200);
  assert.ok(Math.hypot(under.x - still.x, under.y - still.y) < 1e-6);
  assert.equal(zoomAt(view, 0, 0, 1e9, 0.01).scale, 64);
});

test("the whole image fits and is centred", () => {
  const view = fit(image, window);
  const [a, b] = [toScreen(view, 0, 0), toScreen(view, image.width, image.height)];
  assert.ok(a.x >= 0 && a.y >= 0 && b.x <= window.width && b.y <= window.height);
  assert.ok(Math.abs(a.x - (window.width - b.x)) < 1e-6);
  assert.equal(fit({ width: 4, height: 4 }, window).scale, 8, "a tiny image is not blown up");
});

test("the image cannot be lost", () => {
  const view = clamp({ scale: 1, x: 1e6, y: -1e6 }, image, window);
  assert.ok(view.x < window.width && view.y + image.height > 0);
});

test("a mask outside the window is brought into it, one inside moves nothing", () => {
  const view = { scale: 1, x: 0, y: 0 };
  assert.deepEqual(reveal(view, [100, 100, 50, 50], window), view);
  const moved = reveal(view, [3000, 2000, 100, 100], window);
  const corner = toScreen(moved, 3100, 2100);
  assert.ok(corner.x <= window.width && corner.y <= window.height);
  const large = reveal(view, [0, 0, 4000, 3000], window);
  assert.ok(large.scale < 1);
});
