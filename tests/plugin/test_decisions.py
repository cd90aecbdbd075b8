"""Undo, delete, history, duplicates and failed writes; the view only remembers, the rest is real."""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.domain import Mask
from maskwright.errors import ProjectUnwritable
from maskwright.project import Project
from maskwright.store import NewAnnotation
from maskwright.store.transactions import Transactions
from napari_maskwright._controller import Controller
from tests.plugin.window import Gate, Window

SAVED = re.compile(r"^Saved \d\d:\d\d:\d\d\. ", re.MULTILINE)


def _proposals(window: Window) -> list[str]:
    return [row.proposal for row in window.rows if row.proposal]


def _accepted(window: Window) -> list[int]:
    return [row.annotation for row in window.rows if row.annotation]


def _propose(controller: Controller, window: Window, words: str = "grass, cow, sky") -> list[str]:
    before = set(_proposals(window))
    controller.propose(words, background=False, threshold=0.5)
    window.until(lambda: not before.issuperset(_proposals(window)) or window.hidden)
    return _proposals(window)


def _box(left: int, right: int) -> Any:
    region = np.zeros((40, 60), bool)
    region[5:30, left:right] = True
    return region


def _kept(controller: Controller, window: Window, *regions: Any, name: str = "cow") -> list[int]:
    """Accepted masks in the project, which the window has seen."""
    assert controller.image_id is not None
    ids = [controller.session.project.accept(controller.image_id, region, name).id for region in regions]
    window.until(lambda: set(ids) <= set(_accepted(window)), 5)
    return ids


def _stored(controller: Controller) -> list[str]:
    return [one.category for one in controller.session.project.annotations()]


# undo and redo


def test_an_accept_undone_is_a_proposal_again_and_redone_it_is_accepted(controller: Controller, window: Window) -> None:
    ids = _propose(controller, window)
    shapes = {str(row.mask.rle) for row in window.rows}
    controller.decide(True)
    window.until(lambda: len(_accepted(window)) == len(ids))
    controller.undo()
    window.until(lambda: not _accepted(window))
    assert len(_proposals(window)) == len(ids)
    assert {str(row.mask.rle) for row in window.rows} == shapes
    assert not _stored(controller)
    number = f"{len(ids)} mask{'s' * (len(ids) > 1)}"
    assert window.status.startswith(f"Undone: accept of {number}.\n")
    assert SAVED.search(window.status)
    controller.redo()
    window.until(lambda: len(_accepted(window)) == len(ids))
    assert window.status.startswith(f"Done again: accept of {number}.\n")
    assert len(_stored(controller)) == len(ids)
    assert not window.view.show_error.called


def test_while_clicks_are_open_undo_takes_the_last_click_and_only_then_the_step(
    controller: Controller, window: Window
) -> None:
    (kept,) = _kept(controller, window, _box(5, 25))
    for place in ((30, 20, 1), (5, 5, 0)):
        controller.click(*place)
    controller.undo()
    assert controller.prompt is not None
    assert controller.prompt.last.points == ((30, 20, 1),)
    controller.undo()
    assert not controller.prompt.steps
    window.settle(1.0)
    assert _accepted(window) == [kept], "so far only clicks were taken back"
    controller.undo()
    window.until(lambda: not _accepted(window))
    assert controller.prompt is None, "there is nothing left that it could correct"
    assert not _stored(controller)


def test_a_step_on_another_image_changes_nothing_and_offers_to_go_there(controller: Controller, window: Window) -> None:
    first = controller.image_id
    _kept(controller, window, _box(5, 25))
    controller.step(1)
    window.until(lambda: controller.image_id != first)
    offer = window.view.show_elsewhere
    controller.undo()
    window.until(lambda: offer.call_args.args[0])
    assert "another image" in offer.call_args.args[0]
    assert offer.call_args.args[1] == first
    assert controller.image_id != first, "it only offers"
    assert _stored(controller) == ["cow"]
    assert not window.view.show_error.called
    controller.open_image(offer.call_args.args[1])
    window.until(lambda: controller.image_id == first)
    assert offer.call_args.args == ("", None), "the offer was taken"
    controller.undo()
    window.until(lambda: not _accepted(window))
    assert _stored(controller) == []
    controller.step(1)
    window.until(lambda: controller.image_id != first)
    controller.redo()
    window.until(lambda: offer.call_args.args[1] == first)
    assert _stored(controller) == []


def test_nothing_to_undo_is_told_and_is_no_error(controller: Controller, window: Window) -> None:
    controller.undo()
    window.until(lambda: window.status.startswith("There is nothing to undo."))
    controller.redo()
    window.until(lambda: window.status.startswith("There is nothing to redo."))
    assert not window.view.show_error.called
    assert "Saved" not in window.status


def test_undo_waits_for_the_accept_before_it(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kept(controller, window, _box(5, 25), name="earlier")
    ids = _propose(controller, window)
    slow = Gate(controller.session.decide)
    monkeypatch.setattr(controller.session, "decide", slow)
    controller.decide(True)
    assert slow.reached.wait(10)
    controller.decide(True)
    controller.undo()
    window.settle()
    slow.go.set()
    window.until(lambda: window.status.startswith("Undone"))
    assert _stored(controller) == ["earlier"], "the accept was taken back, and not what was before it"
    assert slow.calls == 1, "a second press while the first is being saved does nothing"
    assert not window.view.show_error.called
    window.until(lambda: len(_proposals(window)) == len(ids))


def test_accepting_the_rest_while_one_is_being_saved(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _propose(controller, window)
    assert len(ids) > 1
    slow = Gate(controller.session.decide)
    monkeypatch.setattr(controller.session, "decide", slow)
    controller.decide(True, ids[:1])
    assert slow.reached.wait(10)
    controller.decide(True)
    slow.go.set()
    window.until(lambda: len(_accepted(window)) == len(ids))
    assert not window.view.show_error.called


# delete and history


def test_chosen_masks_are_deleted_in_one_step(controller: Controller, window: Window) -> None:
    ids = _kept(controller, window, _box(5, 25), _box(30, 50), _box(1, 4))
    controller.delete(())
    assert "Choose an accepted mask" in window.view.show_error.call_args.args[0]
    controller.correct(ids[0])
    controller.delete(ids[:2])
    window.until(lambda: _accepted(window) == ids[2:])
    assert window.status.startswith("Deleted 2 masks.\n")
    assert SAVED.search(window.status)
    assert controller.prompt is None, "what was to be corrected is gone"
    with Project.open(controller.session.project.folder) as project:
        assert [one.id for one in project.annotations()] == ids[2:]
    controller.undo()
    window.until(lambda: set(_accepted(window)) == set(ids))


def test_the_history_of_a_mask_and_of_none(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _kept(controller, window, _box(5, 25), _box(30, 50))
    controller.delete([first])
    controller.undo()
    window.until(lambda: window.status.startswith("Undone"))
    shown = window.view.show_history
    controller.history(first)
    window.until(lambda: shown.called)
    told = shown.call_args.args[0]
    assert told == controller.session.history(first)
    assert len(told) == 3
    assert "deleted" in told[1]
    slow = Gate(controller.session.history)
    monkeypatch.setattr(controller.session, "history", slow)
    controller.history(second)
    assert slow.reached.wait(10)
    controller.history(None)
    assert shown.call_args.args == ((),)
    slow.go.set()
    window.settle()
    assert shown.call_args.args == ((),), "nobody asks for it any more"


# duplicates


def test_duplicates_are_hidden_counted_and_accepted_when_they_are_shown(controller: Controller, window: Window) -> None:
    ids = _propose(controller, window)
    controller.decide(True)
    window.until(lambda: len(_accepted(window)) == len(ids))
    controller.propose("grass, cow, sky", background=False, threshold=0.5)
    window.until(lambda: window.hidden == len(ids))
    assert _proposals(window) == []
    assert f"{len(ids)} duplicate{'s' * (len(ids) > 1)} hidden." in window.status
    controller.decide(True)
    assert "no open mask" in window.view.show_error.call_args.args[0], "what is hidden is not decided on"
    controller.show_duplicates(True)
    assert len(_proposals(window)) == len(ids)
    assert window.hidden == 0
    assert window.remarks == dict.fromkeys(_proposals(window), "duplicate")
    controller.decide(True)
    window.until(lambda: len(_accepted(window)) == 2 * len(ids))
    controller.propose("grass, cow, sky", background=False, threshold=0.5)
    window.until(lambda: len(_proposals(window)) == len(ids))
    assert "hidden" not in window.status
    controller.show_duplicates(False)
    assert (_proposals(window), window.hidden) == ([], len(ids))


def test_what_was_hidden_is_shown_when_the_accepted_mask_is_gone(controller: Controller, window: Window) -> None:
    ids = _propose(controller, window)
    controller.decide(True)
    window.until(lambda: len(_accepted(window)) == len(ids))
    _propose(controller, window)
    assert (_proposals(window), window.hidden) == ([], len(ids))
    controller.undo()
    window.until(lambda: len(_proposals(window)) == 2 * len(ids))
    assert window.hidden == 0
    assert window.remarks == {}


def test_duplicates_that_a_batch_left_are_hidden_too(controller: Controller, window: Window) -> None:
    _kept(controller, window, _box(5, 25))
    image_id = controller.image_id
    assert image_id is not None
    drafts = [
        NewAnnotation(image_id, "cow", Mask.from_array(region), "text", {"method": "dinotxt"}, "ann", "proposed")
        for region in (_box(5, 26), _box(40, 55))
    ]
    repeated, fresh = controller.session.project.store.masks.add_many(drafts)
    window.until(lambda: len(_proposals(window)) == 1, 5)
    assert window.rows[-1].mask.rle == fresh.mask.rle
    assert window.hidden == 1
    controller.show_duplicates(True)
    assert window.hidden == 0
    again = next(row for row in window.rows if row.proposal and row.mask.rle == repeated.mask.rle)
    assert window.remarks == {again.proposal: "duplicate"}
    controller.decide(True, [again.proposal])
    window.until(lambda: repeated.id in _accepted(window))
    assert len(_stored(controller)) == 2


# writes that fail


@contextmanager
def _locked(place: Path) -> Any:
    """Another program keeps the project for itself."""
    other = sqlite3.connect(place / "project.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.rollback()
    other.close()


def _refusing(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The disk is full for as long as the answer says so."""
    real, full = controller.session.project.store.masks.decide, {"disk": True}

    def decide(*given: Any, **told: Any) -> Any:
        if full["disk"]:
            raise ProjectUnwritable("The disk is full; nothing was lost. Free 200 MB, then try again.")
        return real(*given, **told)

    monkeypatch.setattr(controller.session.project.store.masks, "decide", decide)
    return full


def test_saved_is_said_after_the_call_returned_and_not_before(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    _propose(controller, window)
    slow = Gate(controller.session.decide)
    monkeypatch.setattr(controller.session, "decide", slow)
    controller.decide(True)
    assert slow.reached.wait(10)
    window.settle()
    assert not any("Saved" in str(call) for call in window.view.show_status.call_args_list)
    slow.go.set()
    window.until(lambda: "Saved" in window.status)
    assert window.status.startswith("Accepted ")
    assert SAVED.search(window.status)
    saved = SAVED.search(window.status)
    controller.propose(" , ", background=True, threshold=0.5)
    controller.session.project.accept(controller.image_id or 0, _box(1, 3), "late")
    window.until(lambda: "late 1" in window.status, 5)
    assert saved
    assert saved[0] in window.status, "when it was saved stays in sight"


def test_a_locked_project_keeps_the_masks_on_screen_and_one_click_saves_them(
    controller: Controller, window: Window, place: Path
) -> None:
    ids = _propose(controller, window)
    with _locked(place):
        controller.decide(True)
        window.until(lambda: window.unsaved)
        assert window.unsaved.startswith("Cannot save: another program is writing to the project")
        assert window.unsaved.endswith("kept on screen, not saved yet.")
        window.until(lambda: _proposals(window) == ids)
        assert window.remarks == dict.fromkeys(ids, "not saved")
        assert "not saved" in window.status
        assert "Saved" not in window.status
        assert window.view.show_error.called, "it is shown at once"
    assert _stored(controller) == []
    controller.retry()
    window.until(lambda: len(_accepted(window)) == len(ids))
    assert window.unsaved == ""
    assert window.remarks == {}
    assert SAVED.search(window.status)
    assert len(_stored(controller)) == len(ids)


def test_what_is_not_saved_outlives_other_prompts_and_other_images(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _refusing(controller, monkeypatch)
    waiting = _propose(controller, window, "grass")
    controller.decide(True)
    window.until(lambda: window.unsaved)
    others = _propose(controller, window, "sky")
    assert set(waiting) < set(others)
    assert window.remarks == dict.fromkeys(waiting, "not saved")
    first = controller.image_id
    controller.step(1)
    window.until(lambda: controller.image_id != first and window.rows == [])
    assert window.unsaved
    assert "1 mask not saved" in window.status
    controller.step(-1)
    window.until(lambda: _proposals(window) == waiting)
    disk["disk"] = False
    controller.step(1)
    window.until(lambda: controller.image_id != first)
    controller.retry()
    window.until(lambda: not window.unsaved)
    assert [one.image_id for one in controller.session.project.annotations()] == [first]


def test_a_duplicate_that_was_not_saved_is_shown_once_and_stays(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _propose(controller, window)
    controller.decide(True)
    window.until(lambda: len(_accepted(window)) == len(ids))
    controller.show_duplicates(True)
    repeated = _propose(controller, window)
    _refusing(controller, monkeypatch)
    controller.decide(True)
    window.until(lambda: window.unsaved)
    window.settle()
    assert _proposals(window) == repeated
    controller.show_duplicates(False)
    assert _proposals(window) == repeated, "what is not saved is never hidden"
    assert window.remarks == dict.fromkeys(repeated, "not saved")


def test_a_clicked_mask_that_was_not_saved_keeps_its_name(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _refusing(controller, monkeypatch)
    controller.click(30, 20, 1)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates and _proposals(window))
    controller.decide(True, name="thing")
    window.until(lambda: window.unsaved)
    assert controller.prompt is None, "the next click begins a new mask"
    controller.click(5, 5, 1)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    controller.clear_clicks()
    window.settle()
    (waiting,) = _proposals(window)
    disk["disk"] = False
    controller.decide(True, [waiting], name="something else")
    window.until(lambda: _accepted(window))
    assert _stored(controller) == ["thing"]
    assert window.unsaved == ""


def test_what_was_not_saved_can_be_taken_back_or_rejected(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _refusing(controller, monkeypatch)
    _kept(controller, window, _box(5, 25))
    ids = _propose(controller, window)
    controller.decide(True)
    window.until(lambda: window.unsaved)
    disk["disk"] = False
    controller.undo()
    assert window.unsaved == ""
    assert window.remarks == {}
    window.settle()
    assert _proposals(window) == ids
    assert _stored(controller) == ["cow"], "what was saved earlier is not touched"
    disk["disk"] = True
    controller.decide(True)
    window.until(lambda: window.unsaved)
    disk["disk"] = False
    controller.decide(False)
    window.until(lambda: not window.unsaved)
    window.until(lambda: not _proposals(window))
    assert controller.session.project.status().rejected == len(ids)


def test_a_failure_nobody_foresaw_loses_no_mask_either(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _propose(controller, window)
    monkeypatch.setattr(controller.session.project.store.masks, "decide", lambda *given, **told: 1 / 0)
    controller.decide(True)
    window.until(lambda: window.unsaved)
    assert "ZeroDivisionError" in window.unsaved
    assert _proposals(window) == ids
    monkeypatch.undo()
    controller.retry()
    window.until(lambda: len(_accepted(window)) == len(ids))


def test_a_decision_pressed_just_before_closing_is_carried_out(
    controller: Controller, window: Window, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = _propose(controller, window)
    (mask,) = _kept(controller, window, _box(5, 25))
    slow = Gate(controller.session.delete)
    monkeypatch.setattr(controller.session, "delete", slow)
    controller.delete([mask])
    assert slow.reached.wait(10)
    controller.decide(True, [first])
    controller.close()
    slow.go.set()
    closing = [one for one in threading.enumerate() if one.name == "maskwright-close"]
    for one in closing:
        one.join(20)
    with Project.open(place) as project:
        assert len(project.annotations()) == 1
        assert project.annotations()[0].id != mask


def test_after_a_conflict_both_masks_are_shown_and_a_second_accept_replaces(
    controller: Controller, window: Window
) -> None:
    (kept,) = _kept(controller, window, _box(5, 25))
    controller.correct(kept)
    controller.click(50, 35, 0)
    window.until(lambda: controller.prompt and controller.prompt.last.candidates)
    window.until(lambda: [row.annotation for row in window.rows] == [None])
    controller.session.project.store.masks.reclassify({kept: None}, "calf", "bob")
    controller.decide(True)
    window.until(lambda: window.view.show_error.called)
    assert "changed by someone else" in window.view.show_error.call_args.args[0]
    window.until(lambda: _accepted(window) == [kept] and _proposals(window))
    assert controller.prompt is not None
    assert not window.unsaved, "it was refused, and can be decided on"
    assert _stored(controller) == ["calf"]
    mask = next(row.mask for row in window.rows if row.proposal)
    controller.decide(True, name="calf")
    window.until(lambda: not _proposals(window))
    (now,) = controller.session.project.annotations()
    assert (now.id, now.mask.rle) == (kept, mask.rle)


# what other windows change


def test_only_what_changed_is_drawn_again(controller: Controller, window: Window, place: Path, tmp_path: Path) -> None:
    _kept(controller, window, _box(5, 25))
    window.settle(1.2)
    drawn, listed = window.view.show_masks, window.view.show_images
    first, second = (one.id for one in controller.session.project.images.all())
    assert controller.image_id == first

    def count() -> tuple[int, int]:
        return drawn.call_count, listed.call_count

    before = count()
    with Project.open(place) as other:
        cow = _box(30, 50)
        other.accept(second, cow, "cow")
        window.until(lambda: "2 accepted masks" in window.status, 2)
        window.settle(0.6)
        assert count() == before, "it is not in view; the counts are new"
        other.accept(first, cow, "cow")
        window.until(lambda: len(_accepted(window)) == 2, 2)
        window.settle(0.6)
        assert count() == (before[0] + 1, before[1])
        other.accept(second, _box(1, 9), "sky")
        window.until(lambda: "sky 1" in window.status, 2)
        window.settle(0.6)
        assert count() == (before[0] + 1, before[1]), "a category that is not in view changes no picture"
        other.store.categories.change("cow", "bob", color="#123456")
        window.until(lambda: {row.color for row in window.rows} == {"#123456"}, 2)
        other.add(_third(tmp_path))
        window.until(lambda: len(listed.call_args.args[0]) == 3, 2)
        assert count() == (before[0] + 2, before[1] + 1)


def _third(folder: Path) -> Path:
    from PIL import Image as Pillow

    Pillow.new("RGB", (60, 40), "red").save(folder / "third.png")
    return folder / "third.png"


def test_of_our_own_changes_each_is_drawn_once(controller: Controller, window: Window) -> None:
    _propose(controller, window)
    controller.decide(True)
    window.until(lambda: _accepted(window))
    window.settle(1.2)
    drawn = window.view.show_masks.call_count
    controller.undo()
    window.until(lambda: _proposals(window))
    window.settle(1.2)
    assert window.view.show_masks.call_count == drawn + 1


def test_after_too_many_changes_everything_is_read_again(
    controller: Controller, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskwright.store import Changes

    window.settle(1.2)
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
    real, read, go = controller.session.shown, threading.Event(), threading.Event()

    def slow(image_id: int, *given: Any, **told: Any) -> Any:
        rows = real(image_id, *given, **told)
        if image_id == second and not read.is_set():
            read.set()
            assert go.wait(30)
        return rows

    monkeypatch.setattr(controller.session, "shown", slow)
    controller.open_image(second)
    assert read.wait(10)
    with Project.open(place) as other:
        other.accept(second, _box(5, 25), "cow")
    window.until(lambda: "1 accepted mask" in window.status, 3)
    go.set()
    window.until(lambda: controller.image_id == second)
    window.until(lambda: _accepted(window), 3)


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

    spied("_reading")
    spied("_writing")
    _propose(controller, window)
    controller.decide(True)
    window.until(lambda: _accepted(window))
    (kept, *_) = _accepted(window)
    controller.history(kept)
    controller.delete([kept])
    controller.undo()
    window.until(lambda: window.status.startswith("Undone"))
    controller.redo()
    controller.correct(kept)
    controller.click(30, 20, 1)
    controller.clear_clicks()
    controller.show_duplicates(True)
    controller.step(1)
    window.settle(1.5)
    assert {one.name.rsplit("_", 1)[0] for one in threads} >= {
        "maskwright-watch", "maskwright-read", "maskwright-save", "maskwright-model"
    }  # fmt: skip
    assert threading.main_thread() not in threads


def test_another_windows_mask_is_seen_while_two_prompts_run(
    controller: Controller, window: Window, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Gate(controller.session.propose_text)
    monkeypatch.setattr(controller.session, "propose_text", slow)
    for words in ("cow", "sky"):
        controller.propose(words, background=False, threshold=0.5)
    assert slow.reached.wait(10)
    with Project.open(place) as other:
        other.accept(controller.image_id, _box(5, 25), "cow")
    window.until(lambda: _accepted(window), 2)
    controller.delete(_accepted(window))
    window.until(lambda: not _accepted(window), 2)
    slow.go.set()
