"""COCO files into a project: what matches which image, and which rows become masks (rules X-18 to X-22)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.domain import ImageRecord, Mask
from maskwright.errors import BadCoco, MaskwrightError
from maskwright.groundtruth import mask_of, read_coco
from maskwright.store import NewAnnotation

__all__ = ["CocoFile", "CocoImage", "Imported", "drafts", "unfound"]

_AREA_DIFFERENCE = 0.02


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did."""

    images: int
    """Images of the file that the project has now."""
    added: int
    """Of these, how many it did not have before."""
    masks: int
    """Masks added."""
    known: int
    """Masks that were there already."""
    skipped: tuple[str, ...] = ()
    """Rows that were left out, each with the reason."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One row of `images` with its annotations."""

    name: str
    size_hw: tuple[int, int]
    sha256: str
    rows: tuple[Mapping[str, Any], ...]
    files: tuple[Path, ...]
    """Where the picture may lie, the likeliest first."""


@dataclass(frozen=True, slots=True)
class CocoFile:
    """A COCO instances file, checked as far as can be without its pictures."""

    file: Path
    categories: Mapping[Any, str]
    images: tuple[CocoImage, ...]
    orphans: int
    """Annotations of images that the file does not list."""

    @classmethod
    def read(cls, file: Path) -> CocoFile:
        """Read and check; raises BadCoco when nothing of the file can be trusted."""
        data = read_coco(file)
        try:
            categories = {row["id"]: str(row["name"]) for row in data["categories"]}
            rows: dict[Any, list[Mapping[str, Any]]] = {}
            for row in data["annotations"]:
                if row["category_id"] not in categories:
                    raise BadCoco(
                        f"Annotation {row.get('id')} names category {row['category_id']}, which the file does not "
                        "list. Export it again."
                    )
                rows.setdefault(row["image_id"], []).append(row)
            images: dict[Any, CocoImage] = {}
            for row in data["images"]:
                if row["id"] in images:
                    raise BadCoco(f"Image id {row['id']} stands twice in {file.name}. Export it again.")
                images[row["id"]] = _image(row, tuple(rows.pop(row["id"], ())), file.parent)
        except (KeyError, TypeError, ValueError) as error:
            raise BadCoco(f"{file} is not complete: {error} is missing or not valid. Export it again.") from error
        return cls(file, categories, tuple(images.values()), sum(map(len, rows.values())))


def _image(row: Mapping[str, Any], rows: tuple[Mapping[str, Any], ...], folder: Path) -> CocoImage:
    name = str(row["file_name"]).replace("\\", "/")
    inside = PurePosixPath(name)
    files: tuple[Path, ...] = ()
    # a path that leaves the file's own folder is never opened
    if not inside.is_absolute() and ".." not in inside.parts:
        files = (folder / "images" / inside, folder / inside)
    return CocoImage(name, (int(row["height"]), int(row["width"])), str(row.get("sha256", "")), rows, files)


@dataclass(slots=True)
class _Report:
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def drafts(
    coco: CocoFile, image: CocoImage, record: ImageRecord, *, annotator: str
) -> tuple[list[NewAnnotation], list[str], list[str]]:
    """The masks of one image as they would be kept, the rows that are left out, and warnings, in words."""
    report = _Report()
    made = list(_made(coco, image, record, annotator, report))
    return made, report.skipped, report.warnings


def _made(
    coco: CocoFile, image: CocoImage, record: ImageRecord, annotator: str, report: _Report
) -> Iterator[NewAnnotation]:
    size_hw = (record.height, record.width)
    if image.size_hw != size_hw:
        turned = " (turned by 90 degrees)" if image.size_hw == size_hw[::-1] else ""
        report.skipped.append(
            f"{image.name}: the file says {image.size_hw[1]} x {image.size_hw[0]}, the upright picture is "
            f"{record.width} x {record.height}{turned}"
        )
        return
    for row in image.rows:
        where = f"{image.name}, annotation {row.get('id')}"
        if row.get("iscrowd") or not row.get("segmentation"):
            why = "marks a group, not an object" if row.get("iscrowd") else "has a box but no mask"
            report.skipped.append(f"{where}: {why}")
            continue
        try:
            mask = Mask.from_array(mask_of(row, size_hw), score=_score(row.get("score")))
            told = {"source": "import", "file": coco.file.name, "annotation": row.get("id")}
            who = str(_attributes(row).get("annotator") or annotator)
            yield NewAnnotation(record.id, coco.categories[row["category_id"]], mask, "import", told, who)
        except MaskwrightError as error:
            report.skipped.append(f"{where}: {error}")
            continue
        area = row.get("area")
        if isinstance(area, int | float) and abs(area - mask.area) > _AREA_DIFFERENCE * mask.area:
            report.warnings.append(f"{where}: the file says area {area:g}, the mask has {mask.area} pixels")


def _attributes(row: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = row.get("attributes")
    return attributes if isinstance(attributes, Mapping) else {}


def _score(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def unfound(images: Sequence[CocoImage], total: int) -> str:
    """The sentence for pictures that are neither in the project nor beside the file."""
    names = ", ".join(image.name for image in images[:3]) + (", ..." if len(images) > 3 else "")
    return f"{len(images)} of {total} images were not found ({names}). Put them into images/ beside the file."
