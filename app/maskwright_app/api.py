"""What other programs may ask of the page's server (contracts.md section 7); no widget, no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from maskwright.domain import TextPrompt, rle
from maskwright.errors import BadPrompt, MaskwrightError, OtherImage
from maskwright.session import AnnotationSession, Proposals

__all__ = ["Endpoints"]


class Endpoints:
    """The named endpoints on one session; every answer carries the project's change number."""

    session: AnnotationSession

    def segment_text(
        self,
        image: Any,
        words: str,
        method: str | None = None,
        background: bool = False,
        threshold: float | None = None,
        refine: str | None = None,
        preset: str | None = None,
        cleaning: bool | None = None,
    ) -> dict[str, Any]:
        """Propose one mask for each class name found in an image.

        Args:
            image: id of a project image, or an uploaded file, which is then added to the project.
            words: class names separated by commas; synonyms of one class by "|".
            method: dinov3seg, dinotxt or talk2dino; the preset's first when left out.
            background: leave pixels unlabelled that fit none of the words.
            threshold: probability a class needs against "none of these"; implies background.
            refine: "pamr" makes contours follow the picture's colours.
            preset: must be the preset that this server runs, or left out.
            cleaning: background cleaning, which goes with background; as the preset says when left out.
        """
        self._check_preset(preset)
        image_id = self._image_id(image)
        prompt = TextPrompt.parse(
            words, method=method, background=background, threshold=threshold, refine=refine,
            cleaning=cleaning if background or threshold is not None else None,
        )  # fmt: skip
        found = self.session.propose_text(image_id, prompt)
        return self._answer(
            image_id,
            categories=list(found.prediction.categories),
            unfamiliar=list(found.prediction.out_of_vocabulary),
            notice=found.told,
            masks=_masks(found),
            left_unlabelled=_left(found.prediction.unlabelled_by_cleaning),
        )

    def find_images(self, phrase: str, limit: int = 20) -> dict[str, Any]:
        """Rank the project's images for a phrase, the best first.

        Args:
            phrase: what the images should show, such as "a zebra in the grass".
            limit: at most so many.
        """
        matches = self.session.find(phrase, limit=limit)
        images = [
            {"image": one.record.id, "file": one.record.file_name, "score": round(one.score, 4)}
            for one in matches.found
        ]
        return self._answer(None, images=images, problems=list(matches.problems))

    def segment_like(
        self, image: Any, references: list[int], not_this: list[int] | None = None, preset: str | None = None
    ) -> dict[str, Any]:
        """Propose a mask of what accepted masks show.

        Args:
            image: id of a project image, or an uploaded file, which is then added to the project.
            references: ids of accepted masks of the thing.
            not_this: ids of accepted masks of what it is not.
            preset: must be the preset that this server runs, or left out.
        """
        self._check_preset(preset)
        image_id = self._image_id(image)
        found = self.session.propose_reference(image_id, references, not_this=not_this or [])
        return self._answer(
            image_id,
            categories=list(found.prediction.categories),
            notice=found.told,
            masks=_masks(found),
        )

    def segment_click(
        self,
        image: Any,
        points: list[list[float]] | None = None,
        box: list[float] | None = None,
        previous: str | None = None,
        preset: str | None = None,
    ) -> dict[str, Any]:
        """Propose up to three masks of the thing that is clicked on, the best first.

        Args:
            image: id of a project image, or an uploaded file, which is then added to the project.
            points: x, y and sign of each click in pixels of the image; sign 1 is on the thing, 0 beside it.
            box: left, top, right and bottom of a box around the thing.
            previous: id of the proposal that the clicks correct.
            preset: must be the preset that this server runs, or left out.
        """
        self._check_preset(preset)
        image_id = self._image_id(image)
        found = self.session.propose_click(image_id, _points(points), box, previous=previous)
        return self._answer(image_id, notice=found.told, masks=_masks(found))

    def accept(self, proposals: list[str], category: str | None = None) -> dict[str, Any]:
        """Keep proposals as annotations; they are on disk when this answers.

        Args:
            proposals: ids from a segment endpoint.
            category: keep them under this name instead of their own.
        """
        return self._decided(self.session.accept(proposals, category=category))

    def reject(self, proposals: list[str], category: str | None = None) -> dict[str, Any]:
        """Turn proposals down; the project remembers them as negatives.

        Args:
            proposals: ids from a segment endpoint.
            category: remember them under this name instead of their own.
        """
        return self._decided(self.session.reject(proposals, category=category))

    def delete(self, annotations: list[int]) -> dict[str, Any]:
        """Delete accepted masks, in one step that `undo` takes back.

        Args:
            annotations: ids of the masks.
        """
        return self._decided(self.session.delete(annotations))

    def undo(self, image: int) -> dict[str, Any]:
        """Take back the last step on an image: an accept, a rejection, a deletion, a correction.

        A step on another image is an error that names that image, and changes nothing.

        Args:
            image: id of a project image.
        """
        return self._retraced(image, back=True)

    def redo(self, image: int) -> dict[str, Any]:
        """Do again what was undone last on an image.

        A step on another image is an error that names that image, and changes nothing.

        Args:
            image: id of a project image.
        """
        return self._retraced(image, back=False)

    def export_coco(self, options: Mapping[str, Any] | None = None) -> str:
        """Write the accepted masks as a COCO file and give its path."""
        known = {"segmentation", "holes", "simplify", "states", "only_annotated", "all_categories", "description"}
        unknown = sorted(set(options or {}) - known)
        if unknown:
            raise MaskwrightError(f"There is no export option {unknown[0]}. Known: {', '.join(sorted(known))}.")
        exports = self.session.project.folder / "exports"
        return str(self.session.project.export_coco(exports / "coco.json", **(options or {})))

    def finetune(self, recipe: str = "full") -> dict[str, Any]:
        """Start to learn from the accepted masks; answers at once.

        Args:
            recipe: "full" or "head".
        """
        return self._answer(None, job=self.session.improve(recipe=recipe))

    def job_status(self, job: str) -> dict[str, Any]:
        """Where a job stands, and what it measured.

        Args:
            job: id from an endpoint that started one.
        """
        run = self.session.project.runs.get(job)
        metrics = {name: scores and scores.to_dict() for name, scores in (("before", run.before), ("after", run.after))}
        told = {"state": run.state, "progress": run.progress.to_dict(), "metrics": metrics, "message": run.message}
        return self._answer(None, job=job, **told)

    def job_cancel(self, job: str) -> dict[str, Any]:
        """Ask a job to stop; it does within a second or two, and can be resumed.

        Args:
            job: id from an endpoint that started one.
        """
        self.session.project.runs.cancel(job)
        return self.job_status(job)

    def _retraced(self, image: int, *, back: bool) -> dict[str, Any]:
        if not isinstance(image, int) or isinstance(image, bool):
            # for none at all, a step anywhere would be taken back
            raise MaskwrightError("Name an image of the project by its number.")
        image_id = self.session.project.store.images.get(image).id
        try:
            sentence = self.session.undo(image_id) if back else self.session.redo(image_id)
        except OtherImage as error:
            raise OtherImage(f"{error} It was image {error.image_id}.", error.image_id) from error
        return self._answer(image_id, sentence=sentence)

    def _decided(self, annotations: Sequence[Any]) -> dict[str, Any]:
        rows = [{"id": a.id, "uid": a.uid, "category": a.category, "state": a.state} for a in annotations]
        image = annotations[0].image_id if annotations else None
        return self._answer(image, annotations=rows)

    def _answer(self, image_id: int | None, **values: Any) -> dict[str, Any]:
        return {"image": image_id, "change": self.session.change_number(), **values}

    def _check_preset(self, preset: str | None) -> None:
        running = self.session.engine.model.name
        if preset not in (None, "", running):
            raise MaskwrightError(f"This server runs {running}. Start another with --preset {preset} for that model.")

    def _image_id(self, image: Any) -> int:
        """The id given, or that of the upload after adding it; no other path from a client is ever opened."""
        if isinstance(image, int) and not isinstance(image, bool):
            return self.session.project.store.images.get(image).id
        if isinstance(image, Mapping) and "path" in image:
            path = Path(str(image["path"])).resolve()
            if path.is_relative_to(Path(get_upload_folder()).resolve()):
                return self.session.add_picture(path).id
        raise MaskwrightError("Name an image of the project by its number, or upload a file.")


def _points(points: Any) -> list[tuple[float, ...]]:
    """Clicks as a program sends them; raises BadPrompt."""
    try:
        rows = [tuple(float(value) for value in point) for point in points or []]
    except (TypeError, ValueError) as error:
        raise BadPrompt("Points must be a list of (x, y) or (x, y, sign).") from error
    if any(len(row) not in (2, 3) for row in rows):
        raise BadPrompt("Points must be a list of (x, y) or (x, y, sign).")
    return rows


def _left(removed: Any) -> dict[str, Any] | None:
    """What background cleaning left unlabelled, as COCO RLE."""
    return None if removed is None else dict(rle.encode(removed))


def _masks(found: Proposals) -> list[dict[str, Any]]:
    """All masks of an answer in the model's order: what was accepted before changes a mark, and nothing else."""
    again = set(found.hidden_ids)
    return [
        {
            "proposal": one.id,
            "category": one.mask.category,
            "score": one.mask.score,
            "bbox": list(one.mask.bbox),
            "area": one.mask.area,
            "segmentation": dict(one.mask.rle),
            "duplicate": one.id in again,
        }
        for one in found.answers
    ]
