"""Method, background cleaning with its preview, refinement, and pictures found by a phrase, on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file

import maskwright as mw
from maskwright_app.handlers import Handlers, Words
from maskwright_app.samples import samples
from tests.app.conftest import Page
from tests.browser import choose, needs_chromium, overlay


def _added(handlers: Handlers, count: int) -> int:
    image_id, problems = handlers.add_files([str(sample.path) for sample in samples()[:count]])
    assert problems == []
    assert image_id is not None
    return image_id


def _nothing(done: int, total: int) -> None:
    assert done <= total


def test_the_method_that_is_chosen_answers(handlers: Handlers) -> None:
    image_id = _added(handlers, 1)
    for shown, method in (("Talk2DINO", "talk2dino"), ("dino.txt", "dinotxt"), ("Automatic", "dinov3seg")):
        ids, _ = handlers.propose(image_id, Words("cat, wall", shown, background=False))
        assert {one.provenance["method"] for one in handlers.session.open_proposals(ids)} == {method}


def test_what_cleaning_left_unlabelled_is_shown_and_never_accepted(handlers: Handlers, sample_path: Path) -> None:
    image_id, _ = handlers.add_files([str(sample_path)])
    ids, notice = handlers.propose(image_id, Words("tree, giraffe", "Talk2DINO", clean="On"))
    assert "left" in notice
    assert "unlabelled (hatched)" in notice
    view = handlers.view(image_id, ids)
    assert view.legend.count("mw-cleaned") == 1
    assert view.legend.count('data-act="accept"') == len(ids) - 1
    handlers.decide_all(image_id, ids, None, "", keep=True)
    names = {one.category for one in handlers.session.project.annotations(image_id)}
    assert names <= {"tree", "giraffe"}
    ids, notice = handlers.propose(image_id, Words("tree, giraffe", "Talk2DINO", clean="Off"))
    assert "hatched" not in notice
    assert "mw-cleaned" not in handlers.view(image_id, ids).legend


def test_refinement_is_in_the_provenance_and_changes_the_contour(handlers: Handlers) -> None:
    image_id = _added(handlers, 1)
    plain, _ = handlers.propose(image_id, Words("cat, wall", "dino.txt", background=False))
    fine, _ = handlers.propose(image_id, Words("cat, wall", "dino.txt", background=False, refine=True))
    masks = [{p.mask.category: p for p in handlers.session.open_proposals(ids)} for ids in (plain, fine)]
    assert masks[1]["cat"].provenance["parameters"]["refine"] == "pamr"
    before, after = (found["cat"].mask.to_array() for found in masks)
    assert not np.array_equal(before, after)
    assert (before & after).sum() / (before | after).sum() > 0.6


def test_pictures_are_found_by_a_phrase(handlers: Handlers) -> None:
    _added(handlers, 3)
    shown, ids, problem = handlers.find("a cat", _nothing, lambda: False)
    assert problem == ""
    assert sorted(ids) == [1, 2, 3]
    scores = [float(line.split()[0]) for _, line in shown]
    assert scores == sorted(scores, reverse=True)
    assert max(shown[0][0].size) <= 200
    calls = handlers.session.engine.encoder_calls
    assert handlers.find("a cup of coffee", _nothing, lambda: False)[1] != []
    assert handlers.session.engine.encoder_calls == calls, "a picture is looked at once"
    with pytest.raises(mw.MaskwrightError, match="Type what the pictures should show"):
        handlers.find("  ", _nothing, lambda: False)


@pytest.mark.gui
@needs_chromium
def test_preview_and_search_on_the_page(tab: Any) -> None:
    choose(tab, "giraffe")
    tab.click("#mw-method input")
    tab.get_by_role("option", name="Talk2DINO").click()
    tab.wait_for_selector("#mw-legend li")
    tab.click("#mw-clean input")
    tab.get_by_role("option", name="On").click()
    tab.wait_for_selector("#mw-legend .mw-cleaned")
    shown = overlay(tab)
    hatched = (shown[:, :, :3] == 0x80).all(axis=2) & (shown[:, :, 3] > 0)
    share = float(tab.locator("#mw-legend .mw-cleaned .mw-facts").inner_text().split("%")[0])
    assert hatched.mean() == pytest.approx(share / 200, rel=0.2), "every other stripe of what was left"
    tab.click("#mw-clean input")
    tab.get_by_role("option", name="Off").click()
    tab.wait_for_selector("#mw-legend .mw-cleaned", state="detached")
    tab.get_by_role("tab", name="Find").click()
    tab.fill("#mw-phrase textarea", "a cat")
    tab.click("#mw-find")
    tab.wait_for_selector("#mw-matches img")
    first = tab.locator("#mw-matches button img").first
    first.click()
    tab.wait_for_selector("#mw-picture img.mw-image")


@pytest.mark.gui
def test_endpoints_take_method_and_cleaning_and_find_images(page_server: Page, tmp_path: Path) -> None:
    client = Client(page_server.url, verbose=False, download_files=tmp_path)
    picture = handle_file(samples()[0].path)
    answer = client.predict(picture, "cat, wall", "talk2dino", True, None, "pamr", None, True, api_name="/segment_text")
    assert answer["categories"] == ["cat", "wall"]
    assert answer["left_unlabelled"]["counts"]
    found = client.predict("a cat", 50, api_name="/find_images")
    assert found["problems"] == []
    assert answer["image"] in {row["image"] for row in found["images"]}
