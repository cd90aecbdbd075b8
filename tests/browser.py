"""The page in Chromium: a tab, and what a person does in it."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright_app.samples import samples

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; install it with `apt-get install chromium`")


@pytest.fixture
def tab(page_server: Any) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(60_000)
        tab.goto(page_server.url)
        tab.wait_for_selector("#mw-samples img")
        yield tab
        browser.close()


def overlay(tab: Any) -> np.ndarray[Any, Any]:
    source = tab.get_attribute("#mw-figure img.mw-overlay", "src")
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))))


def choose(tab: Any, word: str) -> None:
    number = next(n for n, sample in enumerate(samples()) if word in sample.class_names)
    tab.click(f"#mw-samples img >> nth={number}")
    # the sample brings its own words along; typing before they are there would be overwritten
    tab.wait_for_function("word => document.querySelector('#mw-classes textarea').value.includes(word)", arg=word)
    tab.wait_for_selector("#mw-figure img.mw-image")


def closed_vocabulary(tab: Any) -> None:
    """Let every pixel get a name; this asks again with the words that are there."""
    _and_wait(tab, lambda: tab.uncheck("#mw-background input"))


def find(tab: Any, words: str) -> None:
    """Ask for other words than those that were asked for last."""
    assert tab.input_value("#mw-classes textarea") != words, "nothing would change"
    tab.fill("#mw-classes textarea", words)
    _and_wait(tab, lambda: tab.click("#mw-run"))


def _and_wait(tab: Any, act: Callable[[], None]) -> None:
    before = tab.get_attribute("#mw-figure img.mw-overlay", "src")
    act()
    tab.wait_for_function(
        "before => document.querySelector('#mw-figure img.mw-overlay')?.getAttribute('src') !== before", arg=before
    )
