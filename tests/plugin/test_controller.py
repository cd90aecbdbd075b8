"""What the dock widget does, with a view that only remembers; session, project and model are real."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from maskwright.engine import Engine
from maskwright.project import Project
from maskwright.session import AnnotationSession
from napari_maskwright._controller import AnnotatorView, Controller


class Window:
    """A window's thread without a window: calls wait until the test lets them run."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self.view = create_autospec(AnnotatorView, instance=True)
        self.view.call_soon.side_effect = self.calls.put
        self.rows: list[Any] = []
        self.view.show_masks.side_effect = lambda rows: setattr(self, "rows", list(rows))

    def until(self, ready: Callable[[], Any], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, "it never came"
            try:
                self.calls.get(timeout=0.05)()
            except queue.Empty:
                continue

    def settle(self, seconds: float = 0.3) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.calls.get(timeout=0.05)()
            except queue.Empty:
                continue


@pytest.fixture
def window() -> Window:
    return Window()


@pytest.fixture
def controller(place: Path, small_preset: Path, window: Window) -> Iterator[Controller]:
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), Project.open(place), str(small_preset))
    controller = Controller(session, window.view)
    window.until(lambda: controller.image_id)
    yield controller
    controller.close()


def _proposals(window: Window) -> list[Any]:
    return [row for row in window.rows if row.proposal]


def _accepted(window: Window) -> list[Any]:
    return [row for row in window.rows if not row.proposal]


def test_words_proposals_accept_reject(controller: Controller, window: Window) -> None:
    controller.propose("grass, cow, sky", background=False, threshold=0.5)
    window.until(lambda: _proposals(window))
    first, *rest = _proposals(window)
    controller.decide(True, [first.proposal])
    window.until(lambda: _accepted(window))
    assert [row.mask.rle for row in _accepted(window)] == [first.mask.rle]
    kept = controller.session.project.annotations(controller.image_id)
    assert [one.mask.rle for one in kept] == [first.mask.rle]
    if rest:
        controller.decide(False)
        window.until(lambda: not _proposals(window))
        assert controller.session.project.status().rejected == len(rest)
    assert "1 accepted mask" in window.view.show_status.call_args.args[0]
    assert window.view.show_busy.call_args.args == ("",)


def test_an_answer_that_comes_too_late_is_dropped(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, started, go = controller.session.propose_text, threading.Event(), threading.Event()

    def slow(image_id: int, words: str, **told: Any) -> Any:
        if words == "cow":
            started.set()
            assert go.wait(20)
        return real(image_id, words, **told | {"cancelled": lambda: False})

    monkeypatch.setattr(controller.session, "propose_text", slow)
    controller.propose("cow", background=False, threshold=0.5)
    assert started.wait(20)
    controller.propose("sky", background=False, threshold=0.5)
    window.until(lambda: _proposals(window))
    go.set()
    window.settle(1.0)
    assert {row.mask.category for row in _proposals(window)} == {"sky"}


def test_a_new_prompt_stops_the_old_one(controller: Controller, window: Window) -> None:
    _ = controller.session.engine
    asked = []
    real = controller.session.propose_text

    def spy(image_id: int, words: str, **told: Any) -> Any:
        asked.append(told["cancelled"])
        return real(image_id, words, **told)

    controller.session.propose_text = spy  # type: ignore[method-assign]
    controller.propose("cow", background=False, threshold=0.5)
    controller.propose("sky", background=False, threshold=0.5)
    window.until(lambda: len(asked) == 2 and _proposals(window))
    assert asked[0]()
    assert not asked[1]()


def test_next_and_previous_stay_at_the_ends(controller: Controller, window: Window) -> None:
    first = controller.image_id
    controller.step(-1)
    window.settle()
    assert controller.image_id == first
    controller.step(1)
    window.until(lambda: controller.image_id != first)
    second = controller.image_id
    controller.step(1)
    window.settle()
    assert controller.image_id == second


def test_another_windows_mask_appears_within_two_seconds(controller: Controller, window: Window, place: Path) -> None:
    import numpy as np

    window.settle(1.2)
    with Project.open(place) as other:
        other.accept(controller.image_id, np.ones((40, 60), bool), "cow")
    began = time.monotonic()
    window.until(lambda: _accepted(window))
    assert time.monotonic() - began < 2


def test_mistakes_are_one_sentence(controller: Controller, window: Window) -> None:
    controller.propose(" , ", background=True, threshold=0.5)
    window.until(lambda: window.view.show_error.called)
    assert window.view.show_error.call_args.args[0].startswith("Type at least one class name")
    controller.decide(True)
    assert "no open mask" in window.view.show_error.call_args.args[0]
    controller.act("use")
    window.until(lambda: "no longer possible" in window.view.show_error.call_args.args[0])


def test_closing_during_a_prompt_leaves_no_thread_and_shows_nothing(
    place: Path, small_preset: Path, window: Window
) -> None:
    before = set(threading.enumerate())
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), Project.open(place), str(small_preset))
    controller = Controller(session, window.view)
    window.until(lambda: controller.image_id)
    controller.propose("cow, sky", background=False, threshold=0.5)
    controller.close()
    shown = len(window.view.mock_calls)
    end = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.05)
    assert not {t.name for t in set(threading.enumerate()) - before if t.name.startswith("maskwright")}
    window.settle()
    drawn = [call for call in window.view.mock_calls[shown:] if not call[0].startswith("call_soon")]
    assert drawn == []


def test_clicks_grow_and_shrink_and_are_kept_under_their_name(
    controller: Controller, window: Window, place: Path
) -> None:
    controller.click(30, 20, 1)
    assert controller.prompt is not None
    assert controller.prompt.last.points == ((30, 20, 1),), "the marker is there before the answer"
    controller.click(5, 5, 0)
    window.until(lambda: controller.prompt and controller.prompt.last.answers)
    assert controller.prompt.last.points == ((30, 20, 1), (5, 5, 0)), "the second click builds on the first"
    window.until(lambda: any(row.proposal for row in window.rows))
    controller.undo_click()
    assert controller.prompt.last.points == ((30, 20, 1),)
    controller.clear_clicks()
    assert controller.prompt is None
    window.until(lambda: not any(row.proposal for row in window.rows))
    controller.box((2, 2, 40, 30))
    window.until(lambda: controller.prompt and controller.prompt.last.answers)
    controller.decide(True, name="thing")
    window.until(lambda: any(row.annotation for row in window.rows))
    assert controller.prompt is None
    with Project.open(place) as project:
        assert [(a.category, a.source) for a in project.annotations()] == [("thing", "box")]
    (kept,) = [row.annotation for row in window.rows]
    controller.correct(kept)
    controller.click(50, 35, 0)
    window.until(lambda: controller.prompt and controller.prompt.last.answers)
    window.settle()
    assert [row.annotation for row in window.rows] == [None], "the correction stands where the mask was"
    controller.decide(True)
    window.until(lambda: any(row.annotation for row in window.rows))
    with Project.open(place) as project:
        assert [(a.id, a.category, a.revision) for a in project.annotations()] == [(kept, "thing", 2)]


def test_names_for_a_click(controller: Controller, window: Window) -> None:
    told: list[Any] = []
    controller.suggest(told.extend)
    window.view.show_error.assert_called_with("Click on a thing first.")
    controller.session.project.store.category("cow")
    controller.click(30, 20, 1)
    window.until(lambda: controller.prompt and controller.prompt.last.answers)
    controller.suggest(told.extend)
    window.until(lambda: told)
    assert told[0][0] == "cow"
