"""The one object a front end talks to: open proposals in memory, everything accepted in the project."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.domain import Annotation, Image, ImageRecord, Mask, Prediction
from maskwright.errors import MaskwrightError
from maskwright.overlays import default_color
from maskwright.project import Project, user_name
from maskwright.store import NewAnnotation

if TYPE_CHECKING:
    # torch comes with the engine, and a window should open before it
    from maskwright.engine import Engine

__all__ = ["AnnotationSession", "Proposal", "Proposals"]

_IMAGES_KEPT = 8
_PROPOSALS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mask a model suggests; it is nobody's until it is accepted."""

    id: str
    image_id: int
    mask: Mask
    provenance: Mapping[str, Any]
    unfamiliar: bool
    """The model was not taught this word."""


@dataclass(frozen=True, slots=True)
class Proposals:
    """The answer to one prompt on a project image."""

    image_id: int
    prediction: Prediction
    proposals: tuple[Proposal, ...]

    @property
    def notice(self) -> str:
        """What a person should know of the answer, or empty: unfamiliar words, names that were not found."""
        parts = []
        words = self.prediction.unfamiliar
        if words:
            one = len(words) == 1
            parts.append(f"This model was not taught {_listed(words)}; expect little of {'it' if one else 'them'}.")
        found = {proposal.mask.category for proposal in self.proposals}
        scored = zip(self.prediction.categories, self.prediction.best, strict=True)
        missing = [(name, best) for name, best in scored if name not in found]
        threshold = self.prediction.provenance["parameters"]["threshold"]
        if missing and threshold is not None:
            name, best = max(missing, key=lambda pair: pair[1])
            lower = best < threshold
            parts.append(
                f"No {name} found above {threshold:.2f}; the best score is {best:.2f}. Lower the threshold?"
                if lower
                else f"No {name} found: other names fit better everywhere."
            )
        return " ".join(parts)


def _listed(words: Sequence[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


class AnnotationSession:
    """Prompt, look, accept: for any number of windows on one project; safe to share between threads."""

    def __init__(self, engine: Callable[[], Engine], project: Project) -> None:
        """Take a project and a way to get the engine, which may be slow the first time."""
        self.project = project
        self._make_engine = engine
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._open: OrderedDict[str, Proposal] = OrderedDict()

    @property
    def engine(self) -> Engine:
        """The engine, loaded on first use."""
        with self._lock:
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    def add_picture(self, path: Path) -> ImageRecord:
        """Add one picture file to the project; raises MaskwrightError with what is wrong with it."""
        return self.project.add_image(Image.open(path))

    def image(self, image_id: int) -> Image:
        """Pixels of a project image; the last few are kept in memory."""
        with self._lock:
            if image_id in self._images:
                self._images.move_to_end(image_id)
                return self._images[image_id]
        image = self.project.image(image_id)
        with self._lock:
            self._images[image_id] = image
            while len(self._images) > _IMAGES_KEPT:
                self._images.popitem(last=False)
        return image

    def propose_text(
        self,
        image_id: int,
        words: str | Sequence[str],
        *,
        method: str | None = None,
        background: bool = True,
        threshold: float | None = None,
        refine: str | None = None,
    ) -> Proposals:
        """Masks for words; each prompt makes new proposals and leaves everything accepted alone."""
        prediction = self.engine.segment_text(
            self.image(image_id), words, method, background, refine, threshold=threshold
        )
        proposals = tuple(
            Proposal(uuid.uuid4().hex, image_id, mask, prediction.provenance, mask.category in prediction.unfamiliar)
            for mask in prediction.masks()
        )
        with self._lock:
            self._open.update((proposal.id, proposal) for proposal in proposals)
            while len(self._open) > _PROPOSALS_KEPT:
                self._open.popitem(last=False)
        return Proposals(image_id, prediction, proposals)

    def accept(self, ids: Sequence[str], *, category: str | None = None, annotator: str = "") -> list[Annotation]:
        """Keep proposals; they are on disk when this returns, and stay open when it raises."""
        return self._decide(ids, "accepted", category, annotator)

    def reject(self, ids: Sequence[str], *, category: str | None = None, annotator: str = "") -> list[Annotation]:
        """Turn proposals down; the project remembers them as negatives."""
        return self._decide(ids, "rejected", category, annotator)

    def open_proposals(self, ids: Sequence[str]) -> list[Proposal]:
        """Those of the given proposals that nobody has accepted or rejected yet."""
        with self._lock:
            return [self._open[key] for key in ids if key in self._open]

    def colors(self, names: Sequence[str]) -> dict[str, str]:
        """Colour by name: the project's, and for new names those they will get when accepted in this order."""
        known = {category.name: category.color for category in self.project.categories()}
        new = [name for name in dict.fromkeys(names) if name not in known]
        return known | {name: default_color(len(known) + n) for n, name in enumerate(new)}

    def _decide(self, ids: Sequence[str], state: str, category: str | None, annotator: str) -> list[Annotation]:
        with self._lock:
            if any(key not in self._open for key in ids):
                raise MaskwrightError("That proposal is no longer open. Run the prompt again.")
            chosen = [self._open.pop(key) for key in dict.fromkeys(ids)]
        try:
            return self.project.store.add_annotations(
                NewAnnotation(
                    p.image_id,
                    category or p.mask.category or "",
                    p.mask,
                    source=str(p.provenance["source"]),
                    provenance=p.provenance,
                    annotator=annotator or user_name(),
                    state=state,
                )
                for p in chosen
            )
        except BaseException:
            # nothing was stored: the masks stay on screen
            with self._lock:
                self._open.update((proposal.id, proposal) for proposal in chosen)
            raise
