"""The page in Chromium, from a sample to a COCO file; and its endpoints from another program."""

from __future__ import annotations

import base64
import io
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image as Pillow
from pycocotools.coco import COCO

from maskwright import rle
from maskwright.overlays import PALETTE
from maskwright_app.samples import samples

from .conftest import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.gui
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; install it with `apt-get install chromium`")


@pytest.fixture
def tab(page_server: Page) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(60_000)
        tab.goto(page_server.url)
        tab.wait_for_selector("#mw-samples img")
        yield tab
        browser.close()


def _overlay(tab: Any) -> np.ndarray[Any, Any]:
    source = tab.get_attribute("#mw-picture img.mw-overlay", "src")
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))))


def _choose(tab: Any, word: str) -> None:
    number = next(n for n, sample in enumerate(samples()) if word in sample.words)
    tab.click(f"#mw-samples img >> nth={number}")
    # the sample brings its own words along; typing before they are there would be overwritten
    tab.wait_for_function("word => document.querySelector('#mw-words textarea').value.includes(word)", arg=word)
    tab.wait_for_selector("#mw-picture img.mw-image")


def _find(tab: Any, words: str) -> None:
    before = tab.get_attribute("#mw-picture img.mw-overlay", "src")
    tab.fill("#mw-words textarea", words)
    tab.click("#mw-run")
    tab.wait_for_function(
        "before => document.querySelector('#mw-picture img.mw-overlay')?.getAttribute('src') !== before", arg=before
    )


@needs_chromium
def test_from_a_sample_to_a_coco_file(tab: Any, tmp_path: Path) -> None:
    _choose(tab, "giraffe")
    tab.uncheck("#mw-background input")
    _find(tab, "tree, giraffe")
    first = _overlay(tab)
    assert first[:, :, 3].all(), "a closed vocabulary covers the picture"
    _find(tab, "sky, grass, building")
    assert not np.array_equal(first, _overlay(tab)), "the overlay changes with the words"
    _find(tab, "tree, giraffe")
    shown = _overlay(tab)
    names = tab.locator("#mw-legend .mw-name").all_inner_texts()
    tab.click("#mw-legend [data-act=accept] >> nth=0")
    tab.wait_for_selector("#mw-legend .mw-kept")
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
    _choose(tab, "motorcycle")
    tab.uncheck("#mw-background input")
    _find(tab, "motorcycle, wall")
    tab.keyboard.press("Escape")
    tab.locator("#mw-title").click()
    tab.keyboard.press("g")
    tab.wait_for_selector("#mw-legend .mw-kept")
    kept = tab.locator("#mw-legend .mw-kept").count()
    image = tab.get_attribute("#mw-picture img.mw-image", "alt")
    tab.fill("#mw-opacity input[type=number]", "20")
    tab.keyboard.press("Enter")
    tab.wait_for_function(
        "() => getComputedStyle(document.querySelector('#mw-picture img.mw-overlay')).opacity === '0.2'"
    )
    tab.reload()
    tab.wait_for_selector("#mw-legend .mw-kept")
    assert tab.locator("#mw-legend .mw-kept").count() == kept
    assert tab.get_attribute("#mw-picture img.mw-image", "alt") == image


@needs_chromium
def test_mistakes_are_one_sentence_and_the_page_goes_on(tab: Any) -> None:
    _choose(tab, "giraffe")
    tab.fill("#mw-words textarea", " , ")
    tab.click("#mw-run")
    tab.wait_for_selector("text=Type at least one class name")
    tab.fill("#mw-words textarea", "<img src=x onerror=alert(1)>")
    tab.click("#mw-run")
    tab.wait_for_selector("#mw-notice .mw-notice")
    assert "not taught" in tab.inner_text("#mw-notice")


@needs_chromium
def test_narrow_screen_has_no_sideways_scroll(tab: Any) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_endpoints(page_server: Page) -> None:
    client = Client(page_server.url, verbose=False)
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/segment_text", "/accept", "/reject", "/export_coco"}
    path = next(sample.path for sample in samples() if "giraffe" in sample.words)
    found = client.predict(handle_file(path), "tree, giraffe", api_name="/segment_text")
    assert found["categories"] == ["tree", "giraffe"]
    ids = [mask["proposal"] for mask in found["masks"]]
    kept = client.predict(ids, "Baum/ü", api_name="/accept")
    assert kept["change"] > found["change"]
    assert {row["category"] for row in kept["annotations"]} == {"Baum/ü"}
    again = client.predict(found["image"], "tree", None, True, 0.2, api_name="/segment_text")
    if again["masks"]:
        turned = client.predict([again["masks"][0]["proposal"]], api_name="/reject")
        assert turned["annotations"][0]["state"] == "rejected"
    coco = COCO(client.predict({}, api_name="/export_coco"))
    rows = [row for row in coco.anns.values() if row["id"] in {r["id"] for r in kept["annotations"]}]
    shown = {mask["area"]: mask["segmentation"] for mask in found["masks"]}
    assert rows
    for row in rows:
        assert np.array_equal(coco.annToMask(row).astype(bool), rle.decode(shown[row["area"]]))
    with pytest.raises(AppError, match="Type at least one class name"):
        client.predict(found["image"], "", api_name="/segment_text")


def test_a_taken_port_and_an_open_address_are_one_sentence(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("maskwright")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = [program, "ui", "--project", str(tmp_path / "p"), "--port", port]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr.strip() == f"maskwright: Port {port} is in use. Choose another, for example --port {int(port) + 1}."
    )
    done = subprocess.run([program, "ui", "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "without a login" in done.stderr
    assert not (tmp_path / "p").exists()
