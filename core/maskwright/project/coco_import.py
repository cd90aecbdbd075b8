"""Import of a COCO file: analyze every image and row, then apply all of it at once, or only report it.

Nothing is written before the whole file was analyzed (rule X-18), so a dry run reports what the import would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.coco_reader import CocoFile, CocoImage, excerpt, plain, provenance_beside
from maskwright.progress import Progress
from maskwright.project.coco_rows import ImportOptions, RowReader, frame_of, is_id, some
from maskwright.project.image_folder import ImageFolder
from maskwright.project.image_matching import NO_FILE, ImageMatcher, Match, Unmatched
from maskwright.store import ImportCounts, NewCategory, NewDataset, NewImage, Store
from maskwright.store.values import clean_name

__all__ = ["CocoImport", "ImportOptions", "ImportResult"]

_LARGEST_CATEGORY = (1 << 16) - 1
"""Category ids should be small: beyond this the project assigns new ones."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import added, or would add."""

    images: int
    """Images of the file that are in the project now."""
    added: int
    """How many of them are new."""
    masks: int
    """Masks added."""
    known: int
    """Masks that the project had already."""
    boxes: int = 0
    """Boxes without a mask, added as prompts."""
    proposals: int = 0
    """How many masks of the file are proposals."""
    matched: Mapping[str, int] = field(default_factory=dict)
    """Number of images by the method that matched them."""
    missing: tuple[str, ...] = ()
    """Images whose file was not found."""
    ambiguous: tuple[str, ...] = ()
    """Images whose name several images of the project have."""
    skipped: tuple[str, ...] = ()
    """Rows that were skipped, each with the reason."""
    warnings: tuple[str, ...] = ()
    dry_run: bool = False


class CocoImport:
    """One import: `analyze`, then `apply` or `dry_run`."""

    def __init__(self, store: Store, files: ImageFolder, file: Path, options: ImportOptions, user: str) -> None:
        """Read the file.

        Args:
            store: of the project.
            files: the project's image files.
            file: the COCO file.
            options: of the import.
            user: who imports it.

        Raises:
            BadCoco: not a COCO file.
        """
        self._store, self._files, self._options, self._user = store, files, options, plain(user)
        self._coco, self._name = CocoFile.read(file), plain(file.name)
        self._skipped, self._warnings = list(self._coco.skipped), list[str]()
        self._missing, self._ambiguous, self._unreadable = list[str](), list[str](), list[str]()
        self._matches: list[Match] = []
        self._places: dict[str, int] = {}
        self._methods: Counter[str] = Counter()

    def analyze(self, progress: Progress) -> None:
        """Match every image and read every row.

        Raises:
            BadCoco: the file contradicts itself.
            MaskwrightError: none of its images was found.
        """
        self._names = self._category_names()
        provenance = provenance_beside(self._coco.file)
        self._rows = RowReader(self._name, self._names, self._options, self._user, provenance)
        matcher = ImageMatcher(self._store, self._coco.file, self._options.images)
        total = len(self._coco.images)
        for done, image in enumerate(self._coco.images):
            progress.report(done, total)
            self._analyze_image(image, matcher.find(image))
        progress.report(total, total)
        if total and not self._methods:
            raise MaskwrightError(self._none_found(total))
        self._warnings += self._rows.warnings
        self._skipped += self._rows.skipped
        if self._missing:
            self._warnings.append(self._some_missing(total))
        self._warnings += [f"{name}: several images have this name; it was skipped." for name in self._ambiguous]
        self._warnings += self._rows.id_warnings()

    def apply(self) -> ImportResult:
        """Copy the image files, then write every row in one transaction; after an error neither remains.

        Raises:
            ProjectUnwritable: the project cannot be written.
            MaskwrightError: an image file changed or vanished meanwhile.
        """
        copies: list[tuple[Path, str]] = []
        try:
            images = [match.known or self._copy(match, copies) for match in self._matches]
            counts = self._store.imports.add(self._dataset(images))
        finally:
            self._remove_unused(copies)
        return self._result(counts, dry_run=False)

    def dry_run(self) -> ImportResult:
        """The result that `apply` would return; nothing is written."""
        dataset = self._dataset([match.known or match.new or 0 for match in self._matches])
        return self._result(self._store.imports.count_new(dataset), dry_run=True)

    def _result(self, counts: ImportCounts, *, dry_run: bool) -> ImportResult:
        return ImportResult(
            images=len(self._matches),
            added=sum(match.known is None for match in self._matches),
            masks=counts.masks,
            known=counts.known,
            boxes=counts.boxes,
            proposals=sum(mask.state == "proposed" for mask in self._rows.masks),
            matched=dict(self._methods),
            missing=tuple(self._missing),
            ambiguous=tuple(self._ambiguous),
            skipped=tuple(self._skipped),
            warnings=tuple(self._warnings),
            dry_run=dry_run,
        )

    def _dataset(self, images: list[NewImage | int]) -> NewDataset:
        keep_ids = all(is_id(category.id, _LARGEST_CATEGORY) for category in self._coco.categories)
        categories = [
            NewCategory(self._names[category.id], category.supercategory, category.id if keep_ids else None)
            for category in self._coco.categories
        ]
        return NewDataset(images, categories, self._rows.masks, self._rows.boxes, self._name, self._user)

    def _copy(self, match: Match, copies: list[tuple[Path, str]]) -> NewImage:
        """Copy a new image's file; the image then has the name of the copy."""
        if match.new is None:
            raise AssertionError("an image is known or new")
        new = replace(match.new, user=self._user)
        if match.source is None:
            return new
        file, copied = self._files.take(match.source, new.file_name, match.source_sha256)
        if copied:
            copies.append((file, new.sha256))
        return replace(new, file_name=self._name_of(file))

    def _remove_unused(self, copies: list[tuple[Path, str]]) -> None:
        """Remove copies that no row refers to, after an error or where another process was faster."""
        for file, sha256 in copies:
            try:
                record = self._store.images.by_sha256(sha256)
            except MaskwrightError:
                # an unused copy does no harm; a missing one would be a lost image
                continue
            if record is None or record.file_name != self._name_of(file):
                self._files.remove(file)

    def _name_of(self, file: Path) -> str:
        return file.relative_to(self._files.folder.parent).as_posix()

    def _category_names(self) -> dict[Any, str]:
        """The project's spelling of each category, by its id in the file."""
        try:
            cleaned = [(category.id, clean_name(category.name)) for category in self._coco.categories]
        except MaskwrightError as error:
            raise BadCoco(f"A category of {self._name} has no valid name: {error}") from error
        similar = self._store.categories.similar(name for _, name in cleaned)
        distinct = set[str]()
        for _, name in cleaned:
            if name in distinct:
                self._warnings.append(f"Two categories are called {excerpt(name)}; they become one.")
                continue
            distinct.add(name)
            self._warnings += [
                f"{excerpt(name)} and {excerpt(other)}, which the project has, differ in capitals only."
                for other in similar[name]
            ]
        large = [category.id for category in self._coco.categories if not is_id(category.id, _LARGEST_CATEGORY)]
        if large:
            self._warnings.append(
                f"The category ids {some(large)} cannot be kept; all categories get new ones, from 1."
            )
        return dict(cleaned)

    def _analyze_image(self, image: CocoImage, match: Match | Unmatched) -> None:
        if isinstance(match, Unmatched):
            if match.reason:
                self._unreadable.append(f"{image.label}: {match.reason}")
                self._rows.skipped.append(self._unreadable[-1])
            else:
                (self._ambiguous if match.ambiguous else self._missing).append(image.label)
            return
        self._methods[match.method] += 1
        if match.method == NO_FILE:
            self._missing.append(image.label)
        self._rows.warnings += [f"{image.label}: {warning}" for warning in match.warnings]
        try:
            frame = frame_of(image, match, rotate=self._options.rotate)
        except BadCoco as error:
            self._rows.skipped.append(f"{image.label}: {error}")
            return
        self._rows.read(image, frame, self._place_of(match))

    def _place_of(self, match: Match) -> int:
        """The index of an image in the dataset, which has it once although the file may list it twice."""
        key = match.new.sha256 if match.new else str(match.known)
        place = self._places.setdefault(key, len(self._matches))
        if place == len(self._matches):
            self._matches.append(match)
        elif match.source and not self._matches[place].source:
            # only this entry's file was found
            self._matches[place] = match
        return place

    def _none_found(self, total: int) -> str:
        if self._missing:
            return self._some_missing(total)
        if self._unreadable:
            return f"None of the {total} images can be read. {self._unreadable[0]}"
        return (
            f"{len(self._ambiguous)} of {total} images were not found: several images are called "
            f"{some(self._ambiguous)}. Name the folder of the right ones with --images."
        )

    def _some_missing(self, total: int) -> str:
        without_file = self._methods[NO_FILE]
        hint = (
            f" The masks of {without_file} are kept; `maskwright project relink` finds their images later."
            if without_file
            else ""
        )
        return (
            f"{len(self._missing)} of {total} images were not found ({some(self._missing)}). Put them into images/ "
            f"beside the file, or name their folder with --images.{hint}"
        )
