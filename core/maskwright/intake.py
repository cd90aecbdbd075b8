"""A COCO file into a project: which image is which, what becomes of each row, and then all of it at once.

Everything is looked at before anything is written (rule X-18), so that a dry run tells what the import would do.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maskwright.coco_file import CocoFile, CocoImage, Frame, box_of, plain, region_of
from maskwright.domain import Image, ImageRecord, Mask
from maskwright.errors import BadCoco, MaskwrightError
from maskwright.picture_folder import PictureFolder, sha256_of_file
from maskwright.pictures import is_picture
from maskwright.settings import Settings
from maskwright.store import STATES, BoxPrompt, NewAnnotation, NewCategory, NewDataset, NewImage, Store
from maskwright.store.images import file_names
from maskwright.store.values import SOURCES, clean_name

__all__ = ["ImportOptions", "Imported", "Intake"]

_DIFFERENCE = 0.02
_UID = re.compile(r"[0-9a-f]{32}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_LARGEST_ID = (1 << 31) - 1
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


@dataclass(slots=True)
class _Match:
    """The project's image for a row of a file."""

    how: str
    size_hw: tuple[int, int]
    orientation: int
    known: int | None = None
    """Its id, if the project has it."""
    new: NewImage | None = None
    source: Path | None = None
    """The picture to copy."""


class Intake:
    """One import: `look` reads and judges, `carry_out` writes."""

    def __init__(
        self, store: Store, folder: Path, pictures: PictureFolder, file: Path, options: ImportOptions, who: str
    ) -> None:
        """Take the project's parts; raises BadCoco when the file cannot be trusted at all."""
        self._store, self._folder, self._pictures = store, folder, pictures
        self._options, self._who = options, who
        self._coco = CocoFile.read(file)
        self._skipped, self._warnings = list(self._coco.skipped), list[str]()
        self._missing, self._ambiguous = list[str](), list[str]()
        self._matches: list[_Match] = []
        self._places: dict[str, int] = {}
        self._masks: list[NewAnnotation] = []
        self._boxes: list[BoxPrompt] = []
        self._how: Counter[str] = Counter()
        self._ids: set[int] = set()
        self._uids: set[str] = set()
        self._told = _told(file)

    def look(self, progress: Callable[[int, int], None]) -> None:
        """Match every image and judge every row.

        Raises:
            BadCoco: the file contradicts itself.
            MaskwrightError: not one of its images was found.
        """
        self._names = {one.id: self._category_name(one.name) for one in self._coco.categories}
        self._finder = _Finder(self._store, self._folder, self._coco.file.parent, self._options.images)
        total = len(self._coco.images)
        for done, image in enumerate(self._coco.images):
            progress(done, total)
            match = self._match(image)
            if match is not None:
                self._how[match.how] += 1
                self._rows(image, match)
        progress(total, total)
        lost = len(self._missing) + len(self._ambiguous)
        if total and lost == total and not self._matches:
            raise MaskwrightError(self._unfound(total))
        if self._missing:
            self._warnings.append(self._unfound(total))
        for one in self._ambiguous:
            self._warnings.append(f"{one}: several images of the project have this name; it was left out.")

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
        placed: list[Path] = []
        try:
            images = [one.known or self._placed(one, placed) for one in self._matches]
            ids = [one.id for one in self._coco.categories]
            small = all(_is_id(one, _LARGEST_CATEGORY) for one in ids)
            stored = self._store.import_dataset(
                NewDataset(
                    images,
                    [
                        NewCategory(self._names[one.id], one.supercategory, one.id if small else None)
                        for one in self._coco.categories
                    ],
                    self._masks,
                    self._boxes,
                    self._coco.file.name,
                    self._who,
                )
            )
        except BaseException:
            for file in placed:
                file.unlink(missing_ok=True)
            raise
        return self.report(stored.masks, stored.known, stored.boxes, dry_run=False)

    def rehearse(self) -> Imported:
        """The report of an import that changes nothing: how much is known already is asked, not written."""
        known = self._store.known(self._masks, [one.known for one in self._matches])
        return self.report(len(self._masks) - known, known, len(self._boxes), dry_run=True)

    def _placed(self, match: _Match, placed: list[Path]) -> NewImage:
        """The image with the name that its file has in the project."""
        new = match.new
        if new is None or match.source is None:
            raise AssertionError("an image is known, or new, with or without a picture")
        if match.how == "without a picture":
            return new
        file, made = self._pictures.take(match.source, new.file_name)
        if made:
            placed.append(file)
        return replace(new, file_name=file.relative_to(self._folder).as_posix())

    def _category_name(self, name: str) -> str:
        try:
            cleaned = clean_name(name)
        except MaskwrightError as error:
            raise BadCoco(f"A category of {self._coco.file.name} has no name that can be kept: {error}") from error
        for other in self._store.alike(cleaned):
            self._warnings.append(f"{cleaned} and {other}, which the project has, differ in capitals only.")
        return cleaned

    # images

    def _match(self, image: CocoImage) -> _Match | None:
        match = self._finder.find(image)
        if match is None:
            (self._ambiguous if self._finder.is_ambiguous(image) else self._missing).append(image.name)
            return None
        if match.how == "without a picture":
            self._missing.append(image.name)
        return match

    def _unfound(self, total: int) -> str:
        names = ", ".join(self._missing[:3]) + (", ..." if len(self._missing) > 3 else "")
        kept = self._how["without a picture"]
        told = f" The masks of {kept} are kept; `maskwright project relink` finds their pictures later." if kept else ""
        return (
            f"{len(self._missing)} of {total} images were not found ({names}). Put them into images/ beside the file, "
            f"or name their folder with --images.{told}"
        )

    # annotations

    def _rows(self, image: CocoImage, match: _Match) -> None:
        frame, problem = self._frame(image, match)
        if frame is None:
            self._skipped.append(f"{image.name}: {problem}")
            return
        place = self._place(match)
        for row in image.rows:
            where = f"{image.name}, annotation {row.get('id')}"
            try:
                self._row(row, frame, place, where)
            except MaskwrightError as error:
                self._skipped.append(f"{where}: {error}")

    def _place(self, match: _Match) -> int:
        key = str(match.known) if match.known is not None else match.new.sha256 if match.new else ""
        if key not in self._places:
            self._places[key] = len(self._matches)
            self._matches.append(match)
        return self._places[key]

    def _frame(self, image: CocoImage, match: _Match) -> tuple[Frame | None, str]:
        """How the file's masks lie on the picture, or why they do not."""
        here, swapped = image.size_hw, self._options.rotate
        if here is None or here == match.size_hw:
            return Frame(match.size_hw, 1, swapped), ""
        told = f"the file says {here[1]} x {here[0]}, the upright picture is {match.size_hw[1]} x {match.size_hw[0]}"
        if here != match.size_hw[::-1]:
            return None, told
        if match.orientation < 5:
            return None, f"{told}: its width and height are swapped"
        if self._options.rotate:
            return Frame(match.size_hw, match.orientation), ""
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
        mask = Mask.from_array(region.mask, score=_score(row.get("score")))
        self._compare(row, mask, frame, where)
        self._masks.append(self._annotation(row, mask, place, category, where))

    def _box(self, row: Mapping[str, Any], frame: Frame, place: int, category: str) -> None:
        box = box_of(row, frame.size_hw) if frame.turned_by == 1 else None
        if box is None:
            raise BadCoco("it has neither a mask nor a box inside the picture")
        told = {"source": "box", "file": self._coco.file.name, "annotation": _plain_id(row.get("id"))}
        self._boxes.append(BoxPrompt(place, category, box, told))

    def _compare(self, row: Mapping[str, Any], mask: Mask, frame: Frame, where: str) -> None:
        """Warn where the file's own measures are not those of its mask."""
        area = row.get("area")
        if isinstance(area, int | float) and abs(area - mask.area) > _DIFFERENCE * mask.area:
            self._warnings.append(f"{where}: the file says area {area:g}, the mask has {mask.area} pixels")
        box = box_of(row, frame.size_hw) if frame.turned_by == 1 else None
        if box is not None:
            ours = mask.bbox
            apart = max(abs(box[0] - ours[0]), abs(box[1] - ours[1]), abs(box[2] - ours[2]), abs(box[3] - ours[3]))
            # polygons have corners between pixels
            if apart > 1 + _DIFFERENCE * max(ours[2:]):
                self._warnings.append(
                    f"{where}: the file's box is {[round(one, 1) for one in box]}, the mask's {list(ours)}"
                )

    def _annotation(self, row: Mapping[str, Any], mask: Mask, place: int, category: str, where: str) -> NewAnnotation:
        attributes = row.get("attributes")
        told = attributes if isinstance(attributes, Mapping) else {}
        uid = str(told.get("uid", ""))
        ours = bool(_UID.fullmatch(uid)) and uid not in self._uids
        self._uids.add(uid)
        key = row.get("id")
        if key in self._ids if _is_id(key) else key is not None:
            self._warnings.append(f"{where}: its id stands twice or is no number from 1; it gets a new one")
            key = None
        wanted = key if _is_id(key) else None
        self._ids |= {wanted} if wanted else set()
        crowd = row.get("iscrowd") in (1, True) and not self._options.groups_as_objects
        state = "proposed" if mask.score is not None else "accepted"
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
            id=wanted,
            **life,
        )

    def _provenance(self, row: Mapping[str, Any], told: Mapping[str, Any], ours: bool) -> dict[str, Any]:
        if ours:
            named = (("preset", "model"), ("weights", "model_version"), ("prompt", "prompt"))
            return {key: told[name] for key, name in named if isinstance(told.get(name), str) and told[name]}
        return {"source": "import", "file": self._coco.file.name, "annotation": _plain_id(row.get("id"))}


class _Finder:
    """Where the picture of a file's row is: in the project, or near the file."""

    def __init__(self, store: Store, project: Path, beside: Path, chosen: Path | None) -> None:
        self._store, self._beside, self._chosen = store, beside, chosen
        self._records = store.images()
        self._by_name = file_names(self._records)
        self._by_path = {record.file_name: record for record in self._records}
        self._project = project
        self._there: dict[str, list[Path]] | None = None

    def find(self, image: CocoImage) -> _Match | None:
        """By SHA-256, by masks that are known, by the picture's content, by path, by a name that only one has."""
        known = self._store.image_by_sha256(image.sha256) if image.sha256 else None
        if known:
            return _of(known, "SHA-256")
        uids = [row["attributes"].get("uid") for row in image.rows if isinstance(row.get("attributes"), Mapping)]
        known = self._store.image_of_masks([str(uid) for uid in uids if uid])
        if known and image.size_hw == (known.height, known.width):
            return _of(known, "known masks")
        for file in self._files(image):
            match = self._by_content(image, file)
            if match:
                return match
        named = self._by_path.get(image.name) or self._by_name.get(Path(image.name).name)
        if named and not (image.sha256 and image.size_hw != (named.height, named.width)):
            return _of(named, "path" if image.name in self._by_path else "name")
        return self._without_picture(image)

    def is_ambiguous(self, image: CocoImage) -> bool:
        """Whether several images of the project have its name."""
        name = Path(image.name).name
        return name in self._by_name and self._by_name[name] is None

    def _files(self, image: CocoImage) -> Iterator[Path]:
        inside = image.inside
        if inside is None:
            return
        homes = [self._beside / "images", self._beside, self._beside.parent]
        if self._chosen is not None:
            homes = [self._chosen, self._chosen / "images", self._chosen.parent, *homes]
        yield from (home / inside for home in homes if _is_file(home / inside))
        if self._chosen is not None:
            if self._there is None:
                self._there = {}
                for file in sorted(file for file in self._chosen.rglob("*") if is_picture(file)):
                    self._there.setdefault(file.name, []).append(file)
            same_name = self._there.get(inside.name, [])
            yield from same_name[:1] if len(same_name) == 1 else ()

    def _by_content(self, image: CocoImage, file: Path) -> _Match | None:
        digest = sha256_of_file(file)
        known = self._store.image_by_sha256(digest) if digest else None
        if known:
            return _of(known, "content")
        try:
            picture = Image.open(file)
        except MaskwrightError:
            return None
        sha256 = picture.sha256
        # a PNG that Maskwright made of an array: the image is known by its pixels
        if image.sha256 and file.stem == image.sha256 and Image(picture.pixels).sha256 == image.sha256:
            sha256 = image.sha256
        height, width = picture.size_hw
        new = NewImage(
            sha256, _inside_images(image), width, height, picture.orientation, picture.captured,
            id=image.id if _is_id(image.id) else None,
        )  # fmt: skip
        return _Match("file", picture.size_hw, picture.orientation, new=new, source=file)

    def _without_picture(self, image: CocoImage) -> _Match | None:
        """An image that the file identifies without doubt is kept; its picture may come later."""
        limit = Settings.load().max_megapixels * 1e6
        if not image.sha256 or image.size_hw is None or image.size_hw[0] * image.size_hw[1] > limit:
            return None
        if image.inside is None:
            return None
        height, width = image.size_hw
        name, number = _inside_images(image), 1
        while name in self._by_path:
            number += 1
            path = Path(_inside_images(image))
            name = path.with_stem(f"{path.stem}-{number}").as_posix()
        new = NewImage(
            image.sha256, name, width, height, image.orientation, image.captured,
            id=image.id if _is_id(image.id) else None,
        )  # fmt: skip
        return _Match("without a picture", image.size_hw, 1, new=new, source=Path(name))


def _of(record: ImageRecord, how: str) -> _Match:
    return _Match(how, (record.height, record.width), record.orientation, known=record.id)


def _inside_images(image: CocoImage) -> str:
    name = plain(image.name).removeprefix("./")
    return name if name.startswith("images/") else f"images/{name}"


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):
        # a name that no disk takes
        return False


def _is_id(value: object, largest: int = _LARGEST_ID) -> bool:
    return type(value) is int and 1 <= value <= largest


def _is_moment(value: object) -> bool:
    return isinstance(value, str) and bool(_MOMENT.fullmatch(value))


def _plain_id(value: object) -> int | str:
    return value if type(value) is int else plain(str(value))


def _score(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= 1 else None  # type: ignore[arg-type, operator]


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _told(file: Path) -> dict[str, Mapping[str, Any]]:
    """The provenance that our own export writes beside a file, by `uid`; lines that are none are passed over."""
    beside = file.with_name(file.name.removesuffix(".json") + ".provenance.jsonl")
    found: dict[str, Mapping[str, Any]] = {}
    if not _is_file(beside):
        return found
    with beside.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line, parse_constant=_refuse)
                found[str(row["uid"])] = dict(row["provenance"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return found
