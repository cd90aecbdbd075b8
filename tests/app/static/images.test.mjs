/** Files of a drop, of which some are folders. */
import assert from "node:assert/strict";
import test from "node:test";

import { dropped } from "../../../app/maskwright_app/static/actions/images.js";

/** @param {string} name */
const file = (name) => ({ isFile: true, isDirectory: false, file: (/** @type {any} */ give) => give({ name }) });

/** @param {any[]} parts what each call of the reader gives */
const folder = (...parts) => ({ isFile: false, isDirectory: true, createReader: () => ({ readEntries: (/** @type {any} */ give) => give(parts.shift() ?? []) }) });

/** @param {any[]} entries */
const transfer = (entries) => /** @type {any} */ ({ items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })), files: [{ name: "as given" }] });

test("a folder is read to its end, and the folders in it", async () => {
  const found = await dropped(transfer([file("a.png"), folder([file("b.png")], [file("c.png"), folder([file("d.png")])])]));
  assert.deepEqual(found.map(({ name }) => name), ["a.png", "b.png", "c.png", "d.png"]);
});

test("files alone are taken as the browser gives them", async () => {
  const found = await dropped(transfer([file("a.png")]));
  assert.deepEqual(found.map(({ name }) => name), ["as given"]);
});
