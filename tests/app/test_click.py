"""Clicks on the page: on the thing and beside it, another answer, a name, the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

import maskwright as mw
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright_app.handlers import Handlers
from maskwright_app.render import click_bar, picture
from maskwright_app.samples import samples
from tests.app.conftest import Page, served
from tests.browser import needs_chromium, overlay


def fill(project: Project, rng: np.random.Generator) -> None:
    """Two pictures: a bright disc on dark ground, of which the first one's left half is accepted."""
    for x in (100, 60):
        pixels = rng.integers(0, 50, (120, 160, 3), dtype=np.uint8)
        ys, xs = np.mgrid[:120, :160]
        disc = (xs - x) ** 2 + (ys - 60) ** 2 < 24**2
        pixels[disc] = (220, 200, 60)
        image = mw.Image(pixels)
        project.images.register(image)
        if x == 100:
            project.accept(image, disc & (xs < 100), "sun")


@pytest.fixture
def clicked(handlers: Handlers, rng: np.random.Generator) -> Handlers:
    fill(handlers.session.project, rng)
    return handlers


def at(x: float, y: float, sign: int = 1) -> dict[str, Any]:
    return {"x": x, "y": y, "sign": sign, "near": 4}


def test_a_prompt_grows_and_shrinks(clicked: Handlers) -> None:
    prompt, _ = clicked.click(2, None, at(60, 60))
    assert prompt is not None
    assert prompt.last.points == ((60, 60, 1),)
    assert 'class="mw-on"' in clicked.view(2, [], prompt=prompt).picture
    first = prompt.candidates
    prompt, _ = clicked.click(2, prompt, at(20, 20, 0))
    assert prompt is not None
    assert prompt.last.points == ((60, 60, 1), (20, 20, 0))
    assert 'class="mw-beside"' in clicked.view(2, [], prompt=prompt).picture
    prompt = clicked.undo_click(prompt)
    assert prompt is not None
    assert prompt.candidates == first
    assert clicked.session.open_proposals(first)
    again, _ = clicked.click(2, prompt, at(62, 61))
    assert again is None, "a click on the only point takes it away"
    assert not clicked.session.open_proposals(first)
    with pytest.raises(MaskwrightError, match="no click to undo"):
        clicked.undo_click(None)
    with pytest.raises(MaskwrightError, match="select an image"):
        clicked.click(None, None, at(1, 1))


def test_only_the_chosen_answer_is_shown_and_kept(clicked: Handlers) -> None:
    prompt, _ = clicked.click(2, None, at(60, 60))
    assert prompt is not None
    if len(prompt.last.candidates) > 1:
        assert "Mask 2 of" in clicked.click_bar(prompt.select(1))
    assert clicked.view(2, [], prompt=prompt).legend.count('data-act="accept"') == 1
    clicked.session.decide_click(prompt, " moon ", keep=True)
    (kept,) = clicked.session.project.annotations(2)
    assert (kept.category, kept.source) == ("moon", "click")
    assert not clicked.session.open_proposals(prompt.candidates)
    assert kept.provenance["prompt"]["points"] == [[60, 60, 1]]


def test_a_correction_replaces_the_accepted_mask(clicked: Handlers) -> None:
    project = clicked.session.project
    (before,) = project.annotations(1)
    prompt, _ = clicked.click(1, ClickPrompt(1, before.id), at(112, 60))
    assert prompt is not None
    view = clicked.view(1, [], prompt=prompt)
    assert view.legend.count("<li") == 1, "the correction stands where the mask was"
    clicked.decide_all(1, [], prompt, "", keep=True)
    (after,) = project.annotations(1)
    assert (after.id, after.uid, after.category) == (before.id, before.uid, "sun")
    assert after.revision == before.revision + 1
    assert after.mask.rle != before.mask.rle
    prompt, _ = clicked.click(1, ClickPrompt(1, before.id), at(112, 60))
    assert prompt is not None
    clicked.decide_all(1, [], prompt, "", keep=False)
    assert project.annotations(1) == [after], "turned down, a correction changes nothing"


def test_names_are_suggested_from_the_project(clicked: Handlers) -> None:
    prompt, _ = clicked.click(2, None, at(60, 60))
    bar = clicked.click_bar(prompt, suggest=True)
    assert 'data-act="name" data-id="sun"' in bar
    assert click_bar(None, None).startswith('<div class="mw-click"><span>Click on a thing')


def test_everything_becomes_proposals(clicked: Handlers) -> None:
    nuclei = next(sample.path for sample in samples() if "nucle" in sample.words)
    image_id = clicked.session.add_picture(nuclei).id
    ids, _ = clicked.propose_everything(image_id)
    assert len(clicked.session.open_proposals(ids)) > 3
    clicked.session.decide(ids[:2], "nucleus", keep=True)
    assert [a.category for a in clicked.session.project.annotations(image_id)] == ["nucleus", "nucleus"]
    with pytest.raises(MaskwrightError, match="select an image"):
        clicked.propose_everything(None)


def test_markers_are_numbers_and_every_picture_has_its_mark() -> None:
    prompt = ClickPrompt(1, None, (ClickStep(((1.5, 2.0, 1),), (0.0, 0.0, 3.0, 3.0), ()),))
    pixels = np.zeros((4, 4, 3), np.uint8)
    first, second = (picture(pixels, [], "x", prompt) for _ in range(2))
    assert 'cx="1.5" cy="2.0"' in first
    assert '<rect class="mw-box" x="0.0" y="0.0" width="3.0" height="3.0"/>' in first
    assert first != second


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    place = tmp_path_factory.mktemp("click") / "discs"
    with Project.open(place, create=True) as project:
        fill(project, np.random.default_rng(1))
    with served(place, "--device", "cpu") as page:
        yield page


def spot(tab: Any, x: float, y: float) -> tuple[float, float]:
    """Where a place of the picture is on the screen."""
    box = tab.locator("img.mw-image").bounding_box()
    scale = min(box["width"] / 160, box["height"] / 120)
    return (
        box["x"] + (box["width"] - 160 * scale) / 2 + x * scale,
        box["y"] + (box["height"] - 120 * scale) / 2 + y * scale,
    )


@pytest.mark.gui
@needs_chromium
@pytest.mark.parametrize("zoom", [0.67, 1.0, 1.5])
def test_a_click_arrives_at_its_pixel_whatever_the_zoom(page_server: Page, tab: Any, zoom: float) -> None:
    tab.wait_for_selector("#mw-picture img.mw-image")
    tab.evaluate(f"document.body.style.zoom = {zoom}")
    tab.locator("img.mw-image").scroll_into_view_if_needed()
    tab.mouse.click(*spot(tab, 70, 50))
    tab.wait_for_selector(".mw-marks circle")
    circle = tab.locator(".mw-marks circle")
    assert float(circle.get_attribute("cx")) == pytest.approx(70, abs=1)
    assert float(circle.get_attribute("cy")) == pytest.approx(50, abs=1)


@pytest.mark.gui
@needs_chromium
def test_click_correct_name_and_accept(page_server: Page, tab: Any) -> None:
    tab.wait_for_selector("#mw-picture img.mw-image")
    tab.locator("img.mw-image").scroll_into_view_if_needed()
    tab.mouse.click(*spot(tab, 60, 60))
    tab.wait_for_selector("#mw-legend [data-act=accept]")
    covered = overlay(tab)[:, :, 3] > 0
    assert covered[60, 60]
    tab.keyboard.down("Shift")
    tab.mouse.click(*spot(tab, 130, 20))
    tab.keyboard.up("Shift")
    tab.wait_for_selector(".mw-marks .mw-beside")
    tab.keyboard.press("z")
    tab.wait_for_selector(".mw-marks .mw-beside", state="detached")
    assert tab.locator(".mw-marks .mw-on").count() == 1
    tab.click("#mw-click-what")
    tab.click(".mw-click [data-act=name]")
    tab.wait_for_function("document.querySelector('#mw-name textarea, #mw-name input').value === 'sun'")
    tab.locator("#mw-title").click()
    tab.keyboard.press("g")
    tab.wait_for_selector("#mw-legend .mw-kept")
    with Project.open(page_server.project) as project:
        assert [(a.category, a.source) for a in project.annotations(2)] == [("sun", "click")]
    # a box by two corners, and Escape drops it but nothing that was accepted
    tab.keyboard.press("w")
    tab.locator("img.mw-image").scroll_into_view_if_needed()
    tab.mouse.click(*spot(tab, 30, 30))
    tab.mouse.click(*spot(tab, 90, 90))
    tab.wait_for_selector(".mw-marks .mw-box")
    tab.locator("#mw-title").click()
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".mw-marks .mw-box", state="detached")
    assert tab.locator("#mw-legend .mw-kept").count() == 1


@pytest.mark.gui
def test_segment_click_from_another_program(page_server: Page) -> None:
    client = Client(page_server.url, verbose=False)
    answer = client.predict(1, [[100, 60, 1]], api_name="/segment_click")
    assert answer["image"] == 1
    assert 1 <= len(answer["masks"]) <= 3
    first = answer["masks"][0]["proposal"]
    again = client.predict(1, [[100, 60, 1], [10, 10, 0]], None, first, api_name="/segment_click")
    assert len(again["masks"]) <= 1
    boxed = client.predict(1, None, [70, 30, 130, 90], api_name="/segment_click")
    assert boxed["masks"][0]["segmentation"]["size"] == [120, 160]
    for words, says in (
        (([[500, 60]],), "outside the image"),
        (([["a", 60]],), "list of"),
        (([[1, 2, 3, 4]],), "list of"),
        ((None, [1, 1, 1, 1]), "box is empty"),
        (([[1, 1]], None, "none"), "no longer open"),
        ((None,), "Click on the thing"),
    ):
        with pytest.raises(AppError, match=says):
            client.predict(1, *words, api_name="/segment_click")
