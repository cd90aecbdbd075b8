"""A project's masks in other tools' formats, and theirs in the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskwright.domain import ImageRecord
from maskwright.errors import MaskwrightError, UsageError
from maskwright.files.atomic import write_text
from maskwright.formats.coco_writer import CocoOptions, CocoSummary, coco_text, prediction_text, provenance_lines
from maskwright.formats.image_copies import Copies
from maskwright.formats.imagefolder import write_datasets_folder
from maskwright.formats.index_png import write_index_masks
from maskwright.formats.yolo import write_yolo
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project.coco_import import Imported, ImportOptions, Intake
from maskwright.project.image_folder import PictureFolder
from maskwright.project.images import user_name
from maskwright.store import Store, StoredDataset

__all__ = ["FORMATS", "Exported", "ProjectExchange"]

FORMATS = ("coco", "predictions", "masks", "yolo", "datasets")
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    file: Path
    """The file, or the folder."""
    images: int
    masks: int
    notes: tuple[str, ...] = ()
    """What the format could not say, and what a reader should know."""


class ProjectExchange:
    """What a project does with other tools' files."""

    folder: Path
    store: Store
    _pictures: PictureFolder

    def export_coco(
        self,
        path: str | Path,
        *,
        states: Sequence[str] = ("accepted",),
        segmentation: str = "rle",
        holes: str = "rle",
        simplify: float = 0.0,
        only_annotated: bool = False,
        all_categories: bool = False,
        description: str = "",
        images: bool = False,
    ) -> Path:
        """Write a COCO file, and beside it `<name>.provenance.jsonl` with how each mask was made.

        Args:
            path: of the file.
            states: of the masks to write.
            segmentation: "rle", "rle-list" (uncompressed), or "polygon" (exact outlines along pixel edges).
            holes: in polygons, "rle" writes a mask with holes as RLE, "fill" fills them.
            simplify: pixels by which polygons may differ; each mask keeps an IoU of 0.98.
            only_annotated: leave out images without a mask.
            all_categories: keep categories without a mask.
            description: goes into `info`.
            images: copy the pictures, upright, into the folder of the file.

        An unchanged project gives the same bytes again.

        Raises:
            MaskwrightError: the file cannot be written; an older one is still there.
        """
        options = CocoOptions(description, segmentation, holes, simplify, only_annotated, all_categories)
        return self.export(path, states=states, options=options, images=images).file

    def export(
        self,
        path: str | Path,
        format: str = "coco",  # noqa: A002
        *,
        states: Sequence[str] = ("accepted",),
        options: CocoOptions | None = None,
        images: bool = False,
        progress: Progress = NO_PROGRESS,
    ) -> Exported:
        """Write the project in a format: coco, predictions (COCO's list of results), masks (PNG), yolo or datasets.

        Args:
            path: the file, or for masks, yolo and datasets the folder.
            format: its name.
            states: of the masks to write.
            options: of a COCO file.
            images: copy the pictures, too; yolo and datasets always have them.
            progress: hears how many pictures are done.

        Raises:
            MaskwrightError: no such format, or the file cannot be written.
        """
        if format not in FORMATS:
            raise UsageError(f"There is no format {format!r}. Use one of: {', '.join(FORMATS)}.")
        path, told = Path(path).expanduser(), options or CocoOptions()
        with self.store.dataset(states) as dataset:
            if format == "coco":
                return self._coco(path, dataset, told, images, progress)
            if format == "predictions":
                write_text(path, prediction_text(dataset))
                return Exported(path, 0, dataset.number())
            return self._folder_export(path, format, dataset, progress)

    def _coco(
        self,
        path: Path,
        dataset: StoredDataset,
        options: CocoOptions,
        images: bool,
        progress: Progress,
    ) -> Exported:
        summary, delivered, missing = CocoSummary(), dict[int, ImageRecord](), list[str]()
        if images:
            copies = Copies(self.folder, path.parent)
            wanted = dataset.annotated() if options.only_annotated else None
            records = [one for one in dataset.images() if wanted is None or one.id in wanted]
            for done, one in enumerate(records):
                progress.report(done, len(records))
                delivered[one.id] = copies.deliver(one)
            progress.report(len(records), len(records))
            missing = copies.missing
        write_text(path.with_name(path.name.removesuffix(".json") + ".provenance.jsonl"), provenance_lines(dataset))
        write_text(path, coco_text(dataset, options, summary, delivered))
        return Exported(path, summary.images, summary.masks, tuple(_notes(summary, missing)))

    def _folder_export(
        self,
        path: Path,
        format: str,  # noqa: A002
        dataset: StoredDataset,
        progress: Progress,
    ) -> Exported:
        number, total = 0, self.store.counts().images
        notes = []

        def deliver(record: ImageRecord) -> ImageRecord:
            nonlocal number
            progress.report(number, total)
            number += 1
            return copies.deliver(record)

        try:
            if format == "masks":
                write_index_masks(dataset, path)
                return Exported(path, total, dataset.number())
            copies = Copies(self.folder, path)
            if format == "yolo":
                told = write_yolo(dataset, path, deliver)
                words = {"split": "of several parts became several outlines", "holes_filled": "had holes, now filled",
                         "groups_left_out": "mark groups and were left out"}  # fmt: skip
                notes = [f"{told[key]} masks {what}." for key, what in words.items() if told[key]]
            else:
                write_datasets_folder(dataset, path, deliver)
        except OSError as error:
            raise MaskwrightError(f"Cannot write {path}: {error.strerror or error}. Choose another place.") from error
        progress.report(total, total)
        return Exported(path, total, dataset.number(), (*notes, *_missing(copies.missing)))

    def import_coco(
        self,
        file: str | Path,
        *,
        options: ImportOptions | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Imported:
        """Take the masks of a COCO instances file; what is there already is not added again, and it is all or nothing.

        Pictures are matched by SHA-256, then by the file near the JSON (at its relative path, there or in `images/`, or
        where COCO and FiftyOne have it), which is added when it is new, then by a path or file name that only one image
        of the project has. An image that cannot be found is kept without its picture when the file gives its SHA-256,
        and left out when not.

        Args:
            file: the JSON file.
            options: how it is taken in.
            progress: hears how many images are done.

        Raises:
            BadCoco: not a COCO file, or one that contradicts itself; nothing was changed.
            MaskwrightError: not one of its images was found.
            ProjectUnwritable: the project cannot be written; nothing was changed.
        """
        told = options or ImportOptions()
        file = Path(file).expanduser().absolute()
        intake = Intake(self.store, self.folder, self._pictures, file, told, user_name())
        intake.look(progress)
        return intake.rehearse() if told.dry_run else intake.carry_out()


def _notes(summary: CocoSummary, missing: Sequence[str]) -> list[str]:
    notes = list(_missing(missing))
    if summary.holes_as_rle:
        notes.append(f"{summary.holes_as_rle} masks have holes, which polygons cannot say; they are RLE.")
    if summary.holes_filled:
        notes.append(f"{summary.holes_filled} masks had holes, now filled.")
    if summary.rotated:
        notes.append(
            f"{_some(summary.rotated)}: turned by EXIF. The masks fit the upright pictures; export with --images for "
            "readers that ignore EXIF."
        )
    if summary.same_stem:
        notes.append(
            f"{_some(summary.same_stem)}: Datumaro refuses names that differ in their ending only; use --images."
        )
    return notes


def _missing(names: Sequence[str]) -> list[str]:
    return [f"{len(names)} pictures are missing and were not copied: {_some(names)}."] if names else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
