"""The image in view is encoded ahead of its first click, and given up when it leaves the view."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from maskwright.domain import Image
from maskwright.errors import Cancelled
from maskwright.progress import Progress
from maskwright.session.preparation import Preparation

IMAGES = {n: Image(np.full((8, 8, 3), n, np.uint8)) for n in range(4)}


class _SlowEngine:
    """Encodes until told to go on, and checks meanwhile as an encoder does."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.given_up: list[int] = []
        self.finished: list[int] = []
        self.go_on = threading.Event()

    def prepare_clicks(self, image: Image, *, progress: Progress) -> None:
        number = int(image.pixels[0, 0, 0])
        self.started.append(number)
        while not self.go_on.wait(0.005):
            if progress.cancelled():
                self.given_up.append(number)
                raise Cancelled
        self.finished.append(number)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def engine() -> _SlowEngine:
    return _SlowEngine()


@pytest.fixture
def preparation(engine: _SlowEngine) -> Any:
    made = Preparation(lambda: engine, IMAGES.__getitem__)  # type: ignore[arg-type, return-value]
    yield made
    engine.go_on.set()
    made.close()


def test_an_image_that_leaves_the_view_is_given_up(engine: _SlowEngine, preparation: Preparation) -> None:
    preparation.show(1)
    time.sleep(0.1)
    assert not engine.started, "the window gets what it shows first"
    _until(lambda: engine.started == [1])
    preparation.show(2)
    _until(lambda: engine.started == [1, 2])
    assert engine.given_up == [1]
    engine.go_on.set()
    _until(lambda: engine.finished == [2])


def test_windows_are_served_the_latest_first_and_each_image_once(engine: _SlowEngine, preparation: Preparation) -> None:
    preparation.show(1, window="a")
    _until(lambda: engine.started == [1])
    preparation.show(2, window="b")
    preparation.show(3, window="c")
    assert not engine.given_up
    engine.go_on.set()
    _until(lambda: len(engine.finished) == 3)
    assert engine.finished == [1, 3, 2]
    preparation.show(3, window="a")
    time.sleep(0.05)
    assert engine.started == [1, 3, 2], "an image in view is encoded once"


def test_closing_ends_the_thread(engine: _SlowEngine) -> None:
    preparation = Preparation(lambda: engine, IMAGES.__getitem__)  # type: ignore[arg-type, return-value]
    preparation.show(1)
    _until(lambda: engine.started == [1])
    preparation.close()
    assert engine.given_up == [1]
    assert preparation._thread is not None
    assert not preparation._thread.is_alive()
    preparation.show(2)
    assert engine.started == [1]
