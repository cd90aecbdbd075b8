"""COCO instances files of a project (rules X-1 to X-15): deterministic, and written row by row.

Memory does not grow with the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol

from maskwright.domain import Annotation, Category, ImageRecord, rle
from maskwright.errors import UsageError
from maskwright.files.atomic import json_text
from maskwright.formats.contours import outline, shift, simplify
from maskwright.formats.segmentation import polygons_to_rle

__all__ = ["FROZEN_COLOR", "CocoOptions", "CocoSummary", "Dataset", "coco_text", "prediction_text", "provenance_lines"]

FORMAT_VERSION = "1.0"
SEGMENTATIONS = ("rle", "rle-list", "polygon")
HOLES = ("rle", "fill")
FROZEN_COLOR = "color"
"""Key of a category's color in a frozen version; other files have no place for it that readers agree on."""
_NEVER = "1970-01-01T00:00:00.000Z"


class Dataset(Protocol):
    """A snapshot for exporters: images, categories and annotations, each in id order."""

    def images(self) -> Iterable[ImageRecord]:
        """All images, also those without annotations."""

    def categories(self) -> Sequence[Category]:
        """All categories, also those without annotations."""

    def annotations(self) -> Iterable[Annotation]:
        """Annotations of these images and categories; none is empty."""

    def annotated(self) -> set[int]:
        """Ids of images with an annotation."""

    def used(self) -> set[int]:
        """Ids of categories with an annotation."""

    def newest(self) -> str:
        """When the annotations were last changed; empty when there are none."""


@dataclass(frozen=True, slots=True)
class CocoOptions:
    """How a COCO file is written.

    Raises:
        UsageError: an unknown segmentation or way with holes, or a tolerance out of range.
    """

    description: str = ""
    """For `info`."""
    segmentation: str = "rle"
    """"rle"; "rle-list", which is uncompressed; or "polygon", outlines along pixel edges."""
    holes: str = "rle"
    """For masks with holes, which polygons cannot represent: "rle" writes them as RLE, "fill" fills the holes."""
    simplify: float = 0.0
    """Pixels by which an outline may differ; less where a mask would not keep an IoU of 0.98."""
    only_annotated: bool = False
    """Leave out images without a mask."""
    all_categories: bool = False
    """Keep categories without a mask."""
    colors: bool = False
    """Write the colors of categories, for a frozen version."""

    def __post_init__(self) -> None:
        for what, value, known in (("segmentation", self.segmentation, SEGMENTATIONS), ("holes", self.holes, HOLES)):
            if value not in known:
                raise UsageError(f"{value!r} is no value for {what}.", f"Use one of: {', '.join(known)}.")
        if not 0 <= self.simplify <= 100:
            raise UsageError("Outlines can be simplified by 0 to 100 pixels.", "Choose a number in between.")


@dataclass(slots=True)
class CocoSummary:
    """Numbers of masks and images; complete once the text was read to its end."""

    images: int = 0
    masks: int = 0
    holes_as_rle: int = 0
    """Masks with holes, written as RLE in a file of polygons."""
    holes_filled: int = 0
    rotated: list[str] = field(default_factory=list)
    """Images whose masks fit only after the EXIF orientation is applied."""
    same_stem: list[str] = field(default_factory=list)
    """Images that Datumaro cannot distinguish, because only their suffixes differ."""


def coco_text(
    dataset: Dataset,
    options: CocoOptions | None = None,
    summary: CocoSummary | None = None,
    copied: Mapping[int, ImageRecord] | None = None,
    subsets: Mapping[int, str] | None = None,
) -> Iterator[str]:
    """Yield the text of the file in pieces.

    Args:
        dataset: for example a store's.
        options: how masks are written, and which images and categories.
        summary: is filled in.
        copied: records, by image id, of images that were copied for this export.
        subsets: "train", "val" or "test" by image id, when there is a split.
    """
    options, summary = options or CocoOptions(), summary or CocoSummary()
    yield '{"info":' + json_text(_info(options.description, dataset.newest()))
    yield ',"licenses":' + json_text([{"id": 0, "name": "", "url": ""}])
    rows = _images(dataset, options, summary, copied or {})
    yield from _list("images", ({**row, "split": subsets[row["id"]]} if subsets else row for row in rows))
    yield from _list("annotations", (_annotation(annotation, options, summary) for annotation in dataset.annotations()))
    used = dataset.used()
    yield from _list(
        "categories",
        (
            _category(category, options)
            for category in dataset.categories()
            if category.id in used or options.all_categories
        ),
    )
    yield "}\n"


def provenance_lines(dataset: Dataset) -> Iterator[str]:
    """Yield the full provenance of every exported mask, each a line with a JSON object that has its `uid`."""
    for annotation in dataset.annotations():
        row = {"uid": annotation.uid, "source": annotation.source, "provenance": dict(annotation.provenance)}
        yield json_text(row) + "\n"


def prediction_text(dataset: Dataset) -> Iterator[str]:
    """Yield the masks as COCO's list of results; those without a score get 1 (rule X-17)."""
    yield "["
    for number, annotation in enumerate(dataset.annotations()):
        mask = annotation.mask
        row = {
            "image_id": annotation.image_id,
            "category_id": annotation.category_id,
            "segmentation": dict(mask.rle),
            "score": _score(1.0 if mask.score is None else mask.score),
        }
        yield ("," if number else "") + json_text(row)
    yield "]\n"


def _list(key: str, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f',"{key}":['
    for number, row in enumerate(rows):
        yield ("," if number else "") + json_text(row)
    yield "]"


def _info(description: str, newest: str) -> dict[str, Any]:
    # the newest change, not the present time: an unchanged project gives the same bytes again
    newest = newest or _NEVER
    return {
        "description": description,
        "url": "",
        "version": FORMAT_VERSION,
        "year": int(newest[:4]),
        "contributor": "",
        "date_created": newest[:19] + "Z",
    }


def _images(
    dataset: Dataset, options: CocoOptions, summary: CocoSummary, copied: Mapping[int, ImageRecord]
) -> Iterator[dict[str, Any]]:
    annotated = dataset.annotated() if options.only_annotated else set()
    stems: dict[str, str] = {}
    for record in dataset.images():
        if options.only_annotated and record.id not in annotated:
            continue
        image = copied.get(record.id, record)
        summary.images += 1
        if image.orientation != 1:
            summary.rotated.append(image.file_name)
        other = stems.setdefault(str(PurePosixPath(image.file_name).with_suffix("")), image.file_name)
        if other != image.file_name:
            summary.same_stem.append(f"{other} and {image.file_name}")
        row = {
            "id": image.id,
            "file_name": image.file_name,
            "width": image.width,
            "height": image.height,
            "license": 0,
            "coco_url": "",
            "flickr_url": "",
            "date_captured": image.captured,
            "sha256": image.sha256,
            "exif_orientation": image.orientation,
        }
        yield row if image.plane is None else row | {"plane": image.plane.to_dict()}


def _annotation(annotation: Annotation, options: CocoOptions, summary: CocoSummary) -> dict[str, Any]:
    written = _written(annotation, options, summary)
    summary.masks += 1
    row: dict[str, Any] = {
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "segmentation": written.segmentation,
        "area": written.area,
        "bbox": list(written.bbox),
        "iscrowd": int(annotation.crowd),
    }
    if annotation.mask.score is not None:
        row["score"] = _score(annotation.mask.score)
    row["attributes"] = _attributes(annotation)
    return row


class _Written(NamedTuple):
    """A mask as it is written, with its own area and box: filling and simplifying change them."""

    segmentation: Any
    area: int
    bbox: tuple[int, int, int, int]


def _written(annotation: Annotation, options: CocoOptions, summary: CocoSummary) -> _Written:
    mask = annotation.mask
    size, counts = list(mask.rle["size"]), mask.rle["counts"]
    if options.segmentation == "rle-list":
        return _Written({"size": size, "counts": rle.runs_from_text(counts).tolist()}, mask.area, mask.bbox)
    compressed = _Written({"size": size, "counts": counts}, mask.area, mask.bbox)
    if options.segmentation == "rle" or annotation.crowd:
        return compressed
    contour = outline(mask, fill=options.holes == "fill")
    if contour.rings is None:
        summary.holes_as_rle += 1
        return compressed
    summary.holes_filled += contour.had_hole
    corner = mask.bbox[:2]
    if not options.simplify:
        return _Written(shift(contour.rings, *corner), int(contour.pixels.sum()), mask.bbox)
    polygons = shift(simplify(contour.pixels, contour.rings, options.simplify), *corner)
    simplified = polygons_to_rle(polygons, tuple(size))
    return _Written(polygons, rle.area(simplified), rle.bbox(simplified))


def _score(score: float) -> float:
    # a predicted IoU may come out a little above 1
    return min(max(float(score), 0.0), 1.0)


def _attributes(annotation: Annotation) -> dict[str, str | int]:
    provenance = annotation.provenance
    return {
        "uid": annotation.uid,
        "status": annotation.state,
        "source": annotation.source,
        "model": _text(provenance, "preset"),
        "model_version": "+".join(filter(None, [_text(provenance, "weights"), _text(provenance, "version")])),
        "prompt": _text(provenance, "prompt"),
        "annotator": annotation.annotator,
        "created_at": annotation.created_at,
        "updated_at": annotation.updated_at,
        "revision": annotation.revision,
    }


def _text(provenance: Mapping[str, Any], key: str) -> str:
    """One value as text, for readers that accept only flat attributes."""
    value = provenance.get(key, "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _category(category: Category, options: CocoOptions) -> dict[str, Any]:
    row = {"id": category.id, "name": category.name, "supercategory": category.supercategory}
    return {**row, FROZEN_COLOR: category.color} if options.colors else row
