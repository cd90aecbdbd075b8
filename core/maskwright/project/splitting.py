"""Split of a project's images without leaks: what shows the same scene, sequence or subject is in one subset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from PIL import Image as Pillow

from maskwright.domain import ImageRecord
from maskwright.errors import MaskwrightError, UsageError
from maskwright.imaging.reading import open_image
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["Split", "SplitOptions", "split_images"]

PathOf: TypeAlias = Callable[[ImageRecord], Path]

_NUMBER_AT_THE_END = re.compile(r"\d+$")
_ROWS = 512
"""Hashes that are compared with all others at once."""


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """How images are split.

    Raises:
        UsageError: the shares leave nothing for training, or the pattern is not a regular expression.
    """

    val: float
    """Share of the images for validation, above 0."""
    test: float = 0.0
    """Share of the images for a test."""
    subject: str = ""
    """A regular expression: images in whose names it (or its group) finds the same text stay together."""

    def __post_init__(self) -> None:
        if not 0 < self.val < 1 or not 0 <= self.test < 1 or self.val + self.test >= 1:
            raise UsageError("A split needs shares between 0 and 1 that leave images for training.", "Try 0.2.")
        try:
            re.compile(self.subject)
        except re.error as error:
            raise UsageError(f"{self.subject!r} is not a regular expression ({error}).") from error


@dataclass(frozen=True, slots=True)
class Split:
    """The subset of each image."""

    subsets: dict[int, str]
    """"train", "val" or "test" by image id."""
    groups: int
    """Number of groups of several images that were kept together."""

    @property
    def note(self) -> str:
        """A sentence for the user."""
        counts = Counter(self.subsets.values())
        numbers = ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test") if counts[name])
        return f"Split: {numbers}. {self.groups} groups of images of one sequence, subject or scene were kept together."


def split_images(
    records: Sequence[ImageRecord], path_of: PathOf, options: SplitOptions, progress: Progress = NO_PROGRESS
) -> Split:
    """Split images, always the same way for the same images.

    Together stay: near-duplicates by perceptual hash; frames of a sequence, which are images of one subfolder whose
    names differ in the number at their end; and images of one subject, where the options have a pattern.

    Args:
        records: the images.
        path_of: the file of an image.
        options: shares and pattern.
        progress: reports images.
    """
    parents = list(range(len(records)))
    for keys in (_sequences(records), _subjects(records, options.subject)):
        _join(parents, keys)
    for first, second in _near_duplicates(records, path_of, progress):
        _unite(parents, first, second)
    members: dict[int, list[int]] = {}
    for place in range(len(records)):
        members.setdefault(_root(parents, place), []).append(place)
    # by content, so that neither ids nor the order of adding matter
    groups = sorted(members.values(), key=lambda group: min(records[place].sha256 for place in group))
    subsets = _assign(groups, len(records), options)
    named = {records[place].id: subset for group, subset in zip(groups, subsets, strict=True) for place in group}
    return Split({record.id: named[record.id] for record in records}, sum(len(group) > 1 for group in groups))


def _assign(groups: Sequence[Sequence[int]], total: int, options: SplitOptions) -> list[str]:
    """The subset of each group: the first that fit fill test and validation."""
    room = {"test": options.test * total, "val": options.val * total}
    subsets = []
    for number, group in enumerate(groups):
        # one group at least stays for training
        last = number == len(groups) - 1 and "train" not in subsets
        fitting = [name for name, left in room.items() if left >= max(0.5, len(group) / 2) and not last]
        subset = fitting[0] if fitting else "train"
        if subset in room:
            room[subset] -= len(group)
        subsets.append(subset)
    return subsets


def _sequences(records: Sequence[ImageRecord]) -> list[str]:
    keys = []
    for record in records:
        path = PurePosixPath(record.file_name)
        frame = len(path.parts) > 2 and _NUMBER_AT_THE_END.search(path.stem)
        keys.append(f"{path.parent}/{path.stem[: frame.start()]}" if frame else "")
    return keys


def _subjects(records: Sequence[ImageRecord], pattern: str) -> list[str]:
    found = [re.search(pattern, record.file_name) if pattern else None for record in records]
    return [(one[1] if one.re.groups else one[0]) or "" if one else "" for one in found]


def _join(parents: list[int], keys: Iterable[str]) -> None:
    """Unite the places that share a key that is not empty."""
    first: dict[str, int] = {}
    for place, key in enumerate(keys):
        if key:
            _unite(parents, first.setdefault(key, place), place)


def _near_duplicates(records: Sequence[ImageRecord], path_of: PathOf, progress: Progress) -> list[tuple[int, int]]:
    # scipy takes a while to import, and only a split needs it here
    from maskwright.imaging.similarity import NEAR_DUPLICATE, perceptual_hash

    hashes, places = list[int](), list[int]()
    for place, record in enumerate(records):
        progress.report(place, len(records), "Comparing images")
        progress.check()
        try:
            image = open_image(path_of(record).read_bytes())
            image.draft("L", (64, 64))
            hashes.append(perceptual_hash(image))
        except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError, MaskwrightError):
            # a missing image is in no group
            continue
        places.append(place)
    values = np.array(hashes, np.uint64)
    pairs = []
    for start in range(0, len(values), _ROWS):
        distances = np.bitwise_count(values[start : start + _ROWS, None] ^ values[None, :])
        for row, column in np.argwhere(distances <= NEAR_DUPLICATE).tolist():
            if start + row < column:
                pairs.append((places[start + row], places[column]))
    return pairs


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def _unite(parents: list[int], first: int, second: int) -> None:
    parents[_root(parents, second)] = _root(parents, first)
