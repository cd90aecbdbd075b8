"""The one object a front end talks to: open proposals in memory, everything accepted in the project.

What browser page and napari both show stands here once: masks with their colours, counts and sentences.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.domain import Annotation, Image, ImageRecord, Mask, Prediction, PromptKind, Run, TextPrompt
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.domain.palette import default_color
from maskwright.errors import BadPrompt, Conflict, MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.images import user_name
from maskwright.session.duplicates import duplicates
from maskwright.store import Changes, Correction, NewAnnotation

if TYPE_CHECKING:
    # torch comes with the engine, and a window should open before it
    from maskwright.engine import Engine
    from maskwright.project.search import SearchResult

__all__ = ["CLEANING", "METHODS", "AnnotationSession", "Improvement", "MaskView", "Proposal", "Proposals"]

METHODS: Mapping[str, str | None] = {
    "Automatic": None, "dinov3.seg": "dinov3seg", "dino.txt": "dinotxt", "Talk2DINO": "talk2dino",
}  # fmt: skip
"""Methods for words by the name they are shown under; automatic is the preset's first."""
CLEANING: Mapping[str, bool | None] = {"Automatic": None, "On": True, "Off": False}
"""Background cleaning by the name it is shown under; automatic is as the preset says."""
_IMAGES_KEPT = 8
_PROPOSALS_KEPT = 4096
_STORED = "stored-"
"""Begins the id of a proposal that a batch has left in the project."""
_CLEANED = "#808080"
_WORSE = 0.05
"""A class that loses more than this makes the old model the better choice."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mask a model suggests; it is nobody's until it is accepted."""

    id: str
    image_id: int
    mask: Mask
    provenance: Mapping[str, Any]
    unfamiliar: bool
    """The model was not taught this word."""
    corrects: Annotation | None = None
    """The accepted mask, as it was seen, that it replaces when it is accepted."""


@dataclass(frozen=True, slots=True)
class Proposals:
    """The answer to one prompt on a project image."""

    image_id: int
    prediction: Prediction
    proposals: tuple[Proposal, ...]
    preview: str | None = None
    """Id, for `shown`, of what background cleaning left unlabelled; None when that is nothing."""
    duplicates: tuple[Proposal, ...] = ()
    """Proposals that say again what was accepted already; they are open, but not among `proposals`."""
    answers: tuple[Proposal, ...] = ()
    """All of them as the model gave them, duplicates too: the same whatever was accepted before."""

    @property
    def ids(self) -> list[str]:
        """What to ask `shown` for: the proposals, and the preview."""
        return [proposal.id for proposal in self.proposals] + ([self.preview] if self.preview else [])

    @property
    def hidden_ids(self) -> list[str]:
        """What to ask `shown` for besides, to see the duplicates."""
        return [proposal.id for proposal in self.duplicates]

    @property
    def notice(self) -> str:
        """What a person should know of the answer, or empty: `told`, and how many duplicates are hidden."""
        number = len(self.duplicates)
        hidden = f"{number} duplicate{'s' * (number != 1)} hidden." if number else ""
        return " ".join(part for part in (self.told, hidden) if part)

    @property
    def told(self) -> str:
        """What there is to say of the answer itself, or empty: unfamiliar words, names that were not found."""
        parts = [self.prediction.note] if self.prediction.note else []
        words = self.prediction.out_of_vocabulary
        if words:
            one = len(words) == 1
            parts.append(f"This model was not taught {_listed(words)}; expect little of {'it' if one else 'them'}.")
        removed = self.prediction.unlabelled_by_cleaning
        if removed is not None and removed.any():
            parts.append(f"Cleaning left {100 * float(removed.mean()):.0f} % of the picture unlabelled (hatched).")
        found = {proposal.mask.category for proposal in (*self.proposals, *self.duplicates)}
        scored = zip(self.prediction.categories, self.prediction.max_scores, strict=True)
        missing = [(name, best) for name, best in scored if name not in found]
        threshold = self.prediction.provenance["parameters"].get("threshold")
        if missing and self.prediction.kind.class_agnostic:
            parts.append("Nothing was found there. Click somewhere else, or draw a box.")
        elif missing and self.prediction.kind is PromptKind.REFERENCE:
            parts.append(f"Nothing like the reference was found ({missing[0][0]}).")
        elif missing and threshold is not None:
            name, best = max(missing, key=lambda pair: pair[1])
            lower = best < threshold
            parts.append(
                f"No {name} found above {threshold:.2f}; the best score is {best:.2f}. Lower the threshold?"
                if lower
                else f"No {name} found: other names fit better everywhere."
            )
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class MaskView:
    """One mask of an image as every front end shows it."""

    mask: Mask
    color: str
    proposal: str | None = None
    """Id of an open proposal; None for an accepted mask."""
    unfamiliar: bool = False
    annotation: int | None = None
    """Id of an accepted mask."""
    cleaned: bool = False
    """Not a mask: what background cleaning left unlabelled."""
    speaks: tuple[tuple[str, bool], ...] = ()
    """The categories it was chosen as a reference of, and whether it shows them or is what they are not."""
    duplicate: bool = False
    """A proposal that says again what is accepted on the image now."""


@dataclass(frozen=True, slots=True)
class Improvement:
    """Where fine-tuning stands, and what can be done about it now."""

    line: str
    """One or two sentences."""
    run: str | None = None
    """The run that the line speaks of."""
    share: float | None = None
    """How much of a running run is done, 0 to 1."""
    curve: tuple[tuple[int, float], ...] = ()
    """(step, loss) so far."""
    actions: tuple[str, ...] = ()
    """Of start, cancel, resume, use, back: what makes sense now, the advisable first."""


def _listed(words: Sequence[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


class AnnotationSession:
    """Prompt, look, accept: for any number of windows on one project; safe to share between threads."""

    def __init__(self, engine: Callable[[str], Engine], project: Project, preset: str = "tiny") -> None:
        """Take a project, a way to get the engine of a preset or checkpoint folder, and the preset to begin with."""
        self.project = project
        self._make_engine, self._preset = engine, preset
        self._loaded: tuple[str, Engine] | None = None
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._open: OrderedDict[str, Proposal] = OrderedDict()
        self._previews: OrderedDict[str, tuple[int, Mask]] = OrderedDict()
        self._searcher: Engine | None = None
        self._told: tuple[int, Improvement] | None = None

    @property
    def engine(self) -> Engine:
        """The engine of the model that the project uses, loaded when first needed.

        Another window may have changed the model: the new one is built beside the old, and prompts that run finish on
        the old.
        """
        wanted = self.project.runs.model() or self._preset
        with self._loading:
            if self._loaded is None or self._loaded[0] != wanted:
                self._loaded = wanted, self._make_engine(wanted)
            return self._loaded[1]

    def change_number(self) -> int:
        """Grows with every change to the project by any process."""
        return self.project.store.change_number()

    def add_picture(self, path: Path) -> ImageRecord:
        """Add one picture file to the project; raises MaskwrightError with what is wrong with it."""
        return self.project.images.register(Image.open(path))

    def image(self, image_id: int) -> Image:
        """Pixels of a project image; the last few are kept in memory."""
        with self._lock:
            if image_id in self._images:
                self._images.move_to_end(image_id)
                return self._images[image_id]
        image = self.project.images.open(image_id)
        with self._lock:
            self._images[image_id] = image
            while len(self._images) > _IMAGES_KEPT:
                self._images.popitem(last=False)
        return image

    def propose_text(self, image_id: int, prompt: TextPrompt, *, progress: Progress = NO_PROGRESS) -> Proposals:
        """Masks for words; each prompt makes new proposals and leaves everything accepted alone."""
        engine, image = self.engine, self.image(image_id)
        began = time.perf_counter()
        return self._proposed(image_id, engine.segment(image, prompt, progress=progress), began)

    def propose_reference(
        self,
        image_id: int,
        references: Sequence[int],
        *,
        not_this: Sequence[int] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Proposals:
        """A mask of what accepted masks show, which are named by their ids, and of none of what `not_this` shows."""
        shows, against = ([self.project.reference(key) for key in keys] for keys in (references, not_this))
        engine, image = self.engine, self.image(image_id)
        began = time.perf_counter()
        prediction = engine.segment_like(image, shows, negative_references=against, progress=progress)
        return self._proposed(image_id, prediction, began)

    def propose_like(self, image_id: int, category: str, *, progress: Progress = NO_PROGRESS) -> Proposals:
        """A mask of what the references of a category show; see `Project.references`."""
        shows, negative = self.project.references(category)
        engine, image = self.engine, self.image(image_id)
        began = time.perf_counter()
        prediction = engine.segment_like(image, shows, category, negative_references=negative, progress=progress)
        return self._proposed(image_id, prediction, began)

    def propose_click(
        self,
        image_id: int,
        points: Sequence[Sequence[float]] = (),
        box: Sequence[float] | None = None,
        *,
        previous: str | None = None,
        corrects: int | None = None,
        category: str | None = None,
    ) -> Proposals:
        """Masks for clicks, up to three for the first one.

        Args:
            image_id: of the image.
            points: x, y and sign (1 on the thing, 0 beside it; left out: 1) of each.
            box: left, top, right, bottom around the thing.
            previous: id of the open proposal that the clicks correct.
            corrects: id of the accepted mask that they correct; to accept the answer replaces it.
            category: name of the thing.
        """
        start, corrected = None, None
        if corrects is not None:
            corrected = self.project.store.masks.get(corrects)
            start = corrected.mask
        if previous is not None:
            opened = self.open_proposals([previous])
            if not opened or opened[0].image_id != image_id:
                raise MaskwrightError("That proposal is no longer open. Click again.")
            start = opened[0].mask
        engine, image = self.engine, self.image(image_id)
        began = time.perf_counter()
        prediction = engine.segment_click(
            image, [point[:2] for point in points], [point[2] if len(point) > 2 else 1 for point in points], box,
            start=start, category=category,
        )  # fmt: skip
        return self._proposed(image_id, prediction, began, corrected)

    def ask(self, prompt: ClickPrompt, step: ClickStep) -> tuple[ClickPrompt, str]:
        """A prompt with its next step answered, and what a person should know of the answer."""
        found = self.propose_click(
            prompt.image_id, step.points, step.box, previous=prompt.previous, corrects=prompt.corrects
        )
        return prompt.with_step(step._replace(candidates=tuple(one.id for one in found.proposals))), found.notice

    def decide(self, ids: Sequence[str], name: str, *, keep: bool, annotator: str = "") -> list[Annotation]:
        """Accept or reject proposals: what SAM found, which knows no names, under `name`; the rest under their own."""
        state = "accepted" if keep else "rejected"
        return self._decide(ids, state, name.strip() or None, annotator, all_of_them=False)

    def decide_click(self, prompt: ClickPrompt, name: str, *, keep: bool, annotator: str = "") -> list[Annotation]:
        """Accept or reject the answer that is shown, under a name or its own; the others are forgotten."""
        if prompt.proposal is None:
            raise BadPrompt("There is no mask to decide on. Click on a thing first.")
        decided = self.decide([prompt.proposal], name, keep=keep, annotator=annotator)
        self.drop(prompt.candidates)
        return decided

    def propose_everything(self, image_id: int, *, progress: Progress = NO_PROGRESS) -> Proposals:
        """Masks of all things in an image, the most stable first."""
        engine, image = self.engine, self.image(image_id)
        began = time.perf_counter()
        return self._proposed(image_id, engine.segment_everything(image, progress=progress), began)

    def suggest(self, proposal: str) -> list[tuple[str, float]]:
        """Names of the project that an open proposal may have, each with its probability, the best first."""
        opened = self.open_proposals([proposal])
        names = [category.name for category in self.project.categories()]
        if not opened:
            raise MaskwrightError("That proposal is no longer open. Click again.")
        if not names:
            raise MaskwrightError("This project has no category yet. Type a name for the first one.")
        return self.engine.suggest(self.image(opened[0].image_id), opened[0].mask, names)

    def drop(self, ids: Sequence[str]) -> None:
        """Forget open proposals that a prompt no longer shows."""
        with self._lock:
            for key in ids:
                self._open.pop(key, None)

    def _proposed(
        self, image_id: int, prediction: Prediction, began: float, corrects: Annotation | None = None
    ) -> Proposals:
        # how long the answer took is part of where a mask comes from (L-3)
        told = {**prediction.provenance, "seconds": round(time.perf_counter() - began, 3)}
        proposals = tuple(
            Proposal(
                uuid.uuid4().hex, image_id, mask, told, mask.category in prediction.out_of_vocabulary,
                corrects,
            )
            for mask in prediction.masks()
        )  # fmt: skip
        preview = None
        with self._lock:
            self._open.update((proposal.id, proposal) for proposal in proposals)
            while len(self._open) > _PROPOSALS_KEPT:
                self._open.popitem(last=False)
            if prediction.unlabelled_by_cleaning is not None and prediction.unlabelled_by_cleaning.any():
                preview = f"cleaned-{uuid.uuid4().hex}"
                self._previews[preview] = (
                    image_id,
                    Mask.from_array(prediction.unlabelled_by_cleaning, category="left unlabelled"),
                )
                while len(self._previews) > _IMAGES_KEPT:
                    self._previews.popitem(last=False)
        again = self._again(image_id, proposals)
        fresh, hidden = (tuple(p for p in proposals if (p.id in again) is known) for known in (False, True))
        return Proposals(image_id, prediction, fresh, preview, hidden, proposals)

    def _again(
        self, image_id: int, proposals: Sequence[Proposal], accepted: Sequence[Annotation] | None = None
    ) -> set[str]:
        """Ids of those that repeat an accepted mask of the image; what was clicked never does, for it is asked for."""
        named = [one for one in proposals if one.mask.category and not _clicked(one)]
        if accepted is None:
            accepted = self.project.annotations(image_id) if named else []
        repeats = duplicates([one.mask for one in named], [one.mask for one in accepted if not one.crowd])
        return {one.id for one, repeated in zip(named, repeats, strict=True) if repeated}

    def accept(self, ids: Sequence[str], *, category: str | None = None, annotator: str = "") -> list[Annotation]:
        """Keep proposals; they are on disk when this returns, and stay open when it raises."""
        return self._decide(ids, "accepted", category, annotator)

    def reject(self, ids: Sequence[str], *, category: str | None = None, annotator: str = "") -> list[Annotation]:
        """Turn proposals down; the project remembers them as negatives."""
        return self._decide(ids, "rejected", category, annotator)

    def open_proposals(
        self, ids: Sequence[str], image_id: int | None = None, *, with_duplicates: bool = False
    ) -> list[Proposal]:
        """Those of the given proposals that nobody has decided on yet, and a batch's on the given image.

        A batch's proposals that repeat an accepted mask come only `with_duplicates`.
        """
        with self._lock:
            opened = [self._open[key] for key in ids if key in self._open]
        if image_id is not None:
            stored = [
                Proposal(f"{_STORED}{a.id}", image_id, a.mask, a.provenance, unfamiliar=False)
                for a in self.project.annotations(image_id, ("proposed",))
            ]
            again = set() if with_duplicates else self._again(image_id, stored)
            opened += [one for one in stored if one.id not in again]
        return opened

    def shown(self, image_id: int, proposals: Sequence[str] = (), *, with_duplicates: bool = False) -> list[MaskView]:
        """The accepted masks of an image, and its open proposals: those given, and a batch's; with their colours.

        Last what background cleaning left unlabelled, where the id of that is among those given. A batch's proposals
        that repeat an accepted mask come only `with_duplicates`; those given come always, and are marked.
        """
        accepted = self.project.annotations(image_id)
        opened = self.open_proposals(proposals, image_id, with_duplicates=True)
        again = self._again(image_id, opened, accepted)
        if not with_duplicates:
            opened = [one for one in opened if one.id not in again or not one.id.startswith(_STORED)]
        colors = self._colors([a.category for a in accepted] + [str(p.mask.category) for p in opened])
        marks: dict[int, list[tuple[str, bool]]] = {}
        for mark in self.project.store.references.all() if accepted else ():
            marks.setdefault(mark.annotation_id, []).append((mark.category, mark.shows))
        kept = [
            MaskView(a.mask, colors[a.category], annotation=a.id, speaks=tuple(marks.get(a.id, ()))) for a in accepted
        ]
        with self._lock:
            previews = [self._previews[key] for key in proposals if key in self._previews]
        left = [MaskView(mask, _CLEANED, cleaned=True) for of, mask in previews if of == image_id]
        found = [
            MaskView(one.mask, colors[str(one.mask.category)], one.id, one.unfamiliar, duplicate=one.id in again)
            for one in opened
        ]
        return kept + found + left

    def undo(self, image_id: int | None, *, annotator: str = "") -> str:
        """Take back the last step on the image in view; a sentence that says what it was.

        Raises:
            OtherImage: the step was on another image, which it names; nothing was changed.
            Conflict: somebody else has changed the same since; nothing was overwritten.
            MaskwrightError: there is nothing to undo.
        """
        return f"Undone: {self.project.undo(image_id, annotator=annotator or None).description}."

    def redo(self, image_id: int | None, *, annotator: str = "") -> str:
        """Do again what was undone last on the image in view; a sentence, and errors, as `undo`."""
        return f"Done again: {self.project.redo(image_id, annotator=annotator or None).description}."

    def delete(self, annotations: Sequence[int], *, annotator: str = "") -> list[Annotation]:
        """Accepted masks as deleted, in one step that can be undone."""
        return self.project.delete(annotations, annotator=annotator or None)

    def history(self, annotation: int) -> list[str]:
        """What happened to a mask, a sentence each, the oldest first."""
        return self.project.history(annotation)

    def changes(self, after: int) -> Changes:
        """What any window has changed since a change number: which images to draw again."""
        return self.project.store.changes(after)

    def counts(self) -> str:
        """One line: images, and accepted masks per category."""
        status = self.project.status()
        total = sum(status.accepted.values())
        waiting = f", {status.proposed} proposed" if status.proposed else ""
        masks = ", ".join(f"{name} {number}" for name, number in status.accepted.items() if number)
        return (
            f"{status.images} image{'s' * (status.images != 1)}, "
            f"{total} accepted mask{'s' * (total != 1)}{': ' + masks if masks else ''}{waiting}"
        )

    def choices(self) -> list[tuple[str, int]]:
        """(name, id) of the project's images, oldest first."""
        return [(f"{r.id}: {Path(r.file_name).name}", r.id) for r in self.project.images.all()]

    def find(
        self,
        phrase: str,
        *,
        limit: int = 20,
        progress: Progress = NO_PROGRESS,
    ) -> SearchResult:
        """Images of the project that show what a phrase says, the best first."""
        from maskwright.project.search import find_images

        return find_images(self.project, self._finder(), phrase, limit=limit, progress=progress)

    def _finder(self) -> Engine:
        """The engine in use, or the preset's: a fine-tuned model no longer fits Talk2DINO's projection."""
        engine = self.engine
        if "talk2dino" in engine.text_methods or (self._loaded and self._loaded[0] == self._preset):
            return engine
        with self._loading:
            self._searcher = self._searcher or self._make_engine(self._preset)
            return self._searcher

    # a better model

    def improve(self, *, recipe: str = "full") -> str:
        """Start learning from the accepted masks; gives the run's name at once."""
        base = None if self.project.runs.active() else self._preset
        return self.project.finetune(recipe=recipe, base=base).name

    def act(self, action: str) -> None:
        """Do one of the actions that `improvement` offers."""
        runs, offered = self.project.runs, self.improvement()
        if action not in offered.actions:
            raise MaskwrightError("That is no longer possible. Look at what the run says now.")
        name, who = str(offered.run), user_name()
        match action:
            case "start":
                self.improve()
            case "cancel":
                runs.cancel(name)
            case "resume":
                runs.resume(name, user=who)
            case "use":
                runs.activate(name, user=who)
            case "back":
                runs.activate(self._earlier(), user=who)

    def improvement(self) -> Improvement:
        """What to tell about fine-tuning now."""
        change = self.change_number()
        with self._lock:
            if self._told and self._told[0] == change:
                return self._told[1]
        told = self._improvement()
        # a run changes without leaving a line in the history, until it ends
        if "cancel" not in told.actions:
            with self._lock:
                self._told = change, told
        return told

    def _improvement(self) -> Improvement:
        last, active = self.project.runs.last(), self.project.runs.active()
        back = ("back",) if active else ()
        if last is None:
            return self._invitation()
        if last.state == "running":
            return _running(last)
        if last.state != "done":
            why = f": {last.message}" if last.message else "."
            return Improvement(f"{last.name} was {last.state}{why}", last.name, actions=("resume", "start", *back))
        if last.name == active:
            return Improvement(f"In use: {_scores(last)}", last.name, actions=("start", *back))
        if _worse(last):
            line = f"{_scores(last)} The old model is the better one; keep it."
            return Improvement(line, last.name, actions=("start", "use", *back))
        return Improvement(_scores(last), last.name, actions=("use", "start", *back))

    def _invitation(self) -> Improvement:
        try:
            plan = self.project.runs.plan()
        except MaskwrightError as error:
            return Improvement(str(error))
        left_out = f" Left out, with fewer than 3 masks: {', '.join(plan.left_out)}." if plan.left_out else ""
        return Improvement(
            f"Learns {len(plan.categories)} class{'es' * (len(plan.categories) != 1)} ({', '.join(plan.categories)}) "
            f"from {len(plan.train)} image{'s' * (len(plan.train) != 1)}, and is measured on "
            f"{len(plan.validation)} more.{left_out}",
            actions=("start",),
        )

    def _earlier(self) -> str | None:
        """The run whose model was used before the active one, as its base says; None for the preset."""
        active = self.project.runs.active()
        base = self.project.runs.get(str(active)).base
        return base.removeprefix("checkpoints/") if base.startswith("checkpoints/") else None

    def _colors(self, names: Sequence[str]) -> dict[str, str]:
        """Colour by name: the project's, and for new names those they will get when accepted in this order."""
        known = {category.name: category.color for category in self.project.categories()}
        new = [name for name in dict.fromkeys(names) if name not in known]
        return known | {name: default_color(len(known) + n) for n, name in enumerate(new)}

    def _decide(
        self, ids: Sequence[str], state: str, category: str | None, annotator: str, *, all_of_them: bool = True
    ) -> list[Annotation]:
        """Decide in one transaction; the name is for all, or for those that a click found, which have none."""

        def name(one: Proposal) -> str | None:
            return category if all_of_them or _class_agnostic(one) else None

        who = annotator or user_name()
        stored = [int(key.removeprefix(_STORED)) for key in ids if key.startswith(_STORED)]
        chosen = self._taken([key for key in ids if not key.startswith(_STORED)])
        new = [
            NewAnnotation(
                p.image_id, name(p) or p.mask.category or "", p.mask, str(p.provenance["source"]), p.provenance, who,
                state,
            )
            for p in chosen
            if p.corrects is None
        ]  # fmt: skip
        # turned down, a correction leaves the mask as it is
        corrections = [
            Correction(p.corrects.id, p.corrects.revision, p.mask, p.provenance, name(p))
            for p in chosen
            if p.corrects is not None and state == "accepted"
        ]
        try:
            return self.project.store.masks.decide(
                state,
                who,
                new=new,
                corrections=corrections,
                stored=stored,
                category=category if all_of_them else None,
            )
        except BaseException as error:
            # nothing was stored: the masks stay on screen
            with self._lock:
                self._open.update((proposal.id, proposal) for proposal in chosen)
            if isinstance(error, Conflict):
                self._see_again(chosen)
            raise

    def _see_again(self, chosen: Sequence[Proposal]) -> None:
        """After somebody else's change both masks are shown; whoever accepts now has seen the other one."""
        with self._lock:
            for one in chosen:
                if one.corrects is not None:
                    seen = self.project.store.masks.get(one.corrects.id)
                    self._open[one.id] = replace(one, corrects=seen)

    def _taken(self, ids: Sequence[str]) -> list[Proposal]:
        """Open proposals, no longer open."""
        with self._lock:
            if any(key not in self._open for key in ids):
                raise MaskwrightError("That proposal is no longer open. Run the prompt again.")
            return [self._open.pop(key) for key in dict.fromkeys(ids)]


def _clicked(one: Proposal) -> bool:
    """Whether the proposal answers clicks or a box."""
    return PromptKind.of(one.provenance) in (PromptKind.CLICK, PromptKind.BOX)


def _class_agnostic(one: Proposal) -> bool:
    """Whether the model assigns no class to the mask, so that the user names it."""
    kind = PromptKind.of(one.provenance)
    return kind is not None and kind.class_agnostic


def _running(run: Run) -> Improvement:
    progress = run.progress
    phase = progress.phase or "starting"
    share, line = 0.0, f"{run.name}: {phase}"
    if phase == "training" and progress.step is not None and progress.steps:
        share = progress.step / progress.steps
        if progress.loss is not None:
            line += f", step {progress.step} of {progress.steps}, loss {progress.loss:.2f}"
        if progress.seconds_left is not None:
            line += f", about {max(1, round(progress.seconds_left / 60))} min left"
    elif progress.total is not None:
        line += f", image {progress.done} of {progress.total}"
    return Improvement(f"{line}.", run.name, share, progress.curve or (), ("cancel",))


def _scores(run: Run) -> str:
    assert run.before is not None
    assert run.after is not None
    images = f"{run.after.images} held-out image{'s' * (run.after.images != 1)}"
    return f"{run.name}: mIoU {run.before.miou:.3f} before, {run.after.miou:.3f} after, on {images}."


def _worse(run: Run) -> bool:
    before, after = run.before, run.after
    assert before is not None
    assert after is not None
    pairs = [(before.per_class.get(name), value) for name, value in after.per_class.items()]
    fell = any(old is not None and new is not None and old - new > _WORSE for old, new in pairs)
    return fell or after.miou < before.miou
