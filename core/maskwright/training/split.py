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
_FEW_IMAGES = 15
"""Below this, one image in five is too few to judge by: every image is held out once."""
_FOLDS = 3


def make_plan(
    annotations: Sequence[AnnotationKey],
    *,
    hold_out: bool,
    former: Collection[int] = (),
    drawn: Collection[str] = (),
    groups: Sequence[Collection[int]] = (),
    seed: int = 0,
) -> FinetunePlan:
    """Split the annotated images, one in five for validation, with every class on both sides where possible.

    Fewer than 15 images are all held out once, a third at a time.

    Args:
        annotations: The accepted masks.
        hold_out: Keep images out of training for validation; False when a labelled folder is measured instead.
        former: Ids of images that earlier runs validated on; they stay on that side.
        drawn: Uids of masks that people drew or corrected; images with one are held out first, because only these
            can judge the result.
        groups: Ids of images that are alike, as frames of one sequence are: they stay on one side.
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
    judges = {annotation.image_id for annotation in used if annotation.uid in drawn}
    earlier = [i for i in sorted(former) if i in classes_of]
    units = _units(classes_of, groups)
    folds: tuple[tuple[int, ...], ...] = ()
    validation: tuple[int, ...] = ()
    if hold_out and len(classes_of) < _FEW_IMAGES and len(units) > 1 and not earlier:
        folds = _folds(units, seed)
    elif hold_out:
        validation = _validation_images(classes_of, earlier, judges, units, seed)
    judged = {*validation, *(image for fold in folds for image in fold)}
    return FinetunePlan(
        categories=categories,
        left_out=left_out,
        train=tuple(sorted(set(classes_of) - set(validation))),
        validation=validation,
        folds=folds,
        masks=tuple((annotation.uid, annotation.revision) for annotation in used),
        judged_by=tuple(a.uid for a in used if a.uid in drawn and a.image_id in judged),
        background=len(categories) == 1,
        seed=seed,
    )


def _units(classes_of: Mapping[int, set[str]], groups: Sequence[Collection[int]]) -> list[tuple[int, ...]]:
    """Images that stay together; a group of most of the images is cut into stretches, in the order of their ids."""
    grouped = [sorted(set(group) & set(classes_of)) for group in groups]
    alone = sorted(set(classes_of) - {image for group in grouped for image in group})
    most = max(1, round(_VALIDATION_SHARE * len(classes_of)))
    units: list[tuple[int, ...]] = [(image,) for image in alone]
    for group in grouped:
        step = len(group) if len(group) <= 2 * most and len(group) < len(classes_of) else most
        units += [tuple(group[start : start + step]) for start in range(0, len(group), max(1, step))]
    return sorted(units)


def _folds(units: Sequence[tuple[int, ...]], seed: int) -> tuple[tuple[int, ...], ...]:
    """The units in at most three parts of about as many images."""
    parts: list[list[int]] = [[] for _ in range(min(_FOLDS, len(units)))]
    for number in np.random.default_rng(seed).permutation(len(units)):
        min(parts, key=len).extend(units[int(number)])
    return tuple(tuple(sorted(part)) for part in parts)


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
    classes_of: Mapping[int, set[str]],
    former: Sequence[int],
    drawn: Collection[int],
    units: Sequence[tuple[int, ...]],
    seed: int,
) -> tuple[int, ...]:
    """Greedy draw: each time the unit whose classes lack validation most, never a class's last training image."""
    count = max(1, round(_VALIDATION_SHARE * len(classes_of)))
    totals = Counter(name for names in classes_of.values() for name in names)
    # at least one image stays for training, whatever earlier runs validated on
    chosen = list(former)[: len(classes_of) - 1]
    held = Counter(name for image in chosen for name in classes_of[image])
    rest = [unit for unit in units if not set(unit) & set(chosen)]
    pool = [rest[int(i)] for i in np.random.default_rng(seed).permutation(len(rest))]
    while len(chosen) < count and pool:

        def deficit(unit: tuple[int, ...]) -> tuple[bool, float]:
            names = [name for image in unit for name in classes_of[image]]
            lack = sum(max(0.0, _VALIDATION_SHARE - held[name] / totals[name]) for name in names) / len(unit)
            return lack > 0 and any(image in drawn for image in unit), lack

        def leaves_some(unit: tuple[int, ...]) -> bool:
            taken = Counter(name for image in unit for name in classes_of[image])
            return all(totals[name] - held[name] > number for name, number in taken.items())

        best = max([unit for unit in pool if leaves_some(unit)] or pool, key=deficit)
        pool.remove(best)
        if len(chosen) + len(best) >= len(classes_of):
            continue
        chosen.extend(best)
        held.update(name for image in best for name in classes_of[image])
    return tuple(sorted(chosen))
