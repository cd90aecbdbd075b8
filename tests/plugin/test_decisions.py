"""Undo, delete, history, duplicates and failed writes; the view only records, the rest is real."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.domain import Mask, TextPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import ProjectUnwritable
from maskwright.project import Project
from maskwright.session import NO_OPEN_MASK, deletion_message
from maskwright.store import Changes, NewAnnotation
from maskwright.store.transactions import Transactions
from napari_maskwright._controller import Controller
from tests.plugin.window import Gate, Window

SAVED = re.compile(r"^Saved \d\d:\d\d:\d\d\. ", re.MULTILINE)


def _propose(controller: Controller, window: Window, words: str = "grass, cow, sky") -> list[ProposalId]:
    before = set(window.proposals)
    controller.prompts.text(TextPrompt.parse(words))
    window.until(lambda: not before.issuperset(window.proposals) or window.hidden)
    return window.proposals


def _box(left: int, right: int) -> Any:
    region = np.zeros((40, 60), bool)
    region[5:30, left:right] = True
    return region


def _accept(controller: Controller, window: Window, *regions: Any, name: str = "cow") -> list[int]:
    """Add accepted masks that the window shows; returns their ids."""
    assert controller.image_id is not None
    ids = [controller.session.project.accept(controller.image_id, region, name).id for region in regions]
    window.until(lambda: set(ids) <= set(window.accepted), 5)
    return ids


def _stored(controller: Controller) -> list[str]:
    return [annotation.category for annotation in controller.session.project.annotations()]


# undo and redo


def test_an_accept_undone_is_a_proposal_again_and_redone_it_is_accepted(controller: Controller, window: Window) -> None:
    ids = _propose(controller, window)
    shapes = {str(view.mask.rle) for view in window.masks}
    controller.decide(accept=True)
    window.until(lambda: len(window.accepted) == len(ids))
    controller.undo()
    window.until(lambda: not window.accepted)
    assert len(window.proposals) == len(ids)
    assert {str(view.mask.rle) for view in window.masks} == shapes
    assert not _stored(controller)
    number = f"{len(ids)} mask{'s' * (len(ids) > 1)}"
    assert window.status.startswith(f"Undone: accept of {number}.\n")
    assert SAVED.search(window.status)
    controller.redo()
    window.until(lambda: len(window.accepted) == len(ids))
    assert window.status.startswith(f"Redone: accept of {number}.\n")
    assert len(_stored(controller)) == len(ids)
    assert not window.view.show_error.called


def test_undo_takes_the_last_click_first_and_then_the_last_step(controller: Controller, window: Window) -> None:
    (accepted,) = _accept(controller, window, _box(5, 25))
    for place in ((30, 20, 1), (5, 5, 0)):
        controller.click(*place)
    controller.undo()
    assert controller.prompt is not None
    assert controller.prompt.last.points == ((30, 20, 1),)
    controller.undo()
    assert not controller.prompt.steps
    window.process_events(1.0)
    assert window.accepted == [accepted], "so far only clicks were undone"
    controller.undo()
    window.until(lambda: not window.accepted)
    assert controller.prompt is None, "the mask to correct does not exist"
    assert not _stored(controller)


def test_undo_of_a_step_on_another_image_only_offers_to_open_it(controller: Controller, window: Window) -> None:
    first = controller.image_id
    _accept(controller, window, _box(5, 25))
    controller.images.step(1)
    window.until(lambda: controller.image_id != first)
    offered = window.view.show_other_image
    controller.undo()
    window.until(lambda: offered.call_args.args[0])
    assert "another image" in offered.call_args.args[0]
    assert offered.call_args.args[1] == first
    assert controller.image_id != first, "it only offers"
    assert _stored(controller) == ["cow"]
    assert not window.view.show_error.called
    controller.images.open(offered.call_args.args[1])
    window.until(lambda: controller.image_id == first)
    assert offered.call_args.args == ("", None), "the offered was taken"
    controller.undo()
    window.until(lambda: not window.accepted)
    assert _stored(controller) == []
    controller.images.step(1)
    window.until(lambda: controller.image_id != first)
    controller.redo()
    window.until(lambda: offered.call_args.args[1] == first)
    assert _stored(controller) == []


def test_nothing_to_undo_is_no_error(controller: Controller, window: Window) -> None:
    controller.undo()
    window.until(lambda: "nothing to undo" in window.status)
    controller.redo()
    window.until(lambda: "nothing to redo" in window.status)
    assert not window.view.show_error.called
    assert "Saved" not in window.status


def test_undo_waits_for_the_accept_before_it(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    _accept(controller, window, _box(5, 25), name="earlier")
    ids = _propose(controller, window)
    slow = Gate(controller.session.decide)
    monkeypatch.setattr(controller.session, "decide", slow)
    controller.decide(accept=True)
    assert slow.reached.wait(10)
    controller.decide(accept=True)
    controller.undo()
    window.process_events()
    slow.go.set()
    window.until(lambda: window.status.startswith("Undone"))
    assert _stored(controller) == ["earlier"], "the accept was undone, and not the step before it"
    assert slow.calls == 1, "a second press while the first is being saved does nothing"
    assert not window.view.show_error.called
    window.until(lambda: len(window.proposals) == len(ids))


def test_accepting_the_rest_while_one_is_being_saved(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _propose(controller, window)
    assert len(ids) > 1
    slow = Gate(controller.session.decide)
    monkeypatch.setattr(controller.session, "decide", slow)
    controller.decide(ids[:1], accept=True)
    assert slow.reached.wait(10)
    controller.decide(accept=True)
    slow.go.set()
    window.until(lambda: len(window.accepted) == len(ids))
    assert not window.view.show_error.called


# delete and history


def test_selected_masks_are_deleted_in_one_step(controller: Controller, window: Window) -> None:
    ids = _accept(controller, window, _box(5, 25), _box(30, 50), _box(1, 4))
    controller.delete(())
    assert window.view.show_error.called
    controller.correct(ids[0])
    controller.delete(ids[:2])
    window.until(lambda: window.accepted == ids[2:])
    assert window.status.startswith(f"{deletion_message(2)}\n")
    assert SAVED.search(window.status)
    assert controller.prompt is None, "the mask to correct does not exist"
    with Project.open(controller.session.project.folder) as project:
        assert [annotation.id for annotation in project.annotations()] == ids[2:]
    controller.undo()
    window.until(lambda: set(window.accepted) == set(ids))


def test_the_history_of_a_mask_and_of_none(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _accept(controller, window, _box(5, 25), _box(30, 50))
    controller.delete([first])
    controller.undo()
    window.until(lambda: window.status.startswith("Undone"))
    shown = window.view.show_history
    controller.history(first)
    window.until(lambda: shown.called)
    sentences = shown.call_args.args[0]
    assert sentences == controller.session.history(first)
    assert len(sentences) == 3
    assert "deleted" in sentences[1]
    slow = Gate(controller.session.history)
    monkeypatch.setattr(controller.session, "history", slow)
    controller.history(second)
    assert slow.reached.wait(10)
    controller.history(None)
    assert shown.call_args.args == ((),)
    slow.go.set()
    window.process_events()
    assert shown.call_args.args == ((),), "the mask is no longer selected"


# duplicates


def test_duplicates_are_hidden_counted_and_accepted_when_shown(controller: Controller, window: Window) -> None:
    ids = _propose(controller, window)
    controller.decide(accept=True)
    window.until(lambda: len(window.accepted) == len(ids))
    controller.prompts.text(TextPrompt.parse("grass, cow, sky"))
    window.until(lambda: window.hidden == len(ids))
    assert window.proposals == []
    assert f"{len(ids)} duplicate{'s' * (len(ids) > 1)} hidden." in window.status
    controller.decide(accept=True)
    assert window.error == NO_OPEN_MASK, "hidden masks are not decided on"
    controller.show_duplicates(visible=True)
    assert len(window.proposals) == len(ids)
    assert window.hidden == 0
    assert all(view.duplicate for view in window.masks if view.proposal)
    controller.decide(accept=True)
    window.until(lambda: len(window.accepted) == 2 * len(ids))
    controller.prompts.text(TextPrompt.parse("grass, cow, sky"))
    window.until(lambda: len(window.proposals) == len(ids))
    assert "hidden" not in window.status
    controller.show_duplicates(visible=False)
    assert (window.proposals, window.hidden) == ([], len(ids))


def test_a_hidden_duplicate_is_shown_when_the_accepted_mask_is_undone(controller: Controller, window: Window) -> None:
    ids = _propose(controller, window)
    controller.decide(accept=True)
    window.until(lambda: len(window.accepted) == len(ids))
    _propose(controller, window)
    assert (window.proposals, window.hidden) == ([], len(ids))
    controller.undo()
    window.until(lambda: len(window.proposals) == 2 * len(ids))
    assert window.hidden == 0
    assert not any(view.duplicate for view in window.masks)


def test_duplicates_that_a_batch_left_are_hidden_too(controller: Controller, window: Window) -> None:
    _accept(controller, window, _box(5, 25))
    image_id = controller.image_id
    assert image_id is not None
    drafts = [
        NewAnnotation(image_id, "cow", Mask.from_array(region), "text", {"method": "dinotxt"}, "ann", "proposed")
        for region in (_box(5, 26), _box(40, 55))
    ]
    repeated, fresh = controller.session.project.store.masks.add_many(drafts)
    window.until(lambda: len(window.proposals) == 1, 5)
    assert window.masks[-1].mask.rle == fresh.mask.rle
    assert window.hidden == 1
    controller.show_duplicates(visible=True)
    assert window.hidden == 0
    assert [view.mask.rle for view in window.masks if view.duplicate] == [repeated.mask.rle]
    controller.decide([ProposalId.of_annotation(repeated.id)], accept=True)
    window.until(lambda: repeated.id in window.accepted)
    assert len(_stored(controller)) == 2


# writes that fail


@contextmanager
def _locked(place: Path) -> Any:
    """Another program locks the project."""
    other = sqlite3.connect(place / "project.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.rollback()
    other.close()


def _refusing(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Decisions fail as on a full disk as long as the result says so."""
    real, full = controller.session.project.store.masks.decide, {"disk": True}

    def decide(*args: Any, **kwargs: Any) -> Any:
        if full["disk"]:
            raise ProjectUnwritable("The disk is full; nothing was lost. Free 200 MB, then try again.")
        return real(*args, **kwargs)

    monkeypatch.setattr(controller.session.project.store.masks, "decide", decide)
    return full


def test_the_status_says_saved_only_after_the_write_returned(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    _propose(controller, window)
    slow = Gate(controller.session.decide)
    monkeypatch.setattr(controller.session, "decide", slow)
    controller.decide(accept=True)
    assert slow.reached.wait(10)
    window.process_events()
    assert not any("Saved" in str(call) for call in window.view.show_status.call_args_list)
    slow.go.set()
    window.until(lambda: "Saved" in window.status)
    assert window.status.startswith("Accepted ")
    assert SAVED.search(window.status)
    saved = SAVED.search(window.status)
    controller.session.project.accept(controller.image_id or 0, _box(1, 3), "late")
    window.until(lambda: "late 1" in window.status, 5)
    assert saved
    assert saved[0] in window.status, "the time of saving stays visible"


def test_a_locked_project_keeps_the_masks_on_screen_and_one_click_saves_them(
    controller: Controller, window: Window, place: Path
) -> None:
    ids = _propose(controller, window)
    with _locked(place):
        controller.decide(accept=True)
        window.until(lambda: window.unsaved)
        assert window.error in window.unsaved
        assert window.unsaved != window.error, "it says how many masks wait"
        window.until(lambda: window.proposals == ids)
        assert window.unwritten == set(ids)
        assert "not saved" in window.status
        assert "Saved" not in window.status
        assert window.view.show_error.called, "it is shown at once"
    assert _stored(controller) == []
    controller.retry()
    window.until(lambda: len(window.accepted) == len(ids))
    assert window.unsaved == ""
    assert not window.unwritten
    assert SAVED.search(window.status)
    assert len(_stored(controller)) == len(ids)


def test_unsaved_masks_stay_through_other_prompts_and_images(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _refusing(controller, monkeypatch)
    waiting = _propose(controller, window, "grass")
    controller.decide(accept=True)
    window.until(lambda: window.unsaved)
    others = _propose(controller, window, "sky")
    assert set(waiting) < set(others)
    assert window.unwritten == set(waiting)
    first = controller.image_id
    controller.images.step(1)
    window.until(lambda: controller.image_id != first and not window.masks)
    assert window.unsaved
    assert "1 mask not saved" in window.status
    controller.images.step(-1)
    window.until(lambda: set(waiting) <= set(window.proposals))
    disk["disk"] = False
    controller.images.step(1)
    window.until(lambda: controller.image_id != first)
    controller.retry()
    window.until(lambda: not window.unsaved)
    assert [annotation.image_id for annotation in controller.session.project.annotations()] == [first]


def test_an_unsaved_duplicate_is_shown_once_and_stays(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _propose(controller, window)
    controller.decide(accept=True)
    window.until(lambda: len(window.accepted) == len(ids))
    controller.show_duplicates(visible=True)
    repeated = _propose(controller, window)
    _refusing(controller, monkeypatch)
    controller.decide(accept=True)
    window.until(lambda: window.unsaved)
    window.process_events()
    assert window.proposals == repeated
    controller.show_duplicates(visible=False)
    assert window.proposals == repeated, "unsaved masks are never hidden"
    assert window.unwritten == set(repeated)


def test_an_unsaved_clicked_mask_keeps_its_name(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _refusing(controller, monkeypatch)
    controller.click(30, 20, 1)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates and window.proposals)
    controller.decide(name="thing", accept=True)
    window.until(lambda: window.unsaved)
    assert controller.prompt is None, "the next click begins a new mask"
    controller.click(5, 5, 1)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    controller.clear_clicks()
    window.process_events()
    (waiting,) = window.proposals
    disk["disk"] = False
    controller.decide([waiting], name="something else", accept=True)
    window.until(lambda: window.accepted)
    assert _stored(controller) == ["thing"]
    assert window.unsaved == ""


def test_an_unsaved_decision_can_be_undone_or_reversed(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _refusing(controller, monkeypatch)
    _accept(controller, window, _box(5, 25))
    ids = _propose(controller, window)
    controller.decide(accept=True)
    window.until(lambda: window.unsaved)
    disk["disk"] = False
    controller.undo()
    assert window.unsaved == ""
    assert not window.unwritten
    window.process_events()
    assert window.proposals == ids
    assert _stored(controller) == ["cow"], "saved masks stay"
    disk["disk"] = True
    controller.decide(accept=True)
    window.until(lambda: window.unsaved)
    disk["disk"] = False
    controller.decide(accept=False)
    window.until(lambda: not window.unsaved)
    window.until(lambda: not window.proposals)
    assert controller.session.project.status().rejected == len(ids)


def test_an_unexpected_failure_loses_no_mask(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _propose(controller, window)
    monkeypatch.setattr(controller.session.project.store.masks, "decide", lambda *args, **kwargs: 1 / 0)
    controller.decide(accept=True)
    window.until(lambda: window.unsaved)
    assert "ZeroDivisionError" in window.unsaved
    assert window.proposals == ids
    monkeypatch.undo()
    controller.retry()
    window.until(lambda: len(window.accepted) == len(ids))


def test_a_decision_made_just_before_closing_is_written(
    controller: Controller, window: Window, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = _propose(controller, window)
    (mask,) = _accept(controller, window, _box(5, 25))
    slow = Gate(controller.session.delete)
    monkeypatch.setattr(controller.session, "delete", slow)
    controller.delete([mask])
    assert slow.reached.wait(10)
    controller.decide([first], accept=True)
    controller.close()
    slow.go.set()
    for thread in threading.enumerate():
        if thread.name == "maskwright-close":
            thread.join(20)
    with Project.open(place) as project:
        assert len(project.annotations()) == 1
        assert project.annotations()[0].id != mask


def test_after_a_conflict_both_masks_are_shown_and_a_second_accept_replaces(
    controller: Controller, window: Window
) -> None:
    mask, corrected = _conflict(controller, window)
    assert window.unwritten == set(window.proposals)
    assert window.error in window.unsaved
    assert _stored(controller) == ["calf"]
    controller.decide(name="heifer", accept=True)
    window.until(lambda: not window.proposals)
    (stored,) = controller.session.project.annotations()
    assert (stored.id, stored.mask.rle, stored.category) == (corrected, mask.rle, "heifer")
    assert not window.unsaved
    assert controller.prompt is None


def test_after_a_conflict_try_again_replaces(controller: Controller, window: Window) -> None:
    mask, corrected = _conflict(controller, window)
    controller.retry()
    window.until(lambda: not window.proposals)
    (stored,) = controller.session.project.annotations()
    assert (stored.id, stored.mask.rle) == (corrected, mask.rle)


def test_after_a_conflict_other_clicks_withdraw_the_decision(controller: Controller, window: Window) -> None:
    _, corrected = _conflict(controller, window)
    controller.click(45, 35, 0)
    assert not window.unsaved
    window.until(lambda: not window.accepted)
    assert len(window.proposals) == 1, "the new answer stands in place of the mask"
    controller.undo()
    controller.clear_clicks()
    window.until(lambda: window.accepted == [corrected] and not window.proposals)
    assert not window.unsaved


def _conflict(controller: Controller, window: Window) -> tuple[Mask, int]:
    """Accept a correction of a mask that somebody else has renamed; returns the correction and the mask's id."""
    (corrected,) = _accept(controller, window, _box(5, 25))
    controller.correct(corrected)
    controller.click(50, 35, 0)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    window.until(lambda: window.proposals and not window.accepted)
    controller.session.project.store.masks.reclassify({corrected: None}, "calf", "bob")
    controller.decide(accept=True)
    window.until(lambda: window.unsaved)
    window.until(lambda: window.accepted == [corrected] and window.proposals)
    assert controller.prompt is not None
    return next(view.mask for view in window.masks if view.proposal), corrected


# what other windows change


def test_only_what_changed_is_drawn_again(controller: Controller, window: Window, place: Path, tmp_path: Path) -> None:
    _accept(controller, window, _box(5, 25))
    window.process_events(1.2)
    drawn, listed = window.view.show_masks, window.view.show_images
    first, second = (record.id for record in controller.session.project.images.all())
    assert controller.image_id == first

    def count() -> tuple[int, int]:
        return drawn.call_count, listed.call_count

    before = count()
    with Project.open(place) as other:
        cow = _box(30, 50)
        other.accept(second, cow, "cow")
        window.until(lambda: "2 accepted masks" in window.status, 2)
        window.process_events(0.6)
        assert count() == before, "it is not in view; the counts are new"
        other.accept(first, cow, "cow")
        window.until(lambda: len(window.accepted) == 2, 2)
        window.process_events(0.6)
        assert count() == (before[0] + 1, before[1])
        other.accept(second, _box(1, 9), "sky")
        window.until(lambda: "sky 1" in window.status, 2)
        window.process_events(0.6)
        assert count() == (before[0] + 1, before[1]), "a category that is not in view changes no drawing"
        other.store.categories.change("cow", "bob", color="#123456")
        window.until(lambda: {view.color for view in window.masks} == {"#123456"}, 2)
        other.add(_third(tmp_path))
        window.until(lambda: len(listed.call_args.args[0]) == 3, 2)
        assert count() == (before[0] + 2, before[1] + 1)


def _third(folder: Path) -> Path:
    from PIL import Image as Pillow

    Pillow.new("RGB", (60, 40), "red").save(folder / "third.png")
    return folder / "third.png"


def test_of_our_own_changes_each_is_drawn_once(controller: Controller, window: Window) -> None:
    _propose(controller, window)
    controller.decide(accept=True)
    window.until(lambda: window.accepted)
    window.process_events(1.2)
    drawn = window.view.show_masks.call_count
    controller.undo()
    window.until(lambda: window.proposals)
    window.process_events(1.2)
    assert window.view.show_masks.call_count == drawn + 1


def test_after_too_many_changes_everything_is_read_again(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.process_events(1.2)
    drawn = window.view.show_masks.call_count
    number = controller.session.change_number() + 1
    monkeypatch.setattr(
        controller.session, "changes", lambda after: Changes(number, frozenset(), others=False, complete=False)
    )
    window.until(lambda: window.view.show_masks.call_count > drawn, 3)


def test_a_change_between_reading_an_image_and_showing_it_is_seen(
    controller: Controller, window: Window, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = controller.session.project.images.all()[1].id
    real, read, go = controller.session.view, threading.Event(), threading.Event()

    def slow(image_id: int, *args: Any, **kwargs: Any) -> Any:
        views = real(image_id, *args, **kwargs)
        if image_id == second and not read.is_set():
            read.set()
            assert go.wait(30)
        return views

    monkeypatch.setattr(controller.session, "view", slow)
    controller.images.open(second)
    assert read.wait(10)
    with Project.open(place) as other:
        other.accept(second, _box(5, 25), "cow")
    window.until(lambda: "1 accepted mask" in window.status, 3)
    go.set()
    window.until(lambda: controller.image_id == second)
    window.until(lambda: window.accepted, 3)


def test_the_project_is_never_read_or_written_on_the_windows_thread(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def spied(name: str) -> None:
        real = getattr(Transactions, name)

        @contextmanager
        def spy(self: Transactions) -> Any:
            threads.add(threading.current_thread())
            with real(self) as db:
                yield db

        monkeypatch.setattr(Transactions, name, spy)

    spied("reading")
    spied("writing")
    _propose(controller, window)
    controller.decide(accept=True)
    window.until(lambda: window.accepted)
    (accepted, *_) = window.accepted
    controller.history(accepted)
    controller.delete([accepted])
    controller.undo()
    window.until(lambda: window.status.startswith("Undone"))
    controller.redo()
    controller.correct(accepted)
    controller.click(30, 20, 1)
    controller.clear_clicks()
    controller.show_duplicates(visible=True)
    controller.images.step(1)
    window.process_events(1.5)
    assert {thread.name.rsplit("_", 1)[0] for thread in threads} >= {
        "maskwright-watch", "maskwright-read", "maskwright-save", "maskwright-model"
    }  # fmt: skip
    assert threading.main_thread() not in threads


def test_another_windows_mask_is_seen_while_two_prompts_run(
    controller: Controller, window: Window, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Gate(controller.session.propose_text)
    monkeypatch.setattr(controller.session, "propose_text", slow)
    for words in ("cow", "sky"):
        controller.prompts.text(TextPrompt.parse(words))
    assert slow.reached.wait(10)
    with Project.open(place) as other:
        other.accept(controller.image_id, _box(5, 25), "cow")
    window.until(lambda: window.accepted, 2)
    controller.delete(window.accepted)
    window.until(lambda: not window.accepted, 2)
    slow.go.set()
