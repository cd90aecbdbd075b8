"""Prompts, views and decisions of a session, with an engine that answers as the test says."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.domain import Mask, TextPrompt
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import Conflict, MaskwrightError, ProjectUnwritable
from maskwright.project import Project
from maskwright.session import AnnotationSession, Decision, MaskView, Pending
from maskwright.store import NewAnnotation
from tests.core.session.conftest import ScriptedEngine, box

COW, SKY = box(0, 10), box(10, 30)


def click(session: AnnotationSession, prompt: ClickPrompt, *points: tuple[float, float, int]) -> ClickPrompt:
    return session.propose_click_step(prompt, ClickStep(points, None, ()))[0]


def accepted(session: AnnotationSession, region: object = COW, name: str = "cow", image_id: int = 1) -> int:
    return session.project.accept(image_id, region, name).id  # type: ignore[arg-type]


def summary(views: list[MaskView]) -> list[tuple[int | None, ProposalId | None]]:
    return [(view.annotation, view.proposal) for view in views]


def test_accepted_masks_proposals_of_the_window_and_of_a_batch_are_viewed(
    session: AnnotationSession, engine: ScriptedEngine
) -> None:
    engine.regions = {"sky": SKY}
    cow = accepted(session)
    draft = NewAnnotation(1, "tree", Mask.from_array(box(20, 25)), "text", {"method": "m"}, "ann", "proposed")
    (stored,) = session.project.store.masks.add_many([draft])
    answer = session.propose_text(1, TextPrompt.parse("sky"))
    (sky,) = answer.all
    assert summary(session.view(1)) == [(cow, None), (None, ProposalId.of_annotation(stored.id))]
    views = session.view(1, answer.ids)
    assert summary(views) == [(cow, None), (None, sky.id), (None, ProposalId.of_annotation(stored.id))]
    assert session.view(2, answer.ids[:0]) == []


def test_new_names_are_drawn_in_the_colours_that_they_get_when_accepted(
    session: AnnotationSession, engine: ScriptedEngine
) -> None:
    engine.regions = {"sky": SKY, "tree": box(0, 3)}
    accepted(session)
    answer = session.propose_text(1, TextPrompt.parse("sky, tree"))
    before = {view.mask.category: view.color for view in session.view(1, answer.ids)}
    session.accept([proposal.id for proposal in answer.all])
    assert {view.mask.category: view.color for view in session.view(1)} == before
    assert len(set(before.values())) == 3


def test_duplicates_are_marked_and_counted(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.regions = {"cow": COW, "sky": SKY}
    accepted(session)
    answer = session.propose_text(1, TextPrompt.parse("cow, sky"))
    cow, sky = answer.all
    assert answer.repeated == {cow.id}
    assert answer.new == (sky,)
    assert {view.proposal for view in session.view(1, answer.ids) if view.duplicate} == {cow.id}


def test_a_click_answer_is_never_a_duplicate(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.candidates = [COW]
    accepted(session)
    answer = session.propose_click(1, [(5, 5)], category="cow")
    assert not answer.repeated
    assert not any(view.duplicate for view in session.view(1, answer.ids))


def test_the_cleaning_preview_is_viewed_by_its_id(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.regions, engine.removed = {"cow": COW}, SKY
    answer = session.propose_text(1, TextPrompt.parse("cow", background=True))
    assert answer.cleaning_preview is not None
    (preview,) = [view for view in session.view(1, answer.ids) if view.cleaning_preview]
    assert np.array_equal(preview.mask.to_array(), SKY)
    assert not any(view.cleaning_preview for view in session.view(2, answer.ids))
    engine.removed = np.zeros_like(SKY)
    assert session.propose_text(1, TextPrompt.parse("cow", background=True)).cleaning_preview is None


def test_objects_are_found_by_the_model_of_clicks(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.regions = {"cow": COW}
    session.propose_text(1, TextPrompt.parse("cow"))
    session.propose_text(1, TextPrompt.parse("cow", instances=True))
    assert engine.clicks == [None, engine]


# clicks


def test_a_click_builds_on_the_candidate_on_display(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.candidates = [COW, SKY]
    prompt = click(session, ClickPrompt(1), (5, 5, 1)).select(1)
    prompt = click(session, prompt, (5, 5, 1), (25, 5, 0))
    assert engine.starts[0] is None
    assert engine.starts[1] is not None
    assert np.array_equal(engine.starts[1].to_array(), SKY)
    assert [len(step.candidates) for step in prompt.steps] == [2, 2]
    with pytest.raises(MaskwrightError):
        session.propose_click(2, [(5, 5)], previous=prompt.proposal)


def test_undoing_a_click_closes_its_candidates_only(session: AnnotationSession) -> None:
    first = click(session, ClickPrompt(1), (5, 5, 1))
    second = click(session, first, (5, 5, 1), (25, 5, 0))
    assert session.undo_click(second) == first
    assert [p.id for p in session.open_proposals(second.candidates)] == list(first.candidates)
    session.drop_clicks(first)
    session.drop_clicks(None)
    assert session.open_proposals(first.candidates) == []


def test_the_correction_stands_in_place_of_the_mask(session: AnnotationSession) -> None:
    cow = accepted(session)
    prompt = ClickPrompt(1, corrects=cow)
    assert summary(session.view(1, prompt=prompt)) == [(cow, None)], "there is no correction yet"
    prompt = click(session, prompt, (15, 5, 1))
    assert summary(session.view(1, prompt=prompt)) == [(None, prompt.proposal)]
    assert session.view(2, prompt=prompt) == [], "the clicks are on another image"
    waiting = Pending((Decision(True, 1, (prompt.proposal,), prompt=prompt, conflict=True),))  # type: ignore[arg-type]
    assert summary(session.view(1, prompt=prompt, pending=waiting)) == [(cow, None), (None, prompt.proposal)]


def test_accepting_a_correction_replaces_the_mask_and_rejecting_keeps_it(
    session: AnnotationSession, engine: ScriptedEngine
) -> None:
    cow = accepted(session)
    engine.candidates = [SKY]
    for accept, region, revision in ((False, COW, 1), (True, SKY, 2)):
        prompt = click(session, ClickPrompt(1, corrects=cow), (15, 5, 1))
        assert prompt.proposal is not None
        session.decide([prompt.proposal], "", accept=accept)
        (annotation,) = session.project.annotations(1)
        assert (annotation.id, annotation.category, annotation.revision) == (cow, "cow", revision)
        assert np.array_equal(annotation.mask.to_array(), region)


def test_a_conflict_overwrites_nothing_until_the_user_has_seen_both(session: AnnotationSession) -> None:
    cow = accepted(session, SKY)
    prompt = click(session, ClickPrompt(1, corrects=cow), (5, 5, 1))
    assert prompt.proposal is not None
    session.project.store.masks.reclassify({cow: None}, "calf", "bob")
    with pytest.raises(Conflict):
        session.decide([prompt.proposal], "", accept=True)
    (annotation,) = session.project.annotations(1)
    assert (annotation.category, annotation.mask.area) == ("calf", int(SKY.sum()))
    session.decide([prompt.proposal], "", accept=True)
    (annotation,) = session.project.annotations(1)
    assert (annotation.id, annotation.category, annotation.mask.area) == (cow, "calf", int(COW.sum()))


# decisions


def test_a_clicked_mask_is_accepted_once_under_one_name(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.candidates = [COW]
    sentences = []
    for name in ("mug", " mug ", "cup"):
        (proposal,) = session.propose_click(1, [(5, 5)]).all
        sentences.append(session.decide([proposal.id], name, accept=True))
        assert session.open_proposals([proposal.id]) == []
    assert [a.category for a in session.project.annotations(1)] == ["mug", "cup"]
    assert ["already" in sentence for sentence in sentences] == [False, True, False]
    (proposal,) = session.propose_click(1, [(5, 5)]).all
    (again,) = session.accept([proposal.id], category="cup")
    assert again.id == session.project.annotations(1)[1].id, "a program gets the mask that is there"


def test_a_clicked_mask_inside_a_larger_one_is_accepted_and_a_rejection_is_kept(
    session: AnnotationSession, engine: ScriptedEngine
) -> None:
    accepted(session, box(0, 20))
    engine.candidates = [COW]
    (part,) = session.propose_click(1, [(5, 5)]).all
    session.decide([part.id], "cow", accept=True)
    assert len(session.project.annotations(1)) == 2
    (part,) = session.propose_click(1, [(5, 5)]).all
    session.decide([part.id], "cow", accept=False)
    assert len(session.project.annotations(1, ("rejected",))) == 1


def test_the_name_is_for_clicked_masks_only(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.regions, engine.candidates = {"sky": SKY}, [COW]
    (sky,) = session.propose_text(1, TextPrompt.parse("sky")).all
    (clicked,) = session.propose_click(1, [(5, 5)]).all
    session.decide([sky.id, clicked.id], " calf ", accept=True, annotator="ann")
    stored = {a.category: (a.mask.area, a.annotator) for a in session.project.annotations(1)}
    assert stored == {"sky": (int(SKY.sum()), "ann"), "calf": (int(COW.sum()), "ann")}


def test_accept_renames_all_and_reject_keeps_negatives(session: AnnotationSession, engine: ScriptedEngine) -> None:
    engine.regions = {"cow": COW, "sky": SKY}
    cow, sky = session.propose_text(1, TextPrompt.parse("cow, sky")).all
    session.accept([cow.id], category="calf")
    session.reject([sky.id])
    assert [a.category for a in session.project.annotations(1)] == ["calf"]
    assert session.project.status().rejected == 1
    with pytest.raises(MaskwrightError):
        session.accept([cow.id])


def test_proposals_stay_open_when_they_cannot_be_written(
    session: AnnotationSession, project: Project, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.regions = {"cow": COW}
    answer = session.propose_text(1, TextPrompt.parse("cow"))

    def full(*args: object, **kwargs: object) -> None:
        raise ProjectUnwritable("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(project.store.masks, "decide", full)
        with pytest.raises(ProjectUnwritable):
            session.accept([p.id for p in answer.all])
    assert session.open_proposals(answer.ids) == list(answer.all)
    pending = Pending().after(Decision(True, 1, answer.ids), ProjectUnwritable("The disk is full."))
    assert [view.proposal for view in session.view(1, pending=pending)] == [answer.all[0].id]
    assert session.view(2, pending=pending) == []
    session.accept([p.id for p in answer.all])
    assert len(project.annotations(1)) == 1


def test_undo_and_redo_name_the_step(session: AnnotationSession) -> None:
    cow = accepted(session)
    session.delete([cow])
    assert session.undo(1).startswith("Undone: ")
    assert [a.id for a in session.project.annotations(1)] == [cow]
    assert session.redo(1).startswith("Redone: ")
    assert session.project.annotations(1) == []


# names, images, references


def test_names_are_suggested_from_the_projects_categories(session: AnnotationSession) -> None:
    prompt = click(session, ClickPrompt(1), (5, 5, 1))
    assert prompt.proposal is not None
    with pytest.raises(MaskwrightError):
        session.suggest_names(prompt.proposal)
    accepted(session)
    assert session.suggest_names(prompt.proposal) == [("cow", 1.0)]
    session.drop_clicks(prompt)
    with pytest.raises(MaskwrightError):
        session.suggest_names(prompt.proposal)


def test_neighbors_of_an_image(session: AnnotationSession) -> None:
    ids = [image_id for _, image_id in session.images.titles()]
    assert [session.images.neighbor(image_id, 1) for image_id in (None, *ids)] == [ids[0], ids[1], None]
    assert [session.images.neighbor(image_id, -1) for image_id in (None, *ids)] == [ids[0], None, ids[0]]


def test_pixels_of_an_image_are_read_once(
    session: AnnotationSession, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.images.get(1)
    monkeypatch.setattr(project.images, "open", lambda image_id: pytest.fail("it is in memory"))
    assert session.images.get(1) is first


def test_a_reference_is_chosen_shown_and_taken_back(session: AnnotationSession) -> None:
    cow, sky = accepted(session), accepted(session, SKY, "sky")
    assert session.references.toggle(cow, None) == "cow"
    assert session.references.toggle(sky, "cow", negative=True) == "cow"

    def references() -> dict[str | None, tuple[tuple[str, ...], tuple[str, ...]]]:
        return {view.mask.category: (view.reference_of, view.negative_reference_of) for view in session.view(1)}

    assert references() == {"cow": (("cow",), ()), "sky": ((), ("cow",))}
    assert session.references.toggle(cow, "sky") == "cow", "it only becomes what is searched for"
    assert references()["cow"] == (("cow",), ())
    session.references.toggle(cow, "cow")
    session.references.toggle(sky, "cow", negative=True)
    assert references() == {"cow": ((), ()), "sky": ((), ())}
    with pytest.raises(MaskwrightError):
        session.references.toggle(sky, None, negative=True)
