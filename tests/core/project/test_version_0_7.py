"""A project made by version 0.7: `tests/data/project-0.7`, with its export beside it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import Reference
from maskwright.errors import NothingToUndo
from maskwright.project import Project
from maskwright.store import STATES, NewAnnotation, UndoStep
from tests.core.store.conftest import miscounts

DATA = Path(__file__).parents[2] / "data"
USER = "root"


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Project]:
    """A copy, without the empty folders `checkpoints/` and `exports/`, which git does not keep."""
    folder = shutil.copytree(DATA / "project-0.7", tmp_path / "old")
    with Project.open(folder) as project:
        yield project


def test_its_images_and_masks_are_there(old: Project) -> None:
    images = old.images.all()
    assert [(one.id, one.file_name, one.width, one.height) for one in images] == [
        (1, "images/picture-0.png", 32, 24),
        (2, "images/picture-1.png", 20, 30),
        (3, "images/picture-2.png", 16, 16),
    ]
    assert old.images.missing() == []
    assert [summary.status for summary in old.images.page()] == ["done", "done", "proposed"], "nobody has reviewed them"
    for record in images:
        assert old.images.open(record.id).size_hw == (record.height, record.width)
    masks = old.annotations(states=STATES)
    assert [(one.id, one.image_id, one.category, one.state, one.source, one.revision) for one in masks] == [
        (1, 1, "cow", "accepted", "manual", 1),
        (2, 1, "sky", "accepted", "manual", 3),
        (3, 2, "cow", "accepted", "manual", 1),
        (4, 3, "tree", "deleted", "manual", 2),
        (5, 2, "cow", "rejected", "text", 1),
        (6, 3, "cow", "proposed", "reference", 1),
    ]
    assert [one.mask.area for one in masks] == [80, 144, 209, 25, 195, 15]
    assert [int(one.mask.to_array().sum()) for one in masks] == [80, 144, 209, 25, 195, 15]
    assert masks[4].provenance["preset"] == "tiny"
    assert masks[4].mask.score == pytest.approx(0.1929)


def test_its_categories_and_counts_are_there(old: Project) -> None:
    assert [(one.id, one.name, one.color) for one in old.categories()] == [
        (1, "cow", "#0072b2"),
        (2, "sky", "#d55e00"),
        (3, "tree", "#009e73"),
    ]
    counts = old.status()
    assert (counts.images, counts.annotated_images, dict(counts.accepted)) == (3, 2, {"cow": 2, "sky": 1, "tree": 0})
    assert (counts.rejected, counts.proposed, counts.deleted) == (1, 1, 1)
    assert miscounts(old.store) == []


def test_its_history_and_references_are_there(old: Project) -> None:
    assert old.store.change_number() == 17
    assert [line.partition(": ")[2] for line in old.history(2)] == [
        "accepted as sky",
        "deleted",
        "accepted (undo)",
    ]
    assert [(one.annotation_id, one.category, one.shows) for one in old.store.references.all()] == [(1, "cow", True)]
    (reference,), negative = old.references("cow")
    assert isinstance(reference, Reference)
    assert (int(np.sum(reference.mask.to_array())), negative) == (80, [])
    with closing(sqlite3.connect(old.folder / "project.db")) as database:
        (key,) = database.execute("SELECT json_extract(after, '$.prompt') FROM events WHERE id = 17").fetchone()
    assert old.store.predictions.images_done(key) == {3}


def test_its_steps_can_be_undone_and_redone(old: Project) -> None:
    before = old.annotations(states=STATES)
    steps = [old.undo(annotator=USER) for _ in range(6)]
    assert steps == [
        UndoStep("rejection", 2, 1),
        UndoStep("deletion", 3, 1),
        UndoStep("accept", 3, 1),
        UndoStep("accept", 2, 1),
        UndoStep("accept", 1, 1),
        UndoStep("accept", 1, 1),
    ]
    with pytest.raises(NothingToUndo):
        old.undo(annotator=USER)
    assert old.annotations() == []
    assert [old.redo(annotator=USER) for _ in steps] == steps[::-1]
    after = old.annotations(states=STATES)
    assert [(one.id, one.state, one.category, one.mask) for one in after] == [
        (one.id, one.state, one.category, one.mask) for one in before
    ]
    assert miscounts(old.store) == []


def test_its_export_is_the_same_to_the_byte(old: Project, tmp_path: Path) -> None:
    exported = old.export_coco(tmp_path / "coco.json")
    assert exported.read_bytes() == (DATA / "project-0.7.coco.json").read_bytes()


def test_work_goes_on_in_it(old: Project) -> None:
    (proposal,) = old.annotations(states=("proposed",))
    (accepted,) = old.store.masks.decide("accepted", USER, stored=[proposal.id], category="tree")
    assert (accepted.category, accepted.state) == ("tree", "accepted")
    new = old.store.masks.add(NewAnnotation(1, "cow", old.annotations(1)[0].mask))
    assert new.id == 7
    assert old.store.back_up().is_file()
    assert miscounts(old.store) == []
