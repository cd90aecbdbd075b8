"""Brush, eraser, polygon, lasso, outline points, holes and specks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.app.conftest import Page
from tests.app.page.conftest import (
    accept,
    add_class,
    click,
    disc,
    drag,
    press,
    propose,
    stored,
    wait_stored,
)
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]


def select(tab: Any, x: float, y: float) -> None:
    tab.wait_for_selector("#masks .mask-row")
    press(tab, "s")
    click(tab, x, y)
    tab.wait_for_selector('#masks [aria-selected="true"]')


def test_a_stroke_of_the_brush_is_a_revision(tab: Any, server: Page, photo: int) -> None:
    accept(server, photo, disc(100, 100, 30), "giraffe")
    before = stored(server, photo)[0].mask.area
    select(tab, 100, 100)
    press(tab, "b")
    drag(tab, (110, 100), (200, 100))
    row = wait_stored(tab, server, photo, lambda rows: rows[0].revision == 2)[0]
    assert row.mask.area > before + 1000
    assert row.mask.to_array()[100, 199]
    press(tab, "e")
    drag(tab, (100, 60), (100, 140))
    row = wait_stored(tab, server, photo, lambda rows: rows[0].revision == 3)[0]
    assert not row.mask.to_array()[100, 100]
    press(tab, "Control+z")
    tab.locator(".notice", has_text="Undone").wait_for()
    assert stored(server, photo)[0].mask.to_array()[100, 100]


def test_a_painted_mask_waits_for_its_name(tab: Any, server: Page, photo: int) -> None:
    press(tab, "b")
    drag(tab, (50, 50), (80, 50))
    tab.wait_for_selector("#action-bar #keep")
    press(tab, "Enter")
    notice = tab.locator(".notice", has_text="What is it")
    notice.wait_for()
    box, bar = notice.bounding_box(), tab.locator("#action-bar").bounding_box()
    assert box["y"] + box["height"] <= bar["y"], "the question does not cover the answer"
    drag(tab, (50, 90), (80, 90))
    press(tab, "z")
    add_class(tab, "grass")
    tab.click("#keep")
    row = wait_stored(tab, server, photo, lambda rows: len(rows) == 1)[0]
    inside = row.mask.to_array()
    assert row.category == "grass"
    assert inside[50, 65]
    assert not inside[90, 65], "Z took the second stroke back"
    assert row.source == "manual"


def test_a_polygon_is_exact(tab: Any, server: Page, photo: int) -> None:
    add_class(tab, "sky")
    press(tab, "p")
    for x, y in ((40, 40), (140, 40), (140, 100), (40, 100)):
        click(tab, x, y)
    press(tab, "Enter", "Enter")
    row = wait_stored(tab, server, photo, lambda rows: len(rows) == 1)[0]
    assert row.category == "sky"
    assert row.mask.bbox == (40, 40, 100, 60)
    assert row.mask.area == 6000
    # the new mask is selected: the lasso cuts out of it with Alt
    press(tab, "l")
    tab.keyboard.down("Alt")
    drag(tab, (60, 50), (80, 50), (80, 70), (60, 70))
    tab.keyboard.up("Alt")
    row = wait_stored(tab, server, photo, lambda rows: rows[0].revision == 2)[0]
    assert not row.mask.to_array()[60, 70]
    press(tab, "f")
    wait_stored(tab, server, photo, lambda rows: rows[0].mask.area == 6000)


def test_points_of_an_outline_can_be_dragged(tab: Any, server: Page, photo: int) -> None:
    square = np.zeros((240, 320), bool)
    square[60:120, 60:120] = True
    accept(server, photo, square, "rock")
    select(tab, 90, 90)
    press(tab, "t")
    tab.wait_for_function("() => document.querySelectorAll('#stage .mark-handle').length === 4")
    drag(tab, (120, 120), (160, 160))
    row = wait_stored(tab, server, photo, lambda rows: rows[0].revision == 2)[0]
    assert row.mask.to_array()[150, 150]
    assert row.mask.to_array()[61, 61]
    # a press on the line adds a point
    drag(tab, (60, 90), (30, 90))
    row = wait_stored(tab, server, photo, lambda rows: rows[0].revision == 3)[0]
    assert row.mask.to_array()[90, 40]


def test_specks_go(tab: Any, server: Page, photo: int) -> None:
    mask = disc(100, 100, 40) | disc(250, 200, 3)
    accept(server, photo, mask, "rock")
    select(tab, 100, 100)
    press(tab, "x")
    row = wait_stored(tab, server, photo, lambda rows: rows[0].revision == 2)[0]
    assert (row.mask.to_array() == disc(100, 100, 40)).all()


def test_a_proposal_can_be_corrected_before_it_is_accepted(tab: Any, server: Page, photo: int) -> None:
    propose(server, photo, cow=(disc(100, 100, 30), 0.8))
    select(tab, 100, 100)
    press(tab, "b")
    drag(tab, (110, 100), (150, 100))
    larger = disc(100, 100, 30).sum() + 300
    wait_stored(tab, server, photo, lambda rows: rows[0].mask.area > larger, "proposed")
    press(tab, "g")
    row = wait_stored(tab, server, photo, lambda rows: len(rows) == 1)[0]
    assert row.category == "cow"
    assert row.mask.area > larger
