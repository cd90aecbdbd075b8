"""Prompts, search and navigation with a view that only records; session, project and model are real."""

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
from maskwright.errors import EmptyPhrase
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.session import NO_OPEN_MASK, AnnotationSession
from napari_maskwright._controller import Controller
from tests.plugin.window import Gate, Window


def test_text_prompt_accept_reject(controller: Controller, window: Window) -> None:
    controller.prompts.text(TextPrompt.parse("grass, cow, sky"))
    window.until(lambda: window.proposals)
    first, *rest = window.masks
    assert first.proposal is not None
    controller.decide([first.proposal], accept=True)
    window.until(lambda: window.accepted)
    assert [view.mask.rle for view in window.masks if view.annotation] == [first.mask.rle]
    stored = controller.session.project.annotations(controller.image_id)
    assert [annotation.mask.rle for annotation in stored] == [first.mask.rle]
    if rest:
        controller.decide(accept=False)
        window.until(lambda: not window.proposals)
        assert controller.session.project.status().rejected == len(rest)
    assert "1 accepted mask" in window.status
    assert window.activities[-1] == ""


def test_the_prompt_sets_method_cleaning_and_refinement(talk2dino_controller: Controller, window: Window) -> None:
    def used(**options: Any) -> tuple[Any, ...]:
        before = set(window.proposals)
        talk2dino_controller.prompts.text(TextPrompt.parse("grass, cow, sky", background=True, **options))
        window.until(lambda: set(window.proposals) - before)
        provenance = talk2dino_controller.session.open_proposals((), talk2dino_controller.image_id)[0].provenance
        parameters = provenance["parameters"]
        return provenance["method"], bool(parameters["cleaning"]), parameters["refine"]

    assert used() == ("dinotxt", True, None)
    assert used(method="talk2dino") == ("talk2dino", True, None)
    assert used(method="talk2dino", cleaning=False, refine="pamr") == ("talk2dino", False, "pamr")
    talk2dino_controller.prompts.text(TextPrompt.parse("cow", method="dinov3seg", background=True))
    window.until(lambda: window.view.show_error.called)
    assert "dinov3.seg" in window.error


def test_the_cleaning_preview_is_drawn_and_never_decided_on(talk2dino_controller: Controller, window: Window) -> None:
    image_id = talk2dino_controller.image_id
    assert image_id is not None
    plain, cleaned = (
        talk2dino_controller.session.propose_text(
            image_id, TextPrompt.parse("cow, sky", method="talk2dino", background=True, cleaning=choice)
        ).prediction.label_map
        > 0
        for choice in (False, None)
    )
    talk2dino_controller.prompts.text(TextPrompt.parse("cow, sky", method="talk2dino", background=True))
    window.until(lambda: window.previews)
    (preview,), proposals = window.previews, [view for view in window.masks if view.proposal]
    assert np.array_equal(preview.mask.to_array(), plain & ~cleaned)
    assert preview.mask.area > 0
    assert "Cleaning left" in window.status
    talk2dino_controller.decide(window.proposals[:1], accept=True)
    window.until(lambda: window.accepted)
    assert len(window.previews) == 1, "there is still something to decide"
    talk2dino_controller.decide(accept=True)
    window.until(lambda: len(window.accepted) == 2)
    stored = talk2dino_controller.session.project.annotations(image_id)
    assert [annotation.mask.rle for annotation in stored] == [view.mask.rle for view in proposals]
    assert not window.previews, "no proposal of the prompt is open"


def test_a_cleaning_preview_alone_is_no_mask_to_decide_on(talk2dino_controller: Controller, window: Window) -> None:
    assert talk2dino_controller.image_id is not None
    (best,) = talk2dino_controller.session.propose_text(
        talk2dino_controller.image_id, TextPrompt.parse("cow", threshold=0.5)
    ).prediction.max_scores
    talk2dino_controller.prompts.text(TextPrompt.parse("cow", background=True, threshold=best + 0.01))
    window.until(lambda: window.previews)
    assert not window.proposals
    for accept in (True, False):
        window.view.show_error.reset_mock()
        talk2dino_controller.decide(accept=accept)
        assert window.error == NO_OPEN_MASK
    talk2dino_controller.prompts.text(TextPrompt.parse("cow", method="talk2dino", cleaning=False, background=True))
    window.until(lambda: window.proposals)
    assert not window.previews
    assert not talk2dino_controller.session.project.annotations(talk2dino_controller.image_id)


def test_a_search_ranks_the_images_and_reports_progress(talk2dino_controller: Controller, window: Window) -> None:
    talk2dino_controller.find("a cow")
    assert window.searching
    window.until(lambda: window.matches)
    expected = talk2dino_controller.session.find("a cow").hits
    assert window.matches == expected
    assert len(expected) == 2
    assert expected[0].score > expected[1].score
    activities = window.activities
    assert activities.index("Searching the images") < activities.index("Searching image 1 of 2")
    assert activities[-1] == ""
    assert not window.searching
    assert window.notice == ""
    other = next(match.record.id for match in expected if match.record.id != talk2dino_controller.image_id)
    talk2dino_controller.images.open(other)
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
    assert not window.searching
    assert window.activities[-1] == ""
    slow.go.set()
    window.process_events(1.0)
    assert window.matches == ()
    assert "Stopped" in window.notice
    assert slow.calls == 1, "the second image was not read"
    assert not window.searching
    talk2dino_controller.find("a cow")
    window.until(lambda: window.matches)
    assert slow.calls == 2, "the first image was not read again"
    assert window.notice == ""


def test_a_new_search_replaces_the_running_one(
    talk2dino_controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    progresses = []
    real = talk2dino_controller.session.search.find

    def spy(phrase: str, *, progress: Progress) -> Any:
        progresses.append(progress)
        return real(phrase, progress=progress)

    slow = Gate(talk2dino_controller.session.project.images.open)
    monkeypatch.setattr(talk2dino_controller.session.search, "find", spy)
    monkeypatch.setattr(talk2dino_controller.session.project.images, "open", slow)
    talk2dino_controller.find("a cow")
    assert slow.reached.wait(30)
    talk2dino_controller.find("the sky")
    assert window.searching
    slow.go.set()
    window.until(lambda: window.matches)
    window.process_events()
    assert [progress.cancelled() for progress in progresses] == [True, False]
    assert window.matches == real("the sky").hits
    assert window.matches != real("a cow").hits


def test_a_search_and_a_prompt_leave_each_other_alone(
    talk2dino_controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Gate(talk2dino_controller.session.project.images.open)
    monkeypatch.setattr(talk2dino_controller.session.project.images, "open", slow)
    talk2dino_controller.find("a cow")
    assert slow.reached.wait(30)
    talk2dino_controller.find("the sky")
    window.process_events()
    talk2dino_controller.prompts.text(TextPrompt.parse("cow, sky"))
    window.until(lambda: window.proposals)
    assert window.searching
    assert "Finding masks" in window.activities, "the prompt is more urgent"
    assert window.activities[-1].startswith("Searching "), "the search is shown again"
    slow.go.set()
    window.until(lambda: window.matches)
    assert {view.mask.category for view in window.masks} <= {"cow", "sky"}
    prompt = Gate(talk2dino_controller.session.propose_text)
    monkeypatch.setattr(talk2dino_controller.session, "propose_text", prompt)
    talk2dino_controller.prompts.text(TextPrompt.parse("grass"))
    assert prompt.reached.wait(30)
    talk2dino_controller.find("the sky")
    window.until(lambda: window.matches)
    assert window.activities[-1] == "Finding masks"
    talk2dino_controller.stop_search()
    prompt.go.set()
    window.until(lambda: "grass" in {view.mask.category for view in window.masks})


def test_problems_of_a_search_are_one_sentence(
    talk2dino_controller: Controller, window: Window, place: Path, tmp_path: Path
) -> None:
    talk2dino_controller.find("  ")
    window.until(lambda: window.view.show_error.called)
    assert window.error == str(EmptyPhrase())
    assert not window.searching
    first, second = talk2dino_controller.session.project.images.all()
    (place / second.file_name).unlink()
    talk2dino_controller.find("a cow")
    window.until(lambda: window.matches)
    assert [match.record for match in window.matches] == [first]
    assert second.file_name in window.notice
    assert window.notice.count(". ") <= 1
    talk2dino_controller.session.project.add(_third(tmp_path))
    third = talk2dino_controller.session.project.images.all()[-1]
    (place / third.file_name).unlink()
    talk2dino_controller.find("the sky")
    window.until(lambda: window.matches)
    assert window.notice.startswith("2 images could not be searched. ")


def _third(folder: Path) -> Path:
    Pillow.new("RGB", (60, 40), "red").save(folder / "c.png")
    return folder / "c.png"


def test_searches_without_images_or_without_a_model_for_them(
    controller: Controller, window: Window, tmp_path: Path, talking_preset: Path
) -> None:
    controller.find("a cow")
    window.until(lambda: window.view.show_error.called)
    assert "does not compare words with whole images" in window.error
    project = Project.open(tmp_path / "empty", create=True)
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), project, str(talking_preset))
    empty = Controller(session, window.view)
    empty.find("a cow")
    window.until(lambda: window.notice)
    assert window.notice == "This project has no image yet."
    empty.close()


def test_a_stale_answer_is_dropped(controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    real, started, go = controller.session.propose_text, threading.Event(), threading.Event()

    def slow(image_id: int, prompt: TextPrompt, *, progress: Progress) -> Any:
        if prompt.text == "cow":
            started.set()
            assert go.wait(20)
        return real(image_id, prompt)

    monkeypatch.setattr(controller.session, "propose_text", slow)
    controller.prompts.text(TextPrompt.parse("cow"))
    assert started.wait(20)
    controller.prompts.text(TextPrompt.parse("sky"))
    window.until(lambda: window.proposals)
    go.set()
    window.process_events(1.0)
    assert {view.mask.category for view in window.masks} == {"sky"}


def test_a_new_prompt_cancels_the_running_one(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = controller.session.engine
    progresses = []
    real = controller.session.propose_text

    def spy(image_id: int, prompt: TextPrompt, *, progress: Progress) -> Any:
        progresses.append(progress)
        return real(image_id, prompt, progress=progress)

    monkeypatch.setattr(controller.session, "propose_text", spy)
    controller.prompts.text(TextPrompt.parse("cow"))
    controller.prompts.text(TextPrompt.parse("sky"))
    window.until(lambda: len(progresses) == 2 and window.proposals)
    assert [progress.cancelled() for progress in progresses] == [True, False]


def test_next_and_previous_stay_at_the_ends(controller: Controller, window: Window) -> None:
    first = controller.image_id
    controller.images.step(-1)
    window.process_events()
    assert controller.image_id == first
    controller.images.step(1)
    window.until(lambda: controller.image_id != first)
    second = controller.image_id
    controller.images.step(1)
    window.process_events()
    assert controller.image_id == second


@pytest.mark.alone
def test_a_chosen_image_is_shown_whatever_opens_first(controller: Controller, window: Window) -> None:
    controller.images.open(2)
    # another window added images before this one was read
    controller.images.open_first(1)
    window.until(lambda: controller.image_id == 2)
    window.process_events()
    assert controller.image_id == 2


def test_another_windows_mask_appears_within_two_seconds(controller: Controller, window: Window, place: Path) -> None:
    window.process_events(1.2)
    with Project.open(place) as other:
        other.accept(controller.image_id, np.ones((40, 60), bool), "cow")
    began = time.monotonic()
    window.until(lambda: window.accepted)
    assert time.monotonic() - began < 2


def test_mistakes_are_one_sentence(controller: Controller, window: Window) -> None:
    controller.decide(accept=True)
    assert window.error == NO_OPEN_MASK
    controller.managing.finetune("use")
    window.until(lambda: window.error != NO_OPEN_MASK)
    assert "no longer possible" in window.error


def test_closing_during_a_prompt_and_a_search_leaves_no_thread_and_shows_nothing(
    place: Path, talking_preset: Path, window: Window
) -> None:
    before = set(threading.enumerate())
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), Project.open(place), str(talking_preset))
    controller = Controller(session, window.view)
    window.until(lambda: controller.image_id)
    controller.prompts.text(TextPrompt.parse("cow, sky"))
    controller.find("a cow")
    controller.close()
    shown = len(window.view.mock_calls)
    end = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.05)
    assert not {t.name for t in set(threading.enumerate()) - before if t.name.startswith("maskwright")}
    window.process_events()
    drawn = [call for call in window.view.mock_calls[shown:] if not call[0].startswith("call_soon")]
    assert drawn == []


def test_clicks_are_added_undone_and_accepted_under_a_name(controller: Controller, window: Window, place: Path) -> None:
    controller.click(30, 20, 1)
    assert controller.prompt is not None
    assert controller.prompt.last.points == ((30, 20, 1),), "the marker is there before the answer"
    controller.click(5, 5, 0)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    assert controller.prompt.last.points == ((30, 20, 1), (5, 5, 0)), "the second click builds on the first"
    window.until(lambda: window.proposals)
    controller.undo()
    assert controller.prompt.last.points == ((30, 20, 1),)
    controller.clear_clicks()
    assert controller.prompt is None
    window.until(lambda: not window.proposals)
    controller.box((2, 2, 40, 30))
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    controller.decide(name="thing", accept=True)
    window.until(lambda: window.accepted)
    assert controller.prompt is None
    with Project.open(place) as project:
        assert [(a.category, a.source) for a in project.annotations()] == [("thing", "box")]
    (accepted,) = window.accepted
    controller.correct(accepted)
    controller.click(50, 35, 0)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    window.process_events()
    assert len(window.masks) == len(window.proposals) == 1, "the correction stands in place of the mask"
    controller.decide(accept=True)
    window.until(lambda: window.accepted)
    with Project.open(place) as project:
        assert [(a.id, a.category, a.revision) for a in project.annotations()] == [(accepted, "thing", 2)]


def test_suggested_names_for_a_click(controller: Controller, window: Window) -> None:
    names: list[tuple[str, float]] = []
    controller.suggest(names.extend)
    assert window.view.show_error.called
    controller.session.project.store.categories.add("cow")
    controller.click(30, 20, 1)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    controller.suggest(names.extend)
    window.until(lambda: names)
    assert names[0][0] == "cow"
