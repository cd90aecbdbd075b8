"""Names for screen readers, contrast in both themes, keys, help and the first steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maskwright_app.security import _login_page
from tests.app.conftest import Page
from tests.app.node import node_modules
from tests.app.page.conftest import ADDRESS, accept, click, disc, drag, press, propose, stored, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]

NAME = "(one) => one.id || one.getAttribute('aria-label') || one.title || one.textContent"
CONTROLS = f"""() => [...document.querySelectorAll('button, input, select, [tabindex="0"]')]
    .filter((one) => one.checkVisibility() && one.tabIndex >= 0 && !one.disabled && one.type !== 'file').map({NAME})"""
FOCUSED = f"""() => {{
    const one = document.activeElement;
    const marked = (element) => {{
        const {{ outlineStyle, boxShadow }} = getComputedStyle(element);
        return outlineStyle !== 'none' || boxShadow !== 'none';
    }};
    return [({NAME})(one), one === document.body || marked(one) || marked(one.parentElement)];
}}"""
PANELS = ("settings", "batch", "files", "finetune", "compare")
SERIOUS = """async (region) => {
    const { violations } = await axe.run(document.querySelector(region), { resultTypes: ['violations'] });
    return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
        .map(({ id, nodes }) => [id, ...nodes.slice(0, 3).map((node) => node.html.slice(0, 120))]);
}"""
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


def found(tab: Any, region: str = "body") -> list[str]:
    """What axe calls serious, and text without contrast in one of the themes."""
    if not tab.evaluate("'axe' in window"):
        tab.evaluate((node_modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    problems = [str(row) for row in tab.evaluate(SERIOUS, region)]
    for theme in ("light", "dark"):
        tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        problems += [f"{theme} {row}" for row in tab.evaluate(FAINT)]
    return problems


def test_axe_finds_nothing_serious_in_any_state(
    open_tab: Callable[..., Any], new_image: Callable[..., int], server: Page
) -> None:
    photo, _ = new_image(), new_image()
    propose(server, photo, cow=(disc(100, 100, 30), 0.8))
    accept(server, photo, disc(200, 100, 30), "rock")
    tab = open_tab(photo)

    def show_dialog(opener: str) -> None:
        tab.locator(opener).first.click()
        tab.wait_for_selector("dialog[open]")

    def start_clicks() -> None:
        press(tab, "Escape", "Escape", "c")
        click(tab, 250, 200)
        tab.wait_for_selector("#keep:not([disabled])")

    def start_drawing() -> None:
        press(tab, "Escape", "b")
        drag(tab, (250, 200), (270, 200))
        tab.wait_for_selector("#action-bar #keep")

    def fail() -> None:
        press(tab, "Escape")
        tab.route("**/ui/prompts/everything", lambda route: route.fulfill(status=507, json={"error": "Full."}))
        press(tab, "o")
        tab.wait_for_selector(".notice.error")

    tab.wait_for_selector("#masks .mask-row >> nth=1")
    states: dict[str, tuple[str, Callable[[], Any]]] = {
        "masks": ("html", lambda: press(tab, "j")),
        "history": ("dialog", lambda: (press(tab, "s"), click(tab, 200, 100), show_dialog("#history"))),
        "class": ("dialog", lambda: (press(tab, "Escape"), show_dialog(".class-row .edit"))),
        "clicks": ("#center", start_clicks),
        "drawing": ("#center", start_drawing),
        "error": ("#center", fail),
        **{name: ("#drawer", lambda name=name: tab.click(f"#open-{name}")) for name in PANELS},  # type: ignore[misc]
        "help": ("dialog", lambda: press(tab, "Escape", "?")),
        "no masks": ("#side", lambda: (press(tab, "Escape", "n"), tab.wait_for_selector("#masks .empty"))),
    }
    problems: dict[str, str] = {}
    for name, (region, show) in states.items():
        show()
        tab.wait_for_timeout(100)
        problems |= {problem: name for problem in found(tab, region) if problem not in problems}
    tab.set_content(_login_page("Wrong name or password.").body.decode())
    problems |= dict.fromkeys(found(tab), "login")
    said = "\n".join(f"{name}: {problem}" for problem, name in problems.items())
    assert not said, said


def test_a_walk_with_keys_alone(open_tab: Callable[..., Any], new_image: Callable[..., int], server: Page) -> None:
    first, second = new_image(), new_image()
    tab = open_tab(first)
    propose(server, first, cow=(disc(60, 100, 30), 0.8), barn=(disc(160, 100, 30), 0.7), pond=(disc(260, 100, 30), 0.6))

    def accepted() -> list[str]:
        return sorted(row.category for row in stored(server, first))

    def selected(name: str) -> None:
        tab.locator('#masks [aria-selected="true"]', has_text=name).wait_for()

    tab.wait_for_selector("#masks .mask-row >> nth=2")
    press(tab, "j", "g")
    selected("barn")
    press(tab, "u")
    selected("pond")
    assert accepted() == ["cow"]
    press(tab, "g")
    wait_stored(tab, server, first, lambda rows: len(rows) == 2)
    press(tab, "Control+z")
    wait_stored(tab, server, first, lambda rows: len(rows) == 1)
    # a class of its own through the field, which Escape leaves
    tab.focus("#new-class")
    tab.keyboard.type("lake")
    press(tab, "Enter")
    tab.locator("#next-name strong", has_text="lake").wait_for()
    press(tab, "Escape")
    tab.focus("#masks")
    press(tab, "ArrowDown")
    selected("pond")
    press(tab, "Escape", "Shift+G")
    wait_stored(tab, server, first, lambda rows: len(rows) == 2)
    assert accepted() == ["cow", "pond"]
    tab.focus("#masks")
    press(tab, "ArrowUp", "ArrowUp")
    selected("cow")
    press(tab, "Delete")
    wait_stored(tab, server, first, lambda rows: len(rows) == 1)
    assert accepted() == ["pond"]
    press(tab, "n")
    tab.wait_for_function("id => location.hash === `#${id}`", arg=second)
    press(tab, "Shift+N")
    tab.wait_for_function("id => location.hash === `#${id}`", arg=first)
    press(tab, "d")
    tab.wait_for_function("id => location.hash !== `#${id}`", arg=first)
    assert tab.request.get(f"{server.url}ui/images/{first}").json()["status"] == "complete"


def test_tab_reaches_every_control_and_shows_where_it_is(open_tab: Callable[..., Any], photo: int) -> None:
    tab = open_tab(photo)
    controls = set(tab.evaluate(CONTROLS))
    reached, unseen = set(), []
    for _ in range(len(controls) + 10):
        press(tab, "Tab")
        name, outlined = tab.evaluate(FOCUSED)
        reached.add(name)
        unseen += [] if outlined else [name]
    assert controls - reached == set()
    # images are one stop; arrows go through them
    tab.focus('.thumb[aria-current="true"]')
    press(tab, "ArrowUp" if tab.locator(".thumb").count() > 1 else "Tab")
    assert tab.evaluate("document.activeElement.ariaCurrent") != "true"
    assert unseen == []


def test_help_lists_the_keys_and_first_steps_come_once(browser: Any, server: Page, photo: int) -> None:
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"{server.url}{ADDRESS}#{photo}")
    tab.wait_for_selector("#walk-next")
    assert found(tab) == []
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
