"""The image has the room, and nothing that comes or goes moves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from maskwright.project import Project
from tests.app.conftest import Page
from tests.app.page.conftest import accept, add_class, click, disc, place, press
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, needs_chromium]


@pytest.mark.parametrize(
    ("width", "height", "share"), [(1440, 900, 0.6), (1024, 768, 0.5)], ids=["laptop", "small window"]
)
def test_the_image_has_most_of_the_window(
    open_tab: Callable[..., Any], photo: int, width: int, height: int, share: float
) -> None:
    tab = open_tab(photo, viewport={"width": width, "height": height})
    box = tab.locator("#stage").bounding_box()
    assert box["width"] * box["height"] >= share * width * height
    page = tab.evaluate("[document.documentElement.scrollHeight, document.documentElement.scrollWidth]")
    assert page == [height, width], "nothing to scroll"
    for name in ("accept-all", "find", "open-help", "tool-brush", "redo"):
        found = tab.locator(f"#{name}").bounding_box()
        assert 0 <= found["x"] <= width - found["width"], name
        assert 0 <= found["y"] <= height - found["height"], name


def test_nothing_moves_the_image(tab: Any) -> None:
    before = place(tab, 100, 100), tab.locator("#stage").bounding_box()
    press(tab, "c")
    click(tab, 100, 100)
    tab.wait_for_selector("#action-bar #keep")
    tab.click("#open-settings")
    tab.wait_for_selector("#drawer:not([hidden])")
    press(tab, "Escape", "n")
    tab.wait_for_selector(".notice")
    assert (place(tab, 100, 100), tab.locator("#stage").bounding_box()) == before


def test_the_wheel_zooms_at_the_pointer_and_the_middle_button_moves(tab: Any) -> None:
    x, y = place(tab, 200, 60)
    tab.mouse.move(x, y)
    for _ in range(5):
        tab.mouse.wheel(0, -240)
    tab.wait_for_function("() => Number(document.querySelector('#stage').dataset.view.split(' ')[0]) > 10")
    there = place(tab, 200, 60)
    assert abs(there[0] - x) + abs(there[1] - y) < 1
    tab.mouse.down(button="middle")
    tab.mouse.move(x + 50, y - 30)
    tab.mouse.up(button="middle")
    moved = place(tab, 200, 60)
    assert abs(moved[0] - x - 50) + abs(moved[1] - y + 30) < 1
    press(tab, "0")
    corner = place(tab, 0, 0)
    box = tab.locator("#stage").bounding_box()
    assert corner[0] >= box["x"]
    press(tab, "Shift+0")
    assert tab.inner_text("#zoom") == "100 %"


def test_a_phone_has_targets_for_fingers(open_tab: Callable[..., Any], photo: int, server: Page) -> None:
    tab = open_tab(photo, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    width = tab.evaluate("document.documentElement.scrollWidth")
    assert width == 390
    small = []
    for name in ("tools", "classes", "masks", "images"):
        tab.tap(f"#tabs [data-tab={name}]")
        small += tab.evaluate(
            """() => [...document.querySelectorAll('button, select, input:not([type=file]):not(.unseen)')]
                .filter((one) => one.checkVisibility() && !one.closest('.chip'))
                .map((one) => [one.id || one.ariaLabel || one.textContent, one.getBoundingClientRect()])
                .filter(([, box]) => box.width && (box.height < 40 || box.width < 40)).map(([name]) => name)"""
        )
    assert not small
    tab.tap("#tabs [data-tab=classes]")
    add_class(tab, "giraffe")
    tab.tap("#tabs [data-tab=tools]")
    tab.tap("#tool-point")
    tab.touchscreen.tap(*place(tab, 160, 120))
    tab.wait_for_selector("#stage g.positive")
    tab.wait_for_selector("#keep:not([disabled])")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_a_long_name_stays_in_its_column(
    open_tab: Callable[..., Any], photo: int, server: Page, width: int, height: int
) -> None:
    accept(server, photo, disc(160, 120, 40), "very" * 50)
    tab = open_tab(photo, viewport={"width": width, "height": height})
    if width < 720:
        tab.click("#tabs [data-tab=masks]")
    tab.locator("#masks .mask-row", has_text="veryvery").click()
    tab.locator("#action-bar", has_text="veryvery").wait_for()
    outside = tab.evaluate(
        """() => ['#side', '#images', '#action-bar', '#top', '#tag'].flatMap((name) => {
            const panel = document.querySelector(name);
            if (!panel.checkVisibility()) return [];
            const { left, right } = panel.getBoundingClientRect();
            const inside = [panel, ...panel.querySelectorAll('*')].filter((one) => one.checkVisibility());
            return inside.map((one) => [one, one.getBoundingClientRect()])
                .filter(([, box]) => box.right > Math.min(right, innerWidth) + 1 || box.left < Math.max(0, left) - 1)
                .map(([one]) => `${name}: ${one.className} ${one.textContent.slice(0, 20)}`);
        })"""
    )
    assert outside == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_an_image_whose_file_is_missing_says_so_and_shows_no_other(
    open_tab: Callable[..., Any], photo: int, server: Page, tmp_path: Path
) -> None:
    Pillow.new("RGB", (320, 240), "red").save(tmp_path / "gone.png")
    with Project.open(server.project) as project:
        record = project.add(tmp_path / "gone.png")[0].record
        (server.project / record.file_name).unlink()
    tab = open_tab(photo)
    press(tab, "n")
    tab.locator(".notice.error", has_text="gone.png").wait_for()
    tab.wait_for_function("id => location.hash === `#${id}`", arg=record.id)
    assert "gone.png" in tab.inner_text("#image-name")
    # nothing is green; a thumbnail of its own may be there still
    tab.wait_for_function(
        """() => {
            const canvas = document.querySelector('#stage canvas');
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return data.every((value, i) => i % 4 !== 1 || value < 60);
        }"""
    )
