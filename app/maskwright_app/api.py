"""HTTP endpoints for other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from gradio.utils import get_upload_folder
from pydantic import Field, TypeAdapter, ValidationError

from maskwright import __version__
from maskwright.domain import Annotation, Reference, TextPrompt, rle
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import (
    UNKNOWN_IMAGE,
    AnnotationSession,
    MaskwrightError,
    OtherImage,
    Proposals,
    UsageError,
)
from maskwright_app.api_calls import current_call
from maskwright_app.api_values import ids, mask_of, masks_json, points_of

__all__ = ["Api"]

_OPTION_TYPES: dict[str, Any] = {
    "all_categories": bool,
    "description": Annotated[str, Field(max_length=1000)],
    "holes": Literal["rle", "fill"],
    "only_annotated": bool,
    "segmentation": Literal["rle", "rle-list", "polygon"],
    "simplify": Annotated[float, Field(ge=0, le=100)],
    "states": Annotated[list[Literal["accepted", "proposed", "rejected", "deleted"]], Field(max_length=4)],
}
_EXPORT_OPTIONS = {name: TypeAdapter[Any](kind) for name, kind in _OPTION_TYPES.items()}


class Api:
    """The endpoints on one session; every answer but a file carries the project's change number."""

    def __init__(self, session: AnnotationSession) -> None:
        self._session = session

    @property
    def endpoints(self) -> tuple[Callable[..., dict[str, Any]], ...]:
        """Those that return JSON, by the name of the method; `export_coco` returns a file."""
        return (
            self.about, self.segment_text, self.segment_like, self.segment_click, self.segment_everything,
            self.suggest_names, self.find_images, self.accept, self.reject, self.delete, self.undo, self.redo,
            self.finetune, self.job_status, self.job_cancel,
        )  # fmt: skip

    def about(self) -> dict[str, Any]:
        """Version of the server, and the model that answers each kind of prompt."""
        return self._answer(None, version=__version__, models=self._session.engines.names())

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
        high_resolution: bool = False,
        instances: bool | list[str] = False,
        synonyms: bool = True,
    ) -> dict[str, Any]:
        """Propose a mask for each class name found in an image.

        Args:
            image: id of a project image, or an uploaded file, which is added to the project.
            words: class names separated by commas; synonyms of one class by "|".
            method: dinov3seg, dinotxt, talk2dino or ovs-dino; by default the first one that the preset has.
            background: leave pixels unlabelled that fit none of the classes.
            threshold: probability that a class needs, 0 to 1; implies background.
            refine: "pamr" or "crf" makes contours follow the edges of the image.
            preset: must be the preset that this server runs; may be left out.
            cleaning: background cleaning, which needs a background; by default what the preset says.
            high_resolution: dino.txt's slow procedure for fine structures.
            instances: one mask for each object, of all classes or of the named ones.
            synonyms: add those of the project's categories.
        """
        self._check_preset(preset, "text")
        image_id = self._image_id(image)
        prompt = TextPrompt.parse(
            words, method=method, background=background, threshold=threshold, refine=refine,
            cleaning=cleaning if background or threshold is not None else None, high_resolution=high_resolution,
            instances=tuple(instances) if isinstance(instances, list) else instances,
        )  # fmt: skip
        answer = self._session.propose_text(image_id, prompt, synonyms=synonyms, progress=current_call().progress)
        removed = answer.prediction.unlabelled_by_cleaning
        return self._proposals(
            answer,
            unfamiliar=list(answer.prediction.out_of_vocabulary),
            left_unlabelled=None if removed is None else dict(rle.encode(removed)),
        )

    def find_images(self, phrase: str, limit: int = 20) -> dict[str, Any]:
        """Rank the project's images for a phrase, the best first.

        Args:
            phrase: what the images should show, such as "a zebra in the grass".
            limit: the most images to return.
        """
        matches = self._session.find(phrase, limit=limit, progress=current_call().progress)
        images = [
            {"image": match.record.id, "file": match.record.file_name, "score": round(match.score, 4)}
            for match in matches.hits
        ]
        return self._answer(None, images=images, problems=list(matches.problems))

    def segment_like(
        self,
        image: Any,
        references: list[int] | None = None,
        not_this: list[int] | None = None,
        preset: str | None = None,
        examples: list[dict[str, Any]] | None = None,
        counterexamples: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Propose a mask of what accepted masks, or masks that are sent along, show.

        Args:
            image: id of a project image, or an uploaded file, which is added to the project.
            references: ids of accepted masks of the object.
            not_this: ids of accepted masks of what it is not (negative references).
            preset: must be the preset that this server runs; may be left out.
            examples: masks of the object that need not be accepted, each with `image`, `segmentation` (COCO RLE) and
                `category`.
            counterexamples: such masks of what it is not.
        """
        self._check_preset(preset, "example")
        image_id = self._image_id(image)
        answer = self._session.propose_reference(
            image_id,
            [*(references or []), *map(self._reference, examples or [])],
            negative_references=[*(not_this or []), *map(self._reference, counterexamples or [])],
            progress=current_call().progress,
        )
        return self._proposals(answer)

    def segment_click(
        self,
        image: Any,
        points: list[list[float]] | None = None,
        box: list[float] | None = None,
        previous: str | None = None,
        preset: str | None = None,
        start: dict[str, Any] | None = None,
        category: str | None = None,
    ) -> dict[str, Any]:
        """Propose up to three masks of the object that is clicked on, the best first.

        Args:
            image: id of a project image, or an uploaded file, which is added to the project.
            points: x, y and label of each point in pixels of the image; label 1 is positive, 0 negative.
            box: left, top, right and bottom of a box around the object, in pixels.
            previous: id of the proposal that the points correct.
            preset: must be the preset that this server runs; may be left out.
            start: any mask that the points correct, as COCO RLE.
            category: name of the object.
        """
        self._check_preset(preset, "click")
        image_id = self._image_id(image)
        corrected = mask_of(start, category) if start else ProposalId.parse(previous) if previous else None
        answer = self._session.propose_click(image_id, points_of(points), box, previous=corrected, category=category)
        return self._proposals(answer)

    def segment_everything(self, image: Any) -> dict[str, Any]:
        """Propose masks of all objects, the most stable first.

        Args:
            image: id of a project image, or an uploaded file, which is added to the project.
        """
        return self._proposals(
            self._session.propose_everything(self._image_id(image), progress=current_call().progress)
        )

    def suggest_names(self, image: Any, segmentation: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """Rank names for a mask, each with its probability.

        Args:
            image: id of a project image, or an uploaded file, which is added to the project.
            segmentation: the mask as COCO RLE.
            names: to rank, with synonyms separated by "|".
        """
        image_id = self._image_id(image)
        pixels, mask = self._session.images.get(image_id), mask_of(segmentation, None)
        return self._answer(image_id, names=self._session.engines.for_suggestions().suggest(pixels, mask, names))

    def accept(self, proposals: list[str], category: str | None = None) -> dict[str, Any]:
        """Accept proposals as annotations; they are on disk when this returns.

        Args:
            proposals: ids from a segment endpoint.
            category: name for all of them instead of their own.
        """
        return self._annotations(self._session.accept(ids(proposals), category=category, annotator=current_call().user))

    def reject(self, proposals: list[str], category: str | None = None) -> dict[str, Any]:
        """Reject proposals; the project keeps them as negatives.

        Args:
            proposals: ids from a segment endpoint.
            category: name for all of them instead of their own.
        """
        return self._annotations(self._session.reject(ids(proposals), category=category, annotator=current_call().user))

    def delete(self, annotations: list[int]) -> dict[str, Any]:
        """Delete accepted masks, in one step that `undo` takes back.

        Args:
            annotations: ids of the masks.
        """
        return self._annotations(self._session.delete(annotations, annotator=current_call().user))

    def undo(self, image: int) -> dict[str, Any]:
        """Undo the last step on an image: an accept, a rejection, a deletion, a correction.

        When the last step was on another image, this is an error that names that image, and nothing changes.

        Args:
            image: id of a project image.
        """
        return self._step(self._session.undo, image)

    def redo(self, image: int) -> dict[str, Any]:
        """Redo what was undone last on an image.

        When that was on another image, this is an error that names that image, and nothing changes.

        Args:
            image: id of a project image.
        """
        return self._step(self._session.redo, image)

    def export_coco(self, options: Mapping[str, Any] | None = None) -> str:
        """Write the accepted masks as a COCO file; returns its path.

        Args:
            options: keyword arguments of `Project.export_coco`.
        """
        unknown = sorted(set(options or {}) - set(_EXPORT_OPTIONS))
        if unknown:
            raise UsageError(f"There is no export option {unknown[0]}. Known: {', '.join(sorted(_EXPORT_OPTIONS))}.")
        for name, value in (options or {}).items():
            try:
                _EXPORT_OPTIONS[name].validate_python(value, strict=True)
            except ValidationError as error:
                raise UsageError(f"The export option {name} cannot be {value!r}.") from error
        return str(self._session.export_coco(options=options))

    def finetune(self, recipe: str = "decoder", task: str = "text") -> dict[str, Any]:
        """Start fine-tuning on the accepted masks; returns the id of the job at once.

        Args:
            recipe: what learns: "decoder", "qv", "qk", "vision" or "full".
            task: what it learns for, "text" or "click".
        """
        return self._answer(None, job=self._session.finetuning.start(recipe=recipe, task=task))

    def job_status(self, job: str) -> dict[str, Any]:
        """State, progress and metrics of a job.

        Args:
            job: id from `finetune`.
        """
        run = self._session.finetuning.run(job)
        return self._answer(
            None,
            job=job,
            state=run.state,
            progress=run.progress.to_dict(),
            metrics={
                "before": run.before and run.before.to_dict(),
                "after": run.after and run.after.to_dict(),
            },
            message=run.message,
        )

    def job_cancel(self, job: str) -> dict[str, Any]:
        """Cancel a job; it stops within seconds and can be resumed.

        Args:
            job: id from `finetune`.
        """
        self._session.finetuning.cancel(job)
        return self.job_status(job)

    def _step(self, step: Callable[..., str], image: int) -> dict[str, Any]:
        if not isinstance(image, int) or isinstance(image, bool):
            # without an image, a step on any image would be undone
            raise UsageError("Name an image of the project by its number.")
        image_id = self._session.images.record(image).id
        try:
            sentence = step(image_id, annotator=current_call().user)
        except OtherImage as error:
            raise OtherImage(f"{error} It was image {error.image_id}.", error.image_id) from error
        return self._answer(image_id, sentence=sentence)

    def _annotations(self, annotations: Sequence[Annotation]) -> dict[str, Any]:
        rows = [{"id": a.id, "uid": a.uid, "category": a.category, "state": a.state} for a in annotations]
        return self._answer(annotations[0].image_id if annotations else None, annotations=rows)

    def _answer(self, image_id: int | None, **values: Any) -> dict[str, Any]:
        return {"image": image_id, "change": self._session.change_number(), **values}

    def _check_preset(self, preset: str | None, task: Literal["text", "example", "click"]) -> None:
        running = self._session.presets.used(task)
        if preset not in (None, "", running):
            raise MaskwrightError(
                f"This server answers {task} prompts with {running}.",
                f"Use {preset} in the page's list of models, or start another server with --preset {preset}.",
            )

    def _proposals(self, answer: Proposals, **values: Any) -> dict[str, Any]:
        """The answer to a prompt, with all that a program needs to make the same prediction of it."""
        prediction = answer.prediction
        return self._answer(
            answer.image_id,
            categories=list(prediction.categories),
            notice=answer.answer_notice,
            masks=masks_json(answer),
            scores=[float(score) for score in prediction.scores],
            max_scores=[float(score) for score in prediction.max_scores],
            note=prediction.note,
            provenance=prediction.provenance.to_dict(),
            **values,
        )

    def _reference(self, example: Any) -> Reference:
        if not isinstance(example, Mapping) or not {"image", "segmentation"} <= set(example):
            raise UsageError("An example needs an image and a segmentation.")
        category = example.get("category")
        mask = mask_of(example["segmentation"], None if category is None else str(category)[:200])
        return Reference(self._session.images.get(self._image_id(example["image"])), mask)

    def _image_id(self, image: Any) -> int:
        """Id of a project image, or of an upload after adding it; no other path from a client is opened."""
        if isinstance(image, int) and not isinstance(image, bool):
            return self._session.images.record(image).id
        if isinstance(image, Mapping) and "path" in image:
            path = Path(str(image["path"])).resolve()
            if path.is_relative_to(Path(get_upload_folder()).resolve()):
                return self._session.images.add(path).id
        if isinstance(image, Mapping) and "sha256" in image:
            known = self._session.images.id_of(str(image["sha256"])[:64])
            if known is None:
                raise MaskwrightError(UNKNOWN_IMAGE, "Upload it first.")
            return known
        raise UsageError("Name an image of the project by its number, or upload a file.")
