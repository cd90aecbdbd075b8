"""Batches of a fine-tuning run of dinov3.seg: crops, the classes each is prompted with, and replayed images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from maskwright.engine.cache import LruCache
from maskwright.models.normalization import normalize
from maskwright.training.config import TuneConfig
from maskwright.training.data import IGNORE
from maskwright.training.finetune.encodings import Encoded, Encodings, Variant, Variants
from maskwright.training.finetune.images import LabelledPixels
from maskwright.training.vocabulary import NO, Vocabulary

__all__ = ["TuneBatch", "TuneSteps", "TuneWords"]

_STRIDE = 4
"""Pixels per label: the decoder's maps have a quarter of the crop's side."""
_MEMORY = 256 << 20
"""Bytes of label maps that are kept in memory."""


class TuneWords(NamedTuple):
    """Classes by index: the project's, then others that the base knows."""

    names: tuple[str, ...]
    own: int
    """Number of the project's classes."""
    absent: NDArray[np.int64]
    """Classes of the rest that share no pixel with any of the project's."""

    @classmethod
    def of(cls, names: Sequence[str]) -> TuneWords:
        """The project's classes as they are named, and those of the bundled list."""
        bundled = Vocabulary.bundled()
        texts, relation = bundled.texts(), bundled.containment()
        alike = {number for number, synonyms in enumerate(texts) if {*synonyms} & {*map(str.lower, names)}}
        disjoint = [
            number
            for number in range(len(texts))
            if all(relation[number, k] == relation[k, number] == NO for k in alike)
        ]
        others = [number for number in range(len(texts)) if texts[number][0] not in names]
        place = {number: len(names) + offset for offset, number in enumerate(others)}
        absent = [place[number] for number in disjoint if number in place]
        return cls((*names, *(texts[n][0] for n in others)), len(names), np.array(absent, np.int64))


class TuneBatch(NamedTuple):
    """Images of one step; a process of several gets a part of them."""

    pixels: Tensor
    """(B, 3, S, S) normalised float32"""
    labels: Tensor
    """(B, S / 4, S / 4) int64 class index, IGNORE or NONE"""
    rejected: Tensor
    """(B, S / 4, S / 4) int64, bit k: class k was rejected here"""
    classes: Tensor
    """(B, T) int64 classes that each image is prompted with"""
    replayed: Tensor
    """(B,) bool, whether the base's own answers are the targets"""
    encoded: Encoded | None
    """Of all images, or of the replayed ones alone where the encoders learn"""

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def to(self, device: str) -> TuneBatch:
        """The same batch on another device."""
        encoded = None if self.encoded is None else self.encoded.to(device)
        return self._each(lambda part: part.to(device), encoded)

    def part(self, start: int, stop: int) -> TuneBatch:
        """Some of its images."""
        encoded = self.encoded
        if encoded is not None:
            rows = slice(start, stop)
            if len(encoded.features) != self.images:
                before = int(self.replayed[:start].sum())
                rows = slice(before, before + int(self.replayed[start:stop].sum()))
            taps = encoded.taps[0][rows], encoded.taps[1][rows]
            encoded = Encoded(encoded.features[rows], encoded.prior[rows], taps)
            encoded = encoded if len(encoded.features) else None
        return self._each(lambda part: part[start:stop], encoded)

    def _each(self, change: Callable[[Tensor], Tensor], encoded: Encoded | None) -> TuneBatch:
        return TuneBatch(
            change(self.pixels), change(self.labels), change(self.rejected), change(self.classes),
            change(self.replayed), encoded,
        )  # fmt: skip


class _Row(NamedTuple):
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int16]
    rejected: NDArray[np.uint64]
    classes: NDArray[np.int64]
    replayed: bool
    encoded: Encoded | None


class TuneSteps(Dataset[TuneBatch]):
    """Batches of a run: item n is the batch of step n, which depends on the seed alone, so that any step can resume."""

    def __init__(
        self,
        variants: Variants,
        words: TuneWords,
        config: TuneConfig,
        encodings: Encodings,
        *,
        patch: int,
        background: bool,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        """Draw batches.

        Args:
            variants: The run's images; those with `words` are replayed, the others have labels.
            words: Classes by index.
            config: Settings.
            encodings: Of all images, or where the encoders learn of the replayed ones alone.
            patch: Pixels along a side of a cell.
            background: Unlabelled pixels belong to none of the classes.
            shard: Number of this process and of all; each gets every n-th image of a batch.
        """
        self._variants, self._words, self._config, self._encodings = variants, words, config, encodings
        self._patch, self._background, self._shard = patch, background, shard
        self._index = {name: number for number, name in enumerate(words.names)}
        self._labelled = [n for n, image in enumerate(variants.images) if not image.words]
        self._replayed = [n for n, image in enumerate(variants.images) if image.words]
        self._labels = LruCache[int, LabelledPixels](_MEMORY, lambda one: one.labels.nbytes + one.rejected.nbytes)

    def __len__(self) -> int:
        return self._config.steps

    def encoded_variants(self) -> list[tuple[int, int]]:
        """Image and number of all variants that must be encoded first."""
        everything = self._config.recipe == "decoder"
        images = [*self._labelled, *self._replayed] if everything else self._replayed
        return [(index, number) for index in images for number in range(self._count(index))]

    def __getitem__(self, step: int) -> TuneBatch:
        config = self._config
        replayed = round(config.batch * config.replay) if self._replayed else 0
        places = range(self._shard[0], config.batch, self._shard[1])
        rows = [self._row(step, place, replay=place >= config.batch - replayed) for place in places]
        encoded = [row.encoded for row in rows if row.encoded is not None]
        pixels = torch.from_numpy(np.stack([row.pixels for row in rows])).permute(0, 3, 1, 2).float() / 255
        return TuneBatch(
            normalize(pixels),
            torch.from_numpy(np.stack([row.labels for row in rows]).astype(np.int64)),
            torch.from_numpy(np.stack([row.rejected for row in rows]).astype(np.int64)),
            torch.from_numpy(np.stack([row.classes for row in rows])),
            torch.tensor([row.replayed for row in rows]),
            _stacked(encoded) if encoded else None,
        )

    def _is_replayed(self, index: int) -> bool:
        return bool(self._variants.images[index].words)

    def _count(self, index: int) -> int:
        return 2 if self._is_replayed(index) else self._config.variants

    def _row(self, step: int, place: int, *, replay: bool) -> _Row:
        config = self._config
        rng = np.random.default_rng([config.seed, step, place])
        pool = self._replayed if replay else self._labelled
        index = pool[int(rng.integers(len(pool)))]
        number = int(rng.integers(self._count(index)))
        variant = self._variants.get(index, number)
        cells = config.crop // self._patch
        grid = variant.pixels.shape[0] // self._patch, variant.pixels.shape[1] // self._patch
        top, left = (int(rng.integers(side - cells + 1)) for side in grid)
        shown = variant.pixels[top * self._patch :, left * self._patch :][: config.crop, : config.crop]
        labels, rejected = self._crop_of_labels(index, variant, (top * self._patch, left * self._patch))
        classes = self._prompted(labels, self._variants.images[index].words, rng, step)
        known = config.recipe == "decoder" or replay
        encoded = self._encodings.crop(index, number, (top, left), cells) if known else None
        return _Row(shown, labels, rejected, classes, replay, encoded)

    def _crop_of_labels(
        self, index: int, variant: Variant, corner: tuple[int, int]
    ) -> tuple[NDArray[np.int16], NDArray[np.uint64]]:
        """Labels of a crop, one every four pixels of the resized image."""
        count = self._config.crop // _STRIDE
        if self._is_replayed(index):
            return np.full((count, count), IGNORE, np.int16), np.zeros((count, count), np.uint64)
        image = self._variants.images[index]

        def read() -> LabelledPixels:
            size_hw = image.open().size_hw
            return image.label(self._words.names[: self._words.own], size_hw, background=self._background)

        whole = self._labels.get_or_make(index, read)
        height, width = whole.labels.shape
        down, across = (
            ((start + (np.arange(count) + 0.5) * _STRIDE) * full / now).astype(np.int64).clip(max=full - 1)
            for start, full, now in zip(corner, (height, width), variant.pixels.shape[:2], strict=True)
        )
        if variant.mirrored:
            across = width - 1 - across
        return whole.labels[np.ix_(down, across)], whole.rejected[np.ix_(down, across)]

    def _prompted(
        self, labels: NDArray[np.int16], known: tuple[str, ...], rng: np.random.Generator, step: int
    ) -> NDArray[np.int64]:
        """Classes of one prompt, as many for every image of a step: those shown, others of the project, absent ones."""
        config, words = self._config, self._words
        absent = rng.permutation(words.absent)
        limit = min(config.max_classes, words.own + config.absent)
        # prompts of different lengths, as users write them
        count = int(np.random.default_rng([config.seed, step, 5]).integers(max(2, (limit + 1) // 2), limit + 1))
        own = rng.permutation(words.own)
        if known:
            named = [self._index[name] for name in known if name in self._index]
            drawn = np.concatenate([named, own[: count // 4], absent]).astype(np.int64)
            drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
            return rng.permutation(drawn[:count])
        present = rng.permutation(np.intersect1d(labels, own))
        # half of the prompts omit some of the classes, whose pixels then are none of those named
        prompted = present[rng.random(len(present)) < 0.9] if rng.random() < 0.5 else present
        foreign = int(rng.integers(config.absent + 1))
        missing = np.setdiff1d(own, present)
        drawn = np.concatenate(
            [prompted[: count - foreign], absent[:foreign], rng.permutation(missing), absent[foreign:]]
        )
        return rng.permutation(drawn[:count].astype(np.int64))


def _stacked(parts: Sequence[Encoded]) -> Encoded:
    first, second = (torch.cat([part.taps[n] for part in parts]) for n in (0, 1))
    return Encoded(torch.cat([p.features for p in parts]), torch.cat([p.prior for p in parts]), (first, second))
