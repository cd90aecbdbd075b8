"""Image embeddings kept by content and weights, bounded in bytes, least recently used first out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from maskwright.domain import ModelRef

__all__ = ["EmbeddingCache", "EmbeddingKey"]


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """What an embedding depends on; anything else is a miss."""

    image_sha256: str
    encoder: ModelRef
    procedure: Any
    """The (frozen) settings the image was cut and encoded with."""


class EmbeddingCache:
    """A bounded map from key to a tuple of tensors; values are shared, so nobody may change them."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[EmbeddingKey, Any] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes of all tensors kept."""
        with self._lock:
            return sum(map(_size, self._kept.values()))

    def get_or_make(self, key: EmbeddingKey, make: Callable[[], NamedTuple]) -> Any:
        """The kept value, else `make()`; a value larger than the whole cache is given back but not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._kept[key] = value
            while sum(map(_size, self._kept.values())) > self.limit_bytes:
                self._kept.popitem(last=False)
        return value


def _size(value: Any) -> int:
    """Bytes of all tensors in nested tuples."""
    if isinstance(value, Tensor):
        return value.nbytes
    return sum(map(_size, value)) if isinstance(value, tuple) else 0
