"""Undo, redo, deletion, history, what was saved, and other windows, on the page."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from maskwright.project import Project
from maskwright.session import CLICK_UNDONE
from tests.app.batch import add_images, propose, region
from tests.app.conftest import Page, served
from tests.browser import needs_chromium, overlay

pytestmark = pytest.mark.gui

UNDO, REDO = "Control+z", "Control+Shift+Z"


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page on a project that grows by two images for each test."""
    place = tmp_path_factory.mktemp("steps") / "projekt ü #2"
    with Project.open(place, create=True):
        pass
    with served(place, "--device", "cpu") as page:
        yield page


@pytest.fixture
def pair(page_server: Page) -> tuple[int, int]:
    """Two new images; on the second, which a new tab shows, a cow and a barn are proposed, on the first a cow."""
    with Project.open(page_server.project) as project:
        known = len(project.images.all())
        add_images(project, known + 2)
        first, second = [one.id for one in project.images.all()][known:]
        propose(project, first, cow=region(5, 35))
        propose(project, second, cow=region(5, 35), barn=region(45, 75))
    return first, second


def says(tab: Any, sentence: str) -> str:
    # a plain text would be found in any case, and "saved" in "Not saved"
    tab.locator("#mw-status", has_text=re.compile(re.escape(sentence))).wait_for()
    return str(tab.inner_text("#mw-status"))


def press(tab: Any, key: str) -> None:
    """Press a key while nothing is typed into."""
    tab.locator("#mw-title").click()
    tab.keyboard.press(key)


@contextmanager
def locked(project: Path) -> Iterator[None]:
    """Another program writes and writes."""
    with closing(sqlite3.connect(project / "project.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")


@needs_chromium
def test_undo_and_redo_by_key_and_by_button(page_server: Page, pair: tuple[int, int], tab: Any) -> None:
    tab.wait_for_selector("#mw-masks .mw-proposal >> nth=1")
    press(tab, "g")
    assert re.fullmatch(r"Saved \d\d:\d\d:\d\d", says(tab, "Saved").strip())
    assert tab.locator("#mw-masks .mw-accepted").count() == 2
    outlined = overlay(tab)
    # while somebody types, the keys are the field's
    tab.click("#mw-classes textarea")
    tab.keyboard.type("ox")
    tab.keyboard.press(UNDO)
    tab.wait_for_timeout(500)
    assert tab.locator("#mw-masks .mw-accepted").count() == 2
    press(tab, UNDO)
    says(tab, "Undone: accept of 2 masks. Saved")
    assert tab.locator("#mw-masks .mw-proposal").count() == 2
    assert tab.locator(".mw-proposal .mw-swatch >> nth=0").evaluate("e => getComputedStyle(e).borderStyle") == "dashed"
    assert (overlay(tab) != outlined).any(), "an accepted mask has an edge on the image, a proposal none"
    press(tab, REDO)
    says(tab, "Redone: accept of 2 masks. Saved")
    assert tab.locator("#mw-masks .mw-accepted").count() == 2
    tab.click("#mw-undo")
    says(tab, "Undone")
    tab.click("#mw-redo")
    says(tab, "Redone")
    with Project.open(page_server.project) as project:
        assert [one.state for one in project.annotations(pair[1])] == ["accepted", "accepted"]


@needs_chromium
def test_clicks_are_taken_back_first_and_a_step_elsewhere_is_offered(
    page_server: Page, pair: tuple[int, int], tab: Any
) -> None:
    tab.wait_for_selector("#mw-masks .mw-proposal")
    press(tab, "g")
    says(tab, "Saved")
    tab.locator("img.mw-image").scroll_into_view_if_needed()
    tab.locator("img.mw-image").click()
    tab.wait_for_selector(".mw-marks circle")
    press(tab, UNDO)
    tab.wait_for_selector(".mw-marks circle", state="detached")
    says(tab, CLICK_UNDONE)
    assert tab.locator("#mw-masks .mw-accepted").count() == 2
    press(tab, "Shift+N")
    tab.wait_for_selector("#mw-masks .mw-proposal")
    press(tab, UNDO)
    says(tab, "was on another image")
    assert tab.locator("#mw-masks .mw-proposal").count() == 1
    with Project.open(page_server.project) as project:
        assert len(project.annotations(pair[1])) == 2, "nothing changed out of sight"
    tab.get_by_role("button", name=f"Go to image {pair[1]}").click()
    tab.wait_for_selector("#mw-masks .mw-accepted >> nth=1")
    tab.get_by_role("tab", name="Project").click()
    assert tab.input_value("#mw-images input").startswith(f"{pair[1]}:")
    press(tab, UNDO)
    says(tab, "Undone")
    assert tab.locator("#mw-masks .mw-proposal").count() == 2


@needs_chromium
def test_delete_and_history_by_keyboard(page_server: Page, pair: tuple[int, int], tab: Any) -> None:
    tab.wait_for_selector("#mw-masks .mw-proposal")
    press(tab, "g")
    tab.wait_for_selector("#mw-masks .mw-accepted")
    assert not tab.locator(".mw-history").count()
    history = tab.get_by_role("button", name="history of this cow")
    history.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".mw-history li >> nth=1")
    assert "accepted" in tab.locator(".mw-history li >> nth=1").inner_text()
    assert history.get_attribute("aria-expanded") == "true"
    # the list was drawn anew, and the focus is where it was
    tab.wait_for_function("document.activeElement.dataset.act === 'history'")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".mw-history", state="detached")
    tab.wait_for_function("document.activeElement.dataset.act === 'history'")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == "delete this cow"
    tab.keyboard.press("Enter")
    says(tab, "Deleted 1 mask; Undo restores it. Saved")
    assert tab.locator("#mw-masks .mw-name").all_inner_texts() == ["barn"]
    tab.wait_for_function("document.activeElement.closest('#mw-masks li')")
    with Project.open(page_server.project) as project:
        assert [one.category for one in project.annotations(pair[1])] == ["barn"]
    tab.keyboard.press(UNDO)
    says(tab, "Undone: deletion of 1 mask. Saved")
    assert tab.locator("#mw-masks .mw-accepted").count() == 2


@needs_chromium
def test_a_locked_project_keeps_masks_on_screen_until_one_click(
    page_server: Page, pair: tuple[int, int], tab: Any
) -> None:
    tab.wait_for_selector("#mw-masks .mw-proposal >> nth=1")
    with locked(page_server.project):
        press(tab, "g")
        line = says(tab, "not saved")
        assert "another program" in line
        assert "2 masks" in line
        assert "Saved" not in line
        assert tab.locator("#mw-masks .mw-proposal .mw-unwritten").count() == 2
        assert overlay(tab)[:, :, 3].any()
    # they are still there after a look at the other image
    press(tab, "Shift+N")
    tab.wait_for_function("document.querySelectorAll('#mw-masks .mw-proposal').length === 1")
    press(tab, "n")
    tab.wait_for_selector("#mw-masks .mw-unwritten >> nth=1")
    tab.get_by_role("button", name="Try again").click()
    says(tab, "Saved")
    assert tab.locator("#mw-masks .mw-accepted").count() == 2
    assert tab.locator(".mw-unwritten").count() == 0
    with Project.open(page_server.project) as project:
        assert len(project.annotations(pair[1])) == 2


@pytest.mark.alone
@needs_chromium
def test_what_another_window_does_is_seen_within_two_seconds(
    page_server: Page, pair: tuple[int, int], tab: Any
) -> None:
    tab.wait_for_selector("#mw-masks .mw-proposal >> nth=1")
    mark = tab.get_attribute("#mw-figure figure", "data-view")
    tab.wait_for_timeout(2500)
    assert tab.get_attribute("#mw-figure figure", "data-view") == mark, "nothing changed, nothing is drawn again"
    waits = []
    with Project.open(page_server.project) as other:
        # on another image: the counts change, and the image in view is not drawn again
        counts = tab.inner_text("#mw-counts")
        other.accept(pair[0], region(40, 60), "barn")
        tab.wait_for_function("before => document.querySelector('#mw-counts').innerText !== before", arg=counts)
        assert tab.get_attribute("#mw-figure figure", "data-view") == mark
        for number in range(3):
            began = time.monotonic()
            other.accept(pair[1], region(number * 9, number * 9 + 8), "cow")
            tab.locator(f"#mw-masks .mw-accepted >> nth={number}").wait_for()
            waits.append(time.monotonic() - began)
        # the list of images grows by what is new
        add_images(other, len(other.images.all()) + 1)
        newest = max(one.id for one in other.images.all())
    assert min(waits) < 2, waits
    assert tab.get_attribute("#mw-figure figure", "data-view") != mark
    tab.get_by_role("tab", name="Project").click()
    tab.click("#mw-images input")
    tab.get_by_role("option", name=f"{newest}:").wait_for()


def test_endpoints_of_steps(page_server: Page, pair: tuple[int, int]) -> None:
    client = Client(page_server.url, verbose=False)
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name, argument in (("/undo", "image"), ("/redo", "image"), ("/delete", "annotations")):
        assert [one["parameter_name"] for one in described[name]["parameters"]] == [argument]
        assert described[name]["description"]
    with Project.open(page_server.project) as project:
        (cow,) = project.annotations(pair[0], ("proposed",))
    accepted = client.predict([f"stored:{cow.id}"], api_name="/accept")
    key = accepted["annotations"][0]["id"]
    deleted = client.predict([key], api_name="/delete")
    assert deleted["annotations"] == [{**accepted["annotations"][0], "state": "deleted"}]
    assert deleted["change"] > accepted["change"]
    with pytest.raises(AppError, match=str(pair[0])):
        client.predict(pair[1], api_name="/undo")
    back = client.predict(pair[0], api_name="/undo")
    assert back == {"image": pair[0], "change": back["change"], "sentence": "Undone: deletion of 1 mask."}
    assert client.predict(pair[0], api_name="/redo")["sentence"] == "Redone: deletion of 1 mask."
    with Project.open(page_server.project) as project:
        assert project.annotations(pair[0]) == []


@needs_chromium
def test_on_a_narrow_screen_all_buttons_are_large_and_visible(
    page_server: Page, pair: tuple[int, int], tab: Any
) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    with Project.open(page_server.project) as other:
        other.accept(pair[1], region(50, 70), "a class with a name that is far too long for a narrow screen")
        propose(other, pair[1], wall=region(0, 80))
        other.accept(pair[1], region(0, 80), "wall")
    tab.get_by_role("switch").wait_for()
    tab.click("#mw-masks [data-act=history] >> nth=0")
    tab.wait_for_selector(".mw-history")
    press(tab, "Shift+N")
    tab.get_by_role("switch").wait_for(state="detached")
    press(tab, UNDO)
    says(tab, "was on another image")
    sizes = "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right, box.height])"
    seen = [tab.eval_on_selector_all("#mw-status button, #mw-undo, #mw-redo", sizes)]
    tab.click("#mw-status [data-act=open]")
    tab.get_by_role("switch").wait_for()
    seen.append(tab.eval_on_selector_all("#mw-masks button", sizes))
    assert [len(boxes) for boxes in seen] == [3, 13]
    for left, right, height in [box for boxes in seen for box in boxes]:
        assert left >= 0
        assert right <= 390
        assert height >= 44
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
