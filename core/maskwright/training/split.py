"""What a fine-tuning run learns from and is measured on: decided once, before it starts, and kept with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maskwright.domain import AnnotationKey
from maskwright.errors import MaskwrightError

__all__ = ["Plan", "make_plan"]

_FEWEST_MASKS = 3
_FEWEST_IMAGES = 2
_VALIDATION = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """The masks and the split of one run."""

    categories: tuple[str, ...]
    """The classes that are learnt, in the order of their ids."""
    left_out: tuple[str, ...]
    """Classes with too few masks."""
    train: tuple[int, ...]
    """Image ids."""
    validation: tuple[int, ...]
    """Ids of the images that the result is measured on; empty when it is measured on a folder."""
    masks: tuple[tuple[str, int], ...]
    """(uid, revision) of every mask that is used."""
    background: bool
    """Unlabelled pixels are none of the classes: without a second class nothing else would be the opposite."""
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def make_plan(
    annotations: Sequence[AnnotationKey], *, hold_out: bool, former: Collection[int] = (), seed: int = 0
) -> Plan:
    """Split the annotated images, one in five for measuring, with every class on both sides where that is possible.

    Args:
        annotations: the accepted masks.
        hold_out: keep images back to measure on; False when a folder is measured instead.
        former: images that earlier runs measured on; they stay on that side.
        seed: of the draw.

    Raises:
        MaskwrightError: fewer than two annotated images, or no class with three masks.
    """
    counts = Counter(one.category for one in annotations)
    ids = {one.category: one.category_id for one in annotations}
    categories = tuple(sorted((name for name in counts if counts[name] >= _FEWEST_MASKS), key=ids.__getitem__))
    left_out = tuple(sorted(set(counts) - set(categories), key=ids.__getitem__))
    used = [one for one in annotations if one.category in categories]
    shown: dict[int, set[str]] = {}
    for one in used:
        shown.setdefault(one.image_id, set()).add(one.category)
    images = len({one.image_id for one in annotations})
    if images < _FEWEST_IMAGES:
        raise MaskwrightError(
            f"Training needs at least {_FEWEST_IMAGES} annotated images; you have {images}. "
            "Accept masks on more images."
        )
    if len(shown) < _FEWEST_IMAGES:
        raise MaskwrightError(
            f"Training needs at least {_FEWEST_MASKS} masks of a class, on {_FEWEST_IMAGES} images. "
            f"Accept more masks of {', '.join(left_out or categories)}."
        )
    validation = _split(shown, [i for i in sorted(former) if i in shown], seed) if hold_out else ()
    return Plan(
        categories=categories,
        left_out=left_out,
        train=tuple(sorted(set(shown) - set(validation))),
        validation=validation,
        masks=tuple((one.uid, one.revision) for one in used),
        background=len(categories) == 1,
        seed=seed,
    )


def _split(shown: dict[int, set[str]], former: Sequence[int], seed: int) -> tuple[int, ...]:
    """Ids for validation: image by image the one whose classes lack most, never the last of a class for training."""
    wanted = max(1, round(_VALIDATION * len(shown)))
    totals = Counter(name for names in shown.values() for name in names)
    # always something to learn from, whatever earlier runs measured on
    chosen = list(former)[: len(shown) - 1]
    held = Counter(name for image in chosen for name in shown[image])
    pool = [int(i) for i in np.random.default_rng(seed).permutation(sorted(set(shown) - set(chosen)))]
    while len(chosen) < wanted:

        def lack(image: int) -> float:
            return sum(max(0.0, _VALIDATION - held[name] / totals[name]) for name in shown[image])

        safe = [i for i in pool if all(totals[name] - held[name] > 1 for name in shown[i])] or pool
        best = max(safe, key=lack)
        pool.remove(best)
        chosen.append(best)
        held.update(shown[best])
    return tuple(sorted(chosen))
