"""`config.json`: entries as version 0.7 wrote them load, and are written with the same keys and values."""

from __future__ import annotations

from typing import Any

import pytest

from maskwright.presets.config import (
    DinoTxtSettings,
    Dinov3SegSettings,
    Insid3Settings,
    SamSettings,
    Talk2DinoSettings,
)
from maskwright.presets.config_io import from_plain, sections, to_plain
from maskwright.presets.folders import bundled

KINDS: dict[str, Any] = {
    "dinotxt": DinoTxtSettings,
    "insid3": Insid3Settings,
    "sam": SamSettings,
    "dinov3seg": Dinov3SegSettings,
    "talk2dino": Talk2DinoSettings,
}


def _superset(whole: Any, part: Any) -> bool:
    """Whether `whole` holds the values of `part`, and only defaults beside them."""
    if isinstance(part, dict):
        return all(key in whole and _superset(whole[key], value) for key, value in part.items())
    return bool(whole == part)


@pytest.mark.parametrize("part", KINDS)
def test_the_bundled_preset_is_written_as_it_was_read(part: str) -> None:
    stored = sections(bundled() / "tiny")[part]
    assert _superset(to_plain(from_plain(KINDS[part], stored)), stored)


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("dinotxt", {"sharpness": 17.0, "scale": 14.0, "familiar": ["cow", "sky"]}),
        ("sam", {"grid": 16, "least_score": 0.35, "least_stability": 0.8, "offset": 0.1}),
        ("dinov3seg", {"most_classes": 32}),
        ("talk2dino", {"sharpness": 50.0, "matched_at": 448}),
    ],
)
def test_keys_of_version_0_7_are_read_and_written(part: str, keys: dict[str, Any]) -> None:
    stored = {**sections(bundled() / "tiny")[part], **keys}
    settings = from_plain(KINDS[part], stored)
    values = [list(value) if isinstance(value, tuple) else value for value in _fields(settings)]
    assert all(value in values for value in keys.values())
    assert to_plain(settings) | keys == to_plain(settings)


def _fields(settings: Any) -> list[Any]:
    return [getattr(settings, name) for name in settings.__dataclass_fields__]


def test_a_field_is_not_read_under_its_name_in_python() -> None:
    stored = sections(bundled() / "tiny")["sam"]
    with pytest.raises(TypeError, match="points_per_side"):
        from_plain(SamSettings, {**stored, "points_per_side": 8})
