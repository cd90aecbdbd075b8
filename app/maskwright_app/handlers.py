"""What the page does, without a widget in sight: each method takes plain values and gives plain values."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gradio.utils import get_upload_folder
from PIL import Image as Pillow

from maskwright import rle
from maskwright.clicking import ClickPrompt
from maskwright.errors import BadPrompt, MaskwrightError
from maskwright.session import CLEANING, METHODS, AnnotationSession, Proposal
from maskwright_app.render import click_bar, improvement, legend, like_bar, picture

__all__ = ["Handlers", "View", "Words"]


@dataclass(frozen=True, slots=True)
class View:
    """What one browser tab shows of one image."""

    picture: str
    legend: str
    counts: str
    notice: str = ""


class Words(NamedTuple):
    """A prompt by word as the page takes it."""

    words: str
    method: str = "Automatic"
    """One of METHODS"""
    background: bool = True
    clean: str = "Automatic"
    """One of CLEANING"""
    refine: bool = False
    threshold: float = 0.5


_NAMES = 5
"""So many suggestions are shown."""
_MATCHES = 24
_SMALL = 200
"""Pixels of the longest side of a found image."""
_PROBLEMS = 3
_EMPTY = View('<p class="mw-empty">Choose a sample, open a picture of the project, or upload one.</p>', "", "", "")


class Handlers:
    """The logic of page and endpoints on one session."""

    def __init__(self, session: AnnotationSession) -> None:
        self.session = session

    # for the page

    def view(
        self,
        image_id: int | None,
        proposals: Sequence[str],
        notice: str = "",
        looked_for: str | None = None,
        prompt: ClickPrompt | None = None,
    ) -> View:
        """The picture with accepted masks and with those proposals that are still open.

        Args:
            image_id: of the picture.
            proposals: ids of proposals of words or examples.
            notice: one sentence to show.
            looked_for: category that is looked for by example.
            prompt: the clicks on the picture, of whose answers one is shown.
        """
        if image_id is None:
            return View(_EMPTY.picture, "", self.counts())
        image = self.session.image(image_id)
        prompt = prompt if prompt and prompt.image_id == image_id else None
        answer = [prompt.proposal] if prompt and prompt.proposal else []
        rows = self.session.shown(image_id, [*proposals, *answer])
        if prompt and answer:
            # the correction stands where the mask was
            rows = [row for row in rows if row.annotation is None or row.annotation != prompt.corrects]
        return View(
            picture(image.pixels, rows, image.name, prompt),
            legend(rows, image.size_hw, looked_for),
            self.counts(),
            notice,
        )

    def click(
        self, image_id: int | None, prompt: ClickPrompt | None, told: Mapping[str, Any]
    ) -> tuple[ClickPrompt | None, str]:
        """The prompt after a click or a box on the picture, and what a person should know of the answer.

        Args:
            image_id: of the picture.
            prompt: what was clicked on it before.
            told: by the browser: "box", or "x", "y", "sign" and the distance "near" that still hits a point.
        """
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        if prompt is None or prompt.image_id != image_id:
            prompt = ClickPrompt(image_id)
        if told.get("box"):
            step = prompt.boxed(_four(told["box"]))
        else:
            spot = float(told["x"]), float(told["y"])
            found = prompt.clicked(*spot, int(told["sign"]), near=float(told.get("near", 0)))
            if found is None:
                self.clear(prompt)
                return None, ""
            step = found
        return self.session.ask(prompt, step)

    def undo(self, prompt: ClickPrompt | None) -> ClickPrompt | None:
        """The prompt without its last step."""
        if prompt is None or not prompt.steps:
            raise BadPrompt("There is no click to undo.")
        self.session.drop(sorted(set(prompt.last.answers) - set(prompt.undone().answers)))
        return prompt.undone()

    def clear(self, prompt: ClickPrompt | None) -> None:
        """Forget a prompt and its answers; accepted masks stay as they are."""
        if prompt is not None:
            self.session.drop(prompt.answers)

    def click_bar(self, prompt: ClickPrompt | None, *, suggest: bool = False) -> str:
        """HTML of what can be done with the clicks, with names that the mask may have when they are asked for."""
        opened = self.session.open_proposals([prompt.proposal]) if prompt and prompt.proposal else []
        score = opened[0].mask.score if opened else None
        names = self.session.suggest(opened[0].id)[:_NAMES] if suggest and opened else []
        return click_bar(prompt, score, names)

    def counts(self) -> str:
        """HTML line: images, and accepted masks per category."""
        return f'<p class="mw-counts">{html.escape(self.session.counts())}</p>'

    def improvement(self) -> str:
        """HTML of where fine-tuning stands."""
        return improvement(self.session.improvement())

    def propose(self, image_id: int | None, asked: Words) -> tuple[list[str], str]:
        """Ids of the new proposals and of what cleaning left unlabelled, and what a person should know of them."""
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        found = self.session.propose_text(
            image_id, asked.words, method=METHODS[asked.method], background=asked.background,
            threshold=asked.threshold if asked.background else None, refine="pamr" if asked.refine else None,
            cleaning=CLEANING[asked.clean],
        )  # fmt: skip
        return found.ids, found.notice

    def find(
        self, phrase: str, progress: Callable[[int, int], None], cancelled: Callable[[], bool]
    ) -> tuple[list[tuple[Pillow.Image, str]], list[int], str]:
        """Images that show what a phrase says, as small pictures with a line each; their ids; and what went wrong."""
        matches = self.session.find(phrase, limit=_MATCHES, progress=progress, cancelled=cancelled)
        shown = [
            (self._small(one.record.id), f"{one.score:.2f}  {Path(one.record.file_name).name}") for one in matches.found
        ]
        return shown, [one.record.id for one in matches.found], " ".join(matches.problems[:_PROBLEMS])

    def _small(self, image_id: int) -> Pillow.Image:
        small = Pillow.fromarray(self.session.image(image_id).pixels)
        small.thumbnail((_SMALL, _SMALL))
        return small

    def propose_like(self, image_id: int | None, category: str) -> tuple[list[str], str]:
        """Ids of the proposals like a category's references, and what a person should know of them."""
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        found = self.session.propose_like(image_id, category)
        return [proposal.id for proposal in found.proposals], found.notice

    def propose_everything(self, image_id: int | None) -> tuple[list[str], str]:
        """Ids of the proposals for all things, and what a person should know of them."""
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        found = self.session.propose_everything(image_id)
        return [proposal.id for proposal in found.proposals], found.notice

    def wants_like(self, image_id: int | None, category: str | None) -> bool:
        """Whether to look for a category on an image that is turned to: not where it has a mask of it already."""
        if image_id is None or category is None:
            return False
        rows = self.session.shown(image_id)
        return all(row.mask.category != category for row in rows)

    def mark(self, annotation: int, looked_for: str | None, *, shows: bool) -> str:
        """Choose an accepted mask as a reference, or take the choice back; gives the category to look for.

        Args:
            annotation: its id.
            looked_for: the category looked for at present.
            shows: it shows its own category; else it is what `looked_for` is not.
        """
        one = self.session.project.store.annotation(annotation)
        category = one.category if shows else looked_for
        if category is None:
            raise MaskwrightError("Choose a mask with Find like this first.")
        marks = self.session.project.store.reference_marks()
        again = any((m.annotation_id, m.category, m.shows) == (annotation, category, shows) for m in marks)
        # while it is not looked for, a second click on a reference looks for it; then it takes the choice back
        if not again or category == looked_for:
            self.session.project.mark_reference(one, None if again else shows, category)
        return category

    def like_bar(self, category: str | None) -> str:
        """HTML of what is looked for, with the references in small."""
        if category is None:
            return ""
        shows, not_this = self.session.project.references(category)
        return like_bar(category, shows, not_this)

    def neighbour(self, image_id: int | None, by: int) -> int | None:
        """The next image of the project (1) or the one before (-1); the same at the ends."""
        ids = [key for _, key in self.session.choices()]
        if image_id not in ids:
            return ids[0] if ids else None
        return ids[min(len(ids) - 1, max(0, ids.index(image_id) + by))]

    def choices(self) -> list[tuple[str, int]]:
        """(name, id) of the project's images, newest first."""
        return self.session.choices()[::-1]

    def still_there(self, image_id: int | None) -> int | None:
        """The image a tab had open, else the newest of the project, else None."""
        ids = [record.id for record in self.session.project.images()]
        return image_id if image_id in ids else max(ids, default=None)

    def decide_all(
        self, image_id: int | None, proposals: Sequence[str], prompt: ClickPrompt | None, name: str, *, keep: bool
    ) -> None:
        """Accept or reject the answer to the clicks, and all other open proposals of an image."""
        clicked = prompt if prompt and prompt.image_id == image_id and prompt.proposal else None
        ids = [proposal.id for proposal in self.session.open_proposals(proposals, image_id)]
        if not ids and clicked is None:
            raise MaskwrightError("There is no open mask. Type class names and press Find masks first, or click.")
        if clicked is not None:
            self.session.decide_click(clicked, name, keep=keep)
        if ids:
            self.session.decide(ids, name, keep=keep)

    def add_files(self, paths: Sequence[str]) -> tuple[int | None, list[str]]:
        """Add uploads; gives the last image's id and one line for each file that could not be added."""
        last, problems = None, []
        for path in paths:
            try:
                last = self.session.add_picture(Path(path)).id
            except MaskwrightError as error:
                problems.append(str(error))
        return last, problems

    # for the endpoints (contracts.md section 7)

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
        found = self.session.propose_text(
            image_id, words, method=method, background=background, threshold=threshold, refine=refine,
            cleaning=cleaning,
        )  # fmt: skip
        return self._answer(
            image_id,
            categories=list(found.prediction.categories),
            unfamiliar=list(found.prediction.unfamiliar),
            notice=found.notice,
            masks=[_mask(proposal) for proposal in found.proposals],
            left_unlabelled=_left(found.prediction.removed),
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
            notice=found.notice,
            masks=[_mask(proposal) for proposal in found.proposals],
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
        return self._answer(image_id, notice=found.notice, masks=[_mask(proposal) for proposal in found.proposals])

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

    def export_coco(self, options: Mapping[str, Any] | None = None) -> str:
        """Write the accepted masks as a COCO file and give its path."""
        known = {"segmentation", "only_annotated", "all_categories", "description"}
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
        metrics = {"before": run.before, "after": run.after}
        told = {"state": run.state, "progress": dict(run.progress), "metrics": metrics, "message": run.message}
        return self._answer(None, job=job, **told)

    def job_cancel(self, job: str) -> dict[str, Any]:
        """Ask a job to stop; it does within a second or two, and can be resumed.

        Args:
            job: id from an endpoint that started one.
        """
        self.session.project.runs.cancel(job)
        return self.job_status(job)

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
            return self.session.project.store.image(image).id
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


def _four(box: Any) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in box)
    return left, top, right, bottom


def _left(removed: Any) -> dict[str, Any] | None:
    """What background cleaning left unlabelled, as COCO RLE."""
    return None if removed is None else dict(rle.encode(removed))


def _mask(proposal: Proposal) -> dict[str, Any]:
    mask = proposal.mask
    return {
        "proposal": proposal.id,
        "category": mask.category,
        "score": mask.score,
        "bbox": list(mask.bbox),
        "area": mask.area,
        "segmentation": dict(mask.rle),
    }
