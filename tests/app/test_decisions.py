"""Decisions of a tab: undo and redo, deletion, history, what was saved and what was not."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

import maskwright as mw
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import MaskwrightError, NothingToUndo, ProjectUnwritable
from maskwright.project import Project
from maskwright.project.images import user_name
from maskwright.session import NO_IMAGE, Decision, MaskView, Pending
from maskwright.store import Correction
from maskwright_app.decisions import Decisions
from maskwright_app.handlers import Handlers
from maskwright_app.html.mask_list import mask_list
from maskwright_app.tab import Tab
from tests.app.batch import SIZE_HW, add_images, propose, region

HOSTILE = "<img src=x onerror=alert(1)>"
SAVED = re.compile(r'Saved <time datetime="[^"]+">\d\d:\d\d:\d\d</time>')
FULL = "The disk is full; nothing was lost. Free 200 MB, then try again."
TAB = Tab(1)


@pytest.fixture
def project(empty_project: Project) -> Project:
    """Two images, each with a cow on the left and a barn on the right, which are proposed."""
    add_images(empty_project, 2)
    for image_id in (1, 2):
        propose(empty_project, image_id, cow=region(5, 35), barn=region(45, 75))
    return empty_project


@pytest.fixture
def decisions(handlers: Handlers) -> Decisions:
    return handlers.decisions


def full(*rows: object, **more: object) -> None:
    raise ProjectUnwritable(FULL)


def states(project: Project, image_id: int = 1) -> dict[str, str]:
    rows = project.annotations(image_id, ("proposed", "accepted", "rejected", "deleted"))
    return {row.category: row.state for row in rows}


def test_accept_all_is_one_step_that_can_be_undone_and_redone(handlers: Handlers, project: Project) -> None:
    decisions = handlers.decisions
    before = handlers.view(TAB).masks
    assert before.count("mw-proposal") == 2
    _, line = decisions.decide_all(TAB, "", accept=True)
    assert SAVED.search(line)
    assert handlers.view(TAB).masks.count("mw-accepted") == 2
    _, line = decisions.undo(TAB)
    assert "Undone: accept of 2 masks." in line
    assert SAVED.search(line)
    assert states(project) == {"cow": "proposed", "barn": "proposed"}
    assert handlers.view(TAB).masks == before, "dashed, and to be accepted, as it was"
    assert "accept of 2 masks" in decisions.redo(TAB)[1]
    assert states(project) == {"cow": "accepted", "barn": "accepted"}


def test_undo_takes_back_clicks_before_stored_steps(decisions: Decisions, project: Project) -> None:
    decisions.decide_all(TAB, "", accept=True)
    steps = (ClickStep(((9.0, 9.0, 1),), None, ()), ClickStep(((9.0, 9.0, 1), (2.0, 2.0, 0)), None, ()))
    tab = Tab(1, prompt=ClickPrompt(1, None, steps))
    for left in (1, 0):
        tab, line = decisions.undo(tab)
        assert tab.prompt is not None
        assert len(tab.prompt.steps) == left
        assert "Saved" not in line, "clicks are not stored"
        assert states(project)["cow"] == "accepted"
    tab, _ = decisions.undo(tab)
    assert tab.prompt is None
    assert states(project)["cow"] == "proposed"
    with pytest.raises(NothingToUndo):
        decisions.undo(Tab(1, prompt=ClickPrompt(2, None, steps)))


def test_a_step_on_another_image_changes_nothing_and_is_named(decisions: Decisions, project: Project) -> None:
    decisions.decide_all(Tab(2), "", accept=True)
    number = project.store.change_number()
    for step in (decisions.undo, decisions.redo):
        _, line = step(TAB)
        assert '<button type="button" data-act="open" data-id="2">Go to image 2</button>' in line
        assert "Saved" not in line
        assert project.store.change_number() == number
        step(Tab(2))
        number = project.store.change_number()
    with pytest.raises(MaskwrightError) as error:
        decisions.undo(Tab())
    assert str(error.value) == NO_IMAGE
    assert project.store.change_number() == number


def test_a_deleted_mask_comes_back_with_undo(handlers: Handlers, project: Project) -> None:
    decisions = handlers.decisions
    decisions.decide_all(TAB, "", accept=True)
    cow, barn = project.annotations(1)
    assert f'data-act="delete" data-id="{cow.id}" aria-label="delete this cow"' in handlers.view(TAB).masks
    correcting = Tab(1, prompt=ClickPrompt(1, cow.id))
    assert decisions.delete(correcting, barn.id)[0] == correcting
    tab, line = decisions.delete(correcting, cow.id)
    assert "Deleted 1 mask" in line
    assert SAVED.search(line)
    assert tab.prompt is None, "there is nothing left to correct"
    assert project.annotations(1) == []
    decisions.undo(TAB)
    assert [(row.uid, row.mask) for row in project.annotations(1)] == [(cow.uid, cow.mask)]


def test_the_history_unfolds_for_the_chosen_mask_alone_and_is_escaped(handlers: Handlers, project: Project) -> None:
    propose(project, 2, **{HOSTILE: region(0, 20)})
    handlers.decisions.decide_all(Tab(2), "", accept=True)
    hostile = next(row for row in project.annotations(2) if row.category == HOSTILE)
    plain = handlers.view(Tab(2)).masks
    assert plain.count('aria-expanded="false"') == 3
    assert "mw-history" not in plain
    shown = handlers.view(Tab(2, history_of=hostile.id)).masks
    assert shown.count("mw-history") == 1
    assert shown.count('aria-expanded="true"') == 1
    assert f"{user_name()}: accepted" in shown
    assert "as &lt;img src=x" in shown.split("mw-history")[1]
    assert "<img" not in shown
    assert "mw-history" not in handlers.view(Tab(1, history_of=hostile.id)).masks


def test_unwritten_masks_stay_marked_and_one_click_writes_them(
    handlers: Handlers, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = handlers.decisions
    with monkeypatch.context() as broken:
        broken.setattr(project.store.masks, "decide", full)
        tab, line = decisions.decide_all(TAB, "", accept=True)
        assert "Saved" not in line
        assert FULL in line
        assert "2 masks" in line
        assert 'data-act="retry"' in line
        shown = handlers.view(tab).masks
        assert shown.count("not saved") == 2
        assert shown.count('data-act="accept"') == 2
        still, line = decisions.retry(tab)
        assert "Saved" not in line
        assert still == tab
    assert set(states(project).values()) == {"proposed"}
    # another decision in between is no retry
    first, _ = project.annotations(2, ("proposed",))
    decision = Decision(accept=True, image_id=2, ids=(ProposalId.of_annotation(first.id),))
    tab, line = decisions.decide(tab, decision)
    assert SAVED.search(line)
    assert "2 masks" in line
    assert 'data-act="retry"' in line
    tab, line = decisions.retry(tab)
    assert SAVED.search(line)
    assert tab.pending.decisions == ()
    assert "not saved" not in handlers.view(tab).masks
    assert states(project) == {"cow": "accepted", "barn": "accepted"}


def test_pending_masks_show_on_their_image_only_until_they_can_never_be_written(
    handlers: Handlers, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicked, _ = handlers.click(TAB, {"x": 20, "y": 30, "label": 1})
    assert clicked.prompt is not None
    assert clicked.prompt.proposal is not None
    with monkeypatch.context() as broken:
        broken.setattr(project.store.masks, "decide", full)
        decision = Decision(accept=True, image_id=1, ids=(clicked.prompt.proposal,), name="stone")
        tab, _ = handlers.decisions.decide(TAB, decision)
    # the tab has left the image and come back: it has no proposals
    assert "not saved" in handlers.view(tab.with_image(1)).masks
    assert "not saved" not in handlers.view(tab.with_image(2)).masks
    handlers.session.drop(decision.ids)
    tab, line = handlers.decisions.retry(tab)
    assert "no longer open" in line
    assert "Saved" not in line
    assert tab.pending.decisions == ()


@pytest.mark.parametrize(("name", "act"), [("set_states", "delete"), ("undo", "undo"), ("redo", "redo")])
def test_a_deletion_or_a_step_that_failed_can_be_tried_again(
    decisions: Decisions, project: Project, monkeypatch: pytest.MonkeyPatch, name: str, act: str
) -> None:
    decisions.decide_all(TAB, "", accept=True)
    cow, _ = project.annotations(1)
    monkeypatch.setattr(project.store.masks, name, full)
    if act == "delete":
        _, line = decisions.delete(TAB, cow.id)
        assert f'data-act="delete" data-id="{cow.id}">Try again' in line
    else:
        _, line = {"undo": decisions.undo, "redo": decisions.redo}[act](TAB)
        assert f'data-act="{act}">Try again' in line
    assert FULL in line
    assert "Saved" not in line
    assert states(project) == {"cow": "accepted", "barn": "accepted"}


def test_saved_is_shown_after_the_write(decisions: Decisions, project: Project) -> None:
    _, line = decisions.decide_all(TAB, "", accept=True)
    assert SAVED.search(line)
    # read by a connection that shares nothing with the writer
    with closing(sqlite3.connect(f"file:{project.folder / 'project.db'}?mode=ro", uri=True)) as other:
        assert other.execute("select count(*) from annotations where state = 'accepted'").fetchone() == (2,)


def test_after_a_conflict_both_masks_show_and_a_retry_replaces_the_other_one(
    handlers: Handlers, project: Project
) -> None:
    decisions = handlers.decisions
    decisions.decide_all(TAB, "", accept=True)
    cow = next(row for row in project.annotations(1) if row.category == "cow")
    tab, _ = handlers.click(handlers.correct(TAB, cow.id), {"x": 20, "y": 30, "label": 1})
    assert handlers.view(tab).masks.count("<li") == 2
    theirs = mw.Mask.from_array(region(5, 20))
    project.store.masks.decide("accepted", "ben", corrections=[Correction(cow.id, cow.revision, theirs, {})])
    tab, line = decisions.decide_all(tab, "", accept=True)
    assert "changed by someone else" in line
    assert 'data-act="retry">Replace with mine' in line
    assert tab.prompt is not None
    assert project.store.masks.get(cow.id).mask.rle == theirs.rle
    assert handlers.view(tab).masks.count("<li") == 3, "both are shown"
    tab, line = decisions.retry(tab)
    assert SAVED.search(line)
    assert tab.prompt is None
    assert project.store.masks.get(cow.id).mask.rle != theirs.rle


def test_clicks_and_stored_proposals_are_accepted_in_one_step(handlers: Handlers, project: Project) -> None:
    tab, _ = handlers.click(TAB, {"x": 40, "y": 30, "label": 1})
    tab, _ = handlers.decisions.decide_all(tab, "stone", accept=True)
    assert tab.prompt is None
    assert states(project) == {"cow": "accepted", "barn": "accepted", "stone": "accepted"}
    assert "accept of 3 masks" in handlers.decisions.undo(TAB)[1]
    assert set(states(project).values()) == {"proposed"}


def test_an_unwritten_duplicate_is_not_hidden() -> None:
    mask = mw.Mask.from_array(region(0, 9), category="cow")
    key = ProposalId.new()
    view = MaskView(mask, "#0072b2", key, duplicate=True)
    assert "<li" not in mask_list([view], SIZE_HW, TAB)
    pending = Pending((Decision(accept=True, image_id=1, ids=(key,)),))
    assert "not saved" in mask_list([view], SIZE_HW, Tab(1, pending=pending))


def test_there_is_nothing_to_decide(decisions: Decisions, project: Project) -> None:
    decisions.decide_all(TAB, "", accept=False)
    for tab in (TAB, Tab()):
        with pytest.raises(MaskwrightError):
            decisions.decide_all(tab, "", accept=True)
