"""What is drawn: proposals and masks as views, hidden duplicates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskwright.domain import Annotation, Mask, ModelRef, Prediction, PromptKind, Provenance, ReferenceMark
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import MaskwrightError
from maskwright.session import MaskView, Proposal, Proposals, visible
from tests.core.session.conftest import box

RED = "#ff0000"
MASK = Mask.from_array(box(0, 5), category="cow")


def annotation(annotation_id: int = 3) -> Annotation:
    return Annotation(annotation_id, "u", 1, 1, "cow", MASK, "accepted", "text", 1, "ann", "", "")


def proposal(source: str = "text", prompt: Any = "cow", mask: Mask = MASK) -> Proposal:
    return Proposal(ProposalId.new(), 1, mask, {"source": source, "prompt": prompt, "method": "m"})


def test_an_accepted_mask_knows_what_it_is_a_reference_of() -> None:
    marks = [ReferenceMark(3, "cow", True), ReferenceMark(3, "horse", False), ReferenceMark(4, "sky", True)]
    view = MaskView.of_annotation(annotation(), RED, marks)
    assert (view.annotation, view.proposal, view.mask, view.color) == (3, None, MASK, RED)
    assert view.reference_of == ("cow",)
    assert view.negative_reference_of == ("horse",)


@pytest.mark.parametrize("duplicate", [False, True])
def test_a_proposal_is_marked_as_duplicate_and_out_of_vocabulary(duplicate: bool) -> None:
    opened = Proposal(ProposalId.new(), 1, MASK, {}, out_of_vocabulary=duplicate)
    view = MaskView.of_proposal(opened, RED, duplicate=duplicate)
    assert (view.proposal, view.annotation, view.mask, view.color) == (opened.id, None, MASK, RED)
    assert (view.duplicate, view.out_of_vocabulary, view.cleaning_preview) == (duplicate, duplicate, False)


def test_a_cleaning_preview_is_neither_proposal_nor_annotation() -> None:
    view = MaskView.of_cleaning(MASK)
    assert view.cleaning_preview
    assert (view.proposal, view.annotation) == (None, None)


def test_duplicates_are_visible_on_request_or_while_they_are_unwritten() -> None:
    accepted = MaskView.of_annotation(annotation(), RED, ())
    new, first, second = (MaskView.of_proposal(proposal(), RED, duplicate=again) for again in (False, True, True))
    masks = [accepted, new, first, second, MaskView.of_cleaning(MASK)]
    assert visible(masks, duplicates=True) == masks
    assert visible(masks, duplicates=False) == [accepted, new, masks[-1]]
    assert first.proposal is not None
    assert visible(masks, duplicates=False, unwritten={first.proposal}) == [accepted, new, first, masks[-1]]


@pytest.mark.parametrize(
    ("source", "prompt", "from_clicks", "class_agnostic"),
    [
        ("text", ["cow"], False, False),
        ("reference", [], False, False),
        ("click", {"points": []}, True, True),
        ("box", {"points": []}, True, True),
        ("click", "everything", False, True),
    ],
)
def test_kinds_of_proposals(source: str, prompt: Any, from_clicks: bool, class_agnostic: bool) -> None:
    opened = proposal(source, prompt)
    assert (opened.from_clicks, opened.class_agnostic) == (from_clicks, class_agnostic)


def test_a_decided_proposal_keeps_its_category_unless_it_gets_a_name() -> None:
    opened = proposal("reference")
    named, own = opened.annotation("calf", "ann", "accepted"), opened.annotation(None, "ann", "rejected")
    assert (named.category, own.category) == ("calf", "cow")
    assert (own.source, own.annotator, own.state, own.image_id) == ("reference", "ann", "rejected", 1)
    with pytest.raises(MaskwrightError):
        proposal(mask=Mask.from_array(box(0, 5))).annotation(None, "ann", "accepted")


def answer(repeated: int, *, preview: bool = False) -> Proposals:
    provenance = Provenance(PromptKind.TEXT, ModelRef("m", ""), "m", "", ["cow"], {"threshold": 0.5})
    prediction = Prediction(np.zeros((20, 30), np.int32), ("cow", "sky"), (0.9, 0.0), (0.9, 0.1), ("cow",), provenance)
    opened = (proposal(), proposal())
    return Proposals(
        1, prediction, opened, frozenset(p.id for p in opened[:repeated]), ProposalId.new() if preview else None
    )


def test_an_answer_counts_its_duplicates_apart() -> None:
    proposals = answer(1, preview=True)
    assert proposals.new == proposals.all[1:]
    assert proposals.ids == (*(p.id for p in proposals.all), proposals.cleaning_preview)
    assert "sky" in proposals.answer_notice
    assert proposals.notice == f"{proposals.answer_notice} 1 duplicate hidden."
    plain = answer(0)
    assert plain.new == plain.all
    assert plain.ids == tuple(p.id for p in plain.all)
    assert plain.notice == plain.answer_notice
