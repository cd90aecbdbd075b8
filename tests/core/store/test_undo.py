"""Undo and redo: by person, by action, over restarts, and never over somebody else's work."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import Annotation, Image, ImageRecord
from maskwright.errors import Conflict, MaskwrightError, OtherImage
from maskwright.project import Project
from maskwright.store import STATES, Correction, Store
from tests.core.store.conftest import MakeAnnotation, miscounts, rectangle, rows

NOTHING_TO_UNDO = r"^There is nothing to undo\.$"
NOTHING_TO_REDO = r"^There is nothing to redo\.$"
LINE = rectangle(0, 0, 4, 1)


def everything(store: Store) -> list[tuple[object, ...]]:
    """What a person sees of all masks and categories; revisions and moments go on with undo."""
    masks = [
        (one.id, one.uid, one.state, one.category, one.mask, one.annotator)
        for one in store.annotations(states=STATES)
    ]  # fmt: skip
    return [*masks, *((one.name, one.shortcut, one.synonyms) for one in store.categories())]


def corrected(store: Store, kept: Annotation, who: str = "ann", category: str | None = None) -> Annotation:
    return store.correct(Correction(kept.id, kept.revision, LINE, {"source": "click"}, category), who)


# one step


@pytest.mark.parametrize("source", ["text", "reference", "click", "box", "finetuned"])
def test_undoing_the_acceptance_of_a_models_mask_gives_the_proposal_back(
    store: Store, new: MakeAnnotation, source: str
) -> None:
    kept = store.add_annotation(new(source=source, score=0.5, annotator="ann"))
    step = store.undo("ann")
    assert (step.kind, step.image_id, step.masks, step.words) == ("accept", kept.image_id, 1, "accept of 1 mask")
    undone = store.annotation(kept.id)
    assert (undone.state, undone.mask, undone.revision) == ("proposed", kept.mask, 2)
    store.redo("ann")
    assert store.annotation(kept.id).state == "accepted"


@pytest.mark.parametrize("source", ["manual", "import"])
def test_undoing_a_mask_drawn_by_hand_leaves_nothing_to_see(store: Store, new: MakeAnnotation, source: str) -> None:
    kept = store.add_annotation(new(source=source, annotator="ann"))
    store.undo("ann")
    assert store.annotations(states=("accepted", "proposed", "rejected")) == []
    store.redo("ann")
    (again,) = store.annotations()
    assert (again.id, again.uid, again.mask) == (kept.id, kept.uid, kept.mask)


def test_a_proposal_that_a_person_accepts_is_a_proposal_again(store: Store, new: MakeAnnotation) -> None:
    (proposed,) = store.add_prediction(
        new().image_id, [new(state="proposed", source="text", annotator="batch")], "p", "b"
    )
    store.decide("accepted", "ann", stored=[proposed.id], category="calf")
    store.undo("ann")
    undone = store.annotation(proposed.id)
    assert (undone.state, undone.category, undone.annotator) == ("proposed", "cow", "batch")
    store.redo("ann")
    redone = store.annotation(proposed.id)
    assert (redone.state, redone.category, redone.annotator) == ("accepted", "calf", "ann")


def test_a_correction_is_undone_and_redone_to_the_pixel(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new(score=0.1 + 0.2, source="text", annotator="ann"))
    after = corrected(store, kept, category="calf")
    assert store.undo("ann").kind == "correction"
    undone = store.annotation(kept.id)
    assert (undone.mask, undone.category, undone.annotator, undone.revision) == (kept.mask, "cow", "ann", 3)
    assert np.array_equal(undone.mask.to_array(), kept.mask.to_array())
    store.redo("ann")
    redone = store.annotation(kept.id)
    assert (redone.mask, redone.category, redone.revision) == (after.mask, "calf", 4)


@pytest.mark.parametrize("state", ["rejected", "deleted", "proposed"])
def test_many_masks_in_one_action_are_one_step(store: Store, new: MakeAnnotation, state: str) -> None:
    kept = store.add_annotations(new(annotator="ann") for _ in range(12))
    store.set_states({one.id: one.revision for one in kept}, state, "ann")
    assert store.undo("ann").masks == 12
    assert len(store.annotations()) == 12
    assert store.undo("ann").words == "accept of 12 masks"
    assert store.annotations() == []
    store.redo("ann")
    assert len(store.annotations()) == 12
    store.redo("ann")
    assert len(store.annotations(states=(state,))) == 12
    with pytest.raises(MaskwrightError, match=NOTHING_TO_REDO):
        store.redo("ann")


def test_a_mixed_decision_is_one_step(store: Store, new: MakeAnnotation) -> None:
    (proposed,) = store.add_prediction(new().image_id, [new(state="proposed", source="text")], "p", "batch")
    kept = store.add_annotation(new(annotator="bob"))
    before = everything(store)
    change = Correction(kept.id, 1, LINE, {})
    store.decide(
        "accepted", "ann", new=[new(source="click", annotator="ann")], corrections=[change], stored=[proposed.id]
    )
    after = everything(store)
    assert store.undo("ann").masks == 3
    assert [one for one in everything(store) if one[2] != "proposed" or one[0] == proposed.id] == before
    store.redo("ann")
    assert everything(store) == after


# many steps


def test_fifty_two_steps_there_and_back_over_restarts(
    store: Store, new: MakeAnnotation, image: ImageRecord, address: str | Path, kind: str
) -> None:
    every = 1 if kind == "sqlite" else 13
    kept = store.add_annotations(new(annotator="bob") for _ in range(3))
    seen = [everything(store)]
    for number in range(52):
        one = store.annotation(kept[number % 3].id)
        if number % 4 == 0:
            state = "deleted" if one.state == "accepted" else "accepted"
            store.set_states({one.id: None}, state, "ann")
        elif number % 4 == 1:
            store.reclassify({one.id: one.revision}, f"class {number}", "ann")
        elif number % 4 == 2:
            store.change_category(one.category, "ann", name=f"new name {number}")
        else:
            store.add_annotation(new(f"class {number}", annotator="ann"))
        seen.append(everything(store))
    assert [one for one, other in itertools.pairwise(seen) if one == other] == []
    for number in reversed(range(52)):
        if number % 26 == 0:
            store.close()
            store = Store.open(address)
        store.undo("ann", image.id)
        if number % every == 0:
            assert [one for one in everything(store) if one in seen[number]] == seen[number]
    with pytest.raises(MaskwrightError, match=NOTHING_TO_UNDO):
        store.undo("ann", image.id)
    store.close()
    store = Store.open(address)
    for number in range(52):
        store.redo("ann", image.id)
        if number % every == 0:
            assert [one for one in everything(store) if one in seen[number + 1]] == seen[number + 1]
    assert everything(store) == seen[-1]
    assert miscounts(store) == []
    store.close()


def test_a_new_action_ends_what_could_be_redone(store: Store, new: MakeAnnotation) -> None:
    first, second = (store.add_annotation(new(annotator="ann")) for _ in range(2))
    store.undo("ann")
    store.set_states({first.id: None}, "deleted", "ann")
    with pytest.raises(MaskwrightError, match=NOTHING_TO_REDO):
        store.redo("ann")
    assert store.annotation(second.id).state == "deleted"
    store.undo("ann")
    store.undo("ann")
    assert store.annotation(first.id).state == "deleted"
    with pytest.raises(MaskwrightError, match=NOTHING_TO_UNDO):
        store.undo("ann")


def test_what_changes_nothing_is_no_step(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    kept = store.add_annotation(new(annotator="ann"))
    store.add_annotation(new(annotator="ann"))
    store.undo("ann")
    number = store.change_number()
    store.set_states({kept.id: None}, "accepted", "ann")
    store.set_states({}, "deleted", "ann")
    store.reclassify({kept.id: None}, "cow", "ann")
    store.change_category("cow", "ann", name=" cow ", shortcut=None, synonyms=[])
    store.decide("accepted", "ann")
    store.add_annotations([])
    assert store.purge("ann") == 1
    assert store.purge("ann") == 0
    assert store.change_number() == number + 1
    assert rows(store, "SELECT state FROM steps ORDER BY id") == [("done",), ("void",)]


# whose


def test_everybody_undoes_their_own(store: Store, new: MakeAnnotation) -> None:
    ours, theirs = store.add_annotation(new(annotator="ann")), store.add_annotation(new(annotator="bob"))
    store.undo("ann")
    assert (store.annotation(ours.id).state, store.annotation(theirs.id).state) == ("deleted", "accepted")
    # what bob does meanwhile does not end what ann can redo
    store.add_annotation(new(annotator="bob"))
    store.redo("ann")
    assert store.annotation(ours.id).state == "accepted"
    with pytest.raises(MaskwrightError, match=NOTHING_TO_UNDO):
        store.undo("eve")


@pytest.mark.parametrize("word", ["undo", "redo"])
def test_a_step_on_another_image_changes_nothing(
    store: Store, new: MakeAnnotation, image: ImageRecord, other_image: ImageRecord, word: str
) -> None:
    store.add_annotation(new(annotator="ann"))
    store.add_annotation(new(image_id=other_image.id, annotator="ann"))
    if word == "redo":
        store.undo("ann")
        store.undo("ann", image.id)
        store.redo("ann", image.id)
    before, number = everything(store), store.change_number()
    with pytest.raises(OtherImage, match=f"The step to {word} .accept. was on another image") as caught:
        getattr(store, word)("ann", image.id)
    assert caught.value.image_id == other_image.id
    assert (everything(store), store.change_number()) == (before, number)
    assert getattr(store, word)("ann", other_image.id).image_id == other_image.id


def test_a_step_on_several_images_is_undone_from_any(
    store: Store, new: MakeAnnotation, image: ImageRecord, other_image: ImageRecord
) -> None:
    store.add_annotations([new(annotator="ann"), new(image_id=other_image.id, annotator="ann")])
    step = store.undo("ann", image.id)
    assert (step.image_id, step.masks) == (None, 2)
    assert store.annotations() == []


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda store, one: store.set_states({one.id: None}, "rejected", "bob"), id="state"),
        pytest.param(lambda store, one: store.reclassify({one.id: None}, "sheep", "bob"), id="category"),
        pytest.param(lambda store, one: corrected(store, one, "bob"), id="pixels"),
        pytest.param(lambda store, one: store.merge_categories("cow", "sheep", "bob"), id="merge"),
    ],
)
def test_what_somebody_else_changed_since_is_not_undone(
    store: Store, new: MakeAnnotation, meanwhile: object, address: str | Path
) -> None:
    store.category("sheep")
    others = store.add_annotations([new(annotator="ann"), new(annotator="ann")])
    with Store.open(address) as window:
        meanwhile(window, others[0])  # type: ignore[operator]
    before, number = everything(store), store.change_number()
    with pytest.raises(Conflict, match=r"^Mask \d was changed by someone else since; nothing was overwritten\."):
        store.undo("ann")
    assert (everything(store), store.change_number()) == (before, number)
    # and is not tried again, although they may take theirs back
    assert store.undo("bob").masks
    with pytest.raises(MaskwrightError, match="nothing to undo"):
        store.undo("ann")
    assert {one.category for one in store.annotations()} == {"cow"}


def test_what_somebody_else_changed_since_is_not_redone(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new(annotator="ann"))
    corrected(store, kept)
    store.undo("ann")
    store.correct(Correction(kept.id, 3, rectangle(5, 5, 1, 1), {}), "bob")
    with pytest.raises(Conflict):
        store.redo("ann")
    assert store.annotation(kept.id).mask.area == 1


def test_choosing_an_example_is_in_nobodys_way(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new(annotator="ann"))
    store.mark_reference(kept.id, "cow", True, "bob")
    store.undo("ann")
    assert store.annotation(kept.id).state == "deleted"


# purge


def test_purged_masks_are_gone_for_good(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotations([new(annotator="ann"), new(annotator="ann"), new("sky", annotator="ann")])
    store.mark_reference(kept[1].id, "cow", True, "ann")
    store.set_states({kept[0].id: None}, "rejected", "ann")
    store.set_states({kept[1].id: None}, "deleted", "ann")
    assert store.purge("bob") == 2
    assert store.annotations(states=STATES) == [store.annotation(kept[2].id)]
    assert rows(store, "SELECT count(*) FROM reference_marks") == [(0,)]
    assert len(store.history(kept[0].id)) == 2
    assert (store.counts().rejected, store.counts().deleted) == (0, 0)
    assert miscounts(store) == []
    # each of ann's steps was on a mask that is gone
    for word in ("undo", "redo"):
        with pytest.raises(MaskwrightError, match=f"There is nothing to {word}"):
            getattr(store, word)("ann")
    again = store.add_annotation(new(annotator="ann"))
    assert again.id == kept[2].id + 1


def test_undone_steps_on_purged_masks_cannot_be_redone(store: Store, new: MakeAnnotation) -> None:
    store.add_annotation(new("sky", annotator="ann"))
    store.add_annotation(new(annotator="ann"))
    store.undo("ann")
    store.purge("ann")
    with pytest.raises(MaskwrightError, match=NOTHING_TO_REDO):
        store.redo("ann")
    store.undo("ann")
    assert store.annotations() == []


def test_the_last_id_is_not_used_again_after_a_purge(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    kept = store.add_annotations(new() for _ in range(3))
    store.set_states({one.id: None for one in kept}, "deleted", "ann")
    store.purge("ann")
    store.close()
    with Store.open(address) as again:
        assert again.add_annotation(new()).id == kept[-1].id + 1


def test_purging_keeps_the_prompts_of_what_stays(store: Store, new: MakeAnnotation) -> None:
    one = {"prompt": "one"}
    kept = store.add_annotations([new(provenance=one), new(provenance=one), new(provenance={"prompt": "two"})])
    store.set_states({kept[1].id: None, kept[2].id: None}, "rejected", "ann")
    store.purge("ann")
    assert store.annotation(kept[0].id).provenance == one
    ((left,),) = rows(store, "SELECT provenance FROM prompts")
    assert (json.loads(left) if isinstance(left, str) else left) == one


# prompts and history


def test_masks_of_one_prompt_share_it(store: Store, new: MakeAnnotation, other_image: ImageRecord) -> None:
    told = {"preset": "tiny", "prompt": "cow, sky"}
    kept = store.add_annotations(
        [new(provenance=told), new("sky", provenance=told), new(provenance={"prompt": "else"}),
         new(image_id=other_image.id, provenance=told), new(provenance=told, source="text")]
    )  # fmt: skip
    ids = [key for (key,) in rows(store, "SELECT prompt_id FROM annotations ORDER BY id")]
    assert ids[0] == ids[1]
    assert len(set(ids)) == rows(store, "SELECT count(*) FROM prompts")[0][0] == 4
    assert [one.provenance for one in kept] == [told, told, {"prompt": "else"}, told, told]


def test_the_history_in_words(tmp_path: Path) -> None:
    with Project.open(tmp_path, create=True) as project:
        pixels = np.zeros((10, 20, 3), np.uint8)
        kept = project.accept(Image(pixels), rectangle(3, 2, 6, 3), "cow", source="text", annotator="ann")
        after = project.store.correct(Correction(kept.id, 1, LINE, {}, "calf"), "bob")
        project.undo(annotator="bob")
        project.delete([kept.id], annotator="ann")
        project.restore([kept.id], annotator="ann")
        project.mark_reference(kept.id)
        project.mark_reference(kept.id, False, "calf")
        project.mark_reference(kept.id, None)
        project.store.merge_categories("cow", "calf", "eve")
        project.store.change_category("calf", "eve", name="young")
        told = project.history(after)
    assert [line[:19] for line in told] == [one.at[:19].replace("T", " ") for one in project.store.history(kept.id)]
    who = project_user()
    assert [line[20:] for line in told] == [
        "ann: accepted as cow",
        "bob: outline changed, from cow to young",
        "bob: outline changed, from young to cow (undo)",
        "ann: deleted",
        "ann: accepted",
        f"{who}: chosen as an example of cow",
        f"{who}: chosen as what is not young",
        f"{who}: no longer speaks for cow",
        "eve: from cow to young",
    ]


def project_user() -> str:
    from maskwright.project.images import user_name

    return user_name()


def test_a_step_that_cannot_be_undone_is_told_once(store: Store, new: MakeAnnotation) -> None:
    first, second = (store.add_annotation(new(annotator="ann")) for _ in range(2))
    store.reclassify({second.id: None}, "dog", "bob")
    with pytest.raises(Conflict):
        store.undo("ann")
    assert store.undo("ann").kind == "accept"
    assert store.annotation(first.id).state == "deleted"
    assert store.annotation(second.id).category == "dog"


def test_deleted_masks_come_back_accepted_and_rejected_ones_as_proposals(store: Store, new: MakeAnnotation) -> None:
    deleted, rejected = (store.add_annotation(new(annotator="ann")) for _ in range(2))
    store.set_state(deleted.id, "deleted", "ann")
    store.set_state(rejected.id, "rejected", "ann")
    found = store.restore({deleted.id: None, rejected.id: None}, "ann")
    assert [one.state for one in found] == ["accepted", "proposed"]
    assert store.undo("ann").masks == 2
    assert [store.annotation(one.id).state for one in (deleted, rejected)] == ["deleted", "rejected"]


def test_a_batch_that_finds_nothing_takes_its_earlier_proposals_back(store: Store, new: MakeAnnotation) -> None:
    (open_before,) = store.add_prediction(
        new().image_id, [new(state="proposed", source="text")], "p", "ann", source="text", names=["cow"]
    )
    other = store.add_annotation(new(state="proposed", source="reference"))
    assert store.add_prediction(new().image_id, [], "p", "ann", source="text", names=["cow", "dog"]) == []
    assert store.annotation(open_before.id).state == "deleted"
    assert store.annotation(other.id).state == "proposed"
    assert [one.name for one in store.categories()] == ["cow"]


def test_merging_takes_the_marks_along(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new("cow"))
    store.add_annotation(new("Kuh"))
    store.mark_reference(kept.id, "cow", True, "ann")
    store.merge_categories("cow", "Kuh", "ann")
    assert [(mark.annotation_id, mark.category) for mark in store.reference_marks()] == [(kept.id, "Kuh")]
