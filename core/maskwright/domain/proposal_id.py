"""Ids of proposals: open ones live in a session's memory, stored ones in the project."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

from maskwright.errors import UsageError

__all__ = ["ProposalId"]

_DIGITS = 10


@dataclass(frozen=True, slots=True)
class ProposalId:
    """`open:HEX` for the answer to a prompt, `stored:NUMBER` for a proposal that a batch wrote into the project."""

    kind: Literal["open", "stored"]
    key: str

    @classmethod
    def new(cls) -> ProposalId:
        """A fresh id of an open proposal."""
        return cls("open", uuid.uuid4().hex)

    @classmethod
    def of_annotation(cls, annotation_id: int) -> ProposalId:
        """The id of a proposal that the project stores as this annotation."""
        return cls("stored", str(annotation_id))

    @classmethod
    def parse(cls, text: str) -> ProposalId:
        """Read what `str` writes; raises UsageError."""
        kind, _, key = text.partition(":") if isinstance(text, str) else ("", "", "")
        # no database has larger ids, and some stumble over them
        if kind == "stored" and key.isdecimal() and len(key) <= _DIGITS and int(key) < 1 << 31:
            return cls("stored", key)
        if kind == "open" and key:
            return cls("open", key)
        raise UsageError(f"{text!r} is not the id of a proposal. Take the ids from the answer to a prompt.")

    @property
    def annotation_id(self) -> int | None:
        """Row of a stored proposal; None for an open one."""
        return int(self.key) if self.kind == "stored" else None

    def __str__(self) -> str:
        return f"{self.kind}:{self.key}"
