import assert from "node:assert/strict";
import { test } from "node:test";
import { Edit } from "../../../app/maskwright_app/static/canvas/edit.js";
import { paint, pixel, sample, shade } from "../../../app/maskwright_app/static/canvas/raster.js";
import {
  contains, decode, encode, middle, rowsFromBytes, runsFromText, runsToText,
} from "../../../app/maskwright_app/static/canvas/rle.js";
import { contours, holes, scanRings, simplify, specks } from "../../../app/maskwright_app/static/canvas/shapes.js";

/** A repeatable sequence of numbers from 0 to 1. */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

function randomMask(seed, width, height, share = 0.5) {
  const next = numbers(seed);
  return Uint8Array.from({ length: width * height }, () => (next() < share ? 1 : 0));
}

function rowsToBytes(rows, width, height) {
  const bytes = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) bytes[y * width + x] = contains(rows, x, y) ? 1 : 0;
  return bytes;
}

test("the text of pycocotools is read and written", () => {
  // pycocotools.mask.encode of a 24 x 15 rectangle at (7, 5) in a 40 x 30 image, and of one with long runs
  const runs = [7 * 30 + 5, ...Array(23).fill([15, 15]).flat(), 15, 1200 - 7 * 30 - 5 - 23 * 30 - 15];
  const text = runsToText(runs);
  assert.equal(text.slice(0, 6), "g6??00");
  assert.deepEqual(runsFromText(text), runs);
  assert.deepEqual(runsFromText(runsToText([0, 12_000_000])), [0, 12_000_000]);
});

for (const [width, height] of [[1, 1], [1, 9], [9, 1], [7, 5], [40, 33]]) {
  for (const share of [0, 0.1, 0.5, 0.95, 1]) {
    test(`masks survive encoding at ${width} x ${height}, ${share} inside`, () => {
      const bytes = randomMask(width * 100 + height, width, height, share);
      const text = encode(bytes, { width, height }, [0, 0, width, height]);
      assert.equal(runsFromText(text).reduce((a, b) => a + b, 0), width * height);
      const rows = decode(text, height);
      assert.deepEqual(rowsToBytes(rows, width, height), bytes);
      assert.equal(rows.area, bytes.reduce((a, b) => a + b, 0));
      assert.deepEqual(rowsToBytes(rowsFromBytes(bytes, width, [0, 0, width, height]), width, height), bytes);
      // the box of the mask is enough
      const tight = encode(bytes, { width, height }, [rows.x, rows.y, rows.width, rows.height]);
      assert.deepEqual(runsFromText(tight), runsFromText(text));
    });
  }
}

test("a name lies inside its mask, even where the middle of the box does not", () => {
  const ring = Uint8Array.from({ length: 900 }, (_, i) => {
    const away = Math.hypot((i % 30) - 14.5, Math.floor(i / 30) - 14.5);
    return away > 9 && away < 14 ? 1 : 0;
  });
  const rows = rowsFromBytes(ring, 30, [0, 0, 30, 30]);
  const { x, y } = middle(rows);
  assert.ok(contains(rows, x, y));
  assert.ok(!contains(rows, 15, 15));
});

test("a mask on the screen is where its pixels are, at any zoom", () => {
  const [width, height] = [40, 33];
  const bytes = randomMask(3, width, height, 0.4);
  const rows = rowsFromBytes(bytes, width, [0, 0, width, height]);
  for (const view of [{ scale: 1, x: 0, y: 0 }, { scale: 3.7, x: -20.25, y: 7.5 }, { scale: 0.4, x: 5, y: 3 }]) {
    const [painted, sampled] = [new Uint16Array(60 * 50), new Uint16Array(60 * 50)];
    paint(painted, 60, 50, rows, view, 1);
    sample(sampled, 60, bytes, { width, height }, view, [0, 0, 60, 50]);
    assert.deepEqual(painted, sampled);
  }
});

test("an outline lies inside the mask, and the window's border is none", () => {
  const labels = new Uint16Array(25);
  for (const [x, y] of [[0, 1], [1, 1], [2, 1], [0, 2], [1, 2], [2, 2], [0, 3], [1, 3], [2, 3]]) labels[y * 5 + x] = 1;
  const style = { fill: pixel("#010203", 0.5), edge: pixel("#ffffff", 1), dashed: false, hatched: false };
  const out = new Uint32Array(25);
  shade(labels, 5, 5, [null, style], out);
  assert.equal(out[2 * 5 + 0], style.fill);
  assert.equal(out[2 * 5 + 2], style.edge);
  assert.equal(out[1 * 5 + 1], style.edge);
  assert.equal(out[0], 0);
});

test("a repeated colour has stripes, and a bare mask no outline", () => {
  const labels = new Uint16Array(400).fill(1);
  const plain = { fill: pixel("#010203", 0.5), edge: pixel("#ffffff", 1), dashed: false, hatched: false };
  const count = (/** @type {any} */ style) => {
    labels[0] = 0;
    const out = new Uint32Array(400);
    shade(labels, 20, 20, [null, style], out);
    return out.filter((value) => value === plain.edge).length;
  };
  const outline = count(plain);
  assert.ok(outline > 0 && outline < 20);
  assert.ok(count({ ...plain, striped: true }) > 60);
  assert.equal(count({ ...plain, bare: true }), 0);
});

test("contours give the mask back, holes and diagonal neighbours too", () => {
  for (const seed of [1, 2, 3, 4]) {
    const [width, height] = [19, 23];
    const bytes = randomMask(seed, width, height, 0.6);
    const again = new Uint8Array(width * height);
    const rings = contours(bytes, { width, height }, [0, 0, width, height]);
    scanRings(rings, { width, height }, (row, from, until) => again.fill(1, row * width + from, row * width + until));
    assert.deepEqual(again, bytes);
  }
});

test("simplifying keeps corners and drops what lies on an edge", () => {
  const square = [{ x: 0, y: 0 }, { x: 5, y: 0 }, { x: 10, y: 0.2 }, { x: 10, y: 10 }, { x: 0, y: 10 }];
  assert.deepEqual(simplify(square, 0.5).map((p) => [p.x, p.y]).sort(), [[0, 0], [0, 10], [10, 0.2], [10, 10]].sort());
});

test("holes and specks", () => {
  const rows = ["#####..#", "#...#...", "#.#.#...", "#...#...", "#####..."];
  const bytes = Uint8Array.from(rows.join(""), (c) => (c === "#" ? 1 : 0));
  assert.equal(holes(bytes, 8, [0, 0, 8, 5]).length, 8);
  assert.deepEqual(specks(bytes, 8, [0, 0, 8, 5], 0.1).sort((a, b) => a - b), [7, 18]);
});

test("a stroke is one step that can be taken back", () => {
  const edit = new Edit({ width: 50, height: 40 });
  edit.begin();
  edit.stroke({ x: 10, y: 10 }, { x: 30, y: 20 }, 4, 1);
  edit.stroke({ x: 30, y: 20 }, { x: 30, y: 30 }, 4, 1);
  assert.ok(edit.end());
  const painted = edit.bytes.slice();
  assert.equal(painted[10 * 50 + 10], 1);
  assert.equal(painted[15 * 50 + 20], 1);
  assert.equal(painted[10 * 50 + 20], 0);
  edit.begin();
  edit.stroke({ x: 20, y: 15 }, { x: 20, y: 15 }, 3, 0);
  edit.end();
  assert.equal(edit.bytes[15 * 50 + 20], 0);
  assert.ok(edit.undo());
  assert.deepEqual(edit.bytes, painted);
  assert.ok(edit.undo());
  assert.ok(edit.empty());
  assert.equal(edit.undo(), false);
});

test("the dirty box holds all that changed", () => {
  const edit = new Edit({ width: 50, height: 40 });
  edit.stroke({ x: 10.5, y: 10.5 }, { x: 12.5, y: 10.5 }, 3, 1);
  const [left, top, right, bottom] = edit.takeDirty();
  for (let i = 0; i < edit.bytes.length; i++) {
    const [x, y] = [i % 50, Math.floor(i / 50)];
    if (edit.bytes[i]) assert.ok(x >= left && x < right && y >= top && y < bottom);
  }
  assert.equal(edit.takeDirty(), null);
});

test("moving one point of an outline changes only what lies between the outlines", () => {
  const edit = new Edit({ width: 30, height: 30 });
  const before = [{ x: 5, y: 5 }, { x: 20, y: 5 }, { x: 20, y: 20 }, { x: 5, y: 20 }];
  edit.polygon([before], 1);
  edit.stroke({ x: 28, y: 28 }, { x: 28, y: 28 }, 1, 1);
  const after = before.map((p) => (p.x === 20 && p.y === 20 ? { x: 25, y: 25 } : p));
  edit.reshape([before], [after]);
  assert.equal(edit.bytes[22 * 30 + 22], 1);
  assert.equal(edit.bytes[28 * 30 + 28], 1, "what the outline does not show stays");
  edit.reshape([after], [before]);
  assert.equal(edit.bytes[22 * 30 + 22], 0);
});
