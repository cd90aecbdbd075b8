"""Proposals that repeat what is accepted: hidden behind a switch on the page, marked for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.project import Project
from maskwright.session import METHODS
from maskwright_app.decisions import Panel
from maskwright_app.handlers import Handlers, Words
from tests.app.batch import add_pictures, propose, region
from tests.app.conftest import Page, served
from tests.browser import needs_chromium, overlay

SHOWN = Panel(duplicates=True)


def fill(project: Project) -> None:
    """A picture with an accepted cow; a batch found the same cow once more, and a barn."""
    add_pictures(project, 1)
    project.accept(1, region(5, 35), "cow")
    propose(project, 1, cow=region(5, 34), barn=region(45, 75))


@pytest.fixture
def project(handlers: Handlers) -> Project:
    fill(handlers.session.project)
    return handlers.session.project


def test_duplicates_of_a_batch_are_counted_shown_and_accepted(handlers: Handlers, project: Project) -> None:
    hidden, shown = handlers.view(1, []), handlers.view(1, [], panel=SHOWN)
    assert "Show duplicates (1)" in hidden.legend
    assert 'aria-checked="false"' in hidden.legend
    assert hidden.legend.count("<li") == 2
    assert 'aria-checked="true"' in shown.legend
    assert shown.legend.count("<li") == 3
    assert shown.legend.count(">duplicate</abbr>") == 1
    handlers.decide_all(1, [], None, "", keep=True)
    assert sorted(one.category for one in project.annotations(1)) == ["barn", "cow"], "what is hidden is not accepted"
    handlers.decide_all(1, [], None, "", SHOWN, keep=True)
    assert sorted(one.category for one in project.annotations(1)) == ["barn", "cow", "cow"]
    assert "Show duplicates" not in handlers.view(1, []).legend


def test_a_proposal_is_a_duplicate_no_longer_when_the_mask_it_repeats_is_deleted(
    handlers: Handlers, project: Project
) -> None:
    cow = project.annotations(1)[0]
    handlers.delete_mask(cow.id, None, Panel())
    view = handlers.view(1, [])
    assert "Show duplicates" not in view.legend
    assert view.legend.count("mw-proposal") == 2


def test_a_prompt_repeated_hides_what_was_accepted(handlers: Handlers, sample_path: Path) -> None:
    image_id, _ = handlers.add_files([str(sample_path)])
    ids, notice = handlers.propose(image_id, Words("tree, giraffe", background=False))
    assert "duplicate" not in notice
    handlers.decide_all(image_id, ids, None, "", keep=True)
    kept = len(handlers.session.project.annotations(image_id))
    again, notice = handlers.propose(image_id, Words("tree, giraffe", background=False))
    assert notice.endswith(f"{kept} duplicate{'s' * (kept != 1)} hidden.")
    assert len(again) == len(ids)
    view = handlers.view(image_id, again)
    assert view.legend.count("<li") == kept
    assert f"Show duplicates ({kept})" in view.legend
    assert handlers.view(image_id, again, panel=SHOWN).legend.count("<li") == 2 * kept


def test_clicking_an_accepted_thing_is_answered(handlers: Handlers, project: Project) -> None:
    prompt, _ = handlers.click(1, None, {"x": 20, "y": 30, "sign": 1, "near": 2})
    assert prompt is not None
    handlers.decide_all(1, [], prompt, "", keep=True)
    answered, notice = handlers.click(1, None, {"x": 20, "y": 30, "sign": 1, "near": 2})
    assert answered is not None
    assert answered.proposal is not None, "who clicks wants a mask, whatever was accepted"
    assert "duplicate" not in notice
    assert handlers.view(1, [], prompt=answered).legend.count("mw-proposal") == 1
    corrected = project.annotations(1)[0]
    prompt, _ = handlers.click(1, ClickPrompt(1, corrected.id), {"x": 20, "y": 30, "sign": 1, "near": 2})
    assert prompt is not None
    assert prompt.proposal is not None


def test_other_programs_get_all_masks_whatever_was_accepted(handlers: Handlers, sample_path: Path) -> None:
    image_id, _ = handlers.add_files([str(sample_path)])
    assert image_id is not None
    method = next(method for method in METHODS.values() if method)
    asked: dict[str, Any] = {"words": "tree, giraffe, sky", "method": method}
    first = handlers.segment_text(image_id, **asked)
    assert [mask["duplicate"] for mask in first["masks"]] == [False] * len(first["masks"])
    assert len(first["masks"]) > 1
    handlers.accept([first["masks"][0]["proposal"]])
    second = handlers.segment_text(image_id, **asked)
    assert [mask["duplicate"] for mask in second["masks"]] == [True] + [False] * (len(first["masks"]) - 1)
    assert [mask["segmentation"] for mask in second["masks"]] == [mask["segmentation"] for mask in first["masks"]]
    assert second["notice"] == first["notice"]
    assert len(handlers.accept([second["masks"][0]["proposal"]])["annotations"]) == 1


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    place = tmp_path_factory.mktemp("duplicates") / "cows"
    with Project.open(place, create=True) as project:
        fill(project)
    with served(place, "--device", "cpu") as page:
        yield page


@pytest.mark.gui
@needs_chromium
def test_the_switch_on_the_page_by_keyboard(page_server: Page, tab: Any) -> None:
    switch = tab.get_by_role("switch", name="Show duplicates (1)")
    switch.wait_for()
    assert switch.get_attribute("aria-checked") == "false"
    assert tab.locator("#mw-legend li").count() == 2
    before = overlay(tab)
    switch.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#mw-legend [role=switch][aria-checked=true]")
    assert tab.locator("#mw-legend li").count() == 3
    assert not np.array_equal(before, overlay(tab)), "the picture shows it, too"
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "switch", "who uses the keyboard stays there"
    tab.locator("#mw-legend li", has_text="duplicate").locator("[data-act=accept]").click()
    tab.wait_for_selector("#mw-legend .mw-kept >> nth=1")
    with Project.open(page_server.project) as project:
        assert [one.category for one in project.annotations(1)] == ["cow", "cow"]


@pytest.mark.gui
def test_masks_are_marked_by_the_endpoint(page_server: Page) -> None:
    answer = Client(page_server.url, verbose=False).predict(1, [[20, 30, 1]], api_name="/segment_click")
    assert answer["masks"]
    assert all(mask["duplicate"] is False for mask in answer["masks"])
