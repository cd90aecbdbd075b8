"""A project: one folder with the database, the images, checkpoints and exports; it can be moved as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, Category, Image, Mask, Reference
from maskwright.errors import MaskwrightError
from maskwright.formats.coco_writer import CocoOptions
from maskwright.project.addresses import is_address
from maskwright.project.exchange import Exchange
from maskwright.project.finetune_runs import FinetuneOptions, FinetuneRun, Runs, TuneOptions
from maskwright.project.history import describe
from maskwright.project.images import AddResult, ImageCollection, user_name
from maskwright.project.versions import Versions
from maskwright.store import Counts, NewAnnotation, Store, UndoStep, check_mask
from maskwright.store.location import locate, make_folders

__all__ = ["Project"]

_REFERENCES = 3
"""Default number of references for a category without marked ones."""


class Project:
    """Images, annotations and checkpoints of one folder; several processes may have it open.

    Every method that writes raises ProjectUnwritable when it cannot, and has then changed nothing.
    """

    def __init__(self, folder: Path, store: Store, where: str) -> None:
        """Take a folder, its open store, and the name under which another process can open both; use `Project.open`."""
        self.folder = folder
        self.store = store
        """The database."""
        self.images = ImageCollection(folder, store)
        """Images: add, open, list, relink."""
        self.exchange = Exchange(self.images, store)
        """Export to and import from other tools."""
        self.versions = Versions(self.images, store)
        """Frozen versions and their differences."""
        self.runs = Runs(where, folder, store)
        """Fine-tuning runs."""

    @classmethod
    def open(cls, where: str | Path, *, create: bool = False) -> Project:
        """Open a project.

        Args:
            where: its folder, or a database URL; the images are then beside a SQLite file, and for a database server in
                a folder of the database's name beside the default project of the settings.
            create: create the project when there is none.

        Returns:
            The project; close it, or use it in a `with` block.

        Raises:
            BadProject: there is none, or it is damaged or newer than this Maskwright.
            ProjectUnwritable: the folder cannot be created or written; nothing was created.
        """
        folder, database = locate(where, create=create)
        if create:
            make_folders(folder)
        return cls(folder, Store.open(database, create=create), str(where) if "://" in str(where) else str(folder))

    def close(self) -> None:
        """Close the database connection; the project cannot be used afterwards."""
        self.store.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, path: str | Path, *, copy: bool | None = None) -> list[AddResult]:
        """Add an image file or a folder of images, or an address such as s3://bucket/photos.

        Args:
            path: file, folder, or address; an address makes this computer connect to it.
            copy: copy files into the project; by default those of this computer, while others stay where they are.

        Returns:
            One result for each file; errors as `ImageCollection.add` and `add_address`.
        """
        if isinstance(path, str) and is_address(path):
            return list(self.images.add_address(path, copy=bool(copy)))
        return self.images.add(path, copy=copy is not False)

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
        """Store a mask as an accepted annotation; it is on disk on return. Arguments and errors as `accept_many`."""
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
        """Store masks of one image as accepted annotations, all or none, in one step for undo.

        Args:
            image: an image, which is added when it is new, or the id of one in the project.
            masks: masks or boolean (H, W) arrays of the image's size.
            category: of all masks; by default each mask's own.
            source: of the masks; by default that of the provenance, else "manual".
            provenance: how they were made, for example a prediction's.
            annotator: user name; by default the user of this computer.

        Returns:
            The annotations, in the order of the masks.

        Raises:
            UsageError: no category.
            MaskwrightError: an empty mask, or no such image.
            InvalidMask: not a boolean (H, W) array of the image's size.
        """
        provenance = dict(provenance or {})
        source = source or str(provenance.get("source", "manual"))
        user = annotator or user_name()
        drafts = []
        for mask_or_array in masks:
            mask = mask_or_array if isinstance(mask_or_array, Mask) else Mask.from_array(mask_or_array)
            drafts.append(NewAnnotation(0, category or mask.category or "", mask, source, provenance, user))
        if isinstance(image, Image):
            # before the image is added: an invalid mask changes nothing
            for draft in drafts:
                check_mask(draft.mask, image.size_hw)
            image = self.images.register(image).id
        return self.store.masks.add_many([replace(draft, image_id=image) for draft in drafts])

    def reject(self, annotation: Annotation | int, *, annotator: str | None = None) -> Annotation:
        """Reject an annotation: it is stored, but neither exported nor trained on.

        Args:
            annotation: the annotation, or its id.
            annotator: user name; by default the user of this computer.

        Returns:
            The annotation in its new state.

        Raises:
            Conflict: it was changed since the given value was read.
            MaskwrightError: no such annotation.
        """
        return self._set_states([annotation], "rejected", annotator)[0]

    def delete(self, annotations: Iterable[Annotation | int], *, annotator: str | None = None) -> list[Annotation]:
        """Delete annotations in one step: they are neither shown nor exported until they are restored or purged.

        Args:
            annotations: annotations or their ids.
            annotator: user name; by default the user of this computer.

        Returns:
            The annotations in their new state.

        Raises:
            Conflict: one was changed since the given value was read; nothing was deleted.
            MaskwrightError: no such annotation.
        """
        return self._set_states(annotations, "deleted", annotator)

    def restore(self, annotations: Iterable[Annotation | int], *, annotator: str | None = None) -> list[Annotation]:
        """Restore deleted annotations as accepted and rejected ones as proposals, in one step; see `delete`."""
        return self.store.masks.restore(_revisions(annotations), annotator or user_name())

    def _set_states(
        self, annotations: Iterable[Annotation | int], state: str, annotator: str | None
    ) -> list[Annotation]:
        return self.store.masks.set_states(_revisions(annotations), state, annotator or user_name())

    def undo(self, image: int | None = None, *, annotator: str | None = None) -> UndoStep:
        """Undo a user's last step: accept, reject, delete, change of category, correction or merge.

        Args:
            image: id of the image in view, so that nothing changes unseen; None undoes a step on any image.
            annotator: user name; by default the user of this computer.

        Returns:
            What was undone.

        Raises:
            NothingToUndo: the user has no step left.
            OtherImage: the step was on another image, whose id the error has.
            Conflict: another user has changed the same annotations since.
        """
        return self.store.masks.undo(annotator or user_name(), image)

    def redo(self, image: int | None = None, *, annotator: str | None = None) -> UndoStep:
        """Redo the step that a user has undone last; arguments and errors as `undo`."""
        return self.store.masks.redo(annotator or user_name(), image)

    def purge(self) -> tuple[int, Path | None]:
        """Remove rejected and deleted annotations permanently.

        Returns:
            How many were removed, and a copy of the database from before; None for a database server.
        """
        copy = self.store.back_up() if self.store.on_disk else None
        return self.store.masks.purge(user_name()), copy

    def history(self, annotation: Annotation | int) -> list[str]:
        """The changes of an annotation, a line of text each, the oldest first."""
        annotation_id = annotation.id if isinstance(annotation, Annotation) else annotation
        categories = {category.id: category.name for category in self.store.categories.all(deleted=True)}
        return [describe(change, categories) for change in self.store.masks.history(annotation_id)]

    def annotations(self, image: Image | int | None = None, states: Sequence[str] = ("accepted",)) -> list[Annotation]:
        """Annotations in id order.

        Args:
            image: an image or its id, of which there are none when the project does not have it; None for all images.
            states: proposed, accepted, rejected or deleted.

        Raises:
            UsageError: an unknown state.
        """
        if isinstance(image, Image):
            record = self.store.images.by_sha256(image.sha256)
            if record is None:
                return []
            image = record.id
        return self.store.masks.find(image, states)

    def categories(self) -> list[Category]:
        """All categories in id order."""
        return self.store.categories.all()

    def status(self) -> Counts:
        """Numbers of images and masks."""
        return self.store.counts()

    # references

    def references(self, category: str) -> tuple[list[Reference], list[Reference]]:
        """The positive and negative references of a category, for `Engine.segment_like`.

        Args:
            category: name.

        Returns:
            The masks marked with `mark_reference`; without a positive mark, the largest accepted masks of up to three
            images.

        Raises:
            MaskwrightError: there is no accepted mask of it.
        """
        name = self.store.categories.get(category).name
        marks = [mark for mark in self.store.references.all() if mark.category == name]
        positive = [mark.annotation_id for mark in marks if mark.shows]
        negative = [mark.annotation_id for mark in marks if not mark.shows]
        if not positive:
            largest: dict[int, int] = {}
            for annotation in sorted(self.annotations(), key=lambda item: (-item.mask.area, item.id)):
                if annotation.category == name:
                    largest.setdefault(annotation.image_id, annotation.id)
            positive = list(largest.values())[:_REFERENCES]
        if not positive:
            raise MaskwrightError(f"There is no accepted mask of {name} to go by.", "Accept one first.")
        return [self.reference(key) for key in positive], [self.reference(key) for key in negative]

    def reference(self, annotation: Annotation | int) -> Reference:
        """An accepted mask with its image, as a reference.

        Args:
            annotation: the annotation, or its id.

        Raises:
            MaskwrightError: no such mask, it is not accepted, or its image cannot be read.
        """
        if isinstance(annotation, int):
            annotation = self.store.masks.get(annotation)
        if annotation.state != "accepted":
            raise MaskwrightError(
                f"Mask {annotation.id} is {annotation.state}.", "Choose an accepted mask as reference."
            )
        return Reference(self.images.open(annotation.image_id), annotation.mask, annotation.uid)

    def mark_reference(self, annotation: Annotation | int, *, shows: bool | None = True, category: str = "") -> None:
        """Mark a mask as a reference of a category.

        Args:
            annotation: an accepted mask.
            shows: True for a positive example, False for a negative one, None to remove the mark.
            category: by default the mask's own.

        Raises:
            MaskwrightError: no such mask or category.
        """
        mask = annotation if isinstance(annotation, Annotation) else self.store.masks.get(annotation)
        self.store.references.mark(mask.id, category or mask.category, user_name(), shows=shows)

    # other tools and training

    def export_coco(
        self, path: str | Path, *, states: Sequence[str] = ("accepted",), images: bool = False, **options: Any
    ) -> Path:
        """Write a COCO file, and beside it `<name>.provenance.jsonl` with how each mask was made.

        An unchanged project gives the same bytes again.

        Args:
            path: of the file.
            states: of the masks to write.
            images: copy the images, upright, into the folder of the file.
            options: fields of `CocoOptions`, such as `segmentation="polygon"`.

        Returns:
            The path of the file.

        Raises:
            UsageError: an unknown state, or an option out of range.
            MaskwrightError: the file cannot be written; an older one is still there.
        """
        return self.exchange.export(path, states=states, options=CocoOptions(**options), images=images).file

    def finetune(
        self, *, base: str | Path | None = None, measure_on: str | Path | None = None, **options: Unpack[TuneOptions]
    ) -> FinetuneRun:
        """Start a process that fine-tunes the model on the accepted masks; it outlives this one.

        Args:
            base: preset name or checkpoint folder to start from; by default the active model, else `tiny`.
            measure_on: a folder with images/ and COCO annotations.json to evaluate on before and after; by default
                images of the project are held out for that.
            **options: `recipe`, what learns: decoder (the default), qv, qk, vision or full; `task`, text (the default)
                or click; `method`, the text method that learns (default: the one that answers); `epochs`, passes over
                the training images; `device`, as for `Engine.load`; `seed`, of split and training; `log_dir`, a folder
                for TensorBoard's event files.

        Returns:
            The run: after `wait()` its `checkpoint` can be used like a preset.

        Raises:
            UsageError: an unknown recipe or task.
            MaskwrightError: too few masks, or another run is running.
        """
        measured = None if measure_on is None else Path(measure_on)
        chosen = FinetuneOptions(base=None if base is None else str(base), measure_on=measured, **options)
        return self.runs.start(user=user_name(), options=chosen)


def _revisions(annotations: Iterable[Annotation | int]) -> dict[int, int | None]:
    """Ids with the revisions that were seen; None for a bare id."""
    return dict(
        (annotation.id, annotation.revision) if isinstance(annotation, Annotation) else (annotation, None)
        for annotation in annotations
    )
