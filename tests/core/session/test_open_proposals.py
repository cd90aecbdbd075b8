"""The bounded table of open proposals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maskwright.domain import Mask
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import MaskwrightError
from maskwright.session import Proposal, open_proposals
from maskwright.session.open_proposals import OpenProposals
from tests.core.session.conftest import box

MASK = Mask.from_array(box(0, 5), category="cow")


def proposal() -> Proposal:
    return Proposal(ProposalId.new(), 1, MASK, {"source": "text"})


def test_open_proposals_are_taken_once() -> None:
    table, (first, second) = OpenProposals(), (proposal(), proposal())
    table.add([first, second])
    assert table.get([second.id, ProposalId.new(), first.id]) == [second, first]
    assert table.take([first.id, first.id]) == [first]
    assert table.get([first.id, second.id]) == [second]
    with pytest.raises(MaskwrightError):
        table.take([first.id])


def test_nothing_is_taken_when_one_is_closed() -> None:
    table, one = OpenProposals(), proposal()
    table.add([one])
    with pytest.raises(MaskwrightError):
        table.take([one.id, ProposalId.new()])
    assert table.get([one.id]) == [one]


def test_dropped_proposals_are_closed() -> None:
    table, (first, second) = OpenProposals(), (proposal(), proposal())
    table.add([first, second])
    table.drop([first.id, ProposalId.new()])
    assert table.get([first.id, second.id]) == [second]


def test_replacing_changes_open_proposals_only() -> None:
    table, (first, second) = OpenProposals(), (proposal(), proposal())
    table.add([first])
    table.replace([first.id, second.id], lambda old: replace(old, image_id=2))
    assert table.get([first.id, second.id]) == [replace(first, image_id=2)]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_proposals, "_MOST_PROPOSALS", 3)
    monkeypatch.setattr(open_proposals, "_MOST_PREVIEWS", 2)
    table, proposals = OpenProposals(), [proposal() for _ in range(5)]
    table.add(proposals[:2])
    table.add(proposals[2:])
    assert table.get([p.id for p in proposals]) == proposals[2:]
    previews = [table.add_preview(1, MASK) for _ in range(3)]
    assert [bool(table.previews([key], 1)) for key in previews] == [False, True, True]


def test_previews_belong_to_an_image_and_are_no_proposals() -> None:
    table = OpenProposals()
    key = table.add_preview(1, MASK)
    assert table.previews([key, ProposalId.new()], 1) == [MASK]
    assert table.previews([key], 2) == []
    assert table.get([key]) == []
