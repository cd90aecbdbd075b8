"""Undo and redo by user and step, after restarts, and never over another user's work."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import Annotation, Image, ImageRecord
from maskwright.errors import Conflict, NothingToUndo, OtherImage
from maskwright.project import Project
from maskwright.store import STATES, Correction, Store
from tests.core.store.conftest import MakeAnnotation, miscounts, rectangle, rows

LINE = rectangle(0, 0, 4, 1)


def everything(store: Store) -> list[tuple[object, ...]]:
    """What a person sees of all masks and categories; revisions and moments go on with undo."""
    masks = [
        (one.id, one.uid, one.state, one.category, one.mask, one.annotator)
        for one in store.masks.find(states=STATES)
    ]  # fmt: skip
    return [*masks, *((one.name, one.shortcut, one.synonyms) for one in store.categories.all())]


def corrected(store: Store, kept: Annotation, who: str = "ann", category: str | None = None) -> Annotation:
    return store.masks.decide(
        "accepted", who, corrections=[Correction(kept.id, kept.revision, LINE, {"source": "click"}, category)]
    )[0]


# one step


@pytest.mark.parametrize("source", ["text", "reference", "click", "box", "finetuned"])
def test_undoing_the_acceptance_of_a_models_mask_gives_the_proposal_back(
    store: Store, new: MakeAnnotation, source: str
) -> None:
    kept = store.masks.add(new(source=source, score=0.5, annotator="ann"))
    step = store.masks.undo("ann")
    assert (step.kind, step.image_id, step.masks, step.description) == ("accept", kept.image_id, 1, "accept of 1 mask")
    undone = store.masks.get(kept.id)
    assert (undone.state, undone.mask, undone.revision) == ("proposed", kept.mask, 2)
    store.masks.redo("ann")
    assert store.masks.get(kept.id).state == "accepted"


@pytest.mark.parametrize("source", ["manual", "import"])
def test_undoing_a_mask_drawn_by_hand_leaves_nothing_to_see(store: Store, new: MakeAnnotation, source: str) -> None:
    kept = store.masks.add(new(source=source, annotator="ann"))
    store.masks.undo("ann")
    assert store.masks.find(states=("accepted", "proposed", "rejected")) == []
    store.masks.redo("ann")
    (again,) = store.masks.find()
    assert (again.id, again.uid, again.mask) == (kept.id, kept.uid, kept.mask)


def test_a_proposal_that_a_user_accepts_is_a_proposal_again(store: Store, new: MakeAnnotation) -> None:
    (proposed,) = store.predictions.add(
        new().image_id, [new(state="proposed", source="text", annotator="batch")], "p", "b"
    )
    store.masks.decide("accepted", "ann", stored=[proposed.id], category="calf")
    store.masks.undo("ann")
    undone = store.masks.get(proposed.id)
    assert (undone.state, undone.category, undone.annotator) == ("proposed", "cow", "batch")
    store.masks.redo("ann")
    redone = store.masks.get(proposed.id)
    assert (redone.state, redone.category, redone.annotator) == ("accepted", "calf", "ann")


def test_a_correction_is_undone_and_redone_to_the_pixel(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new(score=0.1 + 0.2, source="text", annotator="ann"))
    after = corrected(store, kept, category="calf")
    assert store.masks.undo("ann").kind == "correction"
    undone = store.masks.get(kept.id)
    assert (undone.mask, undone.category, undone.annotator, undone.revision) == (kept.mask, "cow", "ann", 3)
    assert np.array_equal(undone.mask.to_array(), kept.mask.to_array())
    store.masks.redo("ann")
    redone = store.masks.get(kept.id)
    assert (redone.mask, redone.category, redone.revision) == (after.mask, "calf", 4)


@pytest.mark.parametrize("state", ["rejected", "deleted", "proposed"])
def test_many_masks_in_one_action_are_one_step(store: Store, new: MakeAnnotation, state: str) -> None:
    kept = store.masks.add_many(new(annotator="ann") for _ in range(12))
    store.masks.set_states({one.id: one.revision for one in kept}, state, "ann")
    assert store.masks.undo("ann").masks == 12
    assert len(store.masks.find()) == 12
    assert store.masks.undo("ann").description == "accept of 12 masks"
    assert store.masks.find() == []
    store.masks.redo("ann")
    assert len(store.masks.find()) == 12
    store.masks.redo("ann")
    assert len(store.masks.find(states=(state,))) == 12
    with pytest.raises(NothingToUndo):
        store.masks.redo("ann")


def test_a_mixed_decision_is_one_step(store: Store, new: MakeAnnotation) -> None:
    (proposed,) = store.predictions.add(new().image_id, [new(state="proposed", source="text")], "p", "batch")
    kept = store.masks.add(new(annotator="bob"))
    before = everything(store)
    change = Correction(kept.id, 1, LINE, {})
    store.masks.decide(
        "accepted", "ann", new=[new(source="click", annotator="ann")], corrections=[change], stored=[proposed.id]
    )
    after = everything(store)
    assert store.masks.undo("ann").masks == 3
    assert [one for one in everything(store) if one[2] != "proposed" or one[0] == proposed.id] == before
    store.masks.redo("ann")
    assert everything(store) == after


# many steps


def test_fifty_two_steps_there_and_back_over_restarts(
    store: Store, new: MakeAnnotation, image: ImageRecord, address: str | Path, kind: str
) -> None:
    every = 1 if kind == "sqlite" else 13
    kept = store.masks.add_many(new(annotator="bob") for _ in range(3))
    seen = [everything(store)]
    for number in range(52):
        one = store.masks.get(kept[number % 3].id)
        if number % 4 == 0:
            state = "deleted" if one.state == "accepted" else "accepted"
            store.masks.set_states({one.id: None}, state, "ann")
        elif number % 4 == 1:
            store.masks.reclassify({one.id: one.revision}, f"class {number}", "ann")
        elif number % 4 == 2:
            store.categories.change(one.category, "ann", name=f"new name {number}")
        else:
            store.masks.add(new(f"class {number}", annotator="ann"))
        seen.append(everything(store))
    assert [one for one, other in itertools.pairwise(seen) if one == other] == []
    for number in reversed(range(52)):
        if number % 26 == 0:
            store.close()
            store = Store.open(address)
        store.masks.undo("ann", image.id)
        if number % every == 0:
            assert [one for one in everything(store) if one in seen[number]] == seen[number]
    with pytest.raises(NothingToUndo):
        store.masks.undo("ann", image.id)
    store.close()
    store = Store.open(address)
    for number in range(52):
        store.masks.redo("ann", image.id)
        if number % every == 0:
            assert [one for one in everything(store) if one in seen[number + 1]] == seen[number + 1]
    assert everything(store) == seen[-1]
    assert miscounts(store) == []
    store.close()


def test_a_new_action_ends_what_could_be_redone(store: Store, new: MakeAnnotation) -> None:
    first, second = (store.masks.add(new(annotator="ann")) for _ in range(2))
    store.masks.undo("ann")
    store.masks.set_states({first.id: None}, "deleted", "ann")
    with pytest.raises(NothingToUndo):
        store.masks.redo("ann")
    assert store.masks.get(second.id).state == "deleted"
    store.masks.undo("ann")
    store.masks.undo("ann")
    assert store.masks.get(first.id).state == "deleted"
    with pytest.raises(NothingToUndo):
        store.masks.undo("ann")


def test_what_changes_nothing_is_no_step(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    kept = store.masks.add(new(annotator="ann"))
    store.masks.add(new(annotator="ann"))
    store.masks.undo("ann")
    number = store.change_number()
    store.masks.set_states({kept.id: None}, "accepted", "ann")
    store.masks.set_states({}, "deleted", "ann")
    store.masks.reclassify({kept.id: None}, "cow", "ann")
    store.categories.change("cow", "ann", name=" cow ", shortcut=1, synonyms=[])
    store.masks.decide("accepted", "ann")
    store.masks.add_many([])
    assert store.masks.purge("ann") == 1
    assert store.masks.purge("ann") == 0
    assert store.change_number() == number + 1
    assert rows(store, "SELECT state FROM steps ORDER BY id") == [("done",), ("void",)]


# whose


def test_everybody_undoes_their_own(store: Store, new: MakeAnnotation) -> None:
    ours, theirs = store.masks.add(new(annotator="ann")), store.masks.add(new(annotator="bob"))
    store.masks.undo("ann")
    assert (store.masks.get(ours.id).state, store.masks.get(theirs.id).state) == ("deleted", "accepted")
    # what bob does meanwhile does not end what ann can redo
    store.masks.add(new(annotator="bob"))
    store.masks.redo("ann")
    assert store.masks.get(ours.id).state == "accepted"
    with pytest.raises(NothingToUndo):
        store.masks.undo("eve")


@pytest.mark.parametrize("word", ["undo", "redo"])
def test_a_step_on_another_image_changes_nothing(
    store: Store, new: MakeAnnotation, image: ImageRecord, other_image: ImageRecord, word: str
) -> None:
    store.masks.add(new(annotator="ann"))
    store.masks.add(new(image_id=other_image.id, annotator="ann"))
    if word == "redo":
        store.masks.undo("ann")
        store.masks.undo("ann", image.id)
        store.masks.redo("ann", image.id)
    before, number = everything(store), store.change_number()
    with pytest.raises(OtherImage, match=f"step to {word}") as caught:
        getattr(store.masks, word)("ann", image.id)
    assert caught.value.image_id == other_image.id
    assert (everything(store), store.change_number()) == (before, number)
    assert getattr(store.masks, word)("ann", other_image.id).image_id == other_image.id


def test_a_step_on_several_images_is_undone_from_any(
    store: Store, new: MakeAnnotation, image: ImageRecord, other_image: ImageRecord
) -> None:
    store.masks.add_many([new(annotator="ann"), new(image_id=other_image.id, annotator="ann")])
    step = store.masks.undo("ann", image.id)
    assert (step.image_id, step.masks) == (None, 2)
    assert store.masks.find() == []


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda store, one: store.masks.set_states({one.id: None}, "rejected", "bob"), id="state"),
        pytest.param(lambda store, one: store.masks.reclassify({one.id: None}, "sheep", "bob"), id="category"),
        pytest.param(lambda store, one: corrected(store, one, "bob"), id="pixels"),
        pytest.param(lambda store, one: store.categories.merge("cow", "sheep", "bob"), id="merge"),
    ],
)
def test_what_another_user_changed_since_is_not_undone(
    store: Store, new: MakeAnnotation, meanwhile: object, address: str | Path
) -> None:
    store.categories.add("sheep")
    others = store.masks.add_many([new(annotator="ann"), new(annotator="ann")])
    with Store.open(address) as window:
        meanwhile(window, others[0])  # type: ignore[operator]
    before, number = everything(store), store.change_number()
    with pytest.raises(Conflict, match=r"Mask \d"):
        store.masks.undo("ann")
    assert (everything(store), store.change_number()) == (before, number)
    # and is not tried again, although they may take theirs back
    assert store.masks.undo("bob").masks
    with pytest.raises(NothingToUndo):
        store.masks.undo("ann")
    assert {one.category for one in store.masks.find()} == {"cow"}


def test_what_another_user_changed_since_is_not_redone(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new(annotator="ann"))
    corrected(store, kept)
    store.masks.undo("ann")
    store.masks.decide("accepted", "bob", corrections=[Correction(kept.id, 3, rectangle(5, 5, 1, 1), {})])[0]
    with pytest.raises(Conflict):
        store.masks.redo("ann")
    assert store.masks.get(kept.id).mask.area == 1


def test_marking_a_reference_is_no_conflict(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new(annotator="ann"))
    store.references.mark(kept.id, "cow", "bob", shows=True)
    store.masks.undo("ann")
    assert store.masks.get(kept.id).state == "deleted"


# purge


def test_purged_masks_are_gone_for_good(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add_many([new(annotator="ann"), new(annotator="ann"), new("sky", annotator="ann")])
    store.references.mark(kept[1].id, "cow", "ann", shows=True)
    store.masks.set_states({kept[0].id: None}, "rejected", "ann")
    store.masks.set_states({kept[1].id: None}, "deleted", "ann")
    assert store.masks.purge("bob") == 2
    assert store.masks.find(states=STATES) == [store.masks.get(kept[2].id)]
    assert rows(store, "SELECT count(*) FROM reference_marks") == [(0,)]
    assert len(store.masks.history(kept[0].id)) == 2
    assert (store.counts().rejected, store.counts().deleted) == (0, 0)
    assert miscounts(store) == []
    # each of ann's steps was on a mask that is gone
    for word in ("undo", "redo"):
        with pytest.raises(NothingToUndo, match=word):
            getattr(store.masks, word)("ann")
    again = store.masks.add(new(annotator="ann"))
    assert again.id == kept[2].id + 1


def test_undone_steps_on_purged_masks_cannot_be_redone(store: Store, new: MakeAnnotation) -> None:
    store.masks.add(new("sky", annotator="ann"))
    store.masks.add(new(annotator="ann"))
    store.masks.undo("ann")
    store.masks.purge("ann")
    with pytest.raises(NothingToUndo):
        store.masks.redo("ann")
    store.masks.undo("ann")
    assert store.masks.find() == []


def test_the_last_id_is_not_used_again_after_a_purge(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    kept = store.masks.add_many(new() for _ in range(3))
    store.masks.set_states({one.id: None for one in kept}, "deleted", "ann")
    store.masks.purge("ann")
    store.close()
    with Store.open(address) as again:
        assert again.masks.add(new()).id == kept[-1].id + 1


def test_purging_keeps_the_prompts_of_what_stays(store: Store, new: MakeAnnotation) -> None:
    one = {"prompt": "one"}
    kept = store.masks.add_many([new(provenance=one), new(provenance=one), new(provenance={"prompt": "two"})])
    store.masks.set_states({kept[1].id: None, kept[2].id: None}, "rejected", "ann")
    store.masks.purge("ann")
    assert store.masks.get(kept[0].id).provenance == one
    ((left,),) = rows(store, "SELECT provenance FROM prompts")
    assert (json.loads(left) if isinstance(left, str) else left) == one


# prompts and history


def test_masks_of_one_prompt_share_it(store: Store, new: MakeAnnotation, other_image: ImageRecord) -> None:
    told = {"preset": "tiny", "prompt": "cow, sky"}
    kept = store.masks.add_many(
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
        after = project.store.masks.decide("accepted", "bob", corrections=[Correction(kept.id, 1, LINE, {}, "calf")])[0]
        project.undo(annotator="bob")
        project.delete([kept.id], annotator="ann")
        project.restore([kept.id], annotator="ann")
        project.mark_reference(kept.id)
        project.mark_reference(kept.id, shows=False, category="calf")
        project.mark_reference(kept.id, shows=None)
        project.store.categories.merge("cow", "calf", "eve")
        project.store.categories.change("calf", "eve", name="young")
        told = project.history(after)
    assert [line[:19] for line in told] == [
        one.at[:19].replace("T", " ") for one in project.store.masks.history(kept.id)
    ]
    who = project_user()
    assert [line[20:] for line in told] == [
        "ann: accepted as cow",
        "bob: outline changed, from cow to young",
        "bob: outline changed, from young to cow (undo)",
        "ann: deleted",
        "ann: accepted",
        f"{who}: chosen as an example of cow",
        f"{who}: chosen as an example of what is not young",
        f"{who}: no longer an example of cow",
        "eve: from cow to young",
    ]


def project_user() -> str:
    from maskwright.project.images import user_name

    return user_name()


def test_a_step_that_cannot_be_undone_is_reported_once(store: Store, new: MakeAnnotation) -> None:
    first, second = (store.masks.add(new(annotator="ann")) for _ in range(2))
    store.masks.reclassify({second.id: None}, "dog", "bob")
    with pytest.raises(Conflict):
        store.masks.undo("ann")
    assert store.masks.undo("ann").kind == "accept"
    assert store.masks.get(first.id).state == "deleted"
    assert store.masks.get(second.id).category == "dog"


def test_deleted_masks_come_back_accepted_and_rejected_ones_as_proposals(store: Store, new: MakeAnnotation) -> None:
    deleted, rejected = (store.masks.add(new(annotator="ann")) for _ in range(2))
    store.masks.set_states({deleted.id: None}, "deleted", "ann")[0]
    store.masks.set_states({rejected.id: None}, "rejected", "ann")[0]
    found = store.masks.restore({deleted.id: None, rejected.id: None}, "ann")
    assert [one.state for one in found] == ["accepted", "proposed"]
    assert store.masks.undo("ann").masks == 2
    assert [store.masks.get(one.id).state for one in (deleted, rejected)] == ["deleted", "rejected"]


def test_a_batch_that_finds_nothing_takes_its_earlier_proposals_back(store: Store, new: MakeAnnotation) -> None:
    (open_before,) = store.predictions.add(
        new().image_id, [new(state="proposed", source="text")], "p", "ann", source="text", names=["cow"]
    )
    other = store.masks.add(new(state="proposed", source="reference"))
    assert store.predictions.add(new().image_id, [], "p", "ann", source="text", names=["cow", "dog"]) == []
    assert store.masks.get(open_before.id).state == "deleted"
    assert store.masks.get(other.id).state == "proposed"
    assert [one.name for one in store.categories.all()] == ["cow"]


def test_merging_takes_the_marks_along(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new("cow"))
    store.masks.add(new("Kuh"))
    store.references.mark(kept.id, "cow", "ann", shows=True)
    store.categories.merge("cow", "Kuh", "ann")
    assert [(mark.annotation_id, mark.category) for mark in store.references.all()] == [(kept.id, "Kuh")]
