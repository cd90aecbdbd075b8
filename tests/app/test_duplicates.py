"""Proposals that repeat what is accepted: hidden behind a switch on the page, marked for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client

from maskwright.project import Project
from maskwright_app.handlers import Handlers, TextQuery
from maskwright_app.tab import Tab
from tests.app.batch import add_images, propose, region
from tests.app.conftest import Page, served
from tests.browser import needs_chromium, overlay

SHOWN = Tab(1, show_duplicates=True)


def fill(project: Project) -> None:
    """An image with an accepted cow; a batch found the same cow once more, and a barn."""
    add_images(project, 1)
    project.accept(1, region(5, 35), "cow")
    propose(project, 1, cow=region(5, 34), barn=region(45, 75))


@pytest.fixture
def project(empty_project: Project) -> Project:
    fill(empty_project)
    return empty_project


def test_duplicates_of_a_batch_are_counted_shown_and_accepted(handlers: Handlers, project: Project) -> None:
    hidden, shown = handlers.view(Tab(1)), handlers.view(SHOWN)
    assert "Show duplicates (1)" in hidden.masks
    assert 'aria-checked="false"' in hidden.masks
    assert hidden.masks.count("<li") == 2
    assert 'aria-checked="true"' in shown.masks
    assert shown.masks.count("<li") == 3
    assert shown.masks.count(">duplicate</abbr>") == 1
    handlers.decisions.decide_all(Tab(1), "", accept=True)
    assert sorted(row.category for row in project.annotations(1)) == ["barn", "cow"], "what is hidden is not accepted"
    handlers.decisions.decide_all(SHOWN, "", accept=True)
    assert sorted(row.category for row in project.annotations(1)) == ["barn", "cow", "cow"]
    assert "Show duplicates" not in handlers.view(Tab(1)).masks


def test_a_proposal_is_a_duplicate_no_longer_when_the_mask_it_repeats_is_deleted(
    handlers: Handlers, project: Project
) -> None:
    cow = project.annotations(1)[0]
    handlers.decisions.delete(Tab(1), cow.id)
    view = handlers.view(Tab(1))
    assert "Show duplicates" not in view.masks
    assert view.masks.count("mw-proposal") == 2


def test_a_repeated_prompt_hides_what_was_accepted(
    handlers: Handlers, empty_project: Project, sample_path: Path
) -> None:
    image_id, _ = handlers.add_files([str(sample_path)])
    query = TextQuery("tree, giraffe", background=False)
    tab, notice = handlers.propose_text(Tab(image_id), query)
    assert "duplicate" not in notice
    handlers.decisions.decide_all(tab, "", accept=True)
    accepted = len(empty_project.annotations(image_id))
    again, notice = handlers.propose_text(Tab(image_id), query)
    assert f"{accepted} duplicate" in notice
    assert len(again.proposals) == len(tab.proposals)
    view = handlers.view(again)
    assert view.masks.count("<li") == accepted
    assert f"Show duplicates ({accepted})" in view.masks
    assert handlers.view(replace(again, show_duplicates=True)).masks.count("<li") == 2 * accepted


def test_a_click_on_an_accepted_mask_is_answered(handlers: Handlers, project: Project) -> None:
    step = {"x": 20, "y": 30, "label": 1, "near": 2}
    tab, _ = handlers.click(Tab(1), step)
    handlers.decisions.decide_all(tab, "", accept=True)
    tab, notice = handlers.click(Tab(1), step)
    assert tab.prompt is not None
    assert tab.prompt.proposal is not None, "a click is never a duplicate"
    assert "duplicate" not in notice
    assert handlers.view(tab).masks.count("mw-proposal") == 1
    tab, _ = handlers.click(handlers.correct(Tab(1), project.annotations(1)[0].id), step)
    assert tab.prompt is not None
    assert tab.prompt.proposal is not None


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("duplicates") / "cows"
    with Project.open(folder, create=True) as project:
        fill(project)
    with served(folder, "--device", "cpu") as page:
        yield page


@pytest.mark.gui
@needs_chromium
def test_the_switch_on_the_page_by_keyboard(page_server: Page, tab: Any) -> None:
    switch = tab.get_by_role("switch", name="Show duplicates (1)")
    switch.wait_for()
    assert switch.get_attribute("aria-checked") == "false"
    assert tab.locator("#mw-masks li").count() == 2
    before = overlay(tab)
    switch.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#mw-masks [role=switch][aria-checked=true]")
    assert tab.locator("#mw-masks li").count() == 3
    assert not np.array_equal(before, overlay(tab)), "the image shows it, too"
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "switch", "the keyboard focus stays there"
    tab.locator("#mw-masks li", has_text="duplicate").locator("[data-act=accept]").click()
    tab.wait_for_selector("#mw-masks .mw-state >> nth=1")
    with Project.open(page_server.project) as project:
        assert [row.category for row in project.annotations(1)] == ["cow", "cow"]


@pytest.mark.gui
def test_masks_are_marked_by_the_endpoint(page_server: Page) -> None:
    answer = Client(page_server.url, verbose=False).predict(1, [[20, 30, 1]], api_name="/segment_click")
    assert answer["masks"]
    assert all(mask["duplicate"] is False for mask in answer["masks"])
