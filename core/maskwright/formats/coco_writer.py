"""Annotations as a COCO instances file (rules X-1 to X-15); the same values give the same bytes.

The file is made row by row, so that memory does not grow with the dataset.
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
from maskwright.formats.contours import moved, outlined, simplified

__all__ = [
    "FORMAT_VERSION", "HOLES", "SEGMENTATIONS", "CocoOptions", "CocoSummary", "Dataset", "coco_text",
    "prediction_text", "provenance_lines",
]  # fmt: skip

FORMAT_VERSION = "1.0"
SEGMENTATIONS = ("rle", "rle-list", "polygon")
HOLES = ("rle", "fill")
_NEVER = "1970-01-01T00:00:00.000Z"


class Dataset(Protocol):
    """What an exporter reads: images, categories and annotations of one moment, each in id order."""

    def images(self) -> Iterable[ImageRecord]:
        """All of them, also those without annotations."""

    def categories(self) -> Sequence[Category]:
        """Those in use and those not."""

    def annotations(self) -> Iterable[Annotation]:
        """Of these images and categories; none without pixels."""

    def annotated(self) -> set[int]:
        """Ids of images with an annotation."""

    def used(self) -> set[int]:
        """Ids of categories with an annotation."""

    def newest(self) -> str:
        """When the last annotation changed; empty without any."""


@dataclass(frozen=True, slots=True)
class CocoOptions:
    """How a COCO file is written.

    Raises:
        MaskwrightError: an unknown word, or a tolerance that is none.
    """

    description: str = ""
    """Goes into `info`."""
    segmentation: str = "rle"
    """"rle"; "rle-list": uncompressed; "polygon": outlines along pixel edges."""
    holes: str = "rle"
    """What polygons, which cannot say "hole", do with one: "rle" writes that mask as RLE, "fill" fills the hole."""
    simplify: float = 0.0
    """Pixels by which an outline may differ; each mask keeps an IoU of 0.98, or is simplified less."""
    only_annotated: bool = False
    """Leave out images without a mask."""
    all_categories: bool = False
    """Keep categories without a mask."""

    def __post_init__(self) -> None:
        for word, known in ((self.segmentation, SEGMENTATIONS), (self.holes, HOLES)):
            if word not in known:
                what = "segmentation" if known is SEGMENTATIONS else "way with holes"
                raise UsageError(f"There is no {what} {word!r}. Use one of: {', '.join(known)}.")
        if not 0 <= self.simplify <= 100:
            raise UsageError("The outlines can be simplified by 0 to 100 pixels. Choose a number in between.")


@dataclass(slots=True)
class CocoSummary:
    """What became of the masks, told once the text has been read to its end."""

    images: int = 0
    masks: int = 0
    holes_as_rle: int = 0
    """Masks with holes that stayed RLE in a file of polygons."""
    holes_filled: int = 0
    rotated: list[str] = field(default_factory=list)
    """Pictures whose masks fit only after the EXIF orientation is applied."""
    same_stem: list[str] = field(default_factory=list)
    """Pictures that Datumaro cannot tell apart, because only their endings differ."""


def coco_text(
    dataset: Dataset,
    options: CocoOptions | None = None,
    summary: CocoSummary | None = None,
    delivered: Mapping[int, ImageRecord] | None = None,
) -> Iterator[str]:
    """The text of the file, piece by piece.

    Args:
        dataset: for example a store's.
        options: how masks are written, and which images and categories.
        summary: filled in on the way.
        delivered: images, by id, of which the file goes with another copy than the project has.
    """
    told, counted = options or CocoOptions(), summary or CocoSummary()
    yield '{"info":' + json_text(_info(told.description, dataset.newest()))
    yield ',"licenses":' + json_text([{"id": 0, "name": "", "url": ""}])
    yield from _list("images", _images(dataset, told, counted, delivered or {}))
    yield from _list("annotations", (_annotation(one, told, counted) for one in dataset.annotations()))
    used = dataset.used()
    yield from _list(
        "categories", (_category(one) for one in dataset.categories() if one.id in used or told.all_categories)
    )
    yield "}\n"


def provenance_lines(dataset: Dataset) -> Iterator[str]:
    """The full provenance of every exported mask, one JSON object with its `uid` a line."""
    for one in dataset.annotations():
        yield json_text({"uid": one.uid, "source": one.source, "provenance": dict(one.provenance)}) + "\n"


def prediction_text(dataset: Dataset) -> Iterator[str]:
    """The masks as COCO's list of results, with a score of 1 where no model gave one (rule X-17)."""
    yield "["
    for number, one in enumerate(dataset.annotations()):
        row = {
            "image_id": one.image_id, "category_id": one.category_id, "segmentation": dict(one.mask.rle),
            "score": _score(one.mask.score if one.mask.score is not None else 1.0),
        }  # fmt: skip
        yield ("," if number else "") + json_text(row)
    yield "]\n"


def _list(key: str, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f',"{key}":['
    for number, row in enumerate(rows):
        yield ("," if number else "") + json_text(row)
    yield "]"


def _info(description: str, newest: str) -> dict[str, Any]:
    # the newest change, not the clock: an unchanged project gives the same bytes again
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
    dataset: Dataset, options: CocoOptions, summary: CocoSummary, delivered: Mapping[int, ImageRecord]
) -> Iterator[dict[str, Any]]:
    annotated = dataset.annotated() if options.only_annotated else set()
    stems: dict[str, str] = {}
    for one in dataset.images():
        if options.only_annotated and one.id not in annotated:
            continue
        image = delivered.get(one.id, one)
        summary.images += 1
        if image.orientation != 1:
            summary.rotated.append(image.file_name)
        other = stems.setdefault(str(PurePosixPath(image.file_name).with_suffix("")), image.file_name)
        if other != image.file_name:
            summary.same_stem.append(f"{other} and {image.file_name}")
        yield {
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
    """A mask as the file has it, with the measures of just that: a filled or simplified one is another mask."""

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
    found = outlined(mask, fill=options.holes == "fill")
    if found.rings is None:
        summary.holes_as_rle += 1
        return compressed
    summary.holes_filled += found.had_hole
    corner = mask.bbox[:2]
    if not options.simplify:
        return _Written(moved(found.rings, *corner), int(found.pixels.sum()), mask.bbox)
    from pycocotools import mask as coco

    polygons = moved(simplified(found.pixels, found.rings, options.simplify), *corner)
    drawn = coco.merge(coco.frPyObjects(polygons, *size))
    left, top, width, height = (int(one) for one in coco.toBbox(drawn))
    return _Written(polygons, int(coco.area(drawn)), (left, top, width, height))


def _score(score: float) -> float:
    # a predicted IoU may come out a little above 1
    return min(max(float(score), 0.0), 1.0)


def _attributes(annotation: Annotation) -> dict[str, str | int]:
    told = annotation.provenance
    return {
        "uid": annotation.uid,
        "status": annotation.state,
        "source": annotation.source,
        "model": _text(told, "preset"),
        "model_version": "+".join(filter(None, [_text(told, "weights"), _text(told, "version")])),
        "prompt": _text(told, "prompt"),
        "annotator": annotation.annotator,
        "created_at": annotation.created_at,
        "updated_at": annotation.updated_at,
        "revision": annotation.revision,
    }


def _text(provenance: Mapping[str, Any], key: str) -> str:
    """One value as text, for readers that take only flat attributes."""
    value = provenance.get(key, "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _category(category: Category) -> dict[str, Any]:
    return {"id": category.id, "name": category.name, "supercategory": category.supercategory}
