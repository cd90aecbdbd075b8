"""What lies in the drawer and beside the image: adding and removing images, batches, files, comparing."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools.coco import COCO

from maskwright.domain import rle
from maskwright.project import Project
from tests.app.conftest import Page
from tests.app.page.conftest import accept, disc, press, stored, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def in_view(tab: Any) -> int:
    return int(tab.evaluate("Number(location.hash.slice(1))"))


def test_images_are_pasted_uploaded_excluded_and_removed(tab: Any, server: Page, photo: int) -> None:
    tab.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'pasted ü.png', { type: 'image/png' }));
            document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));
        }""",
        list(png(1)),
    )
    tab.locator("#image-name", has_text="pasted ü.png").wait_for()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for name in ("inner/first.png", "inner/second.png"):
            target.writestr(name, png(len(name)))
        target.writestr("broken.png", b"no image")
    tab.set_input_files("#files", {"name": "all.zip", "mimeType": "application/zip", "buffer": archive.getvalue()})
    tab.locator("#image-name", has_text="first.png").wait_for()
    tab.locator(".notice.error", has_text="broken.png").wait_for()
    first = in_view(tab)
    tab.click("#exclude")
    tab.wait_for_selector('#exclude[aria-pressed="true"]')
    tab.click("#remove-image")
    tab.locator(".notice button", has_text="Remove it").click()
    tab.wait_for_function("id => location.hash !== `#${id}`", arg=first)
    with Project.open(server.project) as project:
        assert first not in {record.id for record in project.images.all()}
    press(tab, "Control+z")
    tab.locator(".notice", has_text="Undone").wait_for()
    with Project.open(server.project) as project:
        assert first in {record.id for record in project.images.all()}


def test_a_batch_is_paused_and_goes_on(
    open_tab: Callable[..., Any], new_image: Callable[..., int], server: Page
) -> None:
    images = [new_image() for _ in range(3)]
    for image in images:
        accept(server, image, disc(20, 20, 10), "part of the batch")
    tab = open_tab(images[0])
    tab.select_option("#filter-class", "part of the batch")
    press(tab, "/")
    tab.keyboard.type("grass")
    press(tab, "Escape")
    tab.click("#open-batch")
    tab.locator("#batch-what", has_text="3 images of the filter").wait_for()
    tab.click("#batch-words")
    job = tab.locator("#jobs .job").first
    job.locator("button", has_text="Pause").click()
    job.locator("button", has_text="Go on").wait_for()
    done = sum(bool(stored(server, image, "proposed")) for image in images)
    assert done < 3
    job.locator("button", has_text="Go on").click()
    job.locator("p", has_text="3 of 3").wait_for()
    for image in images:
        wait_stored(tab, server, image, lambda rows: len(rows) > 0, "proposed")


def test_files_out_and_in(tab: Any, server: Page, photo: int, tmp_path: Path) -> None:
    accept(server, photo, disc(100, 100, 30), "exported")
    tab.click("#open-files")
    with tab.expect_download() as download:
        tab.click("#export")
    file = tmp_path / "coco.json"
    download.value.save_as(file)
    coco = COCO(file)
    (row,) = [one for one in coco.anns.values() if coco.cats[one["category_id"]]["name"] == "exported"]
    assert (coco.annToMask(row) == disc(100, 100, 30)).all()

    # the same file with another mask in the place of this one: shown first, written on demand
    data = json.loads(file.read_text(encoding="utf-8"))
    data["annotations"] = [row | {"segmentation": dict(rle.encode(disc(200, 100, 20))), "attributes": {}}]
    tab.set_input_files(
        "#import-file", {"name": "in.json", "mimeType": "application/json", "buffer": json.dumps(data).encode()}
    )
    tab.locator("#import-report", has_text="1 mask").wait_for()
    assert len(stored(server, photo)) == 1, "a look writes nothing"
    tab.click("#import-go")
    rows = wait_stored(tab, server, photo, lambda rows: len(rows) == 2)
    assert (rows[1].mask.to_array() == disc(200, 100, 20)).all()
    tab.wait_for_selector("#masks .mask-row >> nth=1")


def test_two_models_side_by_side(tab: Any, server: Page, photo: int) -> None:
    press(tab, "/")
    tab.keyboard.type("grass")
    press(tab, "Escape")
    tab.click("#open-compare")
    tab.click("#compare-run")
    tab.wait_for_selector("#compare-sides figure >> nth=1")
    assert tab.locator("#compare-sides canvas").first.get_attribute("aria-label") != "no masks"
    assert not stored(server, photo, "proposed")
