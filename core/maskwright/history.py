"""The history of a mask in words."""

from __future__ import annotations

from collections.abc import Mapping

from maskwright.store import Change

__all__ = ["sentence"]

_STATES = {"proposed": "proposed", "accepted": "accepted", "rejected": "rejected", "deleted": "deleted"}
_AGAIN = {"undone": " (undo)", "redone": " (redo)"}


def sentence(change: Change, names: Mapping[int, str]) -> str:
    """One line for one change, such as "2026-11-21 03:04:05 ann: accepted as cow".

    Args:
        change: of a mask.
        names: of categories, by id.
    """
    before, after = change.before, change.after
    parts = []
    if "counts" in after:
        parts.append("outline changed")
    if "state" in after:
        parts.append(_STATES[after["state"]])
    if "category_id" in after:
        name = names.get(after["category_id"], "a deleted category")
        former = names.get(before.get("category_id", 0))
        parts.append(f"from {former} to {name}" if former else f"as {name}")
    if "shows" in after:
        parts.append("chosen as an example" if after["shows"] is not None else "no longer an example")
    what = ", ".join(parts) or change.kind.replace("_", " ")
    return f"{change.at[:19].replace('T', ' ')} {change.who}: {what}{_AGAIN.get(change.kind, '')}"
