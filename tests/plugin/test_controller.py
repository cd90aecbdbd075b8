"""What the dock widget does, with a view that only remembers; session, project and model are real."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import TextPrompt
from maskwright.engine import Engine
from maskwright.project import Project
from maskwright.session import AnnotationSession
from napari_maskwright._controller import Controller
from tests.plugin.window import Gate, Window


def _proposals(window: Window) -> list[Any]:
    return [row for row in window.rows if row.proposal]


def _accepted(window: Window) -> list[Any]:
    return [row for row in window.rows if row.annotation]


def _cleaned(window: Window) -> list[Any]:
    return [row for row in window.rows if row.cleaned]


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


def test_method_cleaning_and_refinement_are_the_persons_choice(
    talk2dino_controller: Controller, window: Window
) -> None:
    def asked(**told: Any) -> tuple[Any, ...]:
        before = {row.proposal for row in _proposals(window)}
        talk2dino_controller.propose("grass, cow, sky", background=True, threshold=0.5, **told)
        window.until(lambda: {row.proposal for row in _proposals(window)} - before)
        (one, *_) = talk2dino_controller.session.open_proposals([row.proposal for row in _proposals(window)])
        parameters = one.provenance["parameters"]
        return one.provenance["method"], bool(parameters["cleaning"]), parameters["refine"]

    assert asked() == ("dinotxt", True, None)
    assert asked(method="talk2dino") == ("talk2dino", True, None)
    assert asked(method="talk2dino", cleaning=False, refine="pamr") == ("talk2dino", False, "pamr")
    talk2dino_controller.propose("cow", background=True, threshold=0.5, method="dinov3seg")
    window.until(lambda: window.view.show_error.called)
    assert "dinov3.seg" in window.view.show_error.call_args.args[0]


def test_what_cleaning_left_unlabelled_is_shown_and_never_decided_on(
    talk2dino_controller: Controller, window: Window
) -> None:
    image_id = talk2dino_controller.image_id
    assert image_id is not None
    plain, cleaned = (
        talk2dino_controller.session.propose_text(
            image_id, TextPrompt.parse("cow, sky", method="talk2dino", background=True, cleaning=choice)
        ).prediction.label_map
        > 0
        for choice in (False, None)
    )
    talk2dino_controller.propose("cow, sky", background=True, threshold=0.5, method="talk2dino")
    window.until(lambda: _cleaned(window))
    (preview,), proposals = _cleaned(window), _proposals(window)
    assert np.array_equal(preview.mask.to_array(), plain & ~cleaned)
    assert preview.mask.area > 0
    assert "Cleaning left" in window.view.show_status.call_args.args[0]
    talk2dino_controller.decide(True, [proposals[0].proposal])
    window.until(lambda: _accepted(window))
    assert len(_cleaned(window)) == 1, "there is still something to decide"
    talk2dino_controller.decide(True)
    window.until(lambda: len(_accepted(window)) == 2)
    kept = talk2dino_controller.session.project.annotations(image_id)
    assert [one.mask.rle for one in kept] == [row.mask.rle for row in proposals]
    assert not _cleaned(window), "the prompt is done with"


def test_a_preview_alone_is_no_mask_to_decide_on(talk2dino_controller: Controller, window: Window) -> None:
    assert talk2dino_controller.image_id is not None
    (best,) = talk2dino_controller.session.propose_text(
        talk2dino_controller.image_id, TextPrompt.parse("cow", threshold=0.5)
    ).prediction.max_scores
    talk2dino_controller.propose("cow", background=True, threshold=best + 0.01)
    window.until(lambda: _cleaned(window))
    assert not _proposals(window)
    for accept in (True, False):
        window.view.show_error.reset_mock()
        talk2dino_controller.decide(accept)
        assert "no open mask" in window.view.show_error.call_args.args[0]
    talk2dino_controller.propose("cow", background=True, threshold=0.5, method="talk2dino", cleaning=False)
    window.until(lambda: _proposals(window))
    assert not _cleaned(window)
    assert not talk2dino_controller.session.project.annotations(talk2dino_controller.image_id)


def test_a_search_ranks_the_images_and_says_how_far_it_is(talk2dino_controller: Controller, window: Window) -> None:
    talk2dino_controller.find("a cow")
    assert window.searching()
    window.until(lambda: window.found)
    expected = talk2dino_controller.session.find("a cow").found
    assert window.found == expected
    assert len(expected) == 2
    assert expected[0].score > expected[1].score
    said = window.said()
    assert said.index("Searching the images") < said.index("Looking at image 1 of 2")
    assert said[-1] == ""
    assert not window.searching()
    assert window.notice == ""
    other = next(one.record.id for one in expected if one.record.id != talk2dino_controller.image_id)
    talk2dino_controller.open_image(other)
    window.until(lambda: talk2dino_controller.image_id == other)


def test_a_stopped_search_ends_and_shows_nothing(
    talk2dino_controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Gate(talk2dino_controller.session.project.images.open)
    monkeypatch.setattr(talk2dino_controller.session.project.images, "open", slow)
    talk2dino_controller.stop_search()
    assert not window.view.show_matches.called, "there is nothing to stop"
    talk2dino_controller.find("a cow")
    assert slow.reached.wait(30)
    talk2dino_controller.stop_search()
    assert not window.searching()
    assert window.said()[-1] == ""
    slow.go.set()
    window.settle(1.0)
    assert window.found == ()
    assert "Stopped" in window.notice
    assert slow.calls == 1, "the second image was not looked at"
    assert not window.searching()
    talk2dino_controller.find("a cow")
    window.until(lambda: window.found)
    assert slow.calls == 2, "the first image was not looked at again"
    assert window.notice == ""


def test_a_new_search_takes_the_place_of_the_old_one(
    talk2dino_controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = talk2dino_controller.session.find

    def spy(phrase: str, **told: Any) -> Any:
        asked.append(told["cancelled"])
        return real(phrase, **told)

    slow = Gate(talk2dino_controller.session.project.images.open)
    monkeypatch.setattr(talk2dino_controller.session, "find", spy)
    monkeypatch.setattr(talk2dino_controller.session.project.images, "open", slow)
    talk2dino_controller.find("a cow")
    assert slow.reached.wait(30)
    talk2dino_controller.find("the sky")
    assert window.searching()
    slow.go.set()
    window.until(lambda: window.found)
    window.settle()
    assert [cancelled() for cancelled in asked] == [True, False]
    assert window.found == real("the sky").found
    assert window.found != real("a cow").found


def test_a_search_and_a_prompt_leave_each_other_alone(
    talk2dino_controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Gate(talk2dino_controller.session.project.images.open)
    monkeypatch.setattr(talk2dino_controller.session.project.images, "open", slow)
    talk2dino_controller.find("a cow")
    assert slow.reached.wait(30)
    talk2dino_controller.find("the sky")
    window.settle()
    talk2dino_controller.propose("cow, sky", background=False, threshold=0.5)
    window.until(lambda: _proposals(window))
    assert window.searching()
    assert "Finding masks" in window.said(), "the prompt is what the person waits for"
    assert window.said()[-1] == "Searching the images", "the search is shown again"
    slow.go.set()
    window.until(lambda: window.found)
    assert {row.mask.category for row in _proposals(window)} <= {"cow", "sky"}
    prompt = Gate(talk2dino_controller.session.propose_text)
    monkeypatch.setattr(talk2dino_controller.session, "propose_text", prompt)
    talk2dino_controller.propose("grass", background=False, threshold=0.5)
    assert prompt.reached.wait(30)
    talk2dino_controller.find("the sky")
    window.until(lambda: window.found)
    assert window.said()[-1] == "Finding masks"
    talk2dino_controller.stop_search()
    prompt.go.set()
    window.until(lambda: {row.mask.category for row in _proposals(window)} == {"grass"})


def test_what_a_search_cannot_do_is_one_sentence(
    talk2dino_controller: Controller, window: Window, place: Path, tmp_path: Path
) -> None:
    talk2dino_controller.find("  ")
    window.until(lambda: window.view.show_error.called)
    assert window.view.show_error.call_args.args[0].startswith("Type what the pictures should show")
    assert not window.searching()
    first, second = talk2dino_controller.session.project.images.all()
    (place / second.file_name).unlink()
    talk2dino_controller.find("a cow")
    window.until(lambda: window.found)
    assert [one.record for one in window.found] == [first]
    assert second.file_name in window.notice
    assert window.notice.count(". ") <= 1
    talk2dino_controller.session.project.add(_third(tmp_path))
    third = talk2dino_controller.session.project.images.all()[-1]
    (place / third.file_name).unlink()
    talk2dino_controller.find("the sky")
    window.until(lambda: window.found)
    assert window.notice.startswith("2 images could not be looked at. ")


def _third(folder: Path) -> Path:
    Pillow.new("RGB", (60, 40), "red").save(folder / "c.png")
    return folder / "c.png"


def test_searches_without_images_or_without_a_model_for_them(
    controller: Controller, window: Window, tmp_path: Path, talking_preset: Path
) -> None:
    controller.find("a cow")
    window.until(lambda: window.view.show_error.called)
    assert "does not compare words with whole images" in window.view.show_error.call_args.args[0]
    project = Project.open(tmp_path / "empty", create=True)
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), project, str(talking_preset))
    empty = Controller(session, window.view)
    empty.find("a cow")
    window.until(lambda: window.notice)
    assert window.notice == "This project has no image yet."
    empty.close()


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


@pytest.mark.alone
def test_another_windows_mask_appears_within_two_seconds(controller: Controller, window: Window, place: Path) -> None:
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


def test_closing_during_a_prompt_and_a_search_leaves_no_thread_and_shows_nothing(
    place: Path, talking_preset: Path, window: Window
) -> None:
    before = set(threading.enumerate())
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), Project.open(place), str(talking_preset))
    controller = Controller(session, window.view)
    window.until(lambda: controller.image_id)
    controller.propose("cow, sky", background=False, threshold=0.5)
    controller.find("a cow")
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
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    assert controller.prompt.last.points == ((30, 20, 1), (5, 5, 0)), "the second click builds on the first"
    window.until(lambda: any(row.proposal for row in window.rows))
    controller.undo()
    assert controller.prompt.last.points == ((30, 20, 1),)
    controller.clear_clicks()
    assert controller.prompt is None
    window.until(lambda: not any(row.proposal for row in window.rows))
    controller.box((2, 2, 40, 30))
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    controller.decide(True, name="thing")
    window.until(lambda: any(row.annotation for row in window.rows))
    assert controller.prompt is None
    with Project.open(place) as project:
        assert [(a.category, a.source) for a in project.annotations()] == [("thing", "box")]
    (kept,) = [row.annotation for row in window.rows]
    controller.correct(kept)
    controller.click(50, 35, 0)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
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
    controller.session.project.store.categories.add("cow")
    controller.click(30, 20, 1)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    controller.suggest(told.extend)
    window.until(lambda: told)
    assert told[0][0] == "cow"
