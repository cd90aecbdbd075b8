"""Clicks and boxes: marks at once, none lost, and the name is visible before a mask is kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.conftest import Page
from tests.app.page.conftest import accept, add_class, click, disc, drag, place, press, stored, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]


def test_six_clicks_within_100_ms_are_six_points(tab: Any) -> None:
    press(tab, "c")
    places = [place(tab, 60 + 30 * n, 120) for n in range(6)]
    sent: list[Any] = []
    tab.on("request", lambda request: sent.append(request) if request.url.endswith("/ui/prompts/click") else None)
    marks = tab.evaluate(
        """async (places) => {
            const stage = document.querySelector('#stage');
            stage.setPointerCapture = () => {};
            for (const [clientX, clientY] of places) {
                const point = { clientX, clientY, pointerId: 1, pointerType: 'mouse', bubbles: true, button: 0 };
                stage.dispatchEvent(new PointerEvent('pointerdown', { ...point, buttons: 1 }));
                stage.dispatchEvent(new PointerEvent('pointerup', point));
                await new Promise((resolve) => setTimeout(resolve, 10));
            }
            await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
            return document.querySelectorAll('#stage g.positive').length;
        }""",
        [list(xy) for xy in places],
    )
    assert marks == 6, "marks are there before any answer"
    tab.wait_for_selector("#keep:not([disabled])")
    asked = [len(request.post_data_json["points"]) for request in sent]
    assert asked[-1] == 6
    assert len(asked) < 6, "what waits is asked together"


def test_a_click_is_where_it_was_pressed_at_any_zoom(tab: Any) -> None:
    press(tab, "c")
    for zoom in range(3):
        with tab.expect_request("**/ui/prompts/click") as sent:
            click(tab, 150.5, 80.5)
        x, y, label = sent.value.post_data_json["points"][0]
        assert abs(x - 150.5) < 0.6
        assert abs(y - 80.5) < 0.6
        assert label == 1
        press(tab, "Escape", *["+"] * (zoom + 1))


def test_a_mask_is_kept_under_the_name_on_screen_and_never_without(tab: Any, server: Page, photo: int) -> None:
    press(tab, "c")
    click(tab, 160, 120)
    tab.wait_for_selector("#keep:not([disabled])")
    press(tab, "g")
    tab.locator(".notice", has_text="What is it").wait_for()
    assert not stored(server, photo)
    add_class(tab, "giraffe")
    assert "giraffe" in tab.inner_text("#action-bar")
    tab.click("#keep")
    rows = wait_stored(tab, server, photo, lambda rows: len(rows) == 1)
    assert rows[0].category == "giraffe"
    tab.locator("#masks .mask-row", has_text="giraffe").wait_for()
    assert tab.locator("#stage g.positive").count() == 0


def test_signs_a_box_and_taking_back(tab: Any) -> None:
    press(tab, "c")
    with tab.expect_request("**/ui/prompts/click") as sent:
        drag(tab, (60, 40), (200, 180))
    box = sent.value.post_data_json["box"]
    assert [round(edge) for edge in box] == [60, 40, 200, 180]
    tab.wait_for_selector("#keep:not([disabled])")
    tab.keyboard.down("Shift")
    click(tab, 70, 170)
    tab.keyboard.up("Shift")
    tab.wait_for_selector("#stage g.negative")
    press(tab, "k")
    click(tab, 190, 50)
    tab.wait_for_function("() => document.querySelectorAll('#stage g.negative').length === 2")
    press(tab, "z", "z")
    tab.wait_for_function("() => document.querySelectorAll('#stage g').length === 0")
    assert tab.locator("#stage .mark-box").count() == 1
    press(tab, "Escape")
    tab.wait_for_function("() => document.querySelectorAll('#stage .mark-box').length === 0")


def test_clicks_correct_the_selected_mask(tab: Any, server: Page, photo: int) -> None:
    mask = accept(server, photo, disc(160, 120, 30), "giraffe")
    tab.wait_for_selector("#masks .mask-row")
    click(tab, 160, 120)
    tab.wait_for_selector('#masks [aria-selected="true"]')
    press(tab, "c")
    with tab.expect_request("**/ui/prompts/click") as sent:
        click(tab, 200, 120)
    assert sent.value.post_data_json["corrects"] == mask
    tab.wait_for_selector("#keep:not([disabled])")
    press(tab, "g")
    rows = wait_stored(tab, server, photo, lambda rows: [row.revision for row in rows] == [2])
    assert rows[0].id == mask
    assert rows[0].category == "giraffe"
