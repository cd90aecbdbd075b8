"""Images that are alike: frames of one sequence, and near-duplicates."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image as Pillow

from maskwright.domain import FinetunePlan, ImageRecord
from maskwright.errors import MaskwrightError

__all__ = ["by_sequence", "similar_images", "split_notes"]

_MOST = 3000
"""Images that are compared by their pixels; of more, the names must do."""


def by_sequence(records: Sequence[ImageRecord]) -> list[set[int]]:
    """Ids of images whose file names differ in their last number alone, such as 0016E5_00390 and 0016E5_00420."""
    groups: dict[str, set[int]] = defaultdict(set)
    for record in records:
        path = PurePosixPath(record.file_name)
        named = re.fullmatch(r"(.*\D)\d+", path.stem)
        if named is not None:
            groups[f"{path.parent}/{named[1]}"].add(record.id)
    return [group for group in groups.values() if len(group) > 1]


def similar_images(records: Sequence[ImageRecord], path_of: Callable[[ImageRecord], Path]) -> list[set[int]]:
    """Groups of images that must not stand on both sides of a split.

    Args:
        records: Images.
        path_of: The file of an image.
    """
    from maskwright.imaging.similarity import NEAR_DUPLICATE

    hashes = [(record.id, _hash_of(record, path_of)) for record in records[:_MOST]]
    known = [(key, value) for key, value in hashes if value is not None]
    pairs = [
        {first, second}
        for number, (first, a) in enumerate(known)
        for second, b in known[number + 1 :]
        if (a ^ b).bit_count() <= NEAR_DUPLICATE
    ]
    return _united([*by_sequence(records), *pairs])


def split_notes(plan: FinetunePlan, groups: Sequence[Collection[int]]) -> tuple[str, ...]:
    """What a user should know of a split."""
    images = {*plan.train, *plan.validation}
    sizes = [len(set(group) & images) for group in groups]
    together = [size for size in sizes if size > 1]
    if not together or not plan.measured:
        return ()
    if max(together) > 0.4 * len(images):
        return (
            f"{max(together)} of the {len(images)} images are one sequence or alike, so whole stretches of it are held "
            "out: the scores say little about other places.",
        )
    return (f"{sum(together)} images are alike or frames of sequences; those stay on one side of the split.",)


def _united(groups: Sequence[Collection[int]]) -> list[set[int]]:
    united: list[set[int]] = []
    for group in groups:
        merged = set(group)
        apart = []
        for other in united:
            if merged & other:
                merged |= other
            else:
                apart.append(other)
        united = [*apart, merged]
    return united


def _hash_of(record: ImageRecord, path_of: Callable[[ImageRecord], Path]) -> int | None:
    try:
        return _hash(path_of(record))
    except MaskwrightError:
        return None


@functools.lru_cache(maxsize=20_000)
def _hash(file: Path) -> int | None:
    from maskwright.imaging.similarity import perceptual_hash

    try:
        with Pillow.open(file) as image:
            image.draft("L", (64, 64))
            return perceptual_hash(image)
    except OSError:
        return None
