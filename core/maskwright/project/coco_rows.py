"""Annotation rows of a file as masks and boxes of a project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

from maskwright.domain import Mask
from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.regions import Frame, NoOutline, box_of, has_outline, region_of
from maskwright.formats.source import SourceImage, excerpt, is_number, plain
from maskwright.project.findings import Findings, some
from maskwright.store import STATES, BoxPrompt, NewAnnotation
from maskwright.store.values import LARGEST_ID, SOURCES

__all__ = ["ImportOptions", "RowReader", "is_id"]

_DIFFERENCE = 0.02
"""Relative difference of areas and boxes beyond which there is a warning."""
_UID = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a file of annotations is imported."""

    images: Path | None = None
    """A folder to search for the images, besides the places near the file."""
    as_proposals: bool = False
    """Import every mask as a proposal; otherwise only those with a score."""
    rotate: bool = False
    """Rotate masks that were made before the EXIF orientation was applied, or whose width and height are swapped."""
    groups_as_objects: bool = False
    """Import `iscrowd` 1 as an ordinary mask, for tools that set it for every brushed mask."""
    update: bool = False
    """Take masks that the project has, but that differ in the file, as corrections."""
    dry_run: bool = False
    """Only report what would be imported."""


class RowReader:
    """Collects the masks and boxes of a file, and what to report about its rows."""

    def __init__(
        self,
        file_name: str,
        category_names: Mapping[Any, str],
        options: ImportOptions,
        user: str,
        provenance: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Take the context of the rows.

        Args:
            file_name: of the file, for the provenance.
            category_names: the project's spelling by the file's category id.
            options: of the import.
            user: annotator of masks that name none.
            provenance: by `uid`, from the file that our export writes beside its own.
        """
        self._file_name, self._names, self._options = file_name, category_names, options
        self._user, self._provenance_by_uid = user, provenance
        self.masks: list[NewAnnotation] = []
        self.boxes: list[BoxPrompt] = []
        self.findings = Findings()
        self.skipped: list[str] = []
        self.groups = 0
        self._ids: set[int] = set()
        self._uids: set[str] = set()
        self._invalid_ids, self._repeated_ids = 0, list[int]()

    def read(self, image: SourceImage, frame: Frame, place: int) -> None:
        """Collect the rows of one image, whose index in the dataset is `place`."""
        for row in image.rows:
            label = f"{image.label}, annotation {excerpt(row.get('id'))}"
            try:
                self._read_row(row, frame, place, label)
            except MaskwrightError as error:
                self.skipped.append(f"{label}: {error}")

    def id_lines(self) -> list[str]:
        """What to say of ids that could not be kept, after all rows were read."""
        warnings = []
        if self._repeated_ids:
            warnings.append(
                f"These annotation ids occur twice: {some(self._repeated_ids)}; the later ones get new ids."
            )
        if self._invalid_ids:
            warnings.append(
                f"{self._invalid_ids} annotation ids are not numbers from 1 to {LARGEST_ID}; they get new ones."
            )
        return warnings

    def _read_row(self, row: Mapping[str, Any], frame: Frame, place: int, label: str) -> None:
        category = self._names[row["category_id"]]
        if not has_outline(row):
            self.boxes.append(self._box(row, frame, place, category))
            return
        try:
            region = region_of(row, frame)
        except NoOutline as error:
            self.boxes.append(self._box_instead(row, frame, place, category, error))
            self.findings.add(f"{label}: {error}; its box became a prompt", "box instead")
            return
        for warning in region.warnings:
            self.findings.add(f"{label}: {warning}", warning.partition(" by ")[0])
        mask = Mask.from_array(region.mask, score=self._score(row, label))
        self._compare(row, mask, frame, label)
        self.masks.append(self._annotation(row, mask, place, category))

    def _box_instead(
        self, row: Mapping[str, Any], frame: Frame, place: int, category: str, error: NoOutline
    ) -> BoxPrompt:
        """The box of a row whose outline encloses nothing; raises the reason when it has no box either."""
        try:
            return self._box(row, frame, place, category)
        except BadCoco:
            raise error from None

    def _box(self, row: Mapping[str, Any], frame: Frame, place: int, category: str) -> BoxPrompt:
        box = box_of(row, frame)
        if box is None:
            raise BadCoco(_no_box(row.get("bbox")))
        provenance = {"source": "box", "file": self._file_name, "annotation": _plain_id(row.get("id"))}
        return BoxPrompt(place, category, box, provenance)

    def _score(self, row: Mapping[str, Any], label: str) -> float | None:
        score = row.get("score")
        if score is None:
            return None
        if not is_number(score) or not 0 <= score <= 1:
            self.findings.add(f"{label}: its score {excerpt(score)} is not from 0 to 1 and was ignored", "score")
            return None
        return float(score)

    def _compare(self, row: Mapping[str, Any], mask: Mask, frame: Frame, label: str) -> None:
        """Warn where the file's area or box is not that of its mask."""
        area = row.get("area")
        if is_number(area) and abs(area - mask.area) > _DIFFERENCE * mask.area:
            sentence = f"{label}: its area is {area:g} in the file, but the mask has {mask.area} pixels"
            self.findings.add(sentence, "area", cosmetic=True)
        box = box_of(row, frame)
        if box is not None:
            difference = max(abs(theirs - ours) for theirs, ours in zip(box, mask.bbox, strict=True))
            # corners of polygons are between pixels
            if difference > 1 + _DIFFERENCE * max(mask.bbox[2:]):
                rounded = [round(value, 1) for value in box]
                sentence = f"{label}: the file's box is {rounded}, the mask's {list(mask.bbox)}"
                self.findings.add(sentence, "box", cosmetic=True)

    def _own_id(self, key: object) -> int | None:
        """The row's id, unless an earlier row has it or no project can have it."""
        if not is_id(key):
            self._invalid_ids += key is not None
            return None
        if key in self._ids:
            self._repeated_ids.append(key)
            return None
        self._ids.add(key)
        return key

    def _annotation(self, row: Mapping[str, Any], mask: Mask, place: int, category: str) -> NewAnnotation:
        attributes = row.get("attributes")
        if not isinstance(attributes, Mapping):
            attributes = {}
        uid = str(attributes.get("uid", ""))
        ours = bool(_UID.fullmatch(uid)) and uid not in self._uids
        self._uids.add(uid)
        state = "proposed" if is_number(row.get("score")) else "accepted"
        source = attributes.get("source")
        group = str(row.get("iscrowd")) in ("1", "1.0", "True", "true")
        # in a file of our own they are what the project says
        self.groups += group and not ours
        own_fields: dict[str, Any] = {}
        if ours:
            state = attributes["status"] if attributes.get("status") in STATES else state
            own_fields = _own_fields(uid, attributes)
        return NewAnnotation(
            place,
            category,
            mask,
            source if ours and source in SOURCES else "import",
            self._provenance(row, attributes, uid if ours else ""),
            plain(str(attributes.get("annotator") or self._user)),
            "proposed" if self._options.as_proposals else state,
            group and not self._options.groups_as_objects,
            id=self._own_id(row.get("id")),
            **own_fields,
        )

    def _provenance(self, row: Mapping[str, Any], attributes: Mapping[str, Any], uid: str) -> Mapping[str, Any]:
        """How a mask was made; `uid` is empty for a mask of another tool."""
        if not uid:
            return {"source": "import", "file": self._file_name, "annotation": _plain_id(row.get("id"))}
        if uid in self._provenance_by_uid:
            return self._provenance_by_uid[uid]
        keys = (("preset", "model"), ("weights", "model_version"), ("prompt", "prompt"))
        texts = {key: attributes.get(name) for key, name in keys}
        return {key: plain(text) for key, text in texts.items() if isinstance(text, str) and text}


def _no_box(box: object) -> str:
    """Why a row without an outline has no box either."""
    if not box:
        return "it has neither a mask nor a box"
    if isinstance(box, list) and len(box) == 4 and all(map(is_number, box)):
        return f"it has no mask, and its box {excerpt(box)} covers nothing of the image"
    return f"it has no mask, and its box {excerpt(box)} is no list of four numbers: x, y, width and height"


def is_id(value: object, largest: int = LARGEST_ID) -> TypeGuard[int]:
    """Whether a project can have this id."""
    return type(value) is int and 1 <= value <= largest


def _own_fields(uid: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a mask of our own export keeps: uid, revision and times."""
    times = {name: attributes[name] for name in ("created_at", "updated_at") if _is_time(attributes.get(name))}
    revision = attributes.get("revision")
    return {"uid": uid, "revision": revision if is_id(revision) else 1, **times}


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    with suppress(ValueError):
        return bool(datetime.fromisoformat(value))
    return False


def _plain_id(value: object) -> int | str:
    return value if is_id(value) else excerpt(value)
