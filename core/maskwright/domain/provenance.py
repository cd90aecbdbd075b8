"""Provenance: which model made a prediction, from which prompt, on which image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from maskwright import __version__

__all__ = ["ModelRef", "PromptKind", "Provenance"]


class PromptKind(StrEnum):
    """The kind of prompt that a prediction answers."""

    TEXT = "text"
    REFERENCE = "reference"
    CLICK = "click"
    BOX = "box"
    EVERYTHING = "everything"

    @property
    def source(self) -> str:
        """The `source` of annotations made from such a prediction; "everything" is stored as "click"."""
        return PromptKind.CLICK.value if self is PromptKind.EVERYTHING else self.value

    @property
    def class_agnostic(self) -> bool:
        """Whether the model assigns no class to its masks (SAM), so that the user names them."""
        return self in (PromptKind.CLICK, PromptKind.BOX, PromptKind.EVERYTHING)

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> PromptKind | None:
        """The kind in a stored provenance; None when no prompt made the mask (imported or drawn)."""
        if provenance.get("prompt") == cls.EVERYTHING.value and provenance.get("source") == cls.CLICK.value:
            return cls.EVERYTHING
        return next((kind for kind in cls if kind.value == provenance.get("source")), None)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model by name and by the SHA-256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Provenance(Mapping[str, Any]):
    """How a prediction was made.

    It is also a read-only mapping with the keys of `to_dict`, which is the form that projects store and files hold.
    """

    kind: PromptKind
    model: ModelRef
    method: str
    """Such as "dinov3seg", "insid3" or "sam"."""
    image_sha256: str
    prompt: Any
    """JSON: the class names of a text prompt, the references, or the clicks."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """JSON: every setting that changes the result."""
    version: str = __version__
    """Of this package."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: source, preset, weights, method, version, image, prompt, parameters."""
        return {
            "source": self.kind.source,
            "preset": self.model.name,
            "weights": self.model.sha256,
            "method": self.method,
            "version": self.version,
            "image": self.image_sha256,
            "prompt": self.prompt,
            "parameters": dict(self.parameters),
        }

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())
