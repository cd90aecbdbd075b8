"""Names for screen readers, contrast in both themes, keys, help and the first steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.app.conftest import Page
from tests.app.page.conftest import ADDRESS, accept, disc, press, propose, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]

NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, [role]')]
    .filter((one) => one.checkVisibility() && !one.closest('[aria-hidden=true]'))
    .filter((one) => !['presentation', 'status', 'alert', 'banner'].includes(one.role))
    .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length || one.title))
    .map((one) => one.outerHTML.slice(0, 120))"""
FAINT = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const color = parse(getComputedStyle(one).backgroundColor);
            if (color.length < 4 || color[3] > 0.8) return color;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!text || !element.checkVisibility() || element.closest('svg, :disabled, .unseen, option')) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push([element.className, element.textContent.slice(0, 30), contrast.toFixed(2)]);
    }
    return faint;
}"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_control_has_a_name_and_every_text_contrast(
    open_tab: Callable[..., Any], server: Page, photo: int, scheme: str
) -> None:
    propose(server, photo, cow=(disc(100, 100, 30), 0.8))
    accept(server, photo, disc(200, 100, 30), "rock")
    tab = open_tab(photo, color_scheme=scheme)
    tab.wait_for_selector("#masks .mask-row >> nth=1")
    press(tab, "j")
    tab.wait_for_selector("#action-bar #accept")
    states: list[Callable[[], Any]] = [
        lambda: None,
        lambda: tab.click("#open-settings"),
        lambda: press(tab, "Escape", "?"),
    ]
    for show in states:
        show()
        tab.wait_for_timeout(100)
        assert tab.evaluate(NAMELESS) == []
        assert tab.evaluate(FAINT) == []


def test_a_walk_with_keys_alone(open_tab: Callable[..., Any], new_image: Callable[..., int], server: Page) -> None:
    first, second = new_image(), new_image()
    tab = open_tab(first)
    press(tab, "/")
    tab.keyboard.type("grass, tree")
    press(tab, "Enter")
    tab.wait_for_selector("#masks .mask-row")
    tab.wait_for_selector("#busy:not(.on)", state="attached")
    press(tab, "j", "g")
    accepted = wait_stored(tab, server, first, lambda rows: len(rows) == 1)
    press(tab, "n")
    tab.wait_for_function("id => location.hash === `#${id}`", arg=second)
    press(tab, "Shift+N")
    tab.wait_for_function("id => location.hash === `#${id}`", arg=first)
    tab.locator(f'#masks [data-key="stored:{accepted[0].id}"]').wait_for()
    tab.focus("#masks")
    press(tab, "Home")
    for _ in range(tab.locator("#masks .mask-row").count()):
        if tab.locator(f'#masks [data-key="stored:{accepted[0].id}"][aria-selected="true"]').count():
            break
        press(tab, "ArrowDown")
    press(tab, "Delete")
    wait_stored(tab, server, first, lambda rows: not rows)


def test_help_lists_the_keys_and_first_steps_come_once(browser: Any, server: Page, photo: int) -> None:
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"{server.url}{ADDRESS}#{photo}")
    for _ in range(3):
        tab.click("#walk-next")
    tab.wait_for_selector(".walk", state="detached")
    tab.reload()
    tab.wait_for_selector("body[data-ready]")
    assert tab.locator(".walk").count() == 0
    press(tab, "?")
    keys = tab.locator("#help kbd").all_inner_texts()
    assert {"S", "C", "B", "G", "Q", "Ctrl+Z"} <= set(keys)
    assert len(keys) == len(set(keys)), "one key each"
    press(tab, "Escape")
    tab.wait_for_selector("#help", state="detached")
    context.close()
