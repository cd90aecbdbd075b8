"""Import of annotations: analyze every image and row, then apply all of it at once, or only report it.

Nothing is written before the whole file was analyzed (rule X-18), so a dry run reports what the import would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.reading import read_source
from maskwright.formats.source import SourceImage, excerpt, plain
from maskwright.progress import Progress
from maskwright.project.coco_rows import ImportOptions, RowReader, is_id
from maskwright.project.findings import some
from maskwright.project.image_folder import ImageFolder
from maskwright.project.image_matching import NO_FILE, ImageMatcher, Match, Unmatched
from maskwright.project.orientation import Orientations
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
    """What changes labels, or may: a sentence for each kind."""
    notes: tuple[str, ...] = ()
    """What changes no mask."""
    details: tuple[str, ...] = ()
    """Every sentence of a kind that is true of several rows."""
    changed: int = 0
    """Known masks that differ in the file: those that were corrected with `update`, or could be."""
    dry_run: bool = False


class CocoImport:
    """One import: `analyze`, then `apply` or `dry_run`."""

    def __init__(self, store: Store, files: ImageFolder, file: Path, options: ImportOptions, user: str) -> None:
        """Read the file.

        Args:
            store: of the project.
            files: the project's image files.
            file: of any format that is read, or its folder.
            options: of the import.
            user: who imports it.

        Raises:
            BadCoco: it cannot be read.
        """
        self._store, self._files, self._options, self._user = store, files, options, plain(user)
        self._source, self._name = read_source(file), plain(file.name)
        self._skipped, self._warnings, self._notes = list(self._source.skipped), list[str](), list[str]()
        self._missing, self._ambiguous, self._unreadable = list[str](), list[str](), list[str]()
        self._matches: list[Match] = []
        self._places: dict[str, int] = {}
        self._labels: list[SourceImage] = []
        self._named = list[str]()
        self._methods: Counter[str] = Counter()

    def analyze(self, progress: Progress) -> None:
        """Match every image and read every row.

        Raises:
            BadCoco: the file contradicts itself.
            MaskwrightError: none of its images was found.
        """
        self._names = self._category_names()
        self._rows = RowReader(self._name, self._names, self._options, self._user, self._source.provenance)
        matcher, images = ImageMatcher(self._store, self._source, self._options.images), self._source.images
        pairs: list[tuple[SourceImage, Match]] = []
        for done, image in enumerate(images):
            progress.report(done, len(images))
            pairs += self._matched(image, matcher.find(image))
        if images and not pairs:
            raise MaskwrightError(self._none_found(len(images)))
        orientations = Orientations(pairs, rotate=self._options.rotate, stretched=self._source.stretched)
        for image, match in pairs:
            self._read_rows(image, match, orientations)
        progress.report(len(images), len(images))
        own = {place: match.known for place, match in enumerate(self._matches) if match.method == "SHA-256"}
        own_ids = {place: key for place, key in own.items() if key is not None}
        self._rows.masks = self._store.imports.recognize(self._rows.masks, own_ids)
        self._skipped += self._rows.skipped
        self._warnings = [*self._image_lines(len(images)), *orientations.lines(), *self._warnings]
        self._warnings += [*self._group_lines(), *self._source.not_kept]
        self._warnings += self._rows.findings.lines()

    def apply(self) -> ImportResult:
        """Copy the image files, then write every row in one transaction; after an error neither remains.

        Raises:
            ProjectUnwritable: the project cannot be written.
            MaskwrightError: an image file changed or vanished meanwhile.
        """
        copies: list[tuple[Path, str]] = []
        try:
            images = [match.known or self._copy(match, copies) for match in self._matches]
            counts = self._store.imports.add(self._dataset(images), update=self._options.update)
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
            warnings=(*self._changed_lines(counts), *self._warnings),
            notes=tuple(self._cosmetic_lines()),
            details=tuple(self._rows.findings.details()),
            changed=len(counts.changed),
            dry_run=dry_run,
        )

    def _dataset(self, images: list[NewImage | int]) -> NewDataset:
        keep_ids = all(is_id(category.id, _LARGEST_CATEGORY) for category in self._source.categories)
        categories = [
            NewCategory(self._names[category.id], category.supercategory, category.id if keep_ids else None)
            for category in self._source.categories
        ]
        compare = not self._options.as_proposals
        return NewDataset(images, categories, self._rows.masks, self._rows.boxes, self._name, self._user, compare)

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
            cleaned = [(category.id, clean_name(category.name)) for category in self._source.categories]
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
        large = [category.id for category in self._source.categories if not is_id(category.id, _LARGEST_CATEGORY)]
        if large:
            self._notes.append(f"The category ids {some(large)} cannot be kept; all categories get new ones, from 1.")
        return dict(cleaned)

    def _matched(self, image: SourceImage, match: Match | Unmatched) -> list[tuple[SourceImage, Match]]:
        """The image with its match, or nothing, where the reason is noted."""
        if isinstance(match, Unmatched):
            if match.reason:
                self._unreadable.append(f"{image.label}: {match.reason}")
                self._rows.skipped.append(self._unreadable[-1])
            else:
                (self._ambiguous if match.ambiguous else self._missing).append(image.label)
            return []
        self._methods[match.method] += 1
        if match.method == NO_FILE:
            self._missing.append(image.label)
        if match.by_name:
            self._named.append(image.label)
        for warning in match.warnings:
            self._rows.findings.add(f"{image.label}: {warning}", warning.partition(";")[0])
        return [(image, match)]

    def _read_rows(self, image: SourceImage, match: Match, orientations: Orientations) -> None:
        try:
            frame = orientations.frame(image, match)
        except BadCoco as error:
            self._rows.skipped.append(f"{image.label}: {error}")
            return
        self._rows.read(image, frame, self._place_of(image, match))

    def _place_of(self, image: SourceImage, match: Match) -> int:
        """The index of an image in the dataset, which has it once although the file may list it twice."""
        place = self._places.setdefault(match.key, len(self._matches))
        if place == len(self._matches):
            self._matches.append(match)
            self._labels.append(image)
            return place
        first = self._labels[place]
        if first.name == image.name:
            self._rows.findings.add(
                f"{image.label} stands in the file under the ids {excerpt(first.id)} and {excerpt(image.id)}: the "
                "masks of both are on one image. Check them: one image may have taken the other's place",
                "two ids",
            )
        else:
            same = f"{first.label} and {image.label} are the same image, which has the masks of both"
            self._rows.findings.add(same, "same image", cosmetic=True)
        if match.source and not self._matches[place].source:
            # only this entry's file was found
            self._matches[place] = match
        return place

    def _image_lines(self, total: int) -> list[str]:
        """What to say of images that were not found, or not for certain."""
        lines = [self._some_missing(total)] if self._missing else []
        lines += [f"{name}: several images have this name; it was skipped." for name in self._ambiguous]
        if self._named:
            lines.append(
                f"{len(self._named)} of {total} images were found by their file name alone ({some(self._named)}): "
                "check that they are the right ones."
            )
        return lines

    def _group_lines(self) -> list[str]:
        groups, masks = self._rows.groups, len(self._rows.masks)
        if not groups or self._options.groups_as_objects:
            return [f"{groups} of {masks} masks are marked as groups and became objects."] if groups else []
        return [
            f"{groups} of {masks} masks are groups (iscrowd 1), which training and YOLO leave out. Where a tool such "
            "as CVAT marks every brushed mask so, --groups-as-objects makes them objects."
        ]

    def _cosmetic_lines(self) -> list[str]:
        cosmetic = self._rows.findings.lines(cosmetic=True)
        return [*self._notes, *self._rows.id_lines(), *cosmetic, *self._source.also_not_kept]

    def _changed_lines(self, counts: ImportCounts) -> list[str]:
        """What to say of known masks that differ in the file."""
        lines = []
        if counts.changed:
            what = (
                "were corrected as in the file; undo takes that back"
                if self._options.update
                else "differ in the file and were left as they are; --update takes them as corrections"
            )
            lines.append(f"{len(counts.changed)} masks of the project {what} ({some(counts.changed)}).")
        if counts.newer:
            lines.append(
                f"{len(counts.newer)} masks were changed in the project after the file was written, and stay as they "
                f"are ({some(counts.newer)})."
            )
        if counts.moved:
            lines.append(
                f"{len(counts.moved)} masks of the project are on another image in the file, and stay where they are "
                f"({some(counts.moved)})."
            )
        if counts.absent:
            lines.append(
                f"{len(counts.absent)} masks of the project are not in the file any more, and stay; delete them in the "
                f"project if that is meant ({some(counts.absent)})."
            )
        return lines

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
