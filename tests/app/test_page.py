"""The page in Chromium, from a sample to a COCO file; and its endpoints from another program."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from pycocotools.coco import COCO

from maskwright.domain import rle
from maskwright.domain.palette import PALETTE
from maskwright_app.samples import samples
from tests.app.conftest import Page
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


def test_endpoints(page_server: Page) -> None:
    client = Client(page_server.url, verbose=False)
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {
        "/segment_text", "/segment_like", "/segment_click", "/find_images", "/accept", "/reject", "/export_coco",
        "/delete", "/undo", "/redo", "/finetune", "/job_status", "/job_cancel",
    }  # fmt: skip
    path = next(sample.path for sample in samples() if "giraffe" in sample.class_names)
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
    with pytest.raises(AppError):
        client.predict(found["image"], "", api_name="/segment_text")


def test_a_taken_port_and_an_open_address_are_one_sentence(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("maskwright")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [str(program), "ui", "--project", str(tmp_path / "p"), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    assert port in sentence
    done = subprocess.run([str(program), "ui", "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "p").exists()


def test_a_port_that_is_taken_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers that start at once may find the same port free."""
    import gradio as gr

    import maskwright_app

    tried: list[int] = []

    def launch(_page: gr.Blocks, *, server_port: int, **_options: Any) -> None:
        tried.append(server_port)
        if len(tried) == 1:
            raise OSError("Cannot find empty port")
        raise KeyboardInterrupt

    monkeypatch.setattr(gr.Blocks, "launch", launch)
    with pytest.raises(KeyboardInterrupt):
        maskwright_app.launch(project=str(tmp_path / "p"))
    assert tried[1] > tried[0]
    tried.clear()
    with pytest.raises(OSError, match="empty port"):
        maskwright_app.launch(project=str(tmp_path / "p"), port=_free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
