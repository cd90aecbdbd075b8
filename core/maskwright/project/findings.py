"""What an import has to say of its rows: one sentence for each kind, however many rows it is true of."""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.formats.source import excerpt

__all__ = ["Findings", "some"]

_EXAMPLES = 3


class Findings:
    """Sentences by kind. Those of cosmetic kinds change no mask, and come last."""

    def __init__(self) -> None:
        self._labels: dict[str, list[str]] = {}
        self._cosmetic: dict[str, list[str]] = {}

    def add(self, sentence: str, kind: str = "", *, cosmetic: bool = False) -> None:
        """Note a sentence; those of one kind become one line."""
        (self._cosmetic if cosmetic else self._labels).setdefault(kind or sentence, []).append(sentence)

    def lines(self, *, cosmetic: bool = False) -> list[str]:
        """The first sentence of each kind, with the number of the others."""
        kinds = self._cosmetic if cosmetic else self._labels
        return [first + (f" (and {len(others)} more like this)" if others else "") for first, *others in kinds.values()]

    def details(self) -> list[str]:
        """Every sentence of the kinds that have several."""
        kinds = (*self._labels.values(), *self._cosmetic.values())
        return [sentence for sentences in kinds if len(sentences) > 1 for sentence in sentences]


def some(values: Sequence[object]) -> str:
    """The first few values, for a message."""
    return ", ".join(map(excerpt, values[:_EXAMPLES])) + (", ..." if len(values) > _EXAMPLES else "")
