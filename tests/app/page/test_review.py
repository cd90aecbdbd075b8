"""Deciding on proposals, the list of masks, classes, and what survives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.app.conftest import Page
from tests.app.page.conftest import accept, add_class, click, disc, place, press, propose, stored, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]
SELECTED = '#masks [aria-selected="true"]'


@pytest.fixture
def proposals(server: Page, photo: int) -> int:
    """An image with four proposals beside each other, certain from 0.9 down to 0.3."""
    masks = {f"kind{n}": (disc(40 + 80 * n, 120, 25), 0.9 - 0.2 * n) for n in range(4)}
    propose(server, photo, **masks)
    return photo


def names(tab: Any) -> list[str]:
    return [str(name) for name in tab.locator("#masks .mask-row .name").all_inner_texts()]


def test_one_by_one_with_keys(open_tab: Callable[..., Any], server: Page, proposals: int) -> None:
    tab = open_tab(proposals)
    tab.wait_for_selector("#masks .mask-row >> nth=3")
    assert names(tab) == ["kind0", "kind1", "kind2", "kind3"], "the most certain first"
    press(tab, "j", "g")
    tab.locator(SELECTED, has_text="kind1").wait_for()
    press(tab, "u")
    tab.locator(SELECTED, has_text="kind2").wait_for()
    assert [row.category for row in stored(server, proposals)] == ["kind0"]
    # the rest in one step, which can be undone in one
    press(tab, "Escape", "g")
    wait_stored(tab, server, proposals, lambda rows: len(rows) == 3)
    press(tab, "Control+z")
    wait_stored(tab, server, proposals, lambda rows: len(rows) == 1)
    tab.wait_for_selector("#masks .mask-row .swatch.dashed >> nth=1")
    press(tab, "Control+Shift+Z")
    wait_stored(tab, server, proposals, lambda rows: len(rows) == 3)


def test_above_a_certainty(open_tab: Callable[..., Any], server: Page, proposals: int) -> None:
    tab = open_tab(proposals)
    tab.wait_for_selector("#masks .mask-row >> nth=3")
    tab.fill("#above", "0.6")
    assert tab.inner_text("#accept-above") == "≥ 0.60: accept 2"
    tab.click("#accept-above")
    rows = wait_stored(tab, server, proposals, lambda rows: len(rows) == 2)
    assert {row.category for row in rows} == {"kind0", "kind1"}
    tab.reload()
    tab.wait_for_selector("#masks .mask-row >> nth=3")
    assert tab.locator("#masks .swatch.dashed").count() == 2, "what is open survives a reload"


def test_image_and_list_point_at_each_other(open_tab: Callable[..., Any], proposals: int) -> None:
    tab = open_tab(proposals)
    tab.wait_for_selector("#masks .mask-row >> nth=3")
    tab.mouse.move(*place(tab, 120, 120))
    tab.locator("#tag", has_text="kind1 0.70").wait_for()
    assert tab.locator("#masks .hovered", has_text="kind1").count() == 1
    click(tab, 200, 120)
    tab.locator(SELECTED, has_text="kind2").wait_for()
    tab.locator("#masks .mask-row", has_text="kind3").click()
    tab.locator("#action-bar", has_text="kind3").wait_for()
    tab.focus("#masks")
    press(tab, "ArrowUp")
    tab.locator(SELECTED, has_text="kind2").wait_for()


def test_tab_goes_through_masks_that_overlap(open_tab: Callable[..., Any], server: Page, photo: int) -> None:
    for radius in (20, 40, 60):
        accept(server, photo, disc(160, 120, radius), f"ring{radius}")
    tab = open_tab(photo)
    tab.wait_for_selector("#masks .mask-row >> nth=2")
    click(tab, 160, 120)
    seen = []
    for _ in range(4):
        tab.wait_for_selector(SELECTED)
        seen.append(tab.inner_text(f"{SELECTED} .name"))
        press(tab, "Tab")
    assert seen == ["ring20", "ring40", "ring60", "ring20"]


def test_names_are_text_wherever_they_are_shown(open_tab: Callable[..., Any], server: Page, photo: int) -> None:
    name = '<img src=x onerror="document.title=1"><b>cow</b>'
    accept(server, photo, disc(160, 120, 40), name)
    tab = open_tab(photo)
    tab.wait_for_selector("#masks .mask-row")
    click(tab, 160, 120)
    press(tab, "m")
    tab.locator("#stage text", has_text="<b>cow</b>").wait_for()
    tab.click("#history")
    tab.locator("dialog", has_text="accepted").wait_for()
    for place_of_name in ("#classes", "#masks", "#action-bar", "#next-name", "dialog"):
        assert "<b>cow</b>" in tab.inner_text(place_of_name)
    assert tab.locator("b b, #classes img, #masks img, dialog img").count() == 0


def test_a_class_by_key(open_tab: Callable[..., Any], server: Page, photo: int) -> None:
    accept(server, photo, disc(160, 120, 40), "shrub")
    tab = open_tab(photo)
    tab.wait_for_selector("#masks .mask-row")
    add_class(tab, "hedge")
    tab.locator(".class-row", has_text="hedge").locator(".edit").click()
    tab.select_option("#class-key", "7")
    tab.locator("dialog button", has_text="Save").click()
    tab.wait_for_selector("dialog", state="detached")
    click(tab, 160, 120)
    tab.wait_for_selector(SELECTED)
    press(tab, "7")
    (mask,) = wait_stored(tab, server, photo, lambda rows: rows[0].category == "hedge")
    # merged into the other class, and back in one step
    tab.locator(".class-row", has_text="hedge").locator(".edit").click()
    tab.select_option("dialog select[aria-label^='Class that']", label="shrub")
    tab.locator("dialog button", has_text="Merge").click()
    (merged,) = wait_stored(tab, server, photo, lambda rows: rows[0].category == "shrub")
    assert merged.id == mask.id
    tab.wait_for_selector("dialog", state="detached")
    assert tab.locator(".class-row", has_text="hedge").count() == 0
    tab.focus("#stage")
    press(tab, "Control+z")
    tab.locator(".class-row", has_text="hedge").wait_for()
    assert [row.category for row in stored(server, photo)] == ["hedge"]


def test_what_another_window_does_appears(open_tab: Callable[..., Any], server: Page, photo: int) -> None:
    tab = open_tab(photo)
    accept(server, photo, disc(160, 120, 40), "pond")
    tab.locator("#masks .mask-row", has_text="pond").wait_for()
    press(tab, "s")
    click(tab, 160, 120)
    press(tab, "Delete")
    assert wait_stored(tab, server, photo, lambda rows: not rows) == []
    tab.locator(".notice button", has_text="Undo").click()
    (row,) = wait_stored(tab, server, photo, lambda rows: len(rows) == 1)
    assert row.category == "pond"


def test_what_cannot_be_written_stays_and_can_be_tried_again(
    open_tab: Callable[..., Any], server: Page, proposals: int
) -> None:
    tab = open_tab(proposals)
    tab.wait_for_selector("#masks .mask-row >> nth=3")
    tab.route(
        "**/ui/decisions", lambda route: route.fulfill(status=507, json={"error": "The disk is full.", "hint": ""})
    )
    press(tab, "Shift+G")
    tab.locator(".notice.error", has_text="The disk is full").wait_for()
    assert tab.inner_text("#saved") == "Not saved"
    assert len(names(tab)) == 4
    tab.unroute("**/ui/decisions")
    tab.locator(".notice button", has_text="Retry").click()
    wait_stored(tab, server, proposals, lambda rows: len(rows) == 4)
