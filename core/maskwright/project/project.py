"""A project: one folder with the database, the pictures and what is made of them; it can be moved as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, Category, Image, Mask, Reference
from maskwright.errors import MaskwrightError
from maskwright.project.exporting import ProjectExchange
from maskwright.project.finetune_runs import FinetuneRun, Runs
from maskwright.project.history import sentence
from maskwright.project.image_folder import PictureFolder
from maskwright.project.images import Added, ProjectImages, user_name
from maskwright.store import Counts, NewAnnotation, Store, UndoStep, check_mask
from maskwright.store.location import locate, make_folders

__all__ = ["Added", "Project", "user_name"]

_REFERENCES = 3
"""How many masks speak for a category for which none was chosen."""


class Project(ProjectImages, ProjectExchange):
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
        return self._turned([annotation], "rejected", annotator)[0]

    def delete(self, annotations: Iterable[Annotation | int], *, annotator: str | None = None) -> list[Annotation]:
        """Annotations as deleted, in one step: neither shown nor exported, until they are restored or purged.

        Raises:
            Conflict: one was changed after the given value was read; nothing was deleted.
            MaskwrightError: no such annotation.
        """
        return self._turned(annotations, "deleted", annotator)

    def restore(self, annotations: Iterable[Annotation | int], *, annotator: str | None = None) -> list[Annotation]:
        """Deleted annotations as accepted again, rejected ones as proposals, in one step; errors as `delete`."""
        return self.store.restore(_as_seen(annotations), annotator or user_name())

    def _turned(self, annotations: Iterable[Annotation | int], state: str, annotator: str | None) -> list[Annotation]:
        return self.store.set_states(_as_seen(annotations), state, annotator or user_name())

    def undo(self, image: int | None = None, *, annotator: str | None = None) -> UndoStep:
        """Take back what this person did last: accept, reject, delete, another class, a correction, a merge.

        Args:
            image: id of the image in view, so that nothing changes unseen; None for wherever the step was.
            annotator: the person; by default the user of this computer.

        Raises:
            OtherImage: the step was on another image; it says which.
            Conflict: somebody else has changed the same since.
            MaskwrightError: there is nothing to undo.
        """
        return self.store.undo(annotator or user_name(), image)

    def redo(self, image: int | None = None, *, annotator: str | None = None) -> UndoStep:
        """Do again what this person has undone last; arguments and errors as `undo`."""
        return self.store.redo(annotator or user_name(), image)

    def purge(self) -> tuple[int, Path | None]:
        """Remove rejected and deleted masks for good; gives how many, and the copy of the database from before.

        A project on a server has no such copy.
        """
        copy = self.store.back_up() if self.store.on_disk else None
        return self.store.purge(user_name()), copy

    def history(self, annotation: Annotation | int) -> list[str]:
        """What happened to a mask, a sentence each, the oldest first."""
        annotation_id = annotation.id if isinstance(annotation, Annotation) else annotation
        names = {one.id: one.name for one in self.store.categories(deleted=True)}
        return [sentence(change, names) for change in self.store.history(annotation_id)]

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
        shows, negative = ([mark.annotation_id for mark in marks if mark.shows is kind] for kind in (True, False))
        if not shows:
            largest: dict[int, int] = {}
            for one in sorted(self.annotations(), key=lambda one: (-one.mask.area, one.id)):
                if one.category == name:
                    largest.setdefault(one.image_id, one.id)
            shows = list(largest.values())[:_REFERENCES]
        if not shows:
            raise MaskwrightError(f"There is no accepted mask of {name} to go by. Accept one first.")
        return [self.reference(key) for key in shows], [self.reference(key) for key in negative]

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
            user=user_name(), recipe=recipe, base=None if base is None else str(base), epochs=epochs,
            measure_on=None if measure_on is None else Path(measure_on), device=device, seed=seed,
        )  # fmt: skip


def _as_seen(annotations: Iterable[Annotation | int]) -> dict[int, int | None]:
    """Ids with the revisions that somebody saw, if they tell."""
    return dict((one.id, one.revision) if isinstance(one, Annotation) else (one, None) for one in annotations)
