"""A project of two images, and an engine that answers every prompt with the masks that a test names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.domain import Image, Mask, ModelRef, Prediction, PromptKind, Provenance, TextPrompt
from maskwright.project import Project
from maskwright.session import AnnotationSession

SIZE_HW = (20, 30)


def box(left: int, right: int, top: int = 0, bottom: int = 20) -> NDArray[np.bool_]:
    region = np.zeros(SIZE_HW, bool)
    region[top:bottom, left:right] = True
    return region


class ScriptedEngine:
    """Stands in for `Engine`: the masks of the next answers are attributes."""

    text_methods = ("talk2dino",)

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.regions: dict[str, NDArray[np.bool_]] = {}
        """Regions of the class names that are found."""
        self.unknown: tuple[str, ...] = ()
        """Class names that it was not trained on."""
        self.removed: NDArray[np.bool_] | None = None
        self.candidates: Sequence[NDArray[np.bool_]] = [box(0, 10)]
        """Candidates of every click, best first."""
        self.starts: list[Mask | None] = []
        """Mask that each click prompt started from."""
        self.suggested: list[Sequence[str]] = []
        """Names that were to be ranked."""
        self.clicks: list[object] = []
        """Engine that each text prompt was given for its objects."""

    def segment(self, image: Image, prompt: TextPrompt, *, clicks: object = None, **_: Any) -> Prediction:
        self.clicks.append(clicks)
        label_map = np.zeros(SIZE_HW, np.int32)
        for number, name in enumerate(prompt.names, start=1):
            label_map[self.regions.get(name, np.zeros(SIZE_HW, bool))] = number
        scores = tuple(0.9 if name in self.regions else 0.0 for name in prompt.names)
        provenance = self._provenance(PromptKind.TEXT, list(prompt.names), {"threshold": prompt.minimum_probability})
        return Prediction(label_map, prompt.names, scores, scores, self.unknown, provenance, None, self.removed)

    def segment_click(
        self, image: Image, points: Any, labels: Any, box: Any, *, start: Mask | None, category: str | None
    ) -> Prediction:
        self.starts.append(start)
        masks = tuple(Mask.from_array(region, category=category, score=0.8) for region in self.candidates)
        provenance = self._provenance(PromptKind.CLICK, {"points": [], "box": None}, {})
        empty = np.zeros(SIZE_HW, np.int32)
        return Prediction(empty, (category or "",), (0.8,), (0.8,), (), provenance, masks)

    def _provenance(self, kind: PromptKind, prompt: Any, parameters: dict[str, Any]) -> Provenance:
        return Provenance(kind, ModelRef(self.name, "0" * 64), "scripted", "0" * 64, prompt, parameters)

    def segment_everything(self, image: Image, **_: Any) -> Prediction:
        masks = tuple(Mask.from_array(region, category="object", score=0.7) for region in self.candidates)
        provenance = self._provenance(PromptKind.EVERYTHING, "everything", {})
        return Prediction(np.zeros(SIZE_HW, np.int32), ("object",), (0.7,), (0.7,), (), provenance, masks)

    def prepare_clicks(self, image: Image, **_: Any) -> None:
        pass

    def suggest(self, image: Image, mask: Mask, names: Sequence[str]) -> list[tuple[str, float]]:
        self.suggested.append(names)
        return [(name, 1 / len(names)) for name in names]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def project(tmp_path: Path, rng: np.random.Generator) -> Iterator[Project]:
    with Project.open(tmp_path / "project", create=True) as project:
        for name in ("a", "b"):
            project.images.register(Image(rng.integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8), name))
        yield project


@pytest.fixture
def session(project: Project, engine: ScriptedEngine) -> AnnotationSession:
    return AnnotationSession(lambda name: engine, project, "scripted")  # type: ignore[arg-type,return-value]
