"""Ids of open and stored proposals as text."""

from __future__ import annotations

import pytest

from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import UsageError


def test_ids_survive_as_text() -> None:
    new, stored = ProposalId.new(), ProposalId.of_annotation(7)
    assert str(stored) == "stored:7"
    assert str(new).startswith("open:")
    assert [ProposalId.parse(str(key)) for key in (new, stored)] == [new, stored]
    assert ProposalId.new() != new


def test_only_stored_proposals_have_an_annotation() -> None:
    assert ProposalId.of_annotation(7).annotation_id == 7
    assert ProposalId.new().annotation_id is None


@pytest.mark.parametrize("text", ["", "7", "open:", "stored:", "stored:x", "stored:-1", "stored:²", "shut:7", None, 7])
def test_other_text_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        ProposalId.parse(text)
