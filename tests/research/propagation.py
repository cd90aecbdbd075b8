"""Following a mask through a series and through a stack: mean IoU over planes, and where it was lost.

    python -m tests.research.propagation DATA [--preset tiny] [--sequences cows goat soapbox] [--all]

`DATA` holds the image sets `davis2016` (frames of one sequence as T) and `nuclei`. A sequence is followed from its
middle frame with the labelled mask. The stack is made from a labelled image of nuclei: every nucleus is a ball, cut at
nine depths, in noise; it is followed for all nuclei as one mask, and for one of them alone. A plane that
was not reached counts as IoU 0.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.domain.mask import iou
from maskwright.evaluation.few_shot import category_mask
from maskwright.formats.labelled_folder import LabelledFolder
from maskwright.formats.segmentation import mask_of
from maskwright.session import AnnotationSession, StackPlane, propagate

_PLANES = 9
_NOISE = 4.0

Masks = Sequence[NDArray[np.bool_]]


def _follow(images: Sequence[Image], truth: Masks, preset: str, name: str) -> float:
    """Print and return the mean IoU over the planes but the middle one."""
    start = len(images) // 2
    with tempfile.TemporaryDirectory() as folder:
        session = AnnotationSession.open(folder, preset=preset)
        accepted = session.project.accept(images[start], truth[start], "object")
        planes = [StackPlane(f"plane {n}", lambda image=image: image) for n, image in enumerate(images)]  # type: ignore[misc]
        result = propagate(session, accepted.id, planes, start)
        found = {
            session.images.record(image_id).sha256: session.masks.of_image(image_id)[0].annotation.mask.to_array()
            for image_id in result.images
        }
        session.close()
    empty = np.zeros_like(truth[0])
    scores = [
        iou(found.get(image.sha256, empty), mask)
        for n, (image, mask) in enumerate(zip(images, truth, strict=True))
        if n != start
    ]
    print(f"| {name} | {len(images)} | {np.mean(scores):.3f} | {result.message} |", flush=True)
    return float(np.mean(scores))


def _sequence(data: LabelledFolder, name: str) -> tuple[list[Image], Masks]:
    rows = sorted((row for row in data.images if row.sequence == name), key=lambda row: row.file.name)
    categories = {row["category_id"] for image in rows for row in image.annotations}
    return [Image.open(row.file) for row in rows], [category_mask(row, min(categories)) for row in rows]


def _stack(data: LabelledFolder, seed: int = 0) -> tuple[list[Image], list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    """Planes, the mask of all nuclei on each, and the mask of the largest one."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    rng = np.random.default_rng(seed)
    row = next(row for row in data.images if 10 <= len(row.annotations) <= 40 and min(row.size_hw) >= 256)
    pixels = Image.open(row.file).pixels[..., 0].astype(float)
    nuclei = sorted((mask_of(annotation, row.size_hw) for annotation in row.annotations), key=lambda m: -int(m.sum()))
    dark = float(np.median(pixels[~np.any(nuclei, axis=0)]))
    depth = [distance_transform_edt(mask) for mask in nuclei]
    images, every, largest = [], [], []
    for plane in range(_PLANES):
        height = abs(plane - _PLANES // 2) / (_PLANES // 2 + 1)
        # a ball of radius r is cut where its depth from the border exceeds r (1 - sqrt(1 - h^2))
        cuts = [inside > inside.max() * (1 - np.sqrt(1 - height**2)) for inside in depth]
        shown = np.any(cuts, axis=0)
        soft = gaussian_filter(shown.astype(float), 1.0)
        values = dark + (pixels - dark).clip(0) * soft * (1 - 0.3 * height) + rng.normal(0, _NOISE, pixels.shape)
        images.append(Image.from_array(values.clip(0, 255).astype(np.uint8), rgb=False, name=f"stack z{plane}"))
        every.append(shown)
        largest.append(cuts[0])
    return images, every, largest


def main() -> None:
    """Print a row for each series, and the mean of the sequences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--sequences", nargs="*", default=["cows", "goat", "soapbox"])
    parser.add_argument("--all", action="store_true", help="every sequence of davis2016")
    options = parser.parse_args()
    davis = LabelledFolder.read(options.data / "davis2016")
    names = sorted({str(row.sequence) for row in davis.images}) if options.all else options.sequences
    print("| series | planes | mean IoU | |\n| --- | --- | --- | --- |")
    images, every, largest = _stack(LabelledFolder.read(options.data / "nuclei"))
    _follow(images, every, options.preset, "stack, all nuclei")
    _follow(images, largest, options.preset, "stack, one nucleus")
    scores = [_follow(*_sequence(davis, name), options.preset, name) for name in names]
    print(f"mean of {len(names)} sequences: {np.mean(scores):.3f}")


if __name__ == "__main__":
    main()
