"""The history of a mask as text."""

from __future__ import annotations

from collections.abc import Mapping

from maskwright.store import Change

__all__ = ["describe"]

_REPLAYS = {"undone": " (undo)", "redone": " (redo)"}
_REFERENCE = {
    True: "chosen as an example of",
    False: "chosen as an example of what is not",
    None: "no longer an example of",
}


def describe(change: Change, categories: Mapping[int, str]) -> str:
    """A line for a change, such as "2026-11-21 03:04:05 ann: accepted as cow".

    Args:
        change: of a mask.
        categories: names by id.
    """
    before, after = change.before, change.after
    name, former = (categories.get(side.get("category_id", 0)) for side in (after, before))
    if "category_id" in after:
        name = name or "a deleted category"
    parts = []
    if "shows" in after:
        parts.append(f"{_REFERENCE[after['shows']]} {name}")
    else:
        if "counts" in after:
            parts.append("outline changed")
        if "state" in after:
            parts.append(after["state"] + (f" as {name}" if name and not former else ""))
        elif name and not former:
            parts.append(f"now {name}")
        if name and former:
            parts.append(f"from {former} to {name}")
    what = ", ".join(parts) or change.kind.replace("_", " ")
    return f"{change.at[:19].replace('T', ' ')} {change.user}: {what}{_REPLAYS.get(change.kind, '')}"
