"""Export to a single file and import with a report, as a front end offers them."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from maskwright.errors import UsageError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions, ImportResult
from maskwright.project.export_formats import FORMATS
from maskwright.project.uploads import unpacked
from maskwright.session.messages import plural

__all__ = ["EXPORT_FORMATS", "ImportReport", "SessionExchange"]

EXPORT_FORMATS = {name: form for name, form in FORMATS.items() if name != "predictions"}
"""Formats that a front end offers, in this order, by name."""
_LINES = 20
"""Lines of skipped rows that are shown."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do."""

    result: ImportResult

    @property
    def lines(self) -> list[str]:
        """A sentence for each fact that matters, the most important first."""
        r = self.result
        lines = [f"{plural(r.masks, 'mask')} on {plural(r.images, 'image')}, {r.added} of them new to the project."]
        for number, what in (
            (r.known, "of the masks are in the project already and are not added again"),
            (r.proposals, "of the masks come as proposals"),
            (r.boxes, "boxes without a mask become prompts"),
        ):
            if number:
                lines.append(f"{number} {what}.")
        skipped = list(r.skipped[:_LINES])
        if len(r.skipped) > _LINES:
            skipped.append(f"... and {len(r.skipped) - _LINES} more that were skipped.")
        return [*lines, *r.warnings, *skipped, *r.notes]


class SessionExchange:
    """Files in and out of a project."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def export(self, format: str, folder: Path, *, images: bool = False, progress: Progress = NO_PROGRESS) -> Path:  # noqa: A002
        """Write the accepted masks as one file.

        Args:
            format: one of EXPORT_FORMATS.
            folder: an empty folder to write to.
            images: with the images, as a zip archive; formats that are a folder always have them, except label images
                and overlays.
            progress: reports images.

        Returns:
            The file: JSON or CSV, or a zip archive of everything that the format consists of.

        Raises:
            UsageError: no such format.
            MaskwrightError: the folder cannot be written.
        """
        if format not in EXPORT_FORMATS:
            raise UsageError(f"There is no format {format!r}.", f"Use one of: {', '.join(EXPORT_FORMATS)}.")
        name = self._project.folder.name or "maskwright"
        content = folder / "content"
        content.mkdir()
        target = content / f"{name}.{'csv' if format == 'csv' else 'json'}" if format in ("coco", "csv") else content
        exchange = self._project.exchange
        exchange.export(target, format, images=images and format == "coco", progress=progress)
        if images and format in ("masks", "csv", "overlays"):
            exchange.copy_images(content, progress=progress)
        if format in ("coco", "csv") and not images:
            return target
        archive = folder / f"{name}-{format}.zip"
        _zip(content, archive)
        return archive

    def import_file(
        self, file: Path, *, dry_run: bool, update: bool = False, progress: Progress = NO_PROGRESS
    ) -> ImportReport:
        """Import a file of annotations, or a zip archive of a format's folder, all or nothing.

        Args:
            file: of any format that is read, or the archive.
            dry_run: only report what the import would do.
            update: take known masks that differ in the file as corrections.
            progress: reports images.

        Raises:
            MaskwrightError: as `Exchange.import_coco`, or the archive is damaged.
        """
        options = ImportOptions(update=update, dry_run=dry_run)
        with tempfile.TemporaryDirectory(prefix="maskwright-") as folder:
            source = unpacked(file, Path(folder)) if file.suffix.lower() == ".zip" else file
            return ImportReport(self._project.exchange.import_coco(source, options=options, progress=progress))


def _zip(folder: Path, archive: Path) -> None:
    """Pack a folder; images are compressed already."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                kind = zipfile.ZIP_DEFLATED if file.suffix in (".json", ".jsonl", ".txt", ".csv", ".yaml") else None
                target.write(file, file.relative_to(folder).as_posix(), compress_type=kind)
