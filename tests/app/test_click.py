"""Clicks on the page: positive and negative points, boxes, other masks, names, undo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

import maskwright as mw
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.project import Project
from maskwright_app.handlers import Handlers
from maskwright_app.html.figure import figure
from maskwright_app.html.prompts import click_bar
from maskwright_app.samples import samples
from maskwright_app.tab import Tab
from tests.app.conftest import Page, served
from tests.browser import needs_chromium, overlay


def fill(project: Project, rng: np.random.Generator) -> None:
    """Two images: a bright disc on dark ground, of which the first one's left half is accepted."""
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
def project(empty_project: Project, rng: np.random.Generator) -> Project:
    fill(empty_project, rng)
    return empty_project


def at(x: float, y: float, label: int = 1) -> dict[str, Any]:
    return {"x": x, "y": y, "label": label, "near": 4}


def test_a_prompt_grows_and_shrinks(handlers: Handlers, project: Project) -> None:
    tab, _ = handlers.click(Tab(2), at(60, 60))
    assert tab.prompt is not None
    assert tab.prompt.last.points == ((60, 60, 1),)
    assert 'class="mw-positive"' in handlers.view(tab).figure
    first = tab.prompt.candidates
    tab, _ = handlers.click(tab, at(20, 20, 0))
    assert tab.prompt is not None
    assert tab.prompt.last.points == ((60, 60, 1), (20, 20, 0))
    assert 'class="mw-negative"' in handlers.view(tab).figure
    tab, _ = handlers.decisions.undo(tab)
    assert tab.prompt is not None
    assert tab.prompt.candidates == first
    assert handlers.session.open_proposals(first)
    tab, _ = handlers.click(tab, at(62, 61))
    assert tab.prompt is None, "a click on the only point removes it"
    assert not handlers.session.open_proposals(first)


def test_only_the_chosen_mask_is_shown_and_accepted(handlers: Handlers, project: Project) -> None:
    tab, _ = handlers.click(Tab(2), at(60, 60))
    assert tab.prompt is not None
    assert len(tab.prompt.last.candidates) > 1
    assert "Mask 2 of" in handlers.click_bar(tab.prompt.select(1))
    assert handlers.view(tab).masks.count('data-act="accept"') == 1
    handlers.decisions.decide_all(tab, " moon ", accept=True)
    (accepted,) = project.annotations(2)
    assert (accepted.category, accepted.source) == ("moon", "click")
    assert not handlers.session.open_proposals(tab.prompt.candidates)
    assert accepted.provenance["prompt"]["points"] == [[60, 60, 1]]


def test_a_correction_replaces_the_accepted_mask(handlers: Handlers, project: Project) -> None:
    (before,) = project.annotations(1)
    correcting = handlers.correct(Tab(1), before.id)
    tab, _ = handlers.click(correcting, at(112, 60))
    assert handlers.view(tab).masks.count("<li") == 1, "the correction stands where the mask was"
    handlers.decisions.decide_all(tab, "", accept=True)
    (after,) = project.annotations(1)
    assert (after.id, after.uid, after.category) == (before.id, before.uid, "sun")
    assert after.revision == before.revision + 1
    assert after.mask.rle != before.mask.rle
    tab, _ = handlers.click(correcting, at(112, 60))
    handlers.decisions.decide_all(tab, "", accept=False)
    assert project.annotations(1) == [after], "a rejected correction changes nothing"


def test_names_are_suggested_from_the_project(handlers: Handlers, project: Project) -> None:
    tab, _ = handlers.click(Tab(2), at(60, 60))
    assert 'data-act="name" data-id="sun"' in handlers.click_bar(tab.prompt, suggest=True)
    assert "data-act" not in click_bar(None, None)
    assert 'data-act="clear"' in click_bar(ClickPrompt(1, 1), None)


@pytest.mark.slow
def test_segment_all_makes_proposals(handlers: Handlers, empty_project: Project) -> None:
    nuclei = next(sample.path for sample in samples() if "nucle" in sample.class_names)
    image_id = handlers.session.images.add(nuclei).id
    tab, _ = handlers.propose_everything(Tab(image_id))
    assert len(handlers.session.open_proposals(tab.proposals)) > 3
    handlers.session.decide(tab.proposals[:2], "nucleus", accept=True)
    assert [a.category for a in empty_project.annotations(image_id)] == ["nucleus", "nucleus"]


def test_every_figure_is_a_view_of_its_own_with_markers() -> None:
    prompt = ClickPrompt(1, None, (ClickStep(((1.5, 2.0, 1),), (0.0, 0.0, 3.0, 3.0), ()),))
    image = mw.Image(np.zeros((4, 4, 3), np.uint8))
    first, second = (figure(image, [], prompt) for _ in range(2))
    assert 'cx="1.5" cy="2.0"' in first
    assert '<rect class="mw-box" x="0.0" y="0.0" width="3.0" height="3.0"/>' in first
    assert first != second


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("click") / "discs"
    with Project.open(folder, create=True) as project:
        fill(project, np.random.default_rng(1))
    with served(folder, "--device", "cpu") as page:
        yield page


def on_screen(tab: Any, x: float, y: float) -> tuple[float, float]:
    """Position on the screen of a point of the image."""
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
    tab.wait_for_selector("#mw-figure img.mw-image")
    tab.evaluate(f"document.body.style.zoom = {zoom}")
    tab.locator("img.mw-image").scroll_into_view_if_needed()
    tab.mouse.click(*on_screen(tab, 70, 50))
    tab.wait_for_selector(".mw-marks circle")
    circle = tab.locator(".mw-marks circle")
    assert float(circle.get_attribute("cx")) == pytest.approx(70, abs=1)
    assert float(circle.get_attribute("cy")) == pytest.approx(50, abs=1)


@pytest.mark.gui
@needs_chromium
def test_click_correct_name_and_accept(page_server: Page, tab: Any) -> None:
    tab.wait_for_selector("#mw-figure img.mw-image")
    tab.locator("img.mw-image").scroll_into_view_if_needed()
    tab.mouse.click(*on_screen(tab, 60, 60))
    tab.wait_for_selector("#mw-masks [data-act=accept]")
    covered = overlay(tab)[:, :, 3] > 0
    assert covered[60, 60]
    tab.keyboard.down("Shift")
    tab.mouse.click(*on_screen(tab, 130, 20))
    tab.keyboard.up("Shift")
    tab.wait_for_selector(".mw-marks .mw-negative")
    tab.keyboard.press("z")
    tab.wait_for_selector(".mw-marks .mw-negative", state="detached")
    assert tab.locator(".mw-marks .mw-positive").count() == 1
    tab.click("#mw-click-suggest")
    tab.click(".mw-click [data-act=name]")
    tab.wait_for_function("document.querySelector('#mw-name textarea, #mw-name input').value === 'sun'")
    tab.locator("#mw-title").click()
    tab.keyboard.press("g")
    tab.wait_for_selector("#mw-masks .mw-state")
    with Project.open(page_server.project) as project:
        assert [(a.category, a.source) for a in project.annotations(2)] == [("sun", "click")]
    # a box by two corners, and Escape drops it but nothing that was accepted
    tab.keyboard.press("w")
    tab.locator("img.mw-image").scroll_into_view_if_needed()
    tab.mouse.click(*on_screen(tab, 30, 30))
    tab.mouse.click(*on_screen(tab, 90, 90))
    tab.wait_for_selector(".mw-marks .mw-box")
    tab.locator("#mw-title").click()
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".mw-marks .mw-box", state="detached")
    assert tab.locator("#mw-masks .mw-state").count() == 1


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
    with pytest.raises(AppError):
        client.predict(1, [[500, 60]], api_name="/segment_click")
