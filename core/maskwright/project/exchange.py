"""Exchange with other tools: export in several formats, import of COCO files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskwright.domain import ImageRecord
from maskwright.errors import MaskwrightError, UsageError
from maskwright.files.atomic import write_text
from maskwright.formats.areas_csv import areas_csv
from maskwright.formats.coco_writer import CocoOptions, CocoSummary, coco_text, prediction_text, provenance_lines
from maskwright.formats.image_copies import ImageCopies
from maskwright.formats.imagefolder import write_datasets_folder
from maskwright.formats.index_png import write_index_masks
from maskwright.formats.yolo import write_yolo
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project.coco_import import CocoImport, ImportOptions, ImportResult
from maskwright.project.images import ImageCollection, user_name
from maskwright.store import Store, StoredDataset

__all__ = ["FORMATS", "Exchange", "ExportResult"]

FORMATS = ("coco", "predictions", "masks", "yolo", "datasets", "csv")
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote."""

    file: Path
    """The file, or the folder."""
    images: int
    masks: int
    notes: tuple[str, ...] = ()
    """What the format cannot represent, and what a reader should know."""


class Exchange:
    """Exports and imports of one project."""

    def __init__(self, images: ImageCollection, store: Store) -> None:
        """Take the project's images and store."""
        self._images, self._store = images, store

    def export(
        self,
        path: str | Path,
        format: str = "coco",  # noqa: A002
        *,
        states: Sequence[str] = ("accepted",),
        options: CocoOptions | None = None,
        images: bool = False,
        progress: Progress = NO_PROGRESS,
    ) -> ExportResult:
        """Export the project. An unchanged project gives the same bytes again.

        Args:
            path: the file; for masks, yolo and datasets the folder.
            format: "coco", "predictions" (COCO's list of results), "masks" (PNG), "yolo", "datasets" or "csv" (areas).
            states: of the masks to export.
            options: of a COCO file.
            images: copy the images, upright, into the folder of a COCO file; yolo and datasets always do.
            progress: reports images.

        Returns:
            The file with its numbers of images and masks, and notes for the user.

        Raises:
            UsageError: no such format or state.
            MaskwrightError: the file cannot be written; an older one is still there.
        """
        if format not in FORMATS:
            raise UsageError(f"There is no format {format!r}.", f"Use one of: {', '.join(FORMATS)}.")
        path = Path(path).expanduser()
        with self._store.dataset(states) as dataset:
            if format == "predictions":
                write_text(path, prediction_text(dataset))
                return ExportResult(path, 0, dataset.number())
            if format == "csv":
                write_text(path, areas_csv(dataset))
                return ExportResult(path, self._store.counts().images, dataset.number())
            if format == "coco":
                copies = self._copies(path.parent, progress) if images else None
                return _export_coco(path, dataset, options or CocoOptions(), copies)
            try:
                if format == "masks":
                    write_index_masks(dataset, path)
                    return ExportResult(path, self._store.counts().images, dataset.number())
                return _export_folder(path, dataset, self._copies(path, progress), yolo=format == "yolo")
            except OSError as error:
                raise MaskwrightError(
                    f"Cannot write {path}: {error.strerror or error}.", "Choose another place."
                ) from error

    def copy_images(self, folder: Path, *, progress: Progress = NO_PROGRESS) -> None:
        """Copy the images that take part, upright, into the `images/` of a folder."""
        copies = self._copies(folder, progress)
        with self._store.dataset() as dataset:
            for record in dataset.images():
                copies.copy(record)
        copies.report_end()

    def _copies(self, folder: Path, progress: Progress) -> ImageCopies:
        return ImageCopies(self._images.folder, folder, total=self._store.counts().images, progress=progress)

    def import_coco(
        self,
        file: str | Path,
        *,
        options: ImportOptions | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> ImportResult:
        """Import the masks of a COCO instances file, all or nothing; masks that the project has are not added again.

        Images are matched by SHA-256, then by a file near the JSON (at its relative path, there or in `images/`, or in
        the folders of COCO and FiftyOne), which is added when it is new, then by a path or file name that is unique in
        the project. An image that is not found is added without its file when the JSON has its SHA-256, and skipped
        otherwise.

        Args:
            file: the JSON file.
            options: how to import it.
            progress: reports images.

        Returns:
            The numbers of images, masks and boxes, what was skipped, and warnings.

        Raises:
            BadCoco: not a COCO file, or one that contradicts itself; nothing was changed.
            MaskwrightError: none of its images was found.
            ProjectUnwritable: the project cannot be written; nothing was changed.
        """
        options = options or ImportOptions()
        file = Path(file).expanduser().absolute()
        coco_import = CocoImport(self._store, self._images.files, file, options, user_name())
        coco_import.analyze(progress)
        return coco_import.dry_run() if options.dry_run else coco_import.apply()


def _export_coco(path: Path, dataset: StoredDataset, options: CocoOptions, copies: ImageCopies | None) -> ExportResult:
    summary, copied = CocoSummary(), dict[int, ImageRecord]()
    if copies:
        annotated = dataset.annotated() if options.only_annotated else None
        if annotated is not None:
            copies.total = len(annotated)
        copied = {
            record.id: copies.copy(record) for record in dataset.images() if annotated is None or record.id in annotated
        }
        copies.report_end()
    write_text(path.with_name(path.name.removesuffix(".json") + ".provenance.jsonl"), provenance_lines(dataset))
    write_text(path, coco_text(dataset, options, summary, copied))
    notes = [*_missing_note(copies), *_coco_notes(summary)]
    return ExportResult(path, summary.images, summary.masks, tuple(notes))


def _export_folder(path: Path, dataset: StoredDataset, copies: ImageCopies, *, yolo: bool) -> ExportResult:
    notes = list[str]()
    if yolo:
        summary = write_yolo(dataset, path, copies.copy)
        notes = [
            f"{number} masks {what}."
            for number, what in (
                (summary.split, "of several parts became several outlines"),
                (summary.holes_filled, "had holes, now filled"),
                (summary.crowds_skipped, "mark groups and were left out"),
            )
            if number
        ]
    else:
        write_datasets_folder(dataset, path, copies.copy)
    copies.report_end()
    return ExportResult(path, copies.total, dataset.number(), (*notes, *_missing_note(copies)))


def _coco_notes(summary: CocoSummary) -> list[str]:
    notes = []
    if summary.holes_as_rle:
        notes.append(f"{summary.holes_as_rle} masks have holes, which polygons cannot represent; they are RLE.")
    if summary.holes_filled:
        notes.append(f"{summary.holes_filled} masks had holes, now filled.")
    if summary.rotated:
        notes.append(
            f"{_some(summary.rotated)}: turned by EXIF. The masks fit the upright images; export with --images for "
            "readers that ignore EXIF."
        )
    if summary.same_stem:
        notes.append(
            f"{_some(summary.same_stem)}: Datumaro refuses names that differ in their ending only; use --images."
        )
    return notes


def _missing_note(copies: ImageCopies | None) -> list[str]:
    missing = copies.missing if copies else []
    return [f"{len(missing)} images are missing and were not copied: {_some(missing)}."] if missing else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else "")
