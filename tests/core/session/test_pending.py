"""Decisions that could not be written: retry, conflict, refusal, and deciding again."""

from __future__ import annotations

import pytest

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import BadProject, Conflict, MaskwrightError, ProjectUnwritable
from maskwright.session import Decision, Pending, WriteFailure

A, B, C, D = (ProposalId("open", name) for name in "abcd")
FULL = ProjectUnwritable("The disk is full.")
CHANGED = Conflict("The mask was changed by someone else.")
REFUSED = MaskwrightError("That proposal is no longer open.")


def decision(*ids: ProposalId, accept: bool = True, image_id: int = 1, name: str = "") -> Decision:
    return Decision(accept, image_id, ids, name)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (FULL, WriteFailure.RETRY),
        (BadProject("damaged"), WriteFailure.RETRY),
        (ZeroDivisionError(), WriteFailure.RETRY),
        (CHANGED, WriteFailure.CONFLICT),
        (REFUSED, WriteFailure.REFUSED),
    ],
)
def test_kinds_of_failure(error: Exception, failure: WriteFailure) -> None:
    assert WriteFailure.of(error) is failure


def test_nothing_pending() -> None:
    assert Pending().masks == 0
    assert Pending().message == ""
    assert Pending().ids(1) == ()


def test_an_unwritten_decision_waits_with_its_reason() -> None:
    pending = Pending().after(decision(A, B), FULL).after(decision(C, image_id=2), FULL)
    assert pending.masks == 3
    assert (pending.ids(1), pending.ids(2), pending.ids(3)) == ((A, B), (C,), ())
    assert pending.message.startswith("The disk is full. 3 masks ")
    assert not pending.in_conflict(A)
    assert Pending().after(decision(A), ValueError("x"), "Unexpected.").message.startswith("Unexpected. 1 mask ")


def test_a_repeated_attempt_replaces_the_earlier_one() -> None:
    pending = Pending().after(decision(A, B), FULL)
    again = pending.after(decision(A, accept=False), ProjectUnwritable("Locked."))
    assert again.decisions == (decision(B), decision(A, accept=False))
    assert again.reason == "Locked."


def test_success_and_refusal_end_the_wait() -> None:
    pending = Pending().after(decision(A), FULL).after(decision(B), FULL)
    assert pending.after(decision(A), None).decisions == (decision(B),)
    assert pending.after(decision(A), REFUSED).decisions == (decision(B),)
    assert pending.after(decision(C), REFUSED) == pending
    assert pending.after(decision(A), None).after(decision(B), None).message == ""


def test_a_conflict_waits_and_is_marked() -> None:
    pending = Pending().after(decision(A), FULL).after(decision(B), CHANGED)
    assert pending.in_conflict(B)
    assert not pending.in_conflict(A)
    assert not pending.in_conflict(None)
    assert pending.reason == str(CHANGED)
    assert not pending.after(decision(B), FULL).in_conflict(B), "the last attempt counts"


def test_withdrawing_proposals() -> None:
    pending = Pending().after(decision(A, B), FULL).after(decision(C), FULL)
    assert pending.without([A]).decisions == (decision(B), decision(C))
    assert pending.without([A, B]).decisions == (decision(C),)
    assert pending.without([D]) == pending
    assert pending.decisions == (decision(A, B), decision(C)), "values do not change"


def test_decisions_among_proposals() -> None:
    pending = Pending().after(decision(A, B), FULL).after(decision(C), FULL)
    assert pending.among([B, D]) == [decision(A, B)]
    assert pending.among([D]) == []


def test_a_new_decision_is_one_attempt() -> None:
    new = decision(A, B, name="cow")
    assert Pending().attempts(new) == (new,)


def test_accepting_again_retries_under_the_earlier_name() -> None:
    pending = Pending().after(decision(A, B, name="cow"), FULL)
    assert pending.attempts(decision(A, C, name="sheep")) == (decision(A, B, name="cow"), decision(C, name="sheep"))
    assert pending.attempts(decision(B)) == (decision(A, B, name="cow"),)


def test_rejecting_what_waits_to_be_accepted_replaces_that_decision() -> None:
    pending = Pending().after(decision(A, B, name="cow"), FULL)
    assert pending.attempts(decision(A, accept=False)) == (decision(A, accept=False, name="cow"),)
    rejected = Pending().after(decision(A, accept=False), FULL)
    assert rejected.attempts(decision(A, name="cow")) == (decision(A, name="cow"),)


def test_after_a_conflict_the_new_decision_counts() -> None:
    pending = Pending().after(decision(A, name="cow"), CHANGED)
    again = Decision(True, 1, (A,), "calf", ClickPrompt(1, 5))
    assert pending.attempts(again) == (again,)
    assert pending.attempts(decision(A)) == (decision(A, name="cow"),)
