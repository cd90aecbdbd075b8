"""What a window changes of the project beside masks: classes, models and their tuning, which computer answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask
from maskwright.session import (
    AnnotationSession,
    DrawnPrompt,
    FinetuneStatus,
    JudgedImage,
    JudgedOverlays,
    MaskView,
    PresetInfo,
    Progress,
    mask_thumbnail,
    propose_drawn,
    propose_masks,
)
from napari_maskwright._images import Images
from napari_maskwright._prompting import Prompting
from napari_maskwright._screen import Screen
from napari_maskwright._workers import Generation, Queue, Workers

if TYPE_CHECKING:
    from napari_maskwright._view import AnnotatorView

__all__ = ["Managing"]


class Managing:
    """Runs each change beside the window's thread."""

    def __init__(
        self,
        session: AnnotationSession,
        view: AnnotatorView,
        workers: Workers,
        screen: Screen,
        images: Images,
        prompts: Prompting,
    ) -> None:
        """Take what the window belongs to."""
        self._session, self._view, self._workers, self._screen = session, view, workers, screen
        self._images, self._prompts = images, prompts
        self._thumbnails, self._needs, self._overlays = Generation(), Generation(), Generation()
        session.presets.on_change = lambda _: workers.call_soon(self.show_presets)

    # classes

    def change_classes(self, change: Callable[[Any], object]) -> None:
        """Change the project's classes by a function that takes them; one step for undo."""

        def failed(_: Exception) -> bool:
            # what was typed does not hold
            self._screen.reload()
            return False

        self._workers.run(
            lambda: change(self._session.classes),
            lambda _: self._screen.show_saved(""),
            "Saving",
            queue=Queue.SAVING,
            failed=failed,
        )

    def reclassify(self, annotations: Sequence[int], category: str) -> None:
        """Give masks another class, in one step for undo."""
        if not annotations:
            self._view.show_error("Select masks first, in the lists or by a click with the Select tool.")
            return
        self._workers.run(
            lambda: self._session.masks.reclassify(dict.fromkeys(annotations), category),
            lambda masks: self._screen.show_saved(f"{len(masks)} now {category}."),
            "Saving",
            queue=Queue.SAVING,
        )

    # models

    def show_presets(self) -> None:
        """List the presets as they are now."""

        def read() -> tuple[list[PresetInfo], str]:
            return self._session.presets.all(), self._session.engines.server

        self._workers.run(read, lambda result: self._view.show_models(*result))

    def preset(self, action: str, name: str) -> None:
        """Use a preset, fetch it, or cancel that; see `SessionPresets`."""
        presets = self._session.presets
        act = {"use": presets.use, "fetch": presets.fetch, "cancel": presets.cancel}[action]
        self._workers.run(
            lambda: act(name),
            lambda _: self.show_presets(),
            f"Loading {name}" if action == "use" else "",
            queue=Queue.MODEL,
        )

    def use_server(self, address: str) -> None:
        """Let a server answer prompts; an empty address brings them back to this computer."""

        def failed(_: Exception) -> bool:
            self.show_presets()
            return False

        def used(sentence: str) -> None:
            self.show_presets()
            self._screen.show_message(sentence)

        self._workers.run(
            lambda: self._session.engines.use_server(address), used, "Connecting", queue=Queue.MODEL, failed=failed
        )

    # fine-tuning

    def finetune(self, action: str, **options: Any) -> None:
        """Start, pause or resume a run, or change the model; see `Finetuning.act`."""
        self._act(lambda: self._session.finetuning.act(action, **options), "Starting")

    def act_on_run(self, action: str, run: str) -> None:
        """Use or delete a run's model, or go back; see `Finetuning.act_on`."""
        self._act(lambda: self._session.finetuning.act_on(action, run), "Changing the model")

    def _act(self, act: Callable[[], None], activity: str) -> None:
        def work() -> FinetuneStatus:
            act()
            return self._session.finetuning.status()

        self._workers.run(work, self._view.show_finetuning, activity, queue=Queue.MODEL)

    def needs(self, options: Mapping[str, Any], show: Callable[[Sequence[tuple[str, str | None]], str], None]) -> None:
        """Say what the model can be tuned for, and what a run with these options would need."""
        stale, finetuning = self._needs.begin(), self._session.finetuning

        def count() -> tuple[list[tuple[str, str | None]], str]:
            return finetuning.learners(), finetuning.needs(**options)

        self._workers.run(count, lambda result: show(*result), stale=stale)

    def judged_images(self, run: str, show: Callable[[list[JudgedImage]], None]) -> None:
        """Read the held-out images of a run, the one that got worst first."""
        self._workers.run(lambda: self._session.finetuning.images(run), show)

    def judged_overlays(self, run: str, image: int, show: Callable[[JudgedOverlays], None]) -> None:
        """Draw what people, and the models before and after, say of an image; a later call replaces an earlier one."""
        stale, session = self._overlays.begin(), self._session
        self._workers.run(lambda: session.finetuning.overlays(run, image, session.classes.colors), show, stale=stale)

    # layers of the user

    def propose_drawn(self, prompts: Sequence[DrawnPrompt], category: str) -> None:
        """Answer what the user drew, an object each."""

        def run(image_id: int, progress: Progress) -> str:
            return propose_drawn(self._session, image_id, prompts, category, progress=progress)

        self._prompts.on_image(run, "Finding what is drawn")

    def propose_masks(self, masks: Sequence[Mask], category: str, origin: str) -> None:
        """Take masks that the user drew, or that another program made, as proposals."""
        self._prompts.on_image(
            lambda image_id, _: propose_masks(self._session, image_id, masks, category, origin), "Taking the masks"
        )

    # lists

    def thumbnails(
        self,
        image_id: int | None,
        views: Mapping[Any, MaskView],
        side: int,
        show: Callable[[dict[Any, NDArray[np.uint8]]], None],
    ) -> None:
        """Draw small images of masks; a later call replaces an earlier one."""
        stale = self._thumbnails.begin()
        if image_id is None or not views:
            return

        def draw() -> dict[Any, NDArray[np.uint8]]:
            image = self._session.images.get(image_id)
            drawn = {}
            for key, view in views.items():
                if stale():
                    break
                drawn[key] = mask_thumbnail(image, view.mask, view.color, side)
            return drawn

        self._workers.run(draw, show, stale=stale)
