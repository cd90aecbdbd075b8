"""Annotations as a COCO instances dictionary (rules X-1 to X-15); the same values give the same dictionary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.export.files import json_text
from maskwright.export.polygons import outlines

__all__ = ["FORMAT_VERSION", "SEGMENTATIONS", "Dataset", "provenance_lines", "to_coco"]

FORMAT_VERSION = "1.0"
SEGMENTATIONS = ("rle", "polygon")
_NEVER = "1970-01-01T00:00:00.000Z"


class Dataset(Protocol):
    """What an exporter reads: images, categories and annotations of one moment."""

    @property
    def images(self) -> Sequence[ImageRecord]:
        """In any order; the file has them by id."""

    @property
    def categories(self) -> Sequence[Category]:
        """Those in use and those not."""

    @property
    def annotations(self) -> Sequence[Annotation]:
        """Of these images and categories."""


def to_coco(
    dataset: Dataset,
    *,
    description: str = "",
    segmentation: str = "rle",
    only_annotated: bool = False,
    all_categories: bool = False,
) -> dict[str, Any]:
    """A COCO dictionary of plain JSON values, arrays sorted by id.

    Args:
        dataset: for example a store's snapshot.
        description: goes into `info`.
        segmentation: "rle", or "polygon": exact outlines along pixel edges; masks with holes stay RLE, for COCO
            polygons cannot say "hole".
        only_annotated: leave out images without a mask.
        all_categories: keep categories without a mask.

    Raises:
        MaskwrightError: unknown `segmentation`.
    """
    if segmentation not in SEGMENTATIONS:
        raise MaskwrightError(f"There is no segmentation {segmentation!r}. Use one of: {', '.join(SEGMENTATIONS)}.")
    annotations = _written(dataset)
    annotated = {one.image_id for one in annotations}
    used = {one.category_id for one in annotations}
    images = [one for one in dataset.images if one.id in annotated or not only_annotated]
    categories = [one for one in dataset.categories if one.id in used or all_categories]
    return {
        "info": _info(description, annotations),
        "licenses": [{"id": 0, "name": "", "url": ""}],
        "images": [_image(one) for one in sorted(images, key=lambda one: one.id)],
        "annotations": [_annotation(one, segmentation) for one in annotations],
        "categories": [_category(one) for one in sorted(categories, key=lambda one: one.id)],
    }


def provenance_lines(dataset: Dataset) -> str:
    """The full provenance of every exported mask, one JSON object with its `uid` a line."""
    rows = ({"uid": one.uid, "source": one.source, "provenance": dict(one.provenance)} for one in _written(dataset))
    return "".join(json_text(row) + "\n" for row in rows)


def _written(dataset: Dataset) -> list[Annotation]:
    # a mask without pixels is never written
    return sorted((one for one in dataset.annotations if one.mask.area), key=lambda one: one.id)


def _info(description: str, annotations: Iterable[Annotation]) -> dict[str, Any]:
    # the newest change, not the clock: an unchanged project gives the same bytes again
    newest = max((one.updated_at for one in annotations), default=_NEVER)
    return {
        "description": description,
        "url": "",
        "version": FORMAT_VERSION,
        "year": int(newest[:4]),
        "contributor": "",
        "date_created": newest[:19] + "Z",
    }


def _image(image: ImageRecord) -> dict[str, Any]:
    return {
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


def _annotation(annotation: Annotation, segmentation: str) -> dict[str, Any]:
    mask = annotation.mask
    rings = outlines(mask.to_array()) if segmentation == "polygon" else None
    row: dict[str, Any] = {
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "segmentation": {"size": list(mask.rle["size"]), "counts": mask.rle["counts"]} if rings is None else rings,
        "area": mask.area,
        "bbox": list(mask.bbox),
        "iscrowd": 0,
    }
    if mask.score is not None:
        # a predicted IoU may come out a little above 1
        row["score"] = min(max(float(mask.score), 0.0), 1.0)
    row["attributes"] = _attributes(annotation)
    return row


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
