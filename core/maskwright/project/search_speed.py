"""Speed of the search in a large project, with synthetic regions through the code of a real search."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from maskwright.domain import Image
from maskwright.engine import Engine
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.embeddings import ImageEmbeddings
from maskwright.project.search import find_duplicates, find_images, rank_unlabelled
from maskwright.store import NewDataset, NewImage

__all__ = ["SearchBench", "bench_find"]

_BATCH = 5000
_DUPLICATES = 100
"""Each so-manieth image is a near-duplicate of the one before."""


@dataclass(frozen=True, slots=True)
class SearchBench:
    """Seconds of each search on the clock, and of the processor's time (`_cpu`), which a busy machine leaves alone."""

    task: str
    images: int
    regions: tuple[int, int]
    """Regions of an image, and the length of each."""
    megabytes: float
    """Size of the embeddings on disk."""
    first: float
    """Opening the project, and the best 20 of all images for a phrase."""
    first_cpu: float
    further: float
    """The same for another phrase."""
    further_cpu: float
    label_next: float
    """20 images to label next."""
    label_next_cpu: float
    duplicates: float
    """Groups of near-duplicates."""
    duplicates_cpu: float
    duplicates_found: float
    """Share of the planted pairs that were found."""
    machine: dict[str, str | int] = field(default_factory=dict)


def bench_find(
    engine: Engine, *, images: int = 100_000, folder: Path | None = None, progress: Progress = NO_PROGRESS
) -> SearchBench:
    """Time the searches of `maskwright find` in a project that this makes.

    Args:
        engine: with Talk2DINO; it encodes phrases, and one image for the shape of its regions.
        images: Number of images.
        folder: Where the temporary project is made; None is the system's temporary folder.
        progress: Reports images.
    """
    regions = engine.encode_regions(Image(np.zeros((64, 64, 3), np.uint8)))
    with tempfile.TemporaryDirectory(dir=folder) as parent:
        path = Path(parent) / "project"
        with Project.open(path, create=True) as project:
            _fill(project, engine, (regions.shape[0], regions.shape[1]), images, progress)
        # the model is loaded and warm: what is timed is the search
        engine.encode_phrase("a photograph")

        def first() -> None:
            with Project.open(path) as project:
                find_images(project, engine, "a zebra in the grass")

        times = _timed("first", first)
        with Project.open(path) as project:
            groups = list[object]()
            times |= _timed("further", lambda: find_images(project, engine, "a red car"))
            times |= _timed("label_next", lambda: rank_unlabelled(project, engine))
            times |= _timed("duplicates", lambda: groups.extend(find_duplicates(project, engine)[0]))
        size = sum(file.stat().st_size for file in (path / "embeddings").rglob("*.safetensors"))
        return SearchBench(
            task="find",
            images=images,
            regions=(regions.shape[0], regions.shape[1]),
            megabytes=round(size / 1e6, 1),
            duplicates_found=len(groups) / (images // _DUPLICATES),
            machine={"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count() or 1},
            **times,
        )


def _fill(project: Project, engine: Engine, shape: tuple[int, int], images: int, progress: Progress) -> None:
    random = torch.Generator().manual_seed(0)
    embeddings = ImageEmbeddings(project.folder / "embeddings" / engine.retriever.key)
    for start in range(0, images, _BATCH):
        progress.report(start, images)
        numbers = range(start, min(images, start + _BATCH))
        new = [NewImage(f"{number:064x}", f"images/{number:06d}.png", 64, 64) for number in numbers]
        project.store.imports.add(NewDataset(new, [], [], user="bench"))
        regions = torch.randn((len(numbers), *shape), generator=random)
        for place, number in enumerate(numbers):
            if number % _DUPLICATES == 1:
                regions[place] = regions[place - 1] + 0.02 * regions[place]
        embeddings.write_many([image.sha256 for image in new], regions)


def _timed(name: str, action: Callable[[], object]) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    action()
    return {name: round(time.perf_counter() - began, 3), f"{name}_cpu": round(time.process_time() - cpu, 3)}
