"""Find like this: a reference is picked on the page, and the next pictures show its like."""

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
from tests.app.conftest import Page, served
from tests.browser import CHROMIUM, needs_chromium, overlay

BOXES = ((16, 16, 48, 40), (64, 40, 40, 44), (30, 30, 50, 44))


def fill(project: Project, rng: np.random.Generator) -> None:
    """Three pictures of a green box on red ground; the first one's box and a piece of its ground are accepted."""
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
def project(handlers: Handlers, rng: np.random.Generator) -> Project:
    fill(handlers.session.project, rng)
    return handlers.session.project


def test_a_reference_is_marked_looked_for_and_taken_back(handlers: Handlers, project: Project) -> None:
    box, ground = project.annotations()
    assert handlers.mark(box.id, None, shows=True) == "box <1>"
    assert 'aria-pressed="true"' in handlers.view(1, [], looked_for="box <1>").legend
    assert handlers.mark(ground.id, "box <1>", shows=False) == "box <1>"
    bar = handlers.like_bar("box <1>")
    assert bar.count("<img") == 2
    assert "box &lt;1&gt;" in bar
    assert "<1>" not in bar
    shows, not_this = project.references("box <1>")
    assert ([one.annotation_uid for one in shows], [one.annotation_uid for one in not_this]) == (
        [box.uid],
        [ground.uid],
    )
    assert handlers.mark(box.id, None, shows=True) == "box <1>"
    assert len(project.store.references.all()) == 2, "looked for again, not taken back"
    handlers.mark(box.id, "box <1>", shows=True)
    handlers.mark(ground.id, "box <1>", shows=False)
    assert project.store.references.all() == []
    with pytest.raises(MaskwrightError, match="Find like this first"):
        handlers.mark(ground.id, None, shows=False)


def test_pictures_are_turned_and_asked_only_where_the_category_lacks(handlers: Handlers, project: Project) -> None:
    assert [handlers.neighbour(1, by) for by in (-1, 1)] == [1, 2]
    assert [handlers.neighbour(3, by) for by in (-1, 1)] == [2, 3]
    assert handlers.neighbour(None, 1) == 1
    assert not handlers.wants_like(1, "box <1>")
    assert handlers.wants_like(2, "box <1>")
    assert not handlers.wants_like(2, None)
    ids, notice = handlers.propose_like(2, "box <1>")
    (proposal,) = handlers.session.open_proposals(ids)
    x, y, w, h = BOXES[1]
    truth = np.zeros((96, 128), bool)
    truth[y : y + h, x : x + w] = True
    found = proposal.mask.to_array()
    assert (found & truth).sum() / (found | truth).sum() > 0.8
    assert notice == ""
    with pytest.raises(MaskwrightError, match="select an image"):
        handlers.propose_like(None, "box <1>")


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    place = tmp_path_factory.mktemp("like") / "boxes"
    with Project.open(place, create=True) as project:
        fill(project, np.random.default_rng(1))
    with served(place, "--device", "cpu") as page:
        yield page


@pytest.mark.gui
@needs_chromium
def test_the_like_of_a_mask_on_the_next_pictures(page_server: Page, tab: Any) -> None:
    assert CHROMIUM
    tab.wait_for_selector("#mw-picture img.mw-image")
    title = tab.locator("#mw-title")
    for _ in range(2):
        before = tab.get_attribute("#mw-picture img.mw-image", "alt")
        title.click()
        tab.keyboard.press("Shift+N")
        tab.wait_for_function("before => document.querySelector('#mw-picture img.mw-image').alt !== before", arg=before)
    tab.click("#mw-legend [data-act=like] >> nth=0")
    tab.wait_for_selector(".mw-like img")
    assert "box <1>" in tab.inner_text(".mw-like")
    title.click()
    tab.keyboard.press("n")
    tab.wait_for_selector("#mw-legend [data-act=accept]")
    x, y, w, h = BOXES[1]
    covered = overlay(tab)[:, :, 3] > 0
    assert covered[y + 4 : y + h - 4, x + 4 : x + w - 4].mean() > 0.9
    tab.keyboard.press("g")
    tab.wait_for_selector("#mw-legend .mw-kept")
    tab.keyboard.press("n")
    tab.wait_for_selector("#mw-legend [data-act=accept]")
    tab.click(".mw-like [data-act=stop]")
    tab.wait_for_selector(".mw-like", state="detached")
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
    with pytest.raises(AppError, match="no mask 77"):
        client.predict(3, [77], api_name="/segment_like")
    with pytest.raises(AppError, match="no reference"):
        client.predict(3, [], api_name="/segment_like")
