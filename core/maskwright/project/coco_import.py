"""A COCO file into a project: which image is which, what becomes of each row, and then all of it at once.

Everything is looked at before anything is written (rule X-18), so that a dry run tells what the import would do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

from maskwright.domain import Mask
from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.coco_reader import (
    CocoFile,
    CocoImage,
    Frame,
    box_of,
    is_number,
    plain,
    provenance_beside,
    region_of,
    shown,
)
from maskwright.progress import Progress
from maskwright.project.image_folder import PictureFolder
from maskwright.project.image_matching import ImageMatcher, Match, Unmatched
from maskwright.store import STATES, BoxPrompt, NewAnnotation, NewCategory, NewDataset, NewImage, Store
from maskwright.store.values import LARGEST_ID, SOURCES, clean_name

__all__ = ["ImportOptions", "Imported", "Intake"]

_DIFFERENCE = 0.02
_NAMED = 3
_UID = re.compile(r"[0-9a-f]{32}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_LARGEST_CATEGORY = (1 << 16) - 1
"""Category numbers should be small: beyond this the project gives its own."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a COCO file is taken in."""

    images: Path | None = None
    """A folder to look for the pictures in, besides the places near the file."""
    as_proposals: bool = False
    """Every mask waits for a person; otherwise only those with a score do."""
    rotate: bool = False
    """Turn masks that were made on pictures before their EXIF orientation, or whose width and height are swapped."""
    groups_as_objects: bool = False
    """Take `iscrowd` 1 for an ordinary mask, as files of tools that mark every brushed mask so need it."""
    dry_run: bool = False
    """Tell what would be done, and change nothing."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or would do."""

    images: int
    """Images of the file that the project has now."""
    added: int
    """Of these, how many it did not have before."""
    masks: int
    """Masks added."""
    known: int
    """Masks that were there already."""
    boxes: int = 0
    """Boxes without a mask, kept as prompts."""
    proposals: int = 0
    """Of the masks in the file, those that wait for a person."""
    matched: Mapping[str, int] = field(default_factory=dict)
    """How the images were recognised, and how many in each way."""
    missing: tuple[str, ...] = ()
    """Images whose picture was not found."""
    ambiguous: tuple[str, ...] = ()
    """Images whose name several images of the project have."""
    skipped: tuple[str, ...] = ()
    """Rows that were left out, each with the reason."""
    warnings: tuple[str, ...] = ()
    dry_run: bool = False


class Intake:
    """One import: `look` reads and judges, `carry_out` writes."""

    def __init__(
        self, store: Store, folder: Path, pictures: PictureFolder, file: Path, options: ImportOptions, who: str
    ) -> None:
        """Take the project's parts; raises BadCoco when the file cannot be trusted at all."""
        self._store, self._folder, self._pictures = store, folder, pictures
        self._options, self._who = options, plain(who)
        self._coco, self._name = CocoFile.read(file), plain(file.name)
        self._skipped, self._warnings = list(self._coco.skipped), list[str]()
        self._missing, self._ambiguous, self._unreadable = list[str](), list[str](), list[str]()
        self._matches: list[Match] = []
        self._places: dict[str, int] = {}
        self._masks: list[NewAnnotation] = []
        self._boxes: list[BoxPrompt] = []
        self._how: Counter[str] = Counter()
        self._ids: set[int] = set()
        self._no_ids, self._repeated = 0, list[int]()
        self._uids: set[str] = set()
        self._told = provenance_beside(file)

    def look(self, progress: Progress) -> None:
        """Match every image and judge every row.

        Raises:
            BadCoco: the file contradicts itself.
            MaskwrightError: not one of its images was found.
        """
        self._names = self._category_names()
        finder = ImageMatcher(self._store, self._coco.file, self._options.images)
        total = len(self._coco.images)
        for done, image in enumerate(self._coco.images):
            progress.report(done, total)
            match = finder.find(image)
            if isinstance(match, Unmatched):
                self._unmatched(image, match)
                continue
            self._how[match.how] += 1
            if match.how == "without a picture":
                self._missing.append(image.shown)
            self._warnings += [f"{image.shown}: {one}" for one in match.warnings]
            self._rows(image, match)
        progress.report(total, total)
        if total and not self._how:
            raise MaskwrightError(self._nothing_found(total))
        if self._missing:
            self._warnings.append(self._unfound(total))
        self._warnings += [f"{one}: several pictures have this name; it was left out." for one in self._ambiguous]
        if self._repeated:
            self._warnings.append(
                f"These annotation ids stand twice: {_some(self._repeated)}; the later ones get new ids."
            )
        if self._no_ids:
            self._warnings.append(
                f"{self._no_ids} annotation ids are no numbers from 1 to {LARGEST_ID}; they get new ones."
            )

    def report(self, masks: int, known: int, boxes: int, dry_run: bool) -> Imported:
        """What to tell of it."""
        return Imported(
            images=len(self._matches),
            added=sum(one.known is None for one in self._matches),
            masks=masks,
            known=known,
            boxes=boxes,
            proposals=sum(one.state == "proposed" for one in self._masks),
            matched=dict(self._how),
            missing=tuple(self._missing),
            ambiguous=tuple(self._ambiguous),
            skipped=tuple(self._skipped),
            warnings=tuple(self._warnings),
            dry_run=dry_run,
        )

    def carry_out(self) -> Imported:
        """Copy the pictures, then write every row in one transaction; after an error neither is there.

        Raises:
            ProjectUnwritable: the project cannot be written.
            MaskwrightError: a picture changed or went away meanwhile.
        """
        placed: list[tuple[Path, str]] = []
        try:
            stored = self._store.import_dataset(
                self._dataset([one.known or self._placed(one, placed) for one in self._matches])
            )
        finally:
            self._tidy(placed)
        return self.report(stored.masks, stored.known, stored.boxes, dry_run=False)

    def rehearse(self) -> Imported:
        """The report of an import that changes nothing: how much is known already is asked, not written."""
        stored = self._store.foretell(self._dataset([one.known or one.new or 0 for one in self._matches]))
        return self.report(stored.masks, stored.known, stored.boxes, dry_run=True)

    def _dataset(self, images: list[NewImage | int]) -> NewDataset:
        small = all(_is_id(one.id, _LARGEST_CATEGORY) for one in self._coco.categories)
        categories = [
            NewCategory(self._names[one.id], one.supercategory, one.id if small else None)
            for one in self._coco.categories
        ]
        return NewDataset(images, categories, self._masks, self._boxes, self._name, self._who)

    def _placed(self, match: Match, placed: list[tuple[Path, str]]) -> NewImage:
        """The image with the name that its file has in the project."""
        if match.new is None:
            raise AssertionError("an image is known, or new")
        new = replace(match.new, who=self._who)
        if match.source is None:
            return new
        file, made = self._pictures.take(match.source, new.file_name, match.digest)
        if made:
            placed.append((file, new.sha256))
        return replace(new, file_name=file.relative_to(self._folder).as_posix())

    def _tidy(self, placed: list[tuple[Path, str]]) -> None:
        """Remove the copies that no row names, after an error or where another process was faster."""
        for file, sha256 in placed:
            try:
                record = self._store.image_by_sha256(sha256)
            except MaskwrightError:
                # a copy too many harms nobody; one too few would be a lost picture
                continue
            if record is None or record.file_name != file.relative_to(self._folder).as_posix():
                self._pictures.forget(file)

    # categories

    def _category_names(self) -> dict[Any, str]:
        """The project's spelling of each category, by its id in the file."""
        names, seen = dict[Any, str](), set[str]()
        for one in self._coco.categories:
            try:
                cleaned = names[one.id] = clean_name(one.name)
            except MaskwrightError as error:
                raise BadCoco(f"A category of {self._name} has no name that can be kept: {error}") from error
            if cleaned in seen:
                self._warnings.append(f"Two categories are called {shown(cleaned)}; they become one.")
                continue
            seen.add(cleaned)
            self._warnings += [
                f"{shown(cleaned)} and {shown(other)}, which the project has, differ in capitals only."
                for other in self._store.alike(cleaned)
            ]
        odd = [one.id for one in self._coco.categories if not _is_id(one.id, _LARGEST_CATEGORY)]
        if odd:
            self._warnings.append(
                f"The file numbers categories {_some(odd)}; the project numbers all of them anew, from 1."
            )
        return names

    # images

    def _unmatched(self, image: CocoImage, found: Unmatched) -> None:
        if found.reason:
            self._unreadable.append(f"{image.shown}: {found.reason}")
            self._skipped.append(self._unreadable[-1])
        else:
            (self._ambiguous if found.ambiguous else self._missing).append(image.shown)

    def _nothing_found(self, total: int) -> str:
        if self._missing:
            return self._unfound(total)
        if self._unreadable:
            return f"None of the {total} images can be read. {self._unreadable[0]}"
        return (
            f"{len(self._ambiguous)} of {total} images were not found: several pictures are called "
            f"{_some(self._ambiguous)}. Name the folder of the right ones with --images."
        )

    def _unfound(self, total: int) -> str:
        kept = self._how["without a picture"]
        told = f" The masks of {kept} are kept; `maskwright project relink` finds their pictures later." if kept else ""
        return (
            f"{len(self._missing)} of {total} images were not found ({_some(self._missing)}). Put them into images/ "
            f"beside the file, or name their folder with --images.{told}"
        )

    # annotations

    def _rows(self, image: CocoImage, match: Match) -> None:
        frame, problem = self._frame(image, match)
        if frame is None:
            self._skipped.append(f"{image.shown}: {problem}")
            return
        place = self._place(match)
        for row in image.rows:
            where = f"{image.shown}, annotation {shown(row.get('id'))}"
            try:
                self._row(row, frame, place, where)
            except MaskwrightError as error:
                self._skipped.append(f"{where}: {error}")

    def _place(self, match: Match) -> int:
        key = match.sha256 or str(match.known)
        place = self._places.setdefault(key, len(self._matches))
        if place == len(self._matches):
            self._matches.append(match)
        elif match.source and not self._matches[place].source:
            # the file lists the image twice, and only here its picture was found
            self._matches[place] = match
        return place

    def _frame(self, image: CocoImage, match: Match) -> tuple[Frame | None, str]:
        """How the file's masks lie on the picture, or why they do not."""
        here, there, rotate = image.size_hw, match.size_hw, self._options.rotate
        frame = Frame(there, match.orientation, rotate=rotate)
        if here in (None, there):
            return frame, ""
        told = f"the file says {_shape(here)}, the upright picture is {_shape(there)}"
        if here != there[::-1]:
            return None, told
        if match.orientation < 5:
            return (frame, "") if rotate else (None, f"{told}: its width and height are swapped; --rotate turns them")
        if rotate:
            return replace(frame, turned=True), ""
        return None, (
            f"{told} (turned by EXIF orientation {match.orientation}); the masks were made before turning, "
            "--rotate turns them"
        )

    def _row(self, row: Mapping[str, Any], frame: Frame, place: int, where: str) -> None:
        category = self._names[row["category_id"]]
        if not row.get("segmentation"):
            self._box(row, frame, place, category)
            return
        region = region_of(row, frame)
        self._warnings += [f"{where}: {one}" for one in region.warnings]
        mask = Mask.from_array(region.mask, score=self._score(row, where))
        self._compare(row, mask, frame, where)
        self._masks.append(self._annotation(row, mask, place, category))

    def _score(self, row: Mapping[str, Any], where: str) -> float | None:
        score = row.get("score")
        if not is_number(score):
            return None
        if not 0 <= score <= 1:
            self._warnings.append(f"{where}: its score {shown(score)} is not from 0 to 1 and was left out")
            return None
        return float(score)

    def _box(self, row: Mapping[str, Any], frame: Frame, place: int, category: str) -> None:
        box = box_of(row, frame)
        if box is None:
            raise BadCoco("it has neither a mask nor a box inside the picture")
        told = {"source": "box", "file": self._name, "annotation": _plain_id(row.get("id"))}
        self._boxes.append(BoxPrompt(place, category, box, told))

    def _compare(self, row: Mapping[str, Any], mask: Mask, frame: Frame, where: str) -> None:
        """Warn where the file's own measures are not those of its mask."""
        area = row.get("area")
        if is_number(area) and abs(area - mask.area) > _DIFFERENCE * mask.area:
            self._warnings.append(f"{where}: the file says area {area:g}, the mask has {mask.area} pixels")
        box = box_of(row, frame)
        if box is not None:
            ours = mask.bbox
            apart = max(abs(box[0] - ours[0]), abs(box[1] - ours[1]), abs(box[2] - ours[2]), abs(box[3] - ours[3]))
            # polygons have corners between pixels
            if apart > 1 + _DIFFERENCE * max(ours[2:]):
                self._warnings.append(
                    f"{where}: the file's box is {[round(one, 1) for one in box]}, the mask's {list(ours)}"
                )

    def _wanted_id(self, key: object) -> int | None:
        """The row's id, unless another has it or the project cannot have it."""
        if not _is_id(key):
            self._no_ids += key is not None
            return None
        if key in self._ids:
            self._repeated.append(key)
            return None
        self._ids.add(key)
        return key

    def _annotation(self, row: Mapping[str, Any], mask: Mask, place: int, category: str) -> NewAnnotation:
        attributes = row.get("attributes")
        told = attributes if isinstance(attributes, Mapping) else {}
        uid = str(told.get("uid", ""))
        ours = bool(_UID.fullmatch(uid)) and uid not in self._uids
        self._uids.add(uid)
        crowd = row.get("iscrowd") == 1 and not self._options.groups_as_objects
        state = "proposed" if is_number(row.get("score")) else "accepted"
        source = told.get("source")
        life: dict[str, Any] = {}
        if ours:
            state = told["status"] if told.get("status") in STATES else state
            moments = {name: told[name] for name in ("created_at", "updated_at") if _is_moment(told.get(name))}
            revision = told.get("revision")
            life = {"uid": uid, "revision": revision if _is_id(revision) else 1, **moments}
        known = self._told.get(uid)
        provenance = known if ours and known is not None else self._provenance(row, told, ours)
        return NewAnnotation(
            place,
            category,
            mask,
            source if ours and source in SOURCES else "import",
            provenance,
            plain(str(told.get("annotator") or self._who)),
            "proposed" if self._options.as_proposals else state,
            crowd,
            id=self._wanted_id(row.get("id")),
            **life,
        )

    def _provenance(self, row: Mapping[str, Any], told: Mapping[str, Any], ours: bool) -> dict[str, Any]:
        if ours:
            named = (("preset", "model"), ("weights", "model_version"), ("prompt", "prompt"))
            return {key: plain(told[name]) for key, name in named if isinstance(told.get(name), str) and told[name]}
        return {"source": "import", "file": self._name, "annotation": _plain_id(row.get("id"))}


def _is_id(value: object, largest: int = LARGEST_ID) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= largest


def _is_moment(value: object) -> bool:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        return False
    with suppress(ValueError):
        return bool(datetime.fromisoformat(value))
    return False


def _plain_id(value: object) -> int | str:
    return value if _is_id(value) else shown(value)


def _shape(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"


def _some(values: Sequence[object]) -> str:
    return ", ".join(map(shown, values[:_NAMED])) + (", ..." if len(values) > _NAMED else "")
