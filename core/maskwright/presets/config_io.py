"""A preset's `config.json`: one table a part, each read into the frozen dataclass that says what it may hold."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from maskwright.errors import BadWeights
from maskwright.presets.weights import CONFIG

__all__ = ["damaged", "from_plain", "section", "sections"]

T = TypeVar("T")


def sections(folder: Path) -> dict[str, Any]:
    """The parts that a preset's `config.json` describes, by name; raises BadWeights when it is damaged."""
    try:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise TypeError("not a table")
        return data
    except (OSError, ValueError, TypeError) as error:
        raise damaged(folder, error) from error


def section(folder: Path, data: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """One part of a `config.json` that was read; raises BadWeights when it is damaged or has unknown keys."""
    try:
        return from_plain(kind, data[name])
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, error) from error


def damaged(folder: Path, error: Exception) -> BadWeights:
    """What to raise when a `config.json` cannot be used."""
    return BadWeights(f"The preset file {folder / CONFIG} is damaged ({error}). Get the preset again.")


def from_plain(kind: type[T], data: Mapping[str, Any]) -> T:
    """Build a frozen config dataclass from JSON values; unknown keys raise TypeError."""
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(typing.cast(Any, kind))}
    unknown = sorted(set(data) - known)
    if unknown:
        raise TypeError(f"unknown keys {', '.join(unknown)}")
    return kind(**{name: _value(hints[name], value) for name, value in data.items()})


def _value(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
        raise TypeError(f"{value!r} is none of {', '.join(map(repr, typing.get_args(hint)))}")
    if value is not None and typing.get_origin(hint) is types.UnionType:
        # X | None
        (hint,) = (one for one in typing.get_args(hint) if one is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(Any, hint), value)
    if isinstance(value, list) and typing.get_origin(hint) is tuple:
        return tuple(_value(tuple, item) if isinstance(item, list) else item for item in value)
    if hint is tuple:
        return tuple(value)
    return value
