"""What the page says and keeps of decisions: undo and redo, deletion, history, what was saved and what was not."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

import maskwright as mw
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.errors import MaskwrightError, NothingToUndo, ProjectUnwritable
from maskwright.project import Project
from maskwright.project.images import user_name
from maskwright.store import Correction
from maskwright_app.decisions import Decision, Panel
from maskwright_app.handlers import Handlers
from maskwright_app.mask_list import Unfolded, legend
from tests.app.batch import SIZE_HW, add_pictures, propose, region

HOSTILE = "<img src=x onerror=alert(1)>"
SAVED = re.compile(r'Saved <time datetime="[^"]+">\d\d:\d\d:\d\d</time>')
FULL = "The disk is full; nothing was lost. Free 200 MB, then try again."


@pytest.fixture
def project(handlers: Handlers) -> Project:
    """Two pictures, each with a cow on the left and a barn on the right, which are proposed."""
    found = handlers.session.project
    add_pictures(found, 2)
    for image_id in (1, 2):
        propose(found, image_id, cow=region(5, 35), barn=region(45, 75))
    return found


def full(*rows: object, **more: object) -> None:
    raise ProjectUnwritable(FULL)


def states(project: Project, image_id: int = 1) -> dict[str, str]:
    rows = project.annotations(image_id, ("proposed", "accepted", "rejected", "deleted"))
    return {row.category: row.state for row in rows}


def test_accept_all_is_one_step_that_undo_takes_back_and_redo_does_again(handlers: Handlers, project: Project) -> None:
    before = handlers.view(1, []).legend
    assert before.count("mw-proposal") == 2
    outcome = handlers.decide_all(1, [], None, "", keep=True)
    assert SAVED.search(outcome.status)
    assert handlers.view(1, []).legend.count("mw-accepted") == 2
    outcome = handlers.retrace("undo", 1, None, Panel())
    assert "Undone: accept of 2 masks." in outcome.status
    assert SAVED.search(outcome.status)
    assert states(project) == {"cow": "proposed", "barn": "proposed"}
    assert handlers.view(1, []).legend == before, "dashed, and to be accepted, as it was"
    assert "Done again: accept of 2 masks." in handlers.retrace("redo", 1, None, Panel()).status
    assert states(project) == {"cow": "accepted", "barn": "accepted"}


def test_undo_takes_back_the_last_click_first_and_then_what_was_kept(handlers: Handlers, project: Project) -> None:
    handlers.decide_all(1, [], None, "", keep=True)
    prompt = ClickPrompt(
        1, None, (ClickStep(((9.0, 9.0, 1),), None, ()), ClickStep(((9.0, 9.0, 1), (2.0, 2.0, 0)), None, ()))
    )
    for left in (1, 0):
        outcome = handlers.retrace("undo", 1, prompt, Panel())
        assert outcome.prompt is not None
        assert len(outcome.prompt.steps) == left
        assert "Saved" not in outcome.status, "no click is kept"
        assert states(project)["cow"] == "accepted"
        prompt = outcome.prompt
    outcome = handlers.retrace("undo", 1, prompt, Panel())
    assert outcome.prompt is None
    assert states(project)["cow"] == "proposed"
    elsewhere = ClickPrompt(2, None, (ClickStep(((9.0, 9.0, 1),), None, ()),))
    with pytest.raises(NothingToUndo):
        handlers.retrace("undo", 1, elsewhere, Panel())


def test_a_step_on_another_image_changes_nothing_and_says_where_it_is(handlers: Handlers, project: Project) -> None:
    handlers.decide_all(2, [], None, "", keep=True)
    number = project.store.change_number()
    for way in ("undo", "redo"):
        outcome = handlers.retrace(way, 1, None, Panel())
        assert '<button type="button" data-act="go" data-id="2">Go to image 2</button>' in outcome.status
        assert "Saved" not in outcome.status
        assert project.store.change_number() == number
        # the way back is taken there
        handlers.retrace(way, 2, None, Panel())
        number = project.store.change_number()
    with pytest.raises(MaskwrightError, match="select an image"):
        handlers.retrace("undo", None, None, Panel())
    assert project.store.change_number() == number


def test_a_deleted_mask_is_gone_until_undo(handlers: Handlers, project: Project) -> None:
    handlers.decide_all(1, [], None, "", keep=True)
    cow, barn = project.annotations(1)
    assert f'data-act="delete" data-id="{cow.id}" aria-label="delete this cow"' in handlers.view(1, []).legend
    correcting = ClickPrompt(1, cow.id)
    assert handlers.delete_mask(barn.id, correcting, Panel()).prompt is correcting
    outcome = handlers.delete_mask(cow.id, correcting, Panel())
    assert "Deleted; Undo brings it back." in outcome.status
    assert SAVED.search(outcome.status)
    assert outcome.prompt is None, "there is nothing left to correct"
    assert project.annotations(1) == []
    handlers.retrace("undo", 1, None, Panel())
    assert [(one.uid, one.mask) for one in project.annotations(1)] == [(cow.uid, cow.mask)]


def test_the_history_is_unfolded_for_the_chosen_mask_alone_and_is_text(handlers: Handlers, project: Project) -> None:
    propose(project, 2, **{HOSTILE: region(0, 20)})
    handlers.decide_all(2, [], None, "", keep=True)
    hostile = next(one for one in project.annotations(2) if one.category == HOSTILE)
    plain = handlers.view(2, []).legend
    assert plain.count('aria-expanded="false"') == 3
    assert "mw-history" not in plain
    shown = handlers.view(2, [], panel=Panel(chosen=hostile.id)).legend
    assert shown.count("mw-history") == 1
    assert shown.count('aria-expanded="true"') == 1
    assert f"{user_name()}: accepted" in shown
    assert "as &lt;img src=x" in shown.split("mw-history")[1]
    assert "<img" not in shown
    assert "mw-history" not in handlers.view(1, [], panel=Panel(chosen=hostile.id)).legend


def test_what_could_not_be_written_stays_marked_and_is_written_by_one_click(
    handlers: Handlers, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(project.store.masks, "decide", full)
        outcome = handlers.decide_all(1, [], None, "", keep=True)
        assert "Saved" not in outcome.status
        assert FULL in outcome.status
        assert "2 masks kept on screen." in outcome.status
        assert 'data-act="again"' in outcome.status
        shown = handlers.view(1, [], panel=outcome.panel).legend
        assert shown.count("not saved") == 2
        assert shown.count('data-act="accept"') == 2
        still = handlers.decide_again(None, outcome.panel)
        assert "Saved" not in still.status
        assert still.panel == outcome.panel
    assert set(states(project).values()) == {"proposed"}
    # another decision in between is no retry
    (first, _) = handlers.session.open_proposals([], 2)
    kept = handlers.decide(Decision(True, 2, (first.id,)), None, outcome.panel)
    assert SAVED.search(kept.status)
    assert "2 masks are not saved." in kept.status
    done = handlers.decide_again(None, kept.panel)
    assert SAVED.search(done.status)
    assert done.panel.waiting == ()
    assert "not saved" not in handlers.view(1, [], panel=done.panel).legend
    assert states(project) == {"cow": "accepted", "barn": "accepted"}


def test_what_waits_is_shown_on_its_own_image_only_and_ends_when_it_can_never_be_written(
    handlers: Handlers, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (answer, *_) = handlers.segment_click(1, [[20.0, 30.0, 1]])["masks"]
    with monkeypatch.context() as broken:
        broken.setattr(project.store.masks, "decide", full)
        panel = handlers.decide(Decision(True, 1, (answer["proposal"],), "stone"), None, Panel()).panel
    # the tab was turned to the other image and back: it knows of no proposals
    assert "not saved" in handlers.view(1, [], panel=panel).legend
    assert "not saved" not in handlers.view(2, [], panel=panel).legend
    handlers.session.drop([answer["proposal"]])
    outcome = handlers.decide_again(None, panel)
    assert "no longer open" in outcome.status
    assert outcome.panel.waiting == ()


@pytest.mark.parametrize(("name", "act"), [("set_states", "delete"), ("undo", "undo"), ("redo", "redo")])
def test_a_deletion_or_a_step_that_failed_has_a_button_too(
    handlers: Handlers, project: Project, monkeypatch: pytest.MonkeyPatch, name: str, act: str
) -> None:
    handlers.decide_all(1, [], None, "", keep=True)
    (cow, _) = project.annotations(1)
    monkeypatch.setattr(project.store.masks, name, full)
    if act == "delete":
        outcome = handlers.delete_mask(cow.id, None, Panel())
        assert f'data-act="delete" data-id="{cow.id}">Try again' in outcome.status
    else:
        outcome = handlers.retrace(act, 1, None, Panel())
        assert f'data-act="{act}">Try again' in outcome.status
    assert FULL in outcome.status
    assert "Saved" not in outcome.status
    assert states(project) == {"cow": "accepted", "barn": "accepted"}


def test_saved_is_said_after_the_write_and_is_true_then(handlers: Handlers, project: Project) -> None:
    outcome = handlers.decide_all(1, [], None, "", keep=True)
    assert SAVED.search(outcome.status)
    # read by somebody who shares nothing with the writer
    with closing(sqlite3.connect(f"file:{project.folder / 'project.db'}?mode=ro", uri=True)) as other:
        assert other.execute("select count(*) from annotations where state = 'accepted'").fetchone() == (2,)


def test_somebody_elses_change_is_shown_beside_mine_and_a_second_accept_replaces_it(
    handlers: Handlers, project: Project
) -> None:
    handlers.decide_all(1, [], None, "", keep=True)
    cow = next(one for one in project.annotations(1) if one.category == "cow")
    prompt, _ = handlers.click(1, ClickPrompt(1, cow.id), {"x": 20, "y": 30, "sign": 1, "near": 2})
    assert prompt is not None
    assert handlers.view(1, [], prompt=prompt).legend.count("<li") == 2
    theirs = mw.Mask.from_array(region(5, 20))
    project.store.masks.decide("accepted", "ben", corrections=[Correction(cow.id, cow.revision, theirs, {})])[0]
    outcome = handlers.decide_all(1, [], prompt, "", keep=True)
    assert "changed by someone else" in outcome.status
    assert 'data-act="again">Replace it with mine' in outcome.status
    assert outcome.prompt is prompt
    assert project.store.masks.get(cow.id).mask.rle == theirs.rle
    assert handlers.view(1, [], prompt=prompt, panel=outcome.panel).legend.count("<li") == 3, "both are shown"
    again = handlers.decide_again(outcome.prompt, outcome.panel)
    assert SAVED.search(again.status)
    assert again.prompt is None
    assert project.store.masks.get(cow.id).mask.rle != theirs.rle


def test_clicks_and_what_a_batch_left_are_accepted_in_one_step(handlers: Handlers, project: Project) -> None:
    prompt, _ = handlers.click(1, None, {"x": 40, "y": 30, "sign": 1, "near": 2})
    outcome = handlers.decide_all(1, [], prompt, "stone", keep=True)
    assert outcome.prompt is None
    assert states(project) == {"cow": "accepted", "barn": "accepted", "stone": "accepted"}
    assert "accept of 3 masks" in handlers.retrace("undo", 1, None, Panel()).status
    assert set(states(project).values()) == {"proposed"}


def test_a_list_of_unsaved_duplicates_hides_none() -> None:
    from maskwright.session import MaskView

    mask = mw.Mask.from_array(region(0, 9), category="cow")
    row = MaskView(mask, "#0072b2", "one", duplicate=True)
    assert "<li" not in legend([row], SIZE_HW)
    assert "not saved" in legend([row], SIZE_HW, unfolded=Unfolded(unsaved=["one"]))


def test_endpoints_undo_redo_and_delete(handlers: Handlers, project: Project) -> None:
    handlers.decide_all(1, [], None, "", keep=True)
    undone = handlers.undo(1)
    assert undone["image"] == 1
    assert undone["sentence"] == "Undone: accept of 2 masks."
    assert undone["change"] == project.store.change_number()
    assert handlers.redo(1)["sentence"] == "Done again: accept of 2 masks."
    ids = [one.id for one in project.annotations(1)]
    gone = handlers.delete(ids)
    assert [(row["id"], row["state"]) for row in gone["annotations"]] == [(key, "deleted") for key in ids]
    with pytest.raises(MaskwrightError, match=r"another image.*It was image 1\."):
        handlers.undo(2)
    assert project.annotations(1) == []
    with pytest.raises(MaskwrightError, match="by its number"):
        handlers.undo(None)  # type: ignore[arg-type]
    with pytest.raises(MaskwrightError, match="no image 9"):
        handlers.redo(9)
    with pytest.raises(MaskwrightError, match="no mask 99"):
        handlers.delete([99])
    handlers.undo(1)
    assert len(project.annotations(1)) == 2, "one step"
