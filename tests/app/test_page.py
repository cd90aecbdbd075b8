"""The page in Chromium, from a sample to a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from maskwright.domain.palette import PALETTE
from tests.browser import choose, closed_vocabulary, find, needs_chromium, overlay

pytestmark = pytest.mark.gui


@needs_chromium
def test_from_a_sample_to_a_coco_file(tab: Any, tmp_path: Path) -> None:
    choose(tab, "giraffe")
    closed_vocabulary(tab)
    first = overlay(tab)
    assert first[:, :, 3].all(), "a closed vocabulary covers the image"
    find(tab, "sky, grass, building")
    assert not np.array_equal(first, overlay(tab)), "the overlay changes with the class names"
    find(tab, "tree, giraffe")
    shown = overlay(tab)
    names = tab.locator("#mw-masks .mw-name").all_inner_texts()
    tab.click("#mw-masks [data-act=accept] >> nth=0")
    tab.wait_for_selector("#mw-masks .mw-state")
    with tab.expect_download() as download:
        tab.click("#mw-export")
    file = tmp_path / "coco.json"
    download.value.save_as(file)
    coco = COCO(file)
    (row,) = coco.loadAnns(coco.getAnnIds())
    assert coco.loadCats(row["category_id"])[0]["name"] == names[0]
    color = bytes.fromhex(PALETTE[0][1:])
    assert np.array_equal(coco.annToMask(row).astype(bool), (shown[:, :, :3] == list(color)).all(axis=2))


@needs_chromium
def test_reload_shows_the_same_image_and_masks_and_opacity_needs_no_server(tab: Any) -> None:
    choose(tab, "motorcycle")
    closed_vocabulary(tab)
    find(tab, "motorcycle, wall")
    tab.keyboard.press("Escape")
    tab.locator("#mw-title").click()
    tab.keyboard.press("g")
    tab.wait_for_selector("#mw-masks .mw-state")
    kept = tab.locator("#mw-masks .mw-state").count()
    image = tab.get_attribute("#mw-figure img.mw-image", "alt")
    tab.fill("#mw-opacity input[type=number]", "20")
    tab.keyboard.press("Enter")
    tab.wait_for_function(
        "() => getComputedStyle(document.querySelector('#mw-figure img.mw-overlay')).opacity === '0.2'"
    )
    tab.reload()
    tab.wait_for_selector("#mw-masks .mw-state")
    assert tab.locator("#mw-masks .mw-state").count() == kept
    assert tab.get_attribute("#mw-figure img.mw-image", "alt") == image


@needs_chromium
def test_mistakes_are_one_sentence_and_the_page_goes_on(tab: Any) -> None:
    choose(tab, "giraffe")
    tab.fill("#mw-classes textarea", " , ")
    tab.click("#mw-run")
    tab.wait_for_selector("text=Type at least one class name")
    tab.fill("#mw-classes textarea", "<img src=x onerror=alert(1)>")
    tab.click("#mw-run")
    tab.wait_for_selector("#mw-notice .mw-notice")
    assert "not taught" in tab.inner_text("#mw-notice")


@needs_chromium
def test_narrow_screen_has_no_sideways_scroll(tab: Any) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
