"""Shared sentences: plurals, counts, hints, and what to know of an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskwright.domain import ModelRef, Prediction, PromptKind, Provenance
from maskwright.session.messages import (
    answer_notice,
    decision_message,
    deletion_message,
    duplicates_hidden,
    image_title,
    plural,
    project_counts,
    unwritten,
)
from maskwright.store import Counts


def test_plurals() -> None:
    assert [plural(count, "mask") for count in (0, 1, 2)] == ["0 masks", "1 mask", "2 masks"]
    assert decision_message(1, accept=True) == "Accepted 1 mask."
    assert decision_message(2, accept=False) == "Rejected 2 masks."
    one = decision_message(1, accept=True, repeated=["mug"])
    assert one.startswith('1 mask is accepted as "mug" already')
    three = decision_message(3, accept=True, repeated=["mug", "mug"])
    assert three.startswith('Accepted 1 mask. 2 masks are accepted as "mug" already')
    assert deletion_message(1).startswith("Deleted 1 mask; Undo restores it")
    assert deletion_message(2).startswith("Deleted 2 masks; Undo restores them")
    assert (duplicates_hidden(0), duplicates_hidden(1), duplicates_hidden(2)) == (
        "", "1 duplicate hidden", "2 duplicates hidden"
    )  # fmt: skip


def test_unwritten_masks_are_counted_after_the_reason() -> None:
    assert unwritten("Locked.", 0) == ""
    assert unwritten("Locked.", 1).startswith("Locked. 1 mask ")
    assert unwritten("Locked.", 2).startswith("Locked. 2 masks ")


def test_titles_are_short() -> None:
    assert image_title(3, "images/deep/a.png") == "3: a.png"


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (Counts(0, 0, {}, 0, 0), "0 images, 0 accepted masks"),
        (Counts(1, 1, {"cow": 1, "sky": 0}, 3, 0), "1 image, 1 accepted mask: cow 1"),
        (Counts(2, 2, {"cow": 1, "sky": 2}, 0, 5), "2 images, 3 accepted masks: cow 1, sky 2, 5 proposed"),
    ],
)
def test_counts_of_a_project(counts: Counts, line: str) -> None:
    assert project_counts(counts) == line


def prediction(
    kind: PromptKind = PromptKind.TEXT, best: tuple[float, ...] = (0.4, 0.8), threshold: Any = 0.5, **fields: Any
) -> Prediction:
    categories = ("cow", "sky")[: len(best)]
    provenance = Provenance(kind, ModelRef("m", ""), "m", "", "", {"threshold": threshold})
    fields = {"out_of_vocabulary": ()} | fields
    return Prediction(np.zeros((10, 10), np.int32), categories, best, best, provenance=provenance, **fields)


def test_a_complete_answer_needs_no_notice() -> None:
    assert answer_notice(prediction(), ["cow", "sky"]) == ""


def test_every_missing_class_is_named_with_its_score() -> None:
    low = answer_notice(prediction(best=(0.2, 0.4)), [])
    for fact in ("sky", "0.40", "cow", "0.20", "0.50"):
        assert fact in low
    mixed = answer_notice(prediction(best=(0.2, 0.7)), [])
    assert "cow" in mixed
    assert "sky" in mixed
    outdone = answer_notice(prediction(best=(0.7,)), [])
    assert "cow" in outdone
    assert "0.7" not in outdone, "the threshold is not the reason"
    both = answer_notice(prediction(best=(0.7, 0.3)), [])
    assert "No cow found: other names" in both
    assert "No sky found above" in both
    assert answer_notice(prediction(threshold=None), []) == ""


def test_missing_answers_to_clicks_and_references_have_their_own_sentences() -> None:
    click, reference = (
        answer_notice(prediction(kind, best=(0.1,)), []) for kind in (PromptKind.CLICK, PromptKind.REFERENCE)
    )
    everything = answer_notice(prediction(PromptKind.EVERYTHING, best=(0.1,)), [])
    assert len({click, reference, everything}) == 3
    assert "there" not in everything, "nobody clicked anywhere"
    assert "cow" in reference
    assert "0.1" not in click + reference


def test_out_of_vocabulary_names_are_quoted() -> None:
    notice = answer_notice(prediction(out_of_vocabulary=("cow",)), ["cow", "sky"])
    assert '"cow"' in notice
    assert notice.endswith("it.")
    notice = answer_notice(prediction(out_of_vocabulary=("cow", "sky")), ["cow", "sky"])
    assert '"cow" and "sky"' in notice
    assert notice.endswith("them.")


def test_cleaning_and_notes_come_with_the_answer() -> None:
    removed = np.zeros((10, 10), bool)
    removed[:2] = True
    notice = answer_notice(prediction(unlabelled_by_cleaning=removed, note="Note."), ["cow", "sky"])
    assert notice.startswith("Note. ")
    assert "20 %" in notice
    assert answer_notice(prediction(unlabelled_by_cleaning=np.zeros((10, 10), bool)), ["cow", "sky"]) == ""
