"""References: an accepted mask is chosen on the page, and its category is found on the next images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

import maskwright as mw
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright_app.handlers import Handlers
from maskwright_app.tab import Tab
from tests.app.conftest import Page, served
from tests.browser import needs_chromium, overlay

BOXES = ((16, 16, 48, 40), (64, 40, 40, 44), (30, 30, 50, 44))


def fill(project: Project, rng: np.random.Generator) -> None:
    """Three images of a green box on red ground; the first one's box and a piece of its ground are accepted."""
    for number, (x, y, w, h) in enumerate(BOXES):
        pixels = rng.integers(0, 40, (96, 128, 3), dtype=np.uint8)
        pixels[..., 0] += 150
        pixels[y : y + h, x : x + w] = (40, 160, 50)
        image = mw.Image(pixels)
        project.images.register(image)
        if not number:
            box = np.zeros((96, 128), bool)
            box[y : y + h, x : x + w] = True
            ground = np.zeros_like(box)
            ground[:10] = True
            project.accept(image, box, "box <1>")
            project.accept(image, ground, "ground")


@pytest.fixture
def project(empty_project: Project, rng: np.random.Generator) -> Project:
    fill(empty_project, rng)
    return empty_project


def test_references_are_chosen_searched_for_and_taken_back(handlers: Handlers, project: Project) -> None:
    box, ground = project.annotations()
    tab = handlers.toggle_reference(Tab(1), box.id)
    assert tab.search_category == "box <1>"
    assert 'aria-pressed="true"' in handlers.view(tab).masks
    assert handlers.toggle_reference(tab, ground.id, negative=True) == tab
    bar = handlers.reference_bar("box <1>")
    assert bar.count("<img") == 2
    assert "box &lt;1&gt;" in bar
    assert "<1>" not in bar
    references, negative = project.references("box <1>")
    assert ([row.annotation_uid for row in references], [row.annotation_uid for row in negative]) == (
        [box.uid],
        [ground.uid],
    )
    assert handlers.toggle_reference(Tab(1), box.id) == tab
    assert len(project.store.references.all()) == 2, "searched for again, not taken back"
    handlers.toggle_reference(tab, box.id)
    handlers.toggle_reference(tab, ground.id, negative=True)
    assert project.store.references.all() == []
    with pytest.raises(MaskwrightError):
        handlers.toggle_reference(Tab(1), ground.id, negative=True)


def test_an_image_is_searched_unless_it_has_the_category(handlers: Handlers, project: Project) -> None:
    searching = Tab(1, search_category="box <1>")
    for tab, image_id in ((searching, 1), (Tab(1), 2)):
        assert handlers.open_image(tab, image_id) == (tab.with_image(image_id), "")
    tab, notice = handlers.open_image(searching, 2)
    (proposal,) = handlers.session.open_proposals(tab.proposals)
    x, y, w, h = BOXES[1]
    truth = np.zeros((96, 128), bool)
    truth[y : y + h, x : x + w] = True
    mask = proposal.mask.to_array()
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    assert notice == ""


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("like") / "boxes"
    with Project.open(folder, create=True) as project:
        fill(project, np.random.default_rng(1))
    with served(folder, "--device", "cpu") as page:
        yield page


@pytest.mark.gui
@needs_chromium
def test_a_reference_is_found_on_the_next_images(page_server: Page, tab: Any) -> None:
    tab.wait_for_selector("#mw-figure img.mw-image")
    title = tab.locator("#mw-title")
    for _ in range(2):
        before = tab.get_attribute("#mw-figure img.mw-image", "alt")
        title.click()
        tab.keyboard.press("Shift+N")
        tab.wait_for_function("before => document.querySelector('#mw-figure img.mw-image').alt !== before", arg=before)
    tab.click("#mw-masks [data-act=reference] >> nth=0")
    tab.wait_for_selector(".mw-references img")
    assert "box <1>" in tab.inner_text(".mw-references")
    title.click()
    tab.keyboard.press("n")
    tab.wait_for_selector("#mw-masks [data-act=accept]")
    x, y, w, h = BOXES[1]
    covered = overlay(tab)[:, :, 3] > 0
    assert covered[y + 4 : y + h - 4, x + 4 : x + w - 4].mean() > 0.9
    tab.keyboard.press("g")
    tab.wait_for_selector("#mw-masks .mw-state")
    tab.keyboard.press("n")
    tab.wait_for_selector("#mw-masks [data-act=accept]")
    tab.click(".mw-references [data-act=stop]")
    tab.wait_for_selector(".mw-references", state="detached")
    with Project.open(page_server.project) as project:
        assert [a.source for a in project.annotations(2)] == ["reference"]
        assert [m.annotation_id for m in project.store.references.all()] == [1]


@pytest.mark.gui
def test_segment_like_from_another_program(page_server: Page) -> None:
    client = Client(page_server.url, verbose=False)
    answer = client.predict(3, [1], api_name="/segment_like")
    assert (answer["image"], answer["categories"]) == (3, ["box <1>"])
    (mask,) = answer["masks"]
    assert mask["segmentation"]["size"] == [96, 128]
    kept = client.predict([mask["proposal"]], api_name="/accept")
    assert kept["annotations"][0]["state"] == "accepted"
    with pytest.raises(AppError):
        client.predict(3, [77], api_name="/segment_like")
    with pytest.raises(AppError):
        client.predict(3, [], api_name="/segment_like")
