"""Training and validation split of a project's annotated images, fixed before a fine-tuning run starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from maskwright.domain import AnnotationKey, FinetunePlan
from maskwright.errors import MaskwrightError

__all__ = ["make_plan"]

_MIN_MASKS = 3
_MIN_IMAGES = 2
_VALIDATION_SHARE = 0.2


def make_plan(
    annotations: Sequence[AnnotationKey],
    *,
    hold_out: bool,
    former: Collection[int] = (),
    drawn: Collection[str] = (),
    seed: int = 0,
) -> FinetunePlan:
    """Split the annotated images, one in five for validation, with every class on both sides where possible.

    Args:
        annotations: The accepted masks.
        hold_out: Keep images out of training for validation; False when a labelled folder is measured instead.
        former: Ids of images that earlier runs validated on; they stay on that side.
        drawn: Uids of masks that people drew or corrected; images with one are held out first, because only these
            can judge the result.
        seed: Seed of the draw.

    Returns:
        The plan with default settings.

    Raises:
        MaskwrightError: Fewer than two annotated images, or no class with three masks.
    """
    counts = Counter(annotation.category for annotation in annotations)
    ids = {annotation.category: annotation.category_id for annotation in annotations}
    categories = tuple(sorted((name for name in counts if counts[name] >= _MIN_MASKS), key=ids.__getitem__))
    left_out = tuple(sorted(set(counts) - set(categories), key=ids.__getitem__))
    used = [annotation for annotation in annotations if annotation.category in categories]
    classes_of: dict[int, set[str]] = {}
    for annotation in used:
        classes_of.setdefault(annotation.image_id, set()).add(annotation.category)
    _check_enough(annotations, classes_of, left_out or categories)
    validation = (
        _validation_images(
            classes_of,
            [i for i in sorted(former) if i in classes_of],
            {annotation.image_id for annotation in used if annotation.uid in drawn},
            seed,
        )
        if hold_out
        else ()
    )
    return FinetunePlan(
        categories=categories,
        left_out=left_out,
        train=tuple(sorted(set(classes_of) - set(validation))),
        validation=validation,
        masks=tuple((annotation.uid, annotation.revision) for annotation in used),
        judged_by=tuple(a.uid for a in used if a.uid in drawn and a.image_id in validation),
        background=len(categories) == 1,
        seed=seed,
    )


def _check_enough(
    annotations: Sequence[AnnotationKey], classes_of: Mapping[int, set[str]], scarce: Sequence[str]
) -> None:
    """Raise MaskwrightError with what is missing for training; `scarce` are the classes that need more masks."""
    images = len({annotation.image_id for annotation in annotations})
    if images < _MIN_IMAGES:
        raise MaskwrightError(
            f"Training needs at least {_MIN_IMAGES} annotated images; you have {images}. Accept masks on more images."
        )
    if len(classes_of) < _MIN_IMAGES:
        raise MaskwrightError(
            f"Training needs at least {_MIN_MASKS} masks of a class, on {_MIN_IMAGES} images. "
            f"Accept more masks of {', '.join(scarce)}."
        )


def _validation_images(
    classes_of: Mapping[int, set[str]], former: Sequence[int], drawn: Collection[int], seed: int
) -> tuple[int, ...]:
    """Greedy draw: each time the image whose classes lack validation most, never a class's last training image."""
    count = max(1, round(_VALIDATION_SHARE * len(classes_of)))
    totals = Counter(name for names in classes_of.values() for name in names)
    # at least one image stays for training, whatever earlier runs validated on
    chosen = list(former)[: len(classes_of) - 1]
    held = Counter(name for image in chosen for name in classes_of[image])
    pool = [int(i) for i in np.random.default_rng(seed).permutation(sorted(set(classes_of) - set(chosen)))]
    while len(chosen) < count:

        def deficit(image: int) -> tuple[bool, float]:
            lack = sum(max(0.0, _VALIDATION_SHARE - held[name] / totals[name]) for name in classes_of[image])
            return lack > 0 and image in drawn, lack

        safe = [i for i in pool if all(totals[name] - held[name] > 1 for name in classes_of[i])] or pool
        best = max(safe, key=deficit)
        pool.remove(best)
        chosen.append(best)
        held.update(classes_of[best])
    return tuple(sorted(chosen))
