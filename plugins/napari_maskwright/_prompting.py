"""Prompts that store proposals: words, an accepted mask as example, everything, and following through a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskwright.domain import TextPrompt
from maskwright.session import (
    AnnotationSession,
    Progress,
    PropagationResult,
    Proposals,
    StackPlane,
    plural,
    propagate,
)
from napari_maskwright._images import Images
from napari_maskwright._screen import Screen
from napari_maskwright._workers import Generation, GenerationProgress, Queue, Workers

__all__ = ["Prompting"]


class Prompting:
    """Runs one prompt at a time; a later one replaces a running one."""

    def __init__(
        self, session: AnnotationSession, workers: Workers, screen: Screen, images: Images, prompts: Generation
    ) -> None:
        """Take what the window belongs to."""
        self._session, self._workers, self._screen = session, workers, screen
        self._images, self._prompts = images, prompts

    def text(self, prompt: TextPrompt) -> None:
        """Find masks for class names."""
        self._on_image(
            lambda image_id, progress: self._session.propose_text(image_id, prompt, progress=progress), "Finding masks"
        )

    def everything(self) -> None:
        """Find masks of all objects."""
        self._on_image(
            lambda image_id, progress: self._session.propose_everything(image_id, progress=progress),
            "Finding everything",
        )

    def like(self, annotations: Sequence[int]) -> None:
        """Find what accepted masks show in the image in view."""
        self._on_image(
            lambda image_id, progress: self._session.propose_reference(image_id, annotations, progress=progress),
            "Finding what is like it",
        )

    def like_on_planes(self, annotations: Sequence[int], planes: Sequence[StackPlane], noun: str = "plane") -> None:
        """Find what accepted masks show on every plane; proposals on the planes that are done stay after a stop."""

        def search(progress: Progress) -> str:
            found = 0
            for number, plane in enumerate(planes):
                progress.check()
                progress.report(number, len(planes), plane.name)
                image_id = self._session.images.add(plane.read()).id
                answer = self._session.propose_reference(image_id, annotations, progress=progress)
                found += bool(self._session.masks.propose(answer))
            return f"Proposals on {found} of {plural(len(planes), noun)}."

        self._batch(search, "Finding what is like it")

    def propagate(self, annotation: int, planes: Sequence[StackPlane], start: int) -> None:
        """Follow an accepted mask from its plane to the planes before and after."""

        def run(progress: Progress) -> str:
            result: PropagationResult = propagate(self._session, annotation, planes, start, progress=progress)
            return result.message

        self._batch(run, "Propagating")

    def on_image(self, work: Callable[[int, Progress], str], activity: str) -> None:
        """Run work on the image in view, which stores proposals by itself and returns a sentence."""

        def run(image_id: int) -> None:
            stale = self._prompts.begin()
            progress = GenerationProgress(stale, self._reporter(stale, activity))
            self._workers.run(
                lambda: work(image_id, progress), self._screen.reload, activity, queue=Queue.MODEL, stale=stale
            )

        self._images.with_image(run)

    def stop(self) -> None:
        """Cancel what is running; what is stored stays."""
        self._prompts.begin()
        self._workers.show_idle("")

    def _on_image(self, ask: Callable[[int, Progress], Proposals], activity: str) -> None:
        def run(image_id: int) -> None:
            stale = self._prompts.begin()

            def job() -> Proposals:
                answer = ask(image_id, GenerationProgress(stale))
                if not stale():
                    self._session.masks.propose(answer)
                return answer

            self._workers.run(job, self._show, activity, queue=Queue.MODEL, stale=stale)

        self._images.with_image(run)

    def _reporter(self, stale: Callable[[], bool], activity: str) -> Callable[[int, int, str], None]:
        def report(done: int, total: int, stage: str) -> None:
            # the model's own passes have no plane to name
            if stage:
                text = f"{activity}: {stage}, {done + 1} of {total}"
                self._workers.call_soon(lambda: None if stale() else self._workers.show_idle(text))

        return report

    def _batch(self, work: Callable[[Progress], str], activity: str) -> None:
        stale = self._prompts.begin()
        self._workers.run(
            lambda: work(GenerationProgress(stale, self._reporter(stale, activity))),
            self._screen.reload,
            queue=Queue.MODEL,
            stale=stale,
            finished=lambda: self._workers.show_idle(""),
        )

    def _show(self, proposals: Proposals) -> None:
        # while duplicates are visible, the notice must not say that they are hidden
        notice = proposals.answer_notice if self._screen.with_duplicates else proposals.notice
        self._screen.show_proposals(proposals.image_id, proposals.ids, notice)
