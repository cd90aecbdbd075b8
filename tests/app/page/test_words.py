"""Words: the field, its keys, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.app.conftest import Page
from tests.app.page.conftest import press, stored, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]
FOCUS = "document.activeElement.id"


def chips(tab: Any) -> list[str]:
    return [str(text) for text in tab.locator("#words .chip").all_inner_texts()]


def test_enter_runs_and_leaves_the_field(tab: Any, server: Page, photo: int) -> None:
    tab.click("#words-input")
    tab.keyboard.type("grass, tree|bush")
    press(tab, "Enter")
    assert tab.evaluate(FOCUS) == "stage"
    assert chips(tab) == ["grass", "tree +1"]
    rows = wait_stored(tab, server, photo, lambda rows: len(rows) > 0, "proposed")
    tab.wait_for_selector(f"#masks .mask-row >> nth={len(rows) - 1}")
    # keys are no letters of the field now, and what is found is on disk
    press(tab, "Shift+G")
    wait_stored(tab, server, photo, lambda accepted: len(accepted) == len(rows))
    assert tab.input_value("#words-input") == ""


def test_escape_leaves_the_field_and_q_runs_from_anywhere(tab: Any) -> None:
    tab.click("#words-input")
    tab.keyboard.type("sky")
    press(tab, "Escape")
    assert tab.evaluate(FOCUS) == "stage"
    with tab.expect_request("**/ui/prompts/text") as sent:
        press(tab, "q")
    assert sent.value.post_data_json["words"] == "sky"
    tab.wait_for_selector("#busy:not(.on)", state="attached")
    press(tab, "/")
    assert tab.evaluate(FOCUS) == "words-input"


def test_every_word_without_a_mask_is_named(tab: Any) -> None:
    tab.click("#words-input")
    tab.keyboard.type("xylophone, zeppelin")
    press(tab, "Enter")
    notice = tab.locator(".notice", has_text="zeppelin")
    notice.wait_for()
    assert "xylophone" in notice.inner_text()


def test_an_answer_that_comes_late_goes_to_its_image(
    open_tab: Callable[..., Any], new_image: Callable[..., int], server: Page
) -> None:
    first, second = new_image(), new_image()
    tab = open_tab(first)
    tab.route("**/ui/prompts/text", lambda route: (tab.wait_for_timeout(800), route.continue_()))
    tab.click("#words-input")
    tab.keyboard.type("grass")
    press(tab, "Enter", "n")
    tab.wait_for_function("id => location.hash === `#${id}`", arg=second)
    assert tab.locator("#busy.on").count() == 1, "busy until the answer is there"
    tab.locator(".notice button", has_text="Go there").click()
    tab.wait_for_function("id => location.hash === `#${id}`", arg=first)
    tab.wait_for_selector("#masks .mask-row")
    assert not stored(server, second, "proposed")


def test_stop_ends_the_wait(tab: Any, server: Page, photo: int) -> None:
    tab.route("**/ui/prompts/everything", lambda route: None)
    press(tab, "o")
    tab.click("#stop")
    tab.wait_for_selector("#busy:not(.on)", state="attached")
    assert not stored(server, photo, "proposed")
