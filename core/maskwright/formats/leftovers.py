"""What a COCO file says that a project does not keep, counted by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maskwright.formats.source import excerpt

__all__ = ["Leftovers", "coco_leftovers"]

_KEPT = {
    "images": {"id", "file_name", "width", "height", "date_captured", "sha256", "exif_orientation", "split", "plane"},
    "annotations": {
        "id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd", "score", "attributes",
    },
    "categories": {"id", "name", "supercategory"},
}  # fmt: skip
_SECTIONS = {"info", "licenses", *_KEPT}
_OWN_ATTRIBUTES = {
    "uid", "status", "source", "model", "model_version", "prompt", "annotator", "created_at", "updated_at", "revision",
}  # fmt: skip
_ABOUT_LABELS = {"neg_category_ids", "not_exhaustive_category_ids"}
"""Keys of images that say something about masks."""
_SAME = {"occluded": {"0"}, "ignore": {"0"}}
_UNITS = {"images": "image", "annotations": "annotation", "categories": "category"}


class Leftovers:
    """Counts things that are not kept, each by what it is and what it belongs to."""

    def __init__(self) -> None:
        self._labels: Counter[tuple[str, str]] = Counter()
        self._others: Counter[tuple[str, str]] = Counter()

    def add(self, what: str, unit: str = "annotation", *, cosmetic: bool = False, number: int = 1) -> None:
        """Count something, such as "keypoints", of an "annotation"."""
        (self._others if cosmetic else self._labels)[what, unit] += number

    @property
    def not_kept(self) -> tuple[str, ...]:
        """One sentence on what says something about masks; none where nothing was counted."""
        return _sentence("Not kept, because a project has no place for it", self._labels)

    @property
    def also_not_kept(self) -> tuple[str, ...]:
        """One sentence on everything else."""
        return _sentence("Not kept either, which changes no mask", self._others)


def _sentence(start: str, counts: Counter[tuple[str, str]]) -> tuple[str, ...]:
    if not counts:
        return ()
    parts = (
        f"{excerpt(what)} of {number} {_plural(unit, number)}" if unit else excerpt(what)
        for (what, unit), number in counts.items()
    )
    return (f"{start}: {', '.join(parts)}.",)


def _plural(unit: str, number: int) -> str:
    return unit if number == 1 else unit.removesuffix("y") + "ies" if unit.endswith("y") else f"{unit}s"


def coco_leftovers(data: Mapping[str, Any]) -> Leftovers:
    """What a COCO dictionary holds beside what an import reads; empty values do not count."""
    found = Leftovers()
    for section, known_keys in _KEPT.items():
        for row in _rows(data.get(section)):
            for key, value in row.items():
                if key not in known_keys and _says_something(key, value):
                    found.add(key, _UNITS[section], cosmetic=section == "images" and key not in _ABOUT_LABELS)
    for row in _rows(data.get("annotations")):
        attributes = row.get("attributes")
        if isinstance(attributes, Mapping):
            own = _OWN_ATTRIBUTES if "uid" in attributes else {"annotator"}
            for key, value in attributes.items():
                if key not in own and _says_something(key, value):
                    found.add(f"attribute {key}")
        elif attributes:
            found.add("attributes")
    for key, value in data.items():
        if key not in _SECTIONS and _says_something(key, value):
            found.add(key, "")
    _add_info(found, data)
    return found


def _add_info(found: Leftovers, data: Mapping[str, Any]) -> None:
    info = data.get("info")
    # our own export writes these three, and no more
    ours = all("sha256" in row for row in _rows(data.get("images")))
    for key, value in info.items() if isinstance(info, Mapping) else ():
        if _says_something(key, value) and not (ours and key in ("version", "year", "date_created")):
            found.add(f"info.{key}", "", cosmetic=True)
    licenses = sum(_says_something("name", row.get("name")) for row in _rows(data.get("licenses")))
    if licenses:
        found.add("licenses", "", cosmetic=True)


def _rows(section: object) -> Iterable[Mapping[str, Any]]:
    return (row for row in section if isinstance(row, Mapping)) if isinstance(section, Sequence) else ()


def _says_something(key: str, value: object) -> bool:
    return bool(value) and str(value) not in _SAME.get(key, ())
