"""AnnotationSession: the one object that a front end talks to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.domain import Annotation, Image, Mask, Prediction, Reference, TextPrompt
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import MaskwrightError
from maskwright.presets.folders import find
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.session.batches import Batches
from maskwright.session.classes import SessionClasses
from maskwright.session.comparison import Side, compare
from maskwright.session.decision_writer import DecisionWriter
from maskwright.session.duplicates import duplicates
from maskwright.session.engines import Engines, PromptEngine, Task
from maskwright.session.exchange import SessionExchange
from maskwright.session.finetuning import Finetuning
from maskwright.session.images import SessionImages
from maskwright.session.masks import SessionMasks
from maskwright.session.messages import CLOSED_PROPOSAL, decision_message, project_counts
from maskwright.session.open_proposals import OpenProposals
from maskwright.session.pending import Pending
from maskwright.session.preparation import Preparation
from maskwright.session.presets import SessionPresets
from maskwright.session.references import SessionReferences
from maskwright.session.search import SessionSearch
from maskwright.session.views import MaskView, Proposal, Proposals
from maskwright.settings import Settings
from maskwright.store import Changes

if TYPE_CHECKING:
    # torch comes with the engine, and a window should open before it
    from maskwright.engine import Engine

    Segment = Callable[[PromptEngine, Image], Prediction]

__all__ = ["AnnotationSession", "default_project"]


def default_project() -> str:
    """Folder of the project that front ends open when none is named."""
    return str(Settings.load().project.expanduser())


class AnnotationSession:
    """Prompts, proposals and decisions of any number of windows on one project; safe to share between threads.

    Proposals are open in memory until somebody decides; everything accepted is in the project before a call returns.
    """

    def __init__(self, engine: Callable[[str], Engine], project: Project, preset: str = "tiny") -> None:
        """Join a project, a function that loads the engine of a preset or checkpoint folder, and the first preset."""
        self.project = project
        self.folder = project.folder
        self.listen = project.store.listen
        """Makes what waits for changes by any process; see `Store.listen`."""
        self.engines = Engines(engine, project, preset)
        """Which models answer prompts: those of this computer, or a server's."""
        self.presets = SessionPresets(project, self.engines)
        self.finetuning = Finetuning(project, self.engines.trainable)
        """Fine-tuning runs: status, and possible actions."""
        self.images = SessionImages(project)
        """Images: add, pixels, titles, neighbors."""
        self.references = SessionReferences(project)
        """Accepted masks that say what a category is, or what it is not."""
        self.preparation = Preparation(lambda: self.engines.current("click"), self.images.get)
        """Encodes the image in view ahead of its first click."""
        self._open = OpenProposals()
        self._writer = DecisionWriter(project, self._open)
        self.batches = Batches(project, lambda task: self.engines.local("text" if task == "text" else "example"))
        """Batch predictions: start, pause, resume, cancel."""
        self.exchange = SessionExchange(project)
        """Export to a file, import with a report."""
        self.search = SessionSearch(project, self.engines.for_search)
        """Images by a phrase, and the images to label next."""
        self.find = self.search.find
        self.classes = SessionClasses(project)
        """Categories: list, colours, change, merge, delete."""
        self.masks = SessionMasks(project, self._open)
        """Masks that the project stores: list, propose, draw, correct, delete."""

    @classmethod
    def open(
        cls, project: str, *, preset: str = "tiny", device: str = "auto", create: bool = True
    ) -> AnnotationSession:
        """Open or create a project; the model is loaded when it is first needed.

        Args:
            project: folder or database URL.
            preset: preset name or checkpoint folder.
            device: as for `Engine.load`.
            create: whether a project that does not exist is created.

        Raises:
            PresetMissing: there is no such preset on this computer.
            BadProject, ProjectUnwritable: the project cannot be used, or it does not exist.
        """
        find(preset, Settings.load())

        def load(name: str) -> Engine:
            from maskwright.engine import Engine

            return Engine.load(name, device)

        return cls(load, Project.open(project, create=create), preset)

    def close(self) -> None:
        """End what runs, and close the project."""
        self.preparation.close()
        self.batches.close()
        self.project.close()

    @property
    def engine(self) -> Engine:
        """The engine that answers text, loaded when first needed."""
        return self.engines.local()

    def compare(
        self, image_id: int, prompt: TextPrompt, presets: Sequence[str], *, progress: Progress = NO_PROGRESS
    ) -> list[Side]:
        """The answers of several presets to one prompt, to look at; nothing is stored."""
        return compare(self.engines, self.images.get(image_id), prompt, presets, progress=progress)

    # prompts

    def propose_text(
        self, image_id: int, prompt: TextPrompt, *, synonyms: bool = True, progress: Progress = NO_PROGRESS
    ) -> Proposals:
        """Masks for class names, with the synonyms of the project's categories unless `synonyms` is False."""
        full = self.classes.with_synonyms(prompt) if synonyms else prompt
        # the objects of a class are found by the model of clicks
        sam = self.engines.current("click") if full.divided else None
        return self._propose(
            "text", image_id, lambda engine, image: engine.segment(image, full, clicks=sam, progress=progress)
        )

    def propose_reference(
        self,
        image_id: int,
        references: Sequence[int | Reference],
        *,
        negative_references: Sequence[int | Reference] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Proposals:
        """A mask of what accepted masks show.

        Args:
            image_id: the image to search.
            references: ids of accepted masks of the object, or masks that the project need not have.
            negative_references: ids of accepted masks of what it is not.
            progress: reports and cancels.
        """
        positive, negative = map(self.references.resolve, (references, negative_references))
        return self._propose(
            "example",
            image_id,
            lambda engine, image: engine.segment_like(image, positive, negative_references=negative, progress=progress),
        )

    def propose_like(self, image_id: int, category: str, *, progress: Progress = NO_PROGRESS) -> Proposals:
        """A mask of what the references of a category show; see `Project.references`."""
        positive, negative = self.references.of(category)
        return self._propose(
            "example",
            image_id,
            lambda engine, image: engine.segment_like(
                image, positive, category, negative_references=negative, progress=progress
            ),
        )

    def propose_click(
        self,
        image_id: int,
        points: Sequence[Sequence[float]] = (),
        box: Sequence[float] | None = None,
        *,
        previous: ProposalId | Mask | None = None,
        corrects: int | None = None,
        category: str | None = None,
    ) -> Proposals:
        """Masks for points and a box, up to three for a single point.

        Args:
            image_id: the image to segment.
            points: x, y in pixels and, optionally, a label: 1 positive (default), 0 negative.
            box: left, top, right, bottom in pixels.
            previous: open proposal, or any mask, that the points correct.
            corrects: accepted mask that they correct; accepting the answer replaces it.
            category: name of the object.
        """
        start, corrected = None, None
        if corrects is not None:
            corrected = self.project.store.masks.get(corrects)
            start = corrected.mask
        if isinstance(previous, Mask):
            start = previous
        elif previous is not None:
            opened = self._open.get([previous])
            if not opened or opened[0].image_id != image_id:
                raise MaskwrightError(CLOSED_PROPOSAL)
            start = opened[0].mask
        coordinates = [point[:2] for point in points]
        labels = [point[2] if len(point) > 2 else 1 for point in points]
        return self._propose(
            "click",
            image_id,
            lambda engine, image: engine.segment_click(image, coordinates, labels, box, start=start, category=category),
            corrected,
        )

    def propose_click_step(self, prompt: ClickPrompt, step: ClickStep) -> tuple[ClickPrompt, str]:
        """The prompt with its next step answered, and what the user should know of the answer."""
        proposals = self.propose_click(
            prompt.image_id, step.points, step.box, previous=prompt.previous, corrects=prompt.corrects
        )
        return prompt.with_step(step._replace(candidates=tuple(p.id for p in proposals.all))), proposals.notice

    def propose_everything(self, image_id: int, *, progress: Progress = NO_PROGRESS) -> Proposals:
        """Masks of all objects of an image, the most stable first."""
        return self._propose("click", image_id, lambda model, image: model.segment_everything(image, progress=progress))

    def suggest_names(self, proposal: ProposalId) -> list[tuple[str, float]]:
        """Categories of the project that a proposal may show, each with its probability, the best first."""
        image_id, mask = self.masks.of_proposal(proposal)
        names = [entry.category.name for entry in self.classes.all()]
        if not names:
            raise MaskwrightError("This project has no category yet.", "Type a name for the first one.")
        return self.engines.for_suggestions().suggest(self.images.get(image_id), mask, names)

    def drop(self, ids: Sequence[ProposalId]) -> None:
        """Forget open proposals that nothing shows any more."""
        self._open.drop(ids)

    def drop_clicks(self, prompt: ClickPrompt | None) -> None:
        """Forget a click prompt's answers; accepted masks stay as they are."""
        if prompt is not None:
            self._open.drop(prompt.candidates)

    def undo_click(self, prompt: ClickPrompt) -> ClickPrompt:
        """The prompt without its last step; the answers of that step are forgotten."""
        before = prompt.undo()
        self._open.drop(sorted(set(prompt.last.candidates) - set(before.candidates), key=str))
        return before

    def _propose(self, task: Task, image_id: int, segment: Segment, corrects: Annotation | None = None) -> Proposals:
        engine, image = self.engines.current(task), self.images.get(image_id)
        started = time.perf_counter()
        prediction = segment(engine, image)
        provenance = {**prediction.stored_provenance, "seconds": round(time.perf_counter() - started, 3)}
        unknown = prediction.out_of_vocabulary
        proposals = [
            Proposal(ProposalId.new(), image_id, mask, provenance, mask.category in unknown, corrects)
            for mask in prediction.masks()
        ]
        self._open.add(proposals)
        preview, unlabelled = None, prediction.unlabelled_by_cleaning
        if unlabelled is not None and unlabelled.any():
            preview = self._open.add_preview(image_id, Mask.from_array(unlabelled, category="left unlabelled"))
        repeated = frozenset(self._duplicates(image_id, proposals))
        return Proposals(image_id, prediction, tuple(proposals), repeated, preview)

    def _duplicates(
        self, image_id: int, proposals: Sequence[Proposal], accepted: Sequence[Annotation] | None = None
    ) -> set[ProposalId]:
        """Ids of proposals that repeat an accepted mask; never masks from clicks, which the user placed on purpose."""
        named = [p for p in proposals if p.mask.category and not p.from_clicks]
        if accepted is None:
            accepted = self.project.annotations(image_id) if named else []
        repeats = duplicates([p.mask for p in named], [a.mask for a in accepted if not a.crowd])
        return {p.id for p, repeated in zip(named, repeats, strict=True) if repeated}

    # what is on an image

    def open_proposals(self, ids: Sequence[ProposalId], image_id: int | None = None) -> list[Proposal]:
        """Those of the ids that nobody has decided on, and with an image the proposals that a batch stored on it."""
        stored = [] if image_id is None else self.project.annotations(image_id, ("proposed",))
        return self._open.get(ids) + [
            Proposal(ProposalId.of_annotation(a.id), a.image_id, a.mask, a.provenance, a.out_of_vocabulary)
            for a in stored
        ]

    def view(
        self,
        image_id: int,
        proposals: Sequence[ProposalId] = (),
        *,
        prompt: ClickPrompt | None = None,
        pending: Pending = Pending(),  # noqa: B008  # immutable
    ) -> list[MaskView]:
        """All masks of an image: accepted ones, open proposals with duplicates, cleaning previews; with colours.

        While clicks correct an accepted mask, their answer stands in its place, unless somebody else has changed the
        mask meanwhile: then both are there.

        Args:
            image_id: the image.
            proposals: ids of open proposals and previews of this window; a batch's proposals come by themselves.
            prompt: clicks of this window on any image.
            pending: decisions of this window that are not written yet.
        """
        prompt = prompt if prompt is not None and prompt.image_id == image_id else None
        clicked = prompt.previous if prompt is not None else None
        answer = [clicked] if clicked is not None else []
        ids = list(dict.fromkeys([*proposals, *answer, *pending.ids(image_id)]))
        accepted = self.project.annotations(image_id)
        opened = self.open_proposals(ids, image_id)
        repeated = self._duplicates(image_id, opened, accepted)
        colors = self.classes.colors([a.category for a in accepted] + [str(p.mask.category) for p in opened])
        marks = self.project.store.references.all() if accepted else ()
        views = [MaskView.of_annotation(a, colors[a.category], marks) for a in accepted]
        views += [MaskView.of_proposal(p, colors[str(p.mask.category)], duplicate=p.id in repeated) for p in opened]
        views += [MaskView.of_cleaning(mask) for mask in self._open.previews(ids, image_id)]
        if prompt is not None and prompt.corrects is not None and answer and not pending.in_conflict(clicked):
            views = [view for view in views if view.annotation != prompt.corrects]
        return views

    # decisions

    def accept(
        self, ids: Sequence[ProposalId], *, category: str | None = None, annotator: str = ""
    ) -> list[Annotation]:
        """Accept proposals: they are on disk when this returns, and stay open when it raises.

        A clicked mask that is accepted under this name already (IoU of 0.8) is not added again.

        Args:
            ids: proposals of one or several images.
            category: name for all of them; None keeps each one's own.
            annotator: the user; by default the user of this computer.

        Returns:
            The masks in the project, with the earlier one in the place of a mask that is not added again.
        """
        return self._writer.write(ids, "accepted", category, annotator).annotations

    def reject(
        self, ids: Sequence[ProposalId], *, category: str | None = None, annotator: str = ""
    ) -> list[Annotation]:
        """Reject proposals: the project keeps them as negatives; arguments as `accept`."""
        return self._writer.write(ids, "rejected", category, annotator).annotations

    def decide(self, ids: Sequence[ProposalId], name: str, *, accept: bool, annotator: str = "") -> str:
        """Accept or reject proposals; answers of SAM, which have no category, get `name`, the others keep theirs.

        Returns:
            A sentence that says what was done, and which masks were accepted before and are not added again.
        """
        state = "accepted" if accept else "rejected"
        written = self._writer.write(ids, state, name.strip() or None, annotator, only_clicked=True)
        return decision_message(len(ids), accept=accept, repeated=[a.category for a in written.repeated])

    def delete(self, annotations: Sequence[int], *, annotator: str = "") -> list[Annotation]:
        """Delete accepted masks, in one step that can be undone."""
        return self.project.delete(annotations, annotator=annotator or None)

    def undo(self, image_id: int | None, *, annotator: str = "") -> str:
        """Undo the last step on the image in view; returns a sentence that says what it was.

        Raises:
            OtherImage: the step was on another image, which it names; nothing was changed.
            Conflict: somebody else has changed the same since; nothing was overwritten.
            NothingToUndo: there is no step left.
        """
        return f"Undone: {self.project.undo(image_id, annotator=annotator or None).description}."

    def redo(self, image_id: int | None, *, annotator: str = "") -> str:
        """Redo what was undone last on the image in view; returns and raises as `undo`."""
        return f"Redone: {self.project.redo(image_id, annotator=annotator or None).description}."

    # the project

    def history(self, annotation_id: int) -> list[str]:
        """What happened to a mask, a sentence each, the oldest first."""
        return self.project.history(annotation_id)

    def change_number(self) -> int:
        """Grows with every change to the project by any process."""
        return self.project.store.change_number()

    def changes(self, after: int) -> Changes:
        """What any process has changed since a change number: which images to draw again."""
        return self.project.store.changes(after)

    def counts(self) -> str:
        """One line: images, and accepted masks per category."""
        return project_counts(self.project.status())

    def export_coco(self, file: Path | None = None, options: Mapping[str, Any] | None = None) -> Path:
        """Write the accepted masks as a COCO file, by default into the project's `exports/`; returns its path."""
        return self.project.export_coco(file or self.folder / "exports" / "coco.json", **(options or {}))
