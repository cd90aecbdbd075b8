"""The new page in Chromium, on one server for all tests; each test has images of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

import maskwright as mw
from maskwright.project import Project
from maskwright.store import NewAnnotation
from maskwright_app.samples import samples
from tests.app.conftest import Page, served

ADDRESS = ""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with served(tmp_path_factory.mktemp("page") / "projekt ü #3", "--device", "cpu") as page:
        yield page


@pytest.fixture
def new_image(server: Page, tmp_path: Path) -> Callable[..., int]:
    """Adds a meadow with giraffes that no other test has, 320 x 240 pixels large; returns its id."""
    source = next(s.path for s in samples() if "giraffe" in s.class_names)

    def add(width: int = 320, height: int = 240) -> int:
        number = next(_numbers)
        with Pillow.open(source) as opened:
            pixels = np.asarray(opened.convert("RGB").resize((width, height))).copy()
        pixels[0, 0] = (number % 256, number // 256, 7)
        path = tmp_path / f"meadow {number}.png"
        Pillow.fromarray(pixels).save(path)
        with Project.open(server.project) as project:
            return int(project.add(path)[0].record.id)

    return add


@pytest.fixture
def photo(new_image: Callable[..., int]) -> int:
    return new_image()


@pytest.fixture
def open_tab(server: Page, browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page on an image, as somebody who has been here before; errors of its scripts fail the test."""
    contexts, errors = [], list[str]()

    def open_(image: int, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
        contexts.append(context)
        context.add_init_script("localStorage.setItem('walked', 'yes')")
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"{server.url}{ADDRESS}#{image}")
        tab.wait_for_selector("body[data-ready] #stage[data-loaded=yes]")
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def tab(open_tab: Callable[..., Any], photo: int) -> Any:
    return open_tab(photo)


# what a person does


def place(tab: Any, x: float, y: float) -> tuple[float, float]:
    """Where a place of the image lies in the window."""
    scale, dx, dy = map(float, tab.get_attribute("#stage", "data-view").split())
    box = tab.locator("#stage").bounding_box()
    return box["x"] + x * scale + dx, box["y"] + y * scale + dy


def click(tab: Any, x: float, y: float) -> None:
    tab.mouse.click(*place(tab, x, y))


def drag(tab: Any, *places: tuple[float, float]) -> None:
    tab.mouse.move(*place(tab, *places[0]))
    tab.mouse.down()
    for stop in places[1:]:
        tab.mouse.move(*place(tab, *stop), steps=4)
    tab.mouse.up()


def press(tab: Any, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)


def add_class(tab: Any, name: str) -> None:
    tab.fill("#new-class", name)
    tab.press("#new-class", "Enter")
    tab.locator("#next-name strong", has_text=name).wait_for()


# what is in the project


def stored(server: Page, image: int, *states: str) -> list[Any]:
    with Project.open(server.project) as project:
        return list(project.annotations(image, states or ("accepted",)))


def wait_stored(tab: Any, server: Page, image: int, condition: Callable[[list[Any]], bool], *states: str) -> list[Any]:
    """The masks of an image once they fulfil a condition."""
    for _ in range(100):
        rows = stored(server, image, *states)
        if condition(rows):
            return rows
        tab.wait_for_timeout(100)
    raise AssertionError([(row.state, row.category, row.revision) for row in rows])


def disc(x: float, y: float, radius: float, width: int = 320, height: int = 240) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    inside: NDArray[np.bool_] = np.hypot(columns - x, rows - y) < radius
    return inside


def accept(server: Page, image: int, mask: NDArray[np.bool_], category: str) -> int:
    with Project.open(server.project) as project:
        return int(project.accept(image, mask, category=category).id)


def propose(server: Page, image: int, **masks: tuple[NDArray[np.bool_], float]) -> None:
    """Store proposals, as prompts do: masks with their scores, by class name."""
    drafts = [
        NewAnnotation(
            image, name, mw.Mask.from_array(mask, category=name, score=score), "text",
            {"source": "text", "method": "dinotxt", "prompt": name, "parameters": {}}, "ann", "proposed",
        )
        for name, (mask, score) in masks.items()
    ]  # fmt: skip
    with Project.open(server.project) as project:
        project.store.predictions.add(image, drafts, repr(sorted(masks)), "ann")
