"""Reading and writing `config.json`: one table per model, as a frozen dataclass of `presets.config`."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from maskwright.errors import BadWeights
from maskwright.presets.config import JSON_KEY
from maskwright.presets.folders import CONFIG

__all__ = ["damaged", "from_plain", "section", "sections", "to_plain"]

T = TypeVar("T")


def sections(folder: Path) -> dict[str, Any]:
    """Entries of a preset's `config.json` by name.

    Raises:
        BadWeights: the file is missing or damaged.
    """
    try:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise TypeError("not a table")
        return data
    except (OSError, ValueError, TypeError) as error:
        raise damaged(folder, error) from error


def section(folder: Path, data: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """One entry of a preset's `config.json`.

    Args:
        folder: of the preset, for the message.
        data: all entries, from `sections`.
        name: of the entry.
        kind: dataclass to read it into.

    Raises:
        BadWeights: the entry is missing or damaged, or has unknown keys.
    """
    try:
        return from_plain(kind, data[name])
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, error) from error


def damaged(folder: Path, error: Exception) -> BadWeights:
    """The error for a `config.json` that cannot be used."""
    return BadWeights(f"The preset file {folder / CONFIG} is damaged ({error}). Get the preset again.")


def from_plain(kind: type[T], data: Mapping[str, Any]) -> T:
    """Build a frozen dataclass from JSON values; unknown keys raise TypeError."""
    hints = typing.get_type_hints(kind)
    names = {key: name for name, key in _keys(kind).items()}
    unknown = sorted(set(data) - set(names))
    if unknown:
        raise TypeError(f"unknown keys {', '.join(unknown)}")
    return kind(**{names[key]: _value(hints[names[key]], value) for key, value in data.items()})


def to_plain(settings: Any) -> Any:
    """JSON values of a frozen dataclass, the inverse of `from_plain`."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {key: to_plain(getattr(settings, name)) for name, key in _keys(type(settings)).items()}
    return [to_plain(item) for item in settings] if isinstance(settings, list | tuple) else settings


def _keys(kind: Any) -> dict[str, str]:
    """Key in the file of each field."""
    return {field.name: field.metadata.get(JSON_KEY, field.name) for field in dataclasses.fields(kind)}


def _value(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
        raise TypeError(f"{value!r} is none of {', '.join(map(repr, typing.get_args(hint)))}")
    if value is not None and typing.get_origin(hint) is types.UnionType:
        # X | None, or X | Y, of which the first that has all keys
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        fitting = (
            part for part in parts[1:] if isinstance(value, dict) and not set(value) <= {*_keys(parts[0]).values()}
        )
        hint = next(fitting, parts[0])
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(Any, hint), value)
    if isinstance(value, list) and typing.get_origin(hint) is tuple:
        return tuple(_value(tuple, item) if isinstance(item, list) else item for item in value)
    if hint is tuple:
        return tuple(value)
    return value
