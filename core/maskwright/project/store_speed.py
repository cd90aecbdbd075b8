"""Speed of a project at growing sizes: opening, paging, counting, accepting, undo, export."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from maskwright.domain import Mask
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.store import NewAnnotation, NewCategory, NewDataset, NewImage, Store

__all__ = ["StoreBench", "StoreSize", "bench_store"]

SIZE_HW = (480, 640)
PER_IMAGE = 100
"""Masks on each image."""
_CATEGORIES = 20
_SHAPES = 200
"""Number of different shapes."""
_BATCH = 20_000
"""Masks that are imported in one transaction."""
_MAX_EXPORT = 100_000
"""The export is measured at the largest size up to this number of masks."""


@dataclass(frozen=True, slots=True)
class StoreSize:
    """Seconds of each operation at one size of the project; medians over rounds unless stated otherwise."""

    images: int
    masks: int
    file_mb: float
    open: float
    """Opening the project, including its integrity check."""
    first_page: float
    """First 100 images with the numbers of their masks."""
    deep_page: float
    """100 images from the middle of the list."""
    counts: float
    image_masks: float
    """All masks of one image."""
    changes: float
    """Changes since the one before the last accept."""
    accept_median: float
    accept_p95: float
    bulk: float
    """Accepting 100 masks in one step."""
    undo: float


@dataclass(frozen=True, slots=True)
class StoreBench:
    """Results at growing sizes, and of an export in a process of its own."""

    task: str
    sizes: list[StoreSize]
    growth: dict[str, list[float]]
    """Ratio of each time to that at the previous size."""
    export_masks: int
    export_seconds: float
    export_mb: float
    """Size of the exported file."""
    export_above_start_mb: float
    """Peak memory of the exporting process above its memory with the project open."""
    rounds: int
    machine: dict[str, str | int] = field(default_factory=dict)


def bench_store(
    *,
    masks: int = 1_000_000,
    rounds: int = 200,
    folder: Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> StoreBench:
    """Fill a project with synthetic masks, 100 on an image, and time it at a hundredth, a tenth and all of them.

    Args:
        masks: Number of masks at the largest size.
        rounds: Number of accepts for the median and the 95th percentile.
        folder: Where the temporary project is made; None is the system's temporary folder.
        progress: Reports masks.
    """
    with tempfile.TemporaryDirectory(dir=folder) as parent:
        path = Path(parent) / "project"
        shapes = _random_shapes(np.random.default_rng(0))
        sizes, existing, exported = list[StoreSize](), 0, dict[str, float]()
        for size in sorted({max(PER_IMAGE, masks // part) for part in (100, 10, 1)}):
            with Project.open(path, create=True) as project:
                for done in _fill(project.store, shapes, existing, size):
                    progress.report(done, masks)
            existing = size
            sizes.append(_measure(path, shapes, rounds))
            if size <= _MAX_EXPORT or not exported:
                exported = _export_in_process(path)
        return StoreBench(
            task="store",
            sizes=sizes,
            growth=_growth(sizes),
            export_masks=int(exported["masks"]),
            export_seconds=exported["seconds"],
            export_mb=exported["file_mb"],
            export_above_start_mb=exported["above_start_mb"],
            rounds=rounds,
            machine={"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count() or 1},
        )


def _random_shapes(rng: np.random.Generator) -> list[Mask]:
    """Ellipses with a ragged edge, from a few pixels to half the image."""
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    shapes = []
    for _ in range(_SHAPES):
        center, radii = rng.uniform(0.1, 0.9, 2) * SIZE_HW, rng.uniform(8, 160, 2)
        distance = ((rows - center[0]) / radii[0]) ** 2 + ((columns - center[1]) / radii[1]) ** 2
        shapes.append(Mask.from_array(distance + rng.normal(0, 0.05, SIZE_HW) < 1))
    return shapes


def _annotation(shapes: Sequence[Mask], number: int, image: int, state: str = "accepted") -> NewAnnotation:
    mask = shapes[number % len(shapes)]
    provenance = {
        "preset": "tiny", "weights": "0" * 64, "method": "dinov3seg", "source": "text", "version": "0",
        "prompt": [f"class {number % _CATEGORIES}"], "parameters": {"threshold": 0.5, "batch": number // 3},
    }  # fmt: skip
    return NewAnnotation(image, f"class {number % _CATEGORIES}", mask, "text", provenance, "bench", state)


def _fill(store: Store, shapes: Sequence[Mask], existing: int, total: int) -> Iterator[int]:
    """Import masks until the project has `total`; yields the number after each batch."""
    categories = [NewCategory(f"class {number}") for number in range(_CATEGORIES)]
    while existing < total:
        count = min(_BATCH, total - existing)
        first = existing // PER_IMAGE
        images = [
            NewImage(f"{first + index:064x}", f"images/{first + index:06d}.png", SIZE_HW[1], SIZE_HW[0])
            for index in range(-(-count // PER_IMAGE))
        ]
        new = [_annotation(shapes, existing + index, index // PER_IMAGE) for index in range(count)]
        # shapes repeat, and equal masks of an image would be merged without a uid
        new = [replace(annotation, uid=f"{existing + index + 1:032x}") for index, annotation in enumerate(new)]
        store.imports.add(NewDataset(images, categories, new, user="bench"))
        existing += count
        yield existing


def _measure(path: Path, shapes: Sequence[Mask], rounds: int) -> StoreSize:
    # the daily backup is made at the first opening, and would be timed with it
    Project.open(path).close()
    repeats = max(3, rounds // 20)
    opening = _median(lambda: Project.open(path).close(), repeats)
    with Project.open(path) as project:
        store, counts = project.store, project.status()
        images, total = counts.images, sum(counts.accepted.values())
        number = iter(range(10**9))
        accepts = [_timed(lambda: _accept(store, shapes, next(number), images)) for _ in range(rounds)]
        before = store.change_number() - 1
        return StoreSize(
            images=images,
            masks=total,
            file_mb=round((path / "project.db").stat().st_size / 1e6, 1),
            open=opening,
            first_page=_median(lambda: store.images.page(0, 100), repeats),
            deep_page=_median(lambda: store.images.page(images // 2, 100), repeats),
            counts=_median(store.counts, repeats),
            image_masks=_median(lambda: store.masks.find(max(1, images // 2)), repeats),
            changes=_median(lambda: store.changes(before), repeats),
            accept_median=statistics.median(accepts),
            accept_p95=float(np.percentile(accepts, 95)),
            bulk=_median(lambda: _accept_image(store, shapes, number, images), repeats),
            undo=_median(lambda: store.masks.undo("bench"), repeats),
        )


def _accept(store: Store, shapes: Sequence[Mask], number: int, images: int) -> None:
    store.masks.decide("accepted", "bench", new=[_annotation(shapes, number, 1 + number % images)])


def _accept_image(store: Store, shapes: Sequence[Mask], numbers: Iterator[int], images: int) -> None:
    store.masks.add_many(_annotation(shapes, next(numbers), images) for _ in range(PER_IMAGE))


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _median(action: Callable[[], object], rounds: int) -> float:
    return statistics.median(_timed(action) for _ in range(rounds))


def _growth(sizes: Sequence[StoreSize]) -> dict[str, list[float]]:
    timed = [name for name in asdict(sizes[0]) if name not in ("images", "masks", "file_mb")]
    return {name: [round(getattr(b, name) / getattr(a, name), 2) for a, b in pairwise(sizes)] for name in timed}


def _export_in_process(path: Path) -> dict[str, float]:
    """Time and memory of an export in a new process."""
    command = [sys.executable, "-m", "maskwright.project.store_speed", str(path)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(process.stdout)
    return measured


def _export(path: Path) -> dict[str, float]:
    with Project.open(path) as project:
        start = _memory_mb("VmRSS")
        began = time.perf_counter()
        report = project.exchange.export(path / "exports" / "bench.json")
        seconds = time.perf_counter() - began
    return {
        "masks": report.masks, "seconds": seconds, "file_mb": round(report.file.stat().st_size / 1e6, 1),
        "above_start_mb": round(_memory_mb("VmHWM") - start, 1),
    }  # fmt: skip


def _memory_mb(kind: str) -> float:
    """Memory of this process by /proc: VmRSS now, VmHWM at its peak; `getrusage` would include the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(kind))


if __name__ == "__main__":
    json.dump(_export(Path(sys.argv[1])), sys.stdout)
