"""Caches of the engine: embeddings in memory (least recently used out first), and tensors on disk."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.files.atomic import atomic_save

__all__ = ["EmbeddingCache", "EmbeddingKey", "LruCache", "load_tensor", "save_tensor"]

log = logging.getLogger(__name__)

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class LruCache(Generic[KeyT, ValueT]):
    """Entries up to a total size; thread-safe. Values are shared between callers, who must not modify them."""

    def __init__(self, limit: int, size: Callable[[ValueT], int] = lambda value: 1) -> None:
        """Create an empty cache.

        Args:
            limit: of the total size; an entry that is larger by itself is not kept.
            size: of a value; by default entries are counted.
        """
        self.limit = limit
        self.misses = 0
        """How often `get_or_make` made a value."""
        self._size = size
        self._entries: OrderedDict[KeyT, ValueT] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Total size of the entries."""
        return self._used

    def get(self, key: KeyT) -> ValueT | None:
        """The value of a key, which then counts as recently used; None when it is not there."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: KeyT, value: ValueT) -> None:
        """Add or replace an entry, and drop old ones until the rest fits."""
        with self._lock:
            if key in self._entries:
                self._used -= self._size(self._entries.pop(key))
            self._entries[key] = value
            self._used += self._size(value)
            while self._used > self.limit:
                self._used -= self._size(self._entries.popitem(last=False)[1])

    def get_or_make(self, key: KeyT, make: Callable[[], ValueT]) -> ValueT:
        """The value of a key, made by `make` on a miss; `make` may raise, and then nothing is stored."""
        value = self.get(key)
        if value is None:
            self.misses += 1
            value = make()
            self.put(key, value)
        return value


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """Everything that an image embedding depends on; any difference is a miss, so no entry is ever stale."""

    image_sha256: str
    """Of the image's content."""
    encoder: ModelRef
    """Name and hash of the weights: a fine-tuned encoder has other embeddings."""
    procedure: Any
    """The frozen settings with which the image was resized, cut and encoded."""


class EmbeddingCache(LruCache[EmbeddingKey, Any]):
    """Image embeddings (nested tuples of tensors), bounded in bytes; `misses` counts encoder runs."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes, _tensor_bytes)


def _tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in nested tuples."""
    if isinstance(value, Tensor):
        return value.nbytes
    return sum(map(_tensor_bytes, value)) if isinstance(value, tuple) else 0


def load_tensor(file: Path, key: str, device: torch.device) -> Tensor | None:
    """A tensor from a cache file; None when the file is missing or damaged, since it can be computed again."""
    try:
        return load_file(file)[key].to(device)
    except (OSError, KeyError, SafetensorError):
        return None


def save_tensor(file: Path, key: str, tensor: Tensor) -> None:
    """Write a tensor to a cache file; when that fails a warning is logged, and nothing else depends on it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_save(file, lambda temporary: save_file({key: tensor.contiguous().cpu()}, temporary))
    except (OSError, SafetensorError) as error:
        log.warning("cannot cache %s: %s", file, error)
