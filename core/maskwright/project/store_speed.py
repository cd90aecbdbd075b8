"""How the store behaves as a project grows: opening, paging, counting, accepting, exporting at growing sizes."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
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
_CATEGORIES = 20
_SHAPES = 200
_AT_ONCE = 20_000
_EXPORTED = 100_000


@dataclass(frozen=True, slots=True)
class StoreSize:
    """Seconds at one size of the project, each the median of several rounds unless it says otherwise."""

    images: int
    masks: int
    file_mb: float
    open: float
    """Opening the project, after it was closed, with its look for damage."""
    first_page: float
    """100 images with the numbers of their masks."""
    deep_page: float
    """The same from the middle of the list."""
    counts: float
    image_masks: float
    """All masks of one image."""
    changes: float
    """What changed since the number before the last accept."""
    accept_median: float
    accept_p95: float
    bulk: float
    """Accepting 100 masks in one step."""
    undo: float


@dataclass(frozen=True, slots=True)
class StoreBench:
    """Sizes, how much slower each step of ten is, and an export in a process of its own."""

    task: str
    sizes: list[StoreSize]
    growth: dict[str, list[float]]
    """Ratio of each time to that of the size before."""
    export_masks: int
    export_seconds: float
    export_mb: float
    """Size of the file."""
    export_above_start_mb: float
    """Peak memory of the process above what it had when the project was open."""
    rounds: int
    machine: dict[str, str | int] = field(default_factory=dict)


def bench_store(
    *,
    masks: int = 1_000_000,
    rounds: int = 200,
    folder: Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> StoreBench:
    """Fill a project with masks of blobs, 100 on an image, and time it at a hundredth, a tenth and all of them.

    Args:
        masks: in all; rounded to hundreds.
        rounds: accepts of which the median and the 95th percentile are taken.
        folder: where the project is made and removed again; by default where temporary files go.
        progress: hears how many masks are written.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        where = Path(place) / "project"
        blobs = _blobs(np.random.default_rng(0))
        sizes, there, exported = list[StoreSize](), 0, dict[str, float]()
        for wanted in sorted({max(PER_IMAGE, masks // part) for part in (100, 10, 1)}):
            with Project.open(where, create=True) as project:
                there = _fill(project.store, blobs, there, wanted, lambda done: progress.report(done, masks))
            sizes.append(_measure(where, blobs, rounds))
            if wanted <= _EXPORTED or not exported:
                exported = _export(where)
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


def _blobs(rng: np.random.Generator) -> list[Mask]:
    """Ellipses with a ragged edge, from a few pixels to half the picture."""
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    made = []
    for _ in range(_SHAPES):
        center, radii = rng.uniform(0.1, 0.9, 2) * SIZE_HW, rng.uniform(8, 160, 2)
        distance = ((rows - center[0]) / radii[0]) ** 2 + ((columns - center[1]) / radii[1]) ** 2
        made.append(Mask.from_array(distance + rng.normal(0, 0.05, SIZE_HW) < 1))
    return made


def _annotation(blobs: Sequence[Mask], number: int, image: int, state: str = "accepted") -> NewAnnotation:
    mask = blobs[number % len(blobs)]
    told = {
        "preset": "tiny", "weights": "0" * 64, "method": "dinov3seg", "source": "text", "version": "0",
        "prompt": [f"class {number % _CATEGORIES}"], "parameters": {"threshold": 0.5, "batch": number // 3},
    }  # fmt: skip
    return NewAnnotation(image, f"class {number % _CATEGORIES}", mask, "text", told, "bench", state)


def _fill(store: Store, blobs: Sequence[Mask], there: int, wanted: int, tell: Callable[[int], None]) -> int:
    """Add masks until there are as many as wanted; gives how many there are."""
    kinds = [NewCategory(f"class {number}") for number in range(_CATEGORIES)]
    while there < wanted:
        number = min(_AT_ONCE, wanted - there)
        first = there // PER_IMAGE
        images = [
            NewImage(f"{first + place:064x}", f"images/{first + place:06d}.png", SIZE_HW[1], SIZE_HW[0])
            for place in range(-(-number // PER_IMAGE))
        ]
        new = [_annotation(blobs, there + place, place // PER_IMAGE) for place in range(number)]
        # the shapes repeat, and a dataset's equal masks of one image are one
        named = [_named(one, there + place) for place, one in enumerate(new)]
        store.imports.add(NewDataset(images, kinds, named, user="bench"))
        there += number
        tell(there)
    return there


def _named(one: NewAnnotation, number: int) -> NewAnnotation:
    return NewAnnotation(
        one.image_id, one.category, one.mask, one.source, one.provenance, one.annotator, one.state,
        uid=f"{number + 1:032x}",
    )  # fmt: skip


def _measure(where: Path, blobs: Sequence[Mask], rounds: int) -> StoreSize:
    # the copy of the day is made beside the work, and would be timed with it
    Project.open(where).close()
    few = max(3, rounds // 20)
    opening = _median(lambda: Project.open(where).close(), few)
    with Project.open(where) as project:
        store, counts = project.store, project.status()
        images, total = counts.images, sum(counts.accepted.values())
        number = iter(range(10**9))
        accepts = [_timed(lambda: _accept(store, blobs, next(number), images)) for _ in range(rounds)]
        before = store.change_number() - 1
        return StoreSize(
            images=images,
            masks=total,
            file_mb=round((where / "project.db").stat().st_size / 1e6, 1),
            open=opening,
            first_page=_median(lambda: store.images.page(0, 100), few),
            deep_page=_median(lambda: store.images.page(images // 2, 100), few),
            counts=_median(store.counts, few),
            image_masks=_median(lambda: store.masks.find(max(1, images // 2)), few),
            changes=_median(lambda: store.changes(before), few),
            accept_median=statistics.median(accepts),
            accept_p95=float(np.percentile(accepts, 95)),
            bulk=_median(
                lambda: store.masks.add_many(_annotation(blobs, next(number), images) for _ in range(PER_IMAGE)), few
            ),
            undo=_median(lambda: store.masks.undo("bench"), few),
        )


def _accept(store: Store, blobs: Sequence[Mask], number: int, images: int) -> None:
    store.masks.decide("accepted", "bench", new=[_annotation(blobs, number, 1 + number % images)])


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _median(action: Callable[[], object], rounds: int) -> float:
    return statistics.median(_timed(action) for _ in range(rounds))


def _growth(sizes: Sequence[StoreSize]) -> dict[str, list[float]]:
    timed = [name for name in asdict(sizes[0]) if name not in ("images", "masks", "file_mb")]
    return {name: [round(getattr(b, name) / getattr(a, name), 2) for a, b in pairwise(sizes)] for name in timed}


def _export(where: Path) -> dict[str, float]:
    """Time and memory of an export by a fresh process."""
    command = [sys.executable, "-m", "maskwright.project.store_speed", str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _export_here(where: Path) -> dict[str, float]:
    with Project.open(where) as project:
        start = _memory_mb("VmRSS")
        began = time.perf_counter()
        done = project.exchange.export(where / "exports" / "bench.json")
        seconds = time.perf_counter() - began
    return {
        "masks": done.masks, "seconds": seconds, "file_mb": round(done.file.stat().st_size / 1e6, 1),
        "above_start_mb": round(_memory_mb("VmHWM") - start, 1),
    }  # fmt: skip


def _memory_mb(kind: str) -> float:
    """What the system says of this process: VmRSS now, VmHWM at its peak. `getrusage` would count its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(kind))


if __name__ == "__main__":
    json.dump(_export_here(Path(sys.argv[1])), sys.stdout)
