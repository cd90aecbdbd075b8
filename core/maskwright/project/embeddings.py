"""What a model sees in each image of a project, kept in its folder: regions that phrases and images are compared with.

A segment is a file that is written once. Several processes may add segments at the same time; small ones are merged.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.files.atomic import atomic_save

__all__ = ["ImageEmbeddings"]

log = logging.getLogger(__name__)

_ADD_EVERY = 64
_ADD_SECONDS = 10.0
"""New images, and seconds, after which they are written: a killed process loses no more."""
_SMALL, _MOST_SMALL = 4096, 8
"""Images below which a segment is small, and small segments above which they become one."""
_BLOCK = 512
"""Images that are compared at a time: their regions in single precision stay in the processor's cache."""


class ImageEmbeddings:
    """Unit vectors of the regions of images under one model, (heads, C) in half precision for each image.

    An image is known by its SHA-256. One object is for one thread, and sees what others have added when it was made.
    """

    def __init__(self, folder: Path) -> None:
        """Open the segments in a folder, which need not exist."""
        self._folder = folder
        self._segments: dict[str, Tensor] = {}
        self._rows: dict[bytes, int] = {}
        self._new: dict[bytes, Tensor] = {}
        self._written = time.monotonic()
        self._refresh()

    def _refresh(self) -> None:
        """Map the segments that there are now; a damaged one is removed, and its images are encoded again."""
        self._segments, self._rows = {}, {}
        for file in sorted(self._folder.glob("*.safetensors")):
            try:
                segment = load_file(file)
                self._map(file.name, segment["sha256"], segment["regions"])
            except (KeyError, SafetensorError):
                file.unlink(missing_ok=True)
            except OSError:
                # another process has merged it meanwhile
                continue

    def _map(self, name: str, sha256: Tensor, regions: Tensor) -> None:
        first, keys = len(self), sha256.numpy().tobytes()
        self._segments[name] = regions
        self._rows.update((keys[32 * n : 32 * n + 32], first + n) for n in range(len(regions)))

    def __len__(self) -> int:
        return sum(map(len, self._segments.values()))

    def rows(self, sha256: Sequence[str]) -> NDArray[np.int64]:
        """The row of each image in what `scores` and `vectors` return; -1 where it is not there."""
        known = self._rows | {key: len(self) + n for n, key in enumerate(self._new)} if self._new else self._rows
        return np.fromiter((known.get(bytes.fromhex(key), -1) for key in sha256), np.int64, len(sha256))

    def add(self, sha256: str, regions: Tensor) -> None:
        """Add the (heads, C) regions of an image, of any length; they are on disk after the next `write`."""
        self._new[bytes.fromhex(sha256)] = _unit(regions)
        if len(self._new) >= _ADD_EVERY or time.monotonic() - self._written > _ADD_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was added; where that is not possible, it stays in memory, and a warning is logged."""
        self._written = time.monotonic()
        if not self._new:
            return
        try:
            self._save(b"".join(self._new), torch.stack([*self._new.values()]))
            self._new = {}
            self._merge_small()
        except (OSError, SafetensorError) as error:
            log.warning("cannot keep what was seen of images in %s: %s", self._folder, error)

    def write_many(self, sha256: Sequence[str], regions: Tensor) -> None:
        """Write (N, heads, C) regions of N images as one segment; raises OSError."""
        self._save(b"".join(map(bytes.fromhex, sha256)), _unit(regions))

    def _save(self, keys: bytes, regions: Tensor) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = {"sha256": torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, 32), "regions": regions}
        file = self._folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}.safetensors"
        atomic_save(file, lambda temporary: save_file(tensors, temporary))
        self._map(file.name, **tensors)

    def _merge_small(self) -> None:
        small = [self._folder / name for name, regions in self._segments.items() if len(regions) < _SMALL]
        if len(small) <= _MOST_SMALL:
            return
        parts = [load_file(file) for file in small]
        keys = torch.cat([part["sha256"] for part in parts]).numpy().tobytes()
        self._save(keys, torch.cat([part["regions"] for part in parts]))
        for file in small:
            file.unlink(missing_ok=True)
        self._refresh()

    def scores(self, vector: Tensor) -> NDArray[np.float32]:
        """(rows,) cosine of a (C,) unit vector with the most similar region of each image."""
        vector = vector.float().cpu()
        best = [(part.flatten(0, 1) @ vector).view(part.shape[:2]).amax(dim=1) for part in self._blocks()]
        return torch.cat(best).numpy() if best else np.empty(0, np.float32)

    def vectors(self) -> Tensor:
        """(rows, C) one unit vector for each image: the direction of the mean of its regions."""
        means = [F.normalize(part.mean(dim=1), dim=1) for part in self._blocks()]
        return torch.cat(means) if means else torch.empty(0, 0)

    def _blocks(self) -> Iterator[Tensor]:
        """All regions in single precision, some images at a time, in memory that is used again."""
        buffer = torch.empty(0)
        added = [torch.stack([*self._new.values()])] if self._new else []
        for regions in [*self._segments.values(), *added]:
            for start in range(0, len(regions), _BLOCK):
                part = regions[start : start + _BLOCK]
                if len(part) * part[0].numel() > buffer.numel():
                    buffer = torch.empty(_BLOCK * part[0].numel())
                yield buffer[: part.numel()].view(part.shape).copy_(part)


def _unit(regions: Tensor) -> Tensor:
    return F.normalize(regions.float(), dim=-1).half().cpu()
