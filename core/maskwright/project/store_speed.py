"""Speed of a project at growing sizes: opening, paging, counting, accepting, undo, export, and many writers at once."""

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
from maskwright.errors import ProjectUnwritable, UsageError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.store import NewAnnotation, NewCategory, NewDataset, NewImage, Store
from maskwright.store.location import make_folders

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
_WRITERS = 8
_ACCEPTS = 5
"""Masks that each of the writers accepts, one by one, for each round."""


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
    writers: int
    """Processes that accept at once, one mask after another, at the largest size."""
    writers_masks: int
    """Masks that all of them accepted; it is checked that the project has each."""
    writers_seconds: float
    writers_refused: int
    """Accepts that were refused since others were writing, and succeeded when tried again."""
    rounds: int
    database: str
    """Of SQLAlchemy: sqlite or postgresql."""
    machine: dict[str, str | int] = field(default_factory=dict)


def bench_store(
    *,
    masks: int = 1_000_000,
    rounds: int = 200,
    folder: Path | None = None,
    address: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> StoreBench:
    """Fill a project with synthetic masks, 100 on an image, and time it at a hundredth, a tenth and all of them.

    Args:
        masks: Number of masks at the largest size.
        rounds: Number of accepts for the median and the 95th percentile.
        folder: Where the temporary project is made; None is the system's temporary folder.
        address: Database URL of an empty database, which is not emptied afterwards; None is a file in that project.
        progress: Reports masks.

    Raises:
        UsageError: The database has images.
    """
    with tempfile.TemporaryDirectory(dir=folder) as parent:
        place = _Place(Path(parent) / "project", address)
        with place.open(create=True) as project:
            if project.status().images:
                raise UsageError("This database has a project with images. Name an empty one.")
        shapes = _random_shapes(np.random.default_rng(0))
        sizes, existing, exported = list[StoreSize](), 0, dict[str, float]()
        for size in sorted({max(PER_IMAGE, masks // part) for part in (100, 10, 1)}):
            with place.open() as project:
                for done in _fill(project.store, shapes, existing, size):
                    progress.report(done, masks)
            existing = size
            sizes.append(_measure(place, shapes, rounds))
            if size <= _MAX_EXPORT or not exported:
                exported = json.loads(_process("export", place).communicate()[0])
        seconds, refused = _write_at_once(place, _ACCEPTS * rounds)
        return StoreBench(
            task="store",
            sizes=sizes,
            growth=_growth(sizes),
            export_masks=int(exported["masks"]),
            export_seconds=exported["seconds"],
            export_mb=exported["file_mb"],
            export_above_start_mb=exported["above_start_mb"],
            writers=_WRITERS,
            writers_masks=_WRITERS * _ACCEPTS * rounds,
            writers_seconds=seconds,
            writers_refused=refused,
            rounds=rounds,
            database="sqlite" if address is None else address.partition(":")[0].partition("+")[0],
            machine={"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count() or 1},
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """A temporary project: its folder, and the address of its database where that is no file in it."""

    folder: Path
    address: str | None

    def open(self, *, create: bool = False) -> Project:
        if self.address is None:
            return Project.open(self.folder, create=create)
        # not the folder that a project of this address has, which is beside those of the user
        make_folders(self.folder)
        return Project(self.folder, Store.open(self.address, create=create), self.address)


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


def _measure(place: _Place, shapes: Sequence[Mask], rounds: int) -> StoreSize:
    # the daily backup is made at the first opening, and would be timed with it
    place.open().close()
    repeats = max(3, rounds // 20)
    opening = _median(lambda: place.open().close(), repeats)
    with place.open() as project:
        store, counts = project.store, project.status()
        images, total = counts.images, sum(counts.accepted.values())
        number = iter(range(10**9))
        accepts = [_timed(lambda: _accept(store, shapes, next(number), images)) for _ in range(rounds)]
        before = store.change_number() - 1
        return StoreSize(
            images=images,
            masks=total,
            file_mb=round(store.size / 1e6, 1),
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


def _process(name: str, place: _Place, *words: str) -> subprocess.Popen[str]:
    """One of the actions below in a new process."""
    command = [sys.executable, "-m", "maskwright.project.store_speed", name, str(place.folder), place.address or ""]
    return subprocess.Popen([*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _write_at_once(place: _Place, each: int) -> tuple[float, int]:
    """Seconds in which all writers have accepted so many masks each, and how many accepts had to be tried again."""
    with place.open() as project:
        before = sum(project.status().accepted.values())
    writers = [_process("write", place, str(each), str(number)) for number in range(_WRITERS)]
    # until each has opened the project
    for writer in writers:
        writer.stdout.readline()  # type: ignore[union-attr]
    began = time.perf_counter()
    for writer in writers:
        writer.stdin.write("begin\n")  # type: ignore[union-attr]
        writer.stdin.flush()  # type: ignore[union-attr]
    refused = sum(int(writer.communicate()[0]) for writer in writers)
    seconds = time.perf_counter() - began
    with place.open() as project:
        after = sum(project.status().accepted.values())
    assert after - before == _WRITERS * each, "an accepted mask is missing"
    return seconds, refused


def _write(place: _Place, each: int, writer: int) -> int:
    """Accept masks one by one, on images of its own, once a line was read; returns how many accepts were refused."""
    shapes, refused = _random_shapes(np.random.default_rng(writer)), 0
    with place.open() as project:
        images = project.status().images
        print("ready", flush=True)  # noqa: T201
        sys.stdin.readline()
        for number in range(each):
            while True:
                try:
                    _accept(project.store, shapes, writer + _WRITERS * number, images)
                    break
                except ProjectUnwritable:
                    refused += 1
    return refused


def _export(place: _Place) -> dict[str, float]:
    with place.open() as project:
        start = _memory_mb("VmRSS")
        began = time.perf_counter()
        report = project.exchange.export(place.folder / "exports" / "bench.json")
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
    _action, _folder, _address, *_numbers = sys.argv[1:]
    _where = _Place(Path(_folder), _address or None)
    json.dump(_export(_where) if _action == "export" else _write(_where, *map(int, _numbers)), sys.stdout)
