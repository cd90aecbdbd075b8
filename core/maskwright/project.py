"""A project: one folder with the database, the pictures and what is made of them; it can be moved as a whole."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, Category, Image, ImageRecord, Mask, Reference
from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable
from maskwright.export import provenance_lines, to_coco, write_json, write_text
from maskwright.intake import CocoFile, CocoImage, Imported, drafts, unfound
from maskwright.picture_folder import PictureFolder, sha256_of_file
from maskwright.pictures import is_picture
from maskwright.runs import FinetuneRun, Runs
from maskwright.store import STATES, Counts, NewAnnotation, NewImage, Store, check_mask
from maskwright.store.file_names import plain_text
from maskwright.store.place import locate, make_folders

__all__ = ["Added", "Project", "user_name"]

_NOT_SCANNED = ("exports", "checkpoints", "backups")
_REFERENCES = 3
"""How many masks speak for a category for which none was chosen."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one file that was to be added."""

    path: Path
    record: ImageRecord | None
    new: bool = False
    """Whether the project did not know this content before."""
    problem: str = ""
    """Why there is no record, in one sentence."""
    notice: str = ""
    """Something to tell the person although all went well."""


class Project:
    """Images, masks and exports of one folder; any number of processes may have it open.

    Every method that writes raises ProjectUnwritable when it cannot, and has then changed nothing.
    """

    def __init__(self, folder: Path, store: Store, where: str) -> None:
        """Join a folder, its opened store and what names both for another process; use `Project.open`."""
        self.folder = folder
        self.store = store
        self.runs = Runs(where, folder, store)
        """Fine-tuning runs."""
        self._pictures = PictureFolder(folder / "images")

    @classmethod
    def open(cls, where: str | Path, *, create: bool = False) -> Project:
        """Open a project.

        Args:
            where: its folder, or a database URL; pictures then lie beside a SQLite file, and for a database server in
                a folder of the database's name beside the project that the settings name.
            create: make the project when there is none.

        Raises:
            BadProject: there is none, or it is damaged or newer than this Maskwright.
            ProjectUnwritable: the folder cannot be made or written; nothing was created.
        """
        folder, database = locate(where, create=create)
        if create:
            make_folders(folder)
        return cls(folder, Store.open(database, create=create), str(where) if "://" in str(where) else str(folder))

    def close(self) -> None:
        """Give the database free; the project cannot be used afterwards."""
        self.store.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # images

    def add(self, path: str | Path, *, copy: bool = True) -> list[Added]:
        """Register a picture file, or every picture in a folder and its folders, in the order of their names.

        Args:
            path: file or folder.
            copy: keep a copy in the project's `images/`; otherwise only a link to where the file lies.

        Returns:
            One result for each file; a file that cannot be read does not stop the others.

        Raises:
            ProjectUnwritable: the project cannot be written; files added so far stay.
        """
        path = Path(path).expanduser().absolute()
        return [self._add_file(file, copy) for file in (self._scan(path) if path.is_dir() else [path])]

    def add_image(self, image: Image) -> ImageRecord:
        """The record of an image, which is added when its content is new.

        The file it was read from is copied; without one the pixels are saved as PNG, named by the image's SHA-256.
        """
        known = self.store.image_by_sha256(image.sha256)
        return known or self._keep(image, copy=True)

    def image(self, image_id: int) -> Image:
        """The pixels of an image, with the SHA-256 it was added under.

        Raises:
            MaskwrightError: no such image, or its file is missing, changed or unreadable.
        """
        record = self.store.image(image_id)
        file = self.folder / record.file_name
        if not file.is_file():
            raise MaskwrightError(
                f"The picture {record.file_name} is missing from {self.folder}. "
                "Put the file back, or add the picture again; its masks are kept."
            )
        image = Image.open(file)
        if image.sha256 != record.sha256 and file.stem == record.sha256:
            # a PNG that we made: the image is known by its pixels, not by the file's bytes
            image = replace(image, sha256=record.sha256)
        if image.sha256 != record.sha256 or image.size_hw != (record.height, record.width):
            raise MaskwrightError(
                f"The picture {record.file_name} was changed after it was added. "
                "Put the old file back, or add the new one under another name."
            )
        return image

    def images(self, after_id: int = 0, limit: int | None = None) -> list[ImageRecord]:
        """Images in id order, at most `limit` of those with a larger id than `after_id`."""
        return self.store.images(after_id, limit)

    # annotations

    def accept(
        self,
        image: Image | int,
        mask: Mask | NDArray[np.bool_],
        category: str | None = None,
        *,
        source: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        annotator: str | None = None,
    ) -> Annotation:
        """Keep a mask; it is on disk when this returns. Arguments and errors are those of `accept_many`."""
        return self.accept_many(image, [mask], category, source=source, provenance=provenance, annotator=annotator)[0]

    def accept_many(
        self,
        image: Image | int,
        masks: Sequence[Mask | NDArray[np.bool_]],
        category: str | None = None,
        *,
        source: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        annotator: str | None = None,
    ) -> list[Annotation]:
        """Keep masks of one image, all or none.

        Args:
            image: an image, added when it is new, or the id of one in the project.
            masks: masks or boolean (H, W) arrays of the image's size.
            category: of all of them; by default each mask's own.
            source: where the masks come from; by default what the provenance says, else "manual".
            provenance: how they were made, for example a prediction's.
            annotator: the person; by default the user of this computer.

        Raises:
            MaskwrightError: an empty mask, no category, no such image.
            InvalidMask: not a boolean (H, W) array of the image's size.
        """
        told = dict(provenance or {})
        whence = source or str(told.get("source", "manual"))
        who = annotator or user_name()
        drafts = []
        for mask in masks:
            kept = mask if isinstance(mask, Mask) else Mask.from_array(mask)
            drafts.append(NewAnnotation(0, category or kept.category or "", kept, whence, told, who))
        if isinstance(image, Image):
            # before the image is added: a refused mask leaves nothing behind
            for draft in drafts:
                check_mask(draft.mask, image.size_hw)
            image = self.add_image(image).id
        return self.store.add_annotations([replace(draft, image_id=image) for draft in drafts])

    def reject(self, annotation: Annotation | int, *, annotator: str | None = None) -> Annotation:
        """The annotation as rejected: kept, but neither exported nor trained on.

        Raises:
            MaskwrightError: no such annotation, or it was changed after the given value was read.
        """
        seen = annotation.revision if isinstance(annotation, Annotation) else None
        annotation_id = annotation.id if isinstance(annotation, Annotation) else annotation
        return self.store.set_state(annotation_id, "rejected", annotator or user_name(), seen)

    def annotations(self, image: Image | int | None = None, states: Sequence[str] = ("accepted",)) -> list[Annotation]:
        """Annotations of one image (none for one the project does not know) or of all, in id order."""
        if isinstance(image, Image):
            record = self.store.image_by_sha256(image.sha256)
            if record is None:
                return []
            image = record.id
        return self.store.annotations(image, states)

    def categories(self) -> list[Category]:
        """All categories in id order."""
        return self.store.categories()

    def status(self) -> Counts:
        """How many images and masks the project holds."""
        return self.store.counts()

    def export_coco(
        self,
        path: str | Path,
        *,
        states: Sequence[str] = ("accepted",),
        segmentation: str = "rle",
        only_annotated: bool = False,
        all_categories: bool = False,
        description: str = "",
    ) -> Path:
        """Write a COCO file, and beside it `<name>.provenance.jsonl` with how each mask was made.

        Options as in `export.to_coco`; an unchanged project gives the same bytes again.

        Raises:
            MaskwrightError: the file cannot be written; an older one is still there.
        """
        path = Path(path).expanduser()
        snapshot = self.store.snapshot(states)
        coco = to_coco(
            snapshot,
            description=description,
            segmentation=segmentation,
            only_annotated=only_annotated,
            all_categories=all_categories,
        )
        write_text(path.with_name(path.name.removesuffix(".json") + ".provenance.jsonl"), provenance_lines(snapshot))
        write_json(path, coco)
        return path

    def import_coco(
        self, file: str | Path, *, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Imported:
        """Take the masks of a COCO instances file as accepted; what is there already is not added again.

        Pictures are matched by SHA-256, then by the file beside the JSON (in `images/` or at its relative path), which
        is added when it is new, then by a file name that only one image of the project has.

        Args:
            file: the JSON file.
            progress: told (images done, images in all).

        Raises:
            BadCoco: not a COCO file, or one that contradicts itself; nothing was changed.
            MaskwrightError: not one of its images was found.
        """
        coco = CocoFile.read(Path(file).expanduser().absolute())
        named = self._by_name()
        before = {record.id for record in self.images()}
        masks: list[NewAnnotation] = []
        skipped = [f"{coco.orphans} annotations of unlisted images"] if coco.orphans else []
        warnings: list[str] = []
        records: set[int] = set()
        missing: list[CocoImage] = []
        for done, image in enumerate(coco.images):
            progress(done, len(coco.images))
            record, problem = self._match(image, named)
            if record is None:
                missing.append(image)
                skipped += [problem] if problem else []
                continue
            records.add(record.id)
            made, left_out, told = drafts(coco, image, record, annotator=user_name())
            masks, skipped, warnings = masks + made, skipped + left_out, warnings + told
        progress(len(coco.images), len(coco.images))
        if missing:
            if not records:
                raise MaskwrightError(unfound(missing, len(coco.images)))
            warnings.append(unfound(missing, len(coco.images)))
        there = {(a.image_id, a.category, a.mask.rle["counts"]) for a in self.annotations(states=STATES)}
        new = {}
        for mask in masks:
            key = (mask.image_id, mask.category, mask.mask.rle["counts"])
            if key not in there:
                new[key] = mask
        self.store.add_annotations(new.values())
        return Imported(
            len(records), len(records - before), len(new), len(masks) - len(new), tuple(skipped), tuple(warnings)
        )

    def _by_name(self) -> dict[str, ImageRecord | None]:
        """Image by the name of its file; None where several share it."""
        found: dict[str, ImageRecord | None] = {}
        for record in self.images():
            name = Path(record.file_name).name
            found[name] = None if name in found else record
        return found

    def _match(self, image: CocoImage, named: Mapping[str, ImageRecord | None]) -> tuple[ImageRecord | None, str]:
        """The project's image for a row of a COCO file, or none and why."""
        known = self.store.image_by_sha256(image.sha256) if image.sha256 else None
        if known:
            return known, ""
        for file in image.files:
            if file.is_file():
                added = self._add_file(file, copy=True)
                return added.record, added.problem
        return named.get(Path(image.name).name), ""

    # references

    def references(self, category: str) -> tuple[list[Reference], list[Reference]]:
        """What shows a category, and what it is not, for `Engine.segment_like`.

        The masks chosen with `mark_reference`; as long as none is chosen, its largest accepted masks on up to three
        images.

        Raises:
            MaskwrightError: there is no accepted mask of it.
        """
        name = self.store.category(category, create=False).name
        marks = [mark for mark in self.store.reference_marks() if mark.category == name]
        shows, not_this = ([mark.annotation_id for mark in marks if mark.shows is kind] for kind in (True, False))
        if not shows:
            largest: dict[int, int] = {}
            for one in sorted(self.annotations(), key=lambda one: (-one.mask.area, one.id)):
                if one.category == name:
                    largest.setdefault(one.image_id, one.id)
            shows = list(largest.values())[:_REFERENCES]
        if not shows:
            raise MaskwrightError(f"There is no accepted mask of {name} to go by. Accept one first.")
        return [self.reference(key) for key in shows], [self.reference(key) for key in not_this]

    def reference(self, annotation: Annotation | int) -> Reference:
        """An accepted mask with its image.

        Raises:
            MaskwrightError: no such mask, or it is not accepted.
        """
        if isinstance(annotation, int):
            annotation = self.store.annotation(annotation)
        if annotation.state != "accepted":
            raise MaskwrightError(f"Mask {annotation.id} is {annotation.state}. Choose an accepted mask as reference.")
        return Reference(self.image(annotation.image_id), annotation.mask, annotation.uid)

    def mark_reference(self, annotation: Annotation | int, shows: bool | None = True, category: str = "") -> None:
        """Choose a mask as a reference.

        Args:
            annotation: an accepted mask.
            shows: True: it shows the category; False: it is what the category is not; None: neither.
            category: by default the mask's own.
        """
        known = annotation if isinstance(annotation, Annotation) else self.store.annotation(annotation)
        self.store.mark_reference(known.id, category or known.category, shows, user_name())

    # a better model

    def finetune(
        self,
        *,
        recipe: str = "full",
        base: str | Path | None = None,
        epochs: int | None = None,
        measure_on: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> FinetuneRun:
        """Start a process that makes a better text model of the accepted masks; it outlives this one.

        Args:
            recipe: "full": all that sees pixels learns; "head": only the head on the frozen backbone.
            base: preset name or checkpoint folder to start from; by default the model the project uses, else `tiny`.
            epochs: passes over the training images; by default 320, but 100 to 800 steps.
            measure_on: a folder with images/ and COCO annotations.json to measure before and after on; by default one
                image in five of the project is kept out of training for that.
            device: as for `Engine.load`.
            seed: of the split and of the training.

        Returns:
            The run: `wait()` for it, then its `checkpoint` is a preset anywhere.

        Raises:
            MaskwrightError: too few masks, or another run is going on.
        """
        return self.runs.start(
            who=user_name(), recipe=recipe, base=None if base is None else str(base), epochs=epochs,
            measure_on=None if measure_on is None else Path(measure_on), device=device, seed=seed,
        )  # fmt: skip

    # files

    def _scan(self, folder: Path) -> list[Path]:
        ours = [self.folder / name for name in _NOT_SCANNED]
        found = (file for file in folder.rglob("*") if is_picture(file))
        return sorted(file for file in found if not any(file.is_relative_to(one) for one in ours))

    def _add_file(self, file: Path, copy: bool) -> Added:
        try:
            return self._register(file, copy)
        except (BadProject, ProjectUnwritable):
            raise
        except MaskwrightError as error:
            return Added(file, None, problem=plain_text(str(error)))

    def _register(self, file: Path, copy: bool) -> Added:
        digest, alias = sha256_of_file(file), self._alias(file)
        known = self.store.image_by_sha256(digest) if digest else None
        if known is None:
            record = self._keep(Image.open(file), copy=copy)
            return Added(file, record, new=True, notice=self._former_content(alias, record))
        if not (self.folder / known.file_name).exists():
            self._pictures.restore(file, self.folder / known.file_name, known.sha256)
        # known content: only the alias is new
        return Added(
            file, self.store.add_image(NewImage(digest, known.file_name, known.width, known.height, alias=alias))
        )

    def _former_content(self, alias: str, record: ImageRecord) -> str:
        """The sentence for a file whose content is no longer what it was when it was added before."""
        former = [one for one in self.store.images_added_from(alias) if one.id < record.id]
        masks = sum(len(self.store.annotations(one.id)) for one in former)
        name = Path(alias).name
        return f"{name} has changed since it was added; {masks} masks belong to the old picture." if former else ""

    def _keep(self, image: Image, *, copy: bool) -> ImageRecord:
        """Put the image's file into `images/`, then its row into the database: a row never names a missing file."""
        source = image.path.absolute() if image.path and sha256_of_file(image.path) == image.sha256 else None
        file = self._pictures.place(source, image, copy)
        name, kept = file.relative_to(self.folder).as_posix(), ""
        height, width = image.size_hw
        # a PNG of ours is upright
        orientation, alias = (image.orientation, self._alias(source)) if source else (1, "")
        try:
            new = NewImage(image.sha256, name, width, height, orientation, image.captured, alias, user_name())
            record = self.store.add_image(new)
            kept = record.file_name
        finally:
            # no row, or another process was faster; what the user put there, and what another may use, stays
            if source not in (None, file) and kept != name:
                file.unlink(missing_ok=True)
        return record

    def _alias(self, file: Path) -> str:
        """The path relative to the project, so that both can move together."""
        try:
            return plain_text(Path(os.path.relpath(file, self.folder)).as_posix())
        except ValueError:
            # another drive on Windows
            return file.name


def user_name() -> str:
    """Who works here; there may be no name, as in a container."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
