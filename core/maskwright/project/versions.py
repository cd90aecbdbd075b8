"""Frozen versions of a project, as COCO files in `versions/`, and the difference of two."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from maskwright.domain import Annotation
from maskwright.domain.mask import iou
from maskwright.errors import MaskwrightError, UsageError
from maskwright.files.atomic import replacing, write_text
from maskwright.files.names import file_stem
from maskwright.formats.coco_writer import CocoOptions, coco_text, provenance_lines
from maskwright.formats.folder_dataset import FolderDataset
from maskwright.formats.frozen import FrozenDataset
from maskwright.overlay import Layer, blend
from maskwright.project.images import ImageCollection
from maskwright.store import Store

__all__ = ["Difference", "Versions", "version_file"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ADDED, _REMOVED, _BEFORE, _AFTER = "#009e73", "#d55e00", "#e69f00", "#0072b2"


def version_file(folder: Path, name: str) -> Path:
    """The file of a frozen version.

    Raises:
        UsageError: no name of a version.
        MaskwrightError: the project has no such version.
    """
    file = _file(folder, name)
    if not file.is_file():
        names = ", ".join(_names(folder)) or "none"
        raise MaskwrightError(f"There is no version {name}. Versions of this project: {names}.")
    return file


def _file(folder: Path, name: str) -> Path:
    if not _NAME.fullmatch(name) or name.endswith(".provenance"):
        raise UsageError(f"{name!r} is no name of a version.", "Use letters, digits, dots, - and _, such as v1.2.")
    return folder / "versions" / f"{name}.json"


def _names(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "versions").glob("*.json"))


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one version to another, mask by mask."""

    images_added: tuple[str, ...]
    images_removed: tuple[str, ...]
    added: Mapping[str, int]
    """Number of new masks by class."""
    removed: Mapping[str, int]
    """Number of masks that are gone, by class."""
    renamed: Mapping[str, int]
    """Number of masks with another class, by "cow to dog"."""
    corrected: Mapping[str, int]
    """Number of masks with other pixels, by class."""
    corrected_iou: float | None
    """Mean IoU of these with what they were; None without any."""
    unchanged: int
    drawn: tuple[Path, ...] = ()
    """Images in which the changes are drawn: new masks green, removed ones red, corrected ones orange, then blue."""


class Versions:
    """The frozen versions of one project."""

    def __init__(self, images: ImageCollection, store: Store) -> None:
        """Take the project's images and store."""
        self._images, self._store = images, store

    def names(self) -> list[str]:
        """Names of all versions."""
        return _names(self._images.folder)

    def freeze(self, name: str) -> Path:
        """Write the accepted masks as they are now under a name that stays.

        Raises:
            UsageError: no name of a version.
            MaskwrightError: there is a version of this name, or it cannot be written.
        """
        file = _file(self._images.folder, name)
        if file.exists():
            raise MaskwrightError(
                f"There is a version {name} already, and versions never change.", "Choose another name."
            )
        options = CocoOptions(name, all_categories=True, colors=True)
        with self._store.dataset() as dataset:
            write_text(file.with_name(f"{name}.provenance.jsonl"), provenance_lines(dataset))
            write_text(file, coco_text(dataset, options))
        return file

    def difference(self, first: str, second: str = "", *, draw_into: Path | None = None) -> Difference:
        """Compare two versions mask by mask; a mask is known by its uid.

        Args:
            first: name of the earlier one.
            second: name of the later one; empty for the project as it is.
            draw_into: a folder for images with the changes drawn in.

        Raises:
            MaskwrightError: there is no such version, or the folder cannot be written.
        """
        before = FrozenDataset(version_file(self._images.folder, first))
        if second:
            return self._compare(before, FrozenDataset(version_file(self._images.folder, second)), draw_into)
        with self._store.dataset() as dataset:
            return self._compare(before, dataset, draw_into)

    def _compare(self, before: FolderDataset, after: FolderDataset, draw_into: Path | None) -> Difference:
        old = {annotation.uid: annotation for annotation in before.annotations()}
        new = {annotation.uid: annotation for annotation in after.annotations()}
        both = [(old[uid], new[uid]) for uid in new if uid in old]
        renamed = [pair for pair in both if pair[0].category != pair[1].category]
        corrected = [pair for pair in both if pair[0].mask.rle != pair[1].mask.rle]
        added, removed = [new[uid] for uid in new if uid not in old], [old[uid] for uid in old if uid not in new]
        scores = [
            iou(a.mask.to_array(), b.mask.to_array()) for a, b in corrected if a.mask.rle["size"] == b.mask.rle["size"]
        ]
        names = {image.id: image.file_name for dataset in (before, after) for image in dataset.images()}
        ids = [{image.id for image in dataset.images()} for dataset in (before, after)]
        layers = _layers(added, removed, corrected)
        changed = {id(pair) for pairs in (renamed, corrected) for pair in pairs}
        return Difference(
            images_added=tuple(names[key] for key in sorted(ids[1] - ids[0])),
            images_removed=tuple(names[key] for key in sorted(ids[0] - ids[1])),
            added=_count(one.category for one in added),
            removed=_count(one.category for one in removed),
            renamed=_count(f"{a.category} to {b.category}" for a, b in renamed),
            corrected=_count(b.category for _, b in corrected),
            corrected_iou=float(np.mean(scores)) if scores else None,
            unchanged=len(both) - len(changed),
            drawn=self._draw(layers, draw_into) if draw_into else (),
        )

    def _draw(self, layers: Mapping[int, list[Layer]], folder: Path) -> tuple[Path, ...]:
        drawn = []
        for image_id, changes in layers.items():
            try:
                image = self._images.open(image_id)
            except MaskwrightError:
                # deleted or missing: the counts tell of it
                continue
            fitting = [layer for layer in changes if tuple(layer.mask.rle["size"]) == image.size_hw]
            file = folder / f"{image_id}-{file_stem(Path(image.name).stem)}.png"
            _write(blend(image.pixels, fitting), file)
            drawn.append(file)
        return tuple(drawn)


def _layers(
    added: Iterable[Annotation], removed: Iterable[Annotation], corrected: Iterable[tuple[Annotation, Annotation]]
) -> dict[int, list[Layer]]:
    pairs = [*((one, _ADDED) for one in added), *((one, _REMOVED) for one in removed)]
    pairs += [pair for old, new in corrected for pair in ((old, _BEFORE), (new, _AFTER))]
    layers: dict[int, list[Layer]] = {}
    for annotation, color in pairs:
        layers.setdefault(annotation.image_id, []).append(Layer(annotation.mask, color))
    return dict(sorted(layers.items()))


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _write(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as stream:
            Pillow.fromarray(pixels).save(stream, "PNG")
    except OSError as error:
        raise MaskwrightError(f"Cannot write {file}: {error.strerror or error}.", "Name another folder.") from error
