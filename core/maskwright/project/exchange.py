"""Exchange with other tools: export in several formats, import of what they write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from maskwright.domain import ImageRecord
from maskwright.errors import UsageError
from maskwright.files.atomic import write_json, write_text
from maskwright.formats.areas_csv import areas_csv
from maskwright.formats.coco_writer import CocoOptions, CocoSummary, coco_text, prediction_text, provenance_lines
from maskwright.formats.folder_dataset import FolderDataset, Subsets
from maskwright.formats.frozen import FrozenDataset
from maskwright.formats.image_copies import ImageCopies
from maskwright.formats.overlays import write_overlays
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project.coco_import import CocoImport, ImportOptions, ImportResult
from maskwright.project.export_formats import FORMATS, ExportOptions, copy_name, write_folder
from maskwright.project.images import ImageCollection, user_name
from maskwright.project.splitting import split_images
from maskwright.project.versions import version_file
from maskwright.store import Store

__all__ = ["FORMATS", "Exchange", "ExportResult"]

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote."""

    file: Path
    """The file, or the folder."""
    images: int
    masks: int
    """Masks that are in the file; those that the format cannot hold are in the notes."""
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
        options: ExportOptions | CocoOptions | None = None,
        images: bool = False,
        progress: Progress = NO_PROGRESS,
    ) -> ExportResult:
        """Export the project. An unchanged project gives the same bytes again.

        Args:
            path: the file; the folder, for formats that are one.
            format: one of FORMATS.
            states: of the masks to export.
            options: what is exported and how; those of a COCO file may be passed alone.
            images: copy the images, upright, into the folder of a COCO file; folders have them always, label images
                and overlays excepted.
            progress: reports images.

        Returns:
            The file with its numbers of images and masks, and notes for the user.

        Raises:
            UsageError: no such format or state.
            MaskwrightError: the file cannot be written; an older one is still there.
        """
        if format not in FORMATS:
            raise UsageError(f"There is no format {format!r}.", f"Use one of: {', '.join(FORMATS)}.")
        if not isinstance(options, ExportOptions):
            options = ExportOptions(options or CocoOptions())
        path = Path(path).expanduser()
        with self._dataset(states, options.version) as dataset:
            records = list(dataset.images()) if options.split else []
            split = split_images(records, self._images.path_of, options.split, progress) if options.split else None
            subsets = split.subsets if split else {}
            result = self._export(path, format, dataset, options, subsets, images=images, progress=progress)
            if split is None:
                return result
            _write_split(path, FORMATS[format].is_folder, records, subsets)
            return replace(result, notes=(split.note, *result.notes))

    def _export(
        self, path: Path, format: str, dataset: FolderDataset, options: ExportOptions, subsets: Subsets, *,  # noqa: A002
        images: bool, progress: Progress,
    ) -> ExportResult:  # fmt: skip
        total = sum(1 for _ in dataset.images())
        if format == "predictions":
            number = sum(1 for _ in dataset.annotations())
            write_text(path, prediction_text(dataset))
            return ExportResult(path, 0, number)
        if format == "csv":
            write_text(path, areas_csv(dataset, subsets))
            return ExportResult(path, total, sum(1 for _ in dataset.annotations()))
        if format == "overlays":
            missing = write_overlays(dataset, path, self._images.open, progress)
            number = sum(1 for _ in dataset.annotations())
            return ExportResult(path, len(dataset.annotated()) - len(missing), number, tuple(_missing_note(missing)))
        home = path if FORMATS[format].is_folder else path.parent
        copies = None
        if images or (FORMATS[format].is_folder and format != "masks"):
            name_of = copy_name(format, subsets)
            copies = ImageCopies(
                self._images.folder, home, name_of=name_of, path_of=self._images.path_of, total=total, progress=progress
            )
        if format == "coco":
            return _export_coco(path, dataset, options.coco, copies, subsets)
        summary = write_folder(format, dataset, path, copies.copy if copies else _same, subsets, options.coco)
        if copies:
            copies.report_end()
        notes = [*summary.notes, *_missing_note(copies.missing if copies else ())]
        if format == "yolo" and not subsets:
            notes.append("All images are listed for training and for validation; --split 0.2 sets some apart.")
        return ExportResult(path, total, summary.masks, tuple(notes))

    @contextmanager
    def _dataset(self, states: Sequence[str], version: str) -> Iterator[FolderDataset]:
        """The project as it is, or as it was in a frozen version."""
        if version:
            yield FrozenDataset(version_file(self._images.folder, version))
            return
        with self._store.dataset(states) as dataset:
            yield dataset

    def copy_images(self, folder: Path, *, progress: Progress = NO_PROGRESS) -> None:
        """Copy the images that take part, upright, into the `images/` of a folder."""
        total, path_of = self._store.counts().images, self._images.path_of
        copies = ImageCopies(self._images.folder, folder, path_of=path_of, total=total, progress=progress)
        with self._store.dataset() as dataset:
            for record in dataset.images():
                copies.copy(record)
        copies.report_end()

    def import_coco(
        self,
        file: str | Path,
        *,
        options: ImportOptions | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> ImportResult:
        """Import the masks of a file, all or nothing; masks that the project has are not added again.

        Images are matched by SHA-256, then by a file near the JSON (at its relative path, there or in `images/`, or in
        the folders of COCO and FiftyOne), which is added when it is new, then by a path in the project, then by a file
        name that only one image has. An image that is not found is added without its file when the JSON has its
        SHA-256, and skipped otherwise.

        Args:
            file: a COCO, panoptic, CVAT, VIA, LabelMe or Pascal VOC file, data.yaml of YOLO, or the folder of a format.
            options: how to import it.
            progress: reports images.

        Returns:
            The numbers of images, masks and boxes, what was skipped, and warnings.

        Raises:
            BadCoco: no format that is read, or a file that contradicts itself; nothing was changed.
            MaskwrightError: none of its images was found.
            ProjectUnwritable: the project cannot be written; nothing was changed.
        """
        options = options or ImportOptions()
        file = Path(file).expanduser().absolute()
        coco_import = CocoImport(self._store, self._images.files, file, options, user_name())
        coco_import.analyze(progress)
        return coco_import.dry_run() if options.dry_run else coco_import.apply()


def _same(record: ImageRecord) -> ImageRecord:
    return record


def _write_split(path: Path, is_folder: bool, records: Sequence[ImageRecord], subsets: Subsets) -> None:  # noqa: FBT001
    """Write the names of the images of each subset, in the same way for every format."""
    file = path / "split.json" if is_folder else path.with_name(f"{path.stem}.split.json")
    names = {
        subset: [one.file_name for one in records if subsets[one.id] == subset] for subset in ("train", "val", "test")
    }
    write_json(file, {subset: files for subset, files in names.items() if files})


def _export_coco(
    path: Path, dataset: FolderDataset, options: CocoOptions, copies: ImageCopies | None, subsets: Subsets
) -> ExportResult:
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
    write_text(path, coco_text(dataset, options, summary, copied, subsets))
    notes = [*_missing_note(copies.missing if copies else ()), *_coco_notes(summary)]
    return ExportResult(path, summary.images, summary.masks, tuple(notes))


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


def _missing_note(missing: Sequence[str]) -> list[str]:
    return [f"{len(missing)} images are missing and were not copied: {_some(missing)}."] if missing else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else "")
