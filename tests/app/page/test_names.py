"""Names, examples and eyes: what the masks are called, what they stand for, and which of them are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.domain import UNNAMED
from maskwright.project import Project
from maskwright.store import NewAnnotation
from tests.app.conftest import Page
from tests.app.page.conftest import accept, add_class, disc, press, propose, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]
EVERYTHING = {"source": "click", "prompt": "everything", "method": "sam", "parameters": {}}


def propose_unnamed(server: Page, image: int, *places: tuple[float, float]) -> None:
    """Store what a prompt for everything finds: a disc at each place."""
    masks = [mw.Mask.from_array(disc(x, y, 30), category=UNNAMED, score=0.9 - x / 1000) for x, y in places]
    drafts = [NewAnnotation(image, UNNAMED, mask, "click", EVERYTHING, "ann", "proposed") for mask in masks]
    with Project.open(server.project) as project:
        project.store.predictions.add(image, drafts, None, "ann", source="click", names=[UNNAMED], everything=True)


def names(tab: Any, listed: str) -> list[str]:
    return [str(text) for text in tab.locator(f"#{listed} .name").all_inner_texts()]


def wait_listed(tab: Any, expected: list[str]) -> None:
    """Until the list of masks, which follows a frame later, names these."""
    for _ in range(100):
        if names(tab, "masks") == expected:
            return
        tab.wait_for_timeout(50)
    assert names(tab, "masks") == expected


def test_what_everything_finds_has_no_name_until_somebody_gives_one(tab: Any, server: Page, photo: int) -> None:
    add_class(tab, "giraffe")
    press(tab, "Escape")
    propose_unnamed(server, photo, (60, 60), (160, 60), (260, 60))
    tab.wait_for_selector("#masks .mask-row >> nth=2")
    wait_listed(tab, ["no name"] * 3)
    assert UNNAMED not in names(tab, "classes")
    tab.click("#masks .mask-row >> nth=0")
    press(tab, "i")
    tab.locator(".suggestion").first.click()
    named = wait_stored(tab, server, photo, lambda rows: {row.category for row in rows} != {UNNAMED}, "proposed")
    (likely,) = {row.category for row in named} - {UNNAMED}
    assert names(tab, "masks").count(likely) == 1
    press(tab, "Shift+G")
    question = tab.locator(".notice", has_text="2 masks have no name yet")
    question.get_by_role("button", name="giraffe").click()
    rows = wait_stored(tab, server, photo, lambda rows: len(rows) == 3)
    assert sorted(row.category for row in rows) == sorted([likely, "giraffe", "giraffe"])


def test_an_example_is_still_one_after_a_reload(tab: Any, server: Page, photo: int) -> None:
    cow = accept(server, photo, disc(80, 80, 30), "cow")
    tab.click(f"[data-key='stored:{cow}']")
    press(tab, "r")
    tab.wait_for_selector("#example:has-text('cow')")
    tab.reload()
    tab.wait_for_selector("body[data-ready] #example:has-text('cow')")
    with tab.expect_request("**/ui/prompts/like") as sent:
        press(tab, "r")
    assert sent.value.post_data_json["references"] == [cow]
    tab.click("#stop")
    tab.click(f"[data-key='stored:{cow}']")
    tab.click("#no-example")
    tab.wait_for_selector("#example", state="hidden")
    with Project.open(server.project) as project:
        assert cow not in {mark.annotation_id for mark in project.store.references.all()}


def test_what_an_eye_hides_is_not_decided_on(tab: Any, server: Page, photo: int) -> None:
    accept(server, photo, disc(80, 80, 30), "cow")
    propose(server, photo, sky=(disc(200, 100, 40), 0.9), grass=(disc(120, 180, 40), 0.8))
    tab.wait_for_selector("#masks .mask-row >> nth=2")
    tab.get_by_role("button", name="Hide sky").click()
    wait_listed(tab, ["grass", "cow"])
    assert tab.inner_text("#accept-all") == "Accept all 1"
    tab.get_by_role("button", name="Hide proposals").click()
    wait_listed(tab, ["cow"])
    assert tab.locator("#accept-all").is_disabled()
    tab.get_by_role("button", name="Show proposals").click()
    tab.get_by_role("button", name="Show sky").click()
    wait_listed(tab, ["sky", "grass", "cow"])


def test_the_image_is_saved_as_it_is_shown(tab: Any, server: Page, photo: int) -> None:
    accept(server, photo, disc(80, 80, 30), "cow")
    tab.wait_for_selector("#masks .mask-row")
    tab.click("#open-files")
    with tab.expect_download() as saved:
        tab.click("#save-snapshot")
    file = Path(saved.value.path())
    with Project.open(server.project) as project:
        color = next(c.color for c in project.categories() if c.name == "cow")
        before = project.images.open(photo).pixels
    with Pillow.open(file) as opened:
        shown = np.asarray(opened.convert("RGB"))
    assert shown.shape == before.shape
    assert (shown[200, 200] == before[200, 200]).all()
    mixed = 0.55 * before[80, 80] + 0.45 * np.frombuffer(bytes.fromhex(color[1:]), np.uint8)
    assert shown[80, 80] == pytest.approx(mixed, abs=2)
