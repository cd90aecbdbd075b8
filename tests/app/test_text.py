"""Text method, background cleaning with its preview, refinement, and search by a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file

from maskwright.errors import UsageError
from maskwright.project import Project
from maskwright.session import NO_PROGRESS
from maskwright_app.handlers import Handlers, TextQuery
from maskwright_app.samples import samples
from maskwright_app.tab import Tab
from tests.app.conftest import Page
from tests.browser import choose, needs_chromium, overlay


@pytest.fixture
def tab_with_cat(handlers: Handlers) -> Tab:
    image_id, problems = handlers.add_files([str(samples()[0].path)])
    assert problems == []
    return Tab(image_id)


def test_the_chosen_method_is_used(handlers: Handlers, tab_with_cat: Tab) -> None:
    for shown, method in (("Talk2DINO", "talk2dino"), ("dino.txt", "dinotxt"), ("Automatic", "dinov3seg")):
        tab, _ = handlers.propose_text(tab_with_cat, TextQuery("cat, wall", shown, background=False))
        assert {p.provenance["method"] for p in handlers.session.open_proposals(tab.proposals)} == {method}


def test_the_cleaning_preview_is_shown_and_never_accepted(
    handlers: Handlers, empty_project: Project, sample_path: Path
) -> None:
    image_id, _ = handlers.add_files([str(sample_path)])
    tab, notice = handlers.propose_text(Tab(image_id), TextQuery("tree, giraffe", "Talk2DINO", cleaning="On"))
    assert "unlabelled (hatched)" in notice
    view = handlers.view(tab)
    assert view.masks.count("mw-cleaning") == 1
    assert view.masks.count('data-act="accept"') == len(tab.proposals) - 1
    handlers.decisions.decide_all(tab, "", accept=True)
    assert {row.category for row in empty_project.annotations(image_id)} <= {"tree", "giraffe"}
    tab, notice = handlers.propose_text(tab, TextQuery("tree, giraffe", "Talk2DINO", cleaning="Off"))
    assert "hatched" not in notice
    assert "mw-cleaning" not in handlers.view(tab).masks


def test_refinement_is_in_the_provenance_and_changes_the_contour(handlers: Handlers, tab_with_cat: Tab) -> None:
    cats = []
    for refine in (False, True):
        tab, _ = handlers.propose_text(
            tab_with_cat, TextQuery("cat, wall", "dino.txt", background=False, refine=refine)
        )
        cats += [p for p in handlers.session.open_proposals(tab.proposals) if p.mask.category == "cat"]
    plain, refined = cats
    assert refined.provenance["parameters"]["refine"] == "pamr"
    before, after = plain.mask.to_array(), refined.mask.to_array()
    assert not np.array_equal(before, after)
    assert (before & after).sum() / (before | after).sum() > 0.6


def test_images_are_found_by_a_phrase(handlers: Handlers) -> None:
    handlers.add_files([str(sample.path) for sample in samples()[:3]])
    result = handlers.search("a cat", NO_PROGRESS)
    assert result.problem == ""
    assert sorted(result.image_ids) == [1, 2, 3]
    scores = [float(caption.split()[0]) for _, caption in result.thumbnails]
    assert scores == sorted(scores, reverse=True)
    assert max(result.thumbnails[0][0].size) <= 200
    calls = handlers.session.engine.encoder_calls
    assert handlers.search("a cup of coffee", NO_PROGRESS).image_ids != []
    assert handlers.session.engine.encoder_calls == calls, "an image is encoded once"
    with pytest.raises(UsageError):
        handlers.search("  ", NO_PROGRESS)


@pytest.mark.gui
@needs_chromium
def test_preview_and_search_on_the_page(tab: Any) -> None:
    choose(tab, "giraffe")
    tab.click("#mw-method input")
    tab.get_by_role("option", name="Talk2DINO").click()
    tab.wait_for_selector("#mw-masks li")
    tab.click("#mw-clean input")
    tab.get_by_role("option", name="On").click()
    tab.wait_for_selector("#mw-masks .mw-cleaning")
    shown = overlay(tab)
    hatched = (shown[:, :, :3] == 0x80).all(axis=2) & (shown[:, :, 3] > 0)
    share = float(tab.locator("#mw-masks .mw-cleaning .mw-facts").inner_text().split("%")[0])
    assert hatched.mean() == pytest.approx(share / 200, rel=0.2), "every other stripe"
    tab.click("#mw-clean input")
    tab.get_by_role("option", name="Off").click()
    tab.wait_for_selector("#mw-masks .mw-cleaning", state="detached")
    tab.get_by_role("tab", name="Search").click()
    tab.fill("#mw-phrase textarea", "a cat")
    tab.click("#mw-search")
    tab.wait_for_selector("#mw-matches img")
    first = tab.locator("#mw-matches button img").first
    first.click()
    tab.wait_for_selector("#mw-figure img.mw-image")


@pytest.mark.gui
def test_endpoints_take_method_and_cleaning_and_find_images(page_server: Page, tmp_path: Path) -> None:
    client = Client(page_server.url, verbose=False, download_files=tmp_path)
    image = handle_file(samples()[0].path)
    answer = client.predict(image, "cat, wall", "talk2dino", True, None, "pamr", None, True, api_name="/segment_text")
    assert answer["categories"] == ["cat", "wall"]
    assert answer["left_unlabelled"]["counts"]
    found = client.predict("a cat", 50, api_name="/find_images")
    assert found["problems"] == []
    assert answer["image"] in {row["image"] for row in found["images"]}
