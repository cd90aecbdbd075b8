"""Published benchmarks: label maps by text, episodes and points by example, objects by click."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from maskwright.domain import Mask, Reference, Scores, TextPrompt
from maskwright.engine import Engine
from maskwright.errors import BadReference, MaskwrightError, UsageError
from maskwright.evaluation.click_benchmarks import ClickBenchmarkScores, click_on, summary
from maskwright.evaluation.few_shot import ExampleScores, rank_correlation
from maskwright.evaluation.protocol import ALL_IMAGES, ImageSelection
from maskwright.evaluation.protocols import OWN, PROTOCOLS, PublishedProtocol
from maskwright.evaluation.text import LabelledImageData, score_text
from maskwright.formats.benchmarks.clicks import CLICKS, click_files, read_object
from maskwright.formats.benchmarks.episodes import EPISODES, FIRST_FOLD, Draw, Episode
from maskwright.formats.benchmarks.points import POINTS, read_pairs
from maskwright.formats.benchmarks.semantic import SEMANTIC
from maskwright.models.devices import choose_device
from maskwright.presets.folders import find
from maskwright.presets.loading import load
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.settings import Settings

__all__ = [
    "BENCHMARKS",
    "BenchmarkRun",
    "PointScores",
    "benchmark_engine",
    "evaluate_benchmark",
    "protocol_of",
]

BENCHMARKS = (*SEMANTIC, *EPISODES, *POINTS, *CLICKS)
"""Names of the benchmarks."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PointScores:
    """Share of points found within a distance of the larger side of the object's box, averaged over images (PCK)."""

    task: str = "points"
    method: str = "insid3"
    preset: str
    pairs: int
    pck: dict[str, float]
    """By share of the box's larger side: 0.05, 0.1, 0.15, 0.2."""
    per_class: dict[str, float | None]
    """PCK at 0.1 by category."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRun:
    """Which benchmark is measured, and how."""

    benchmark: str
    """One of BENCHMARKS."""
    folder: Path
    """That holds the data set as its owners publish it."""
    protocol: PublishedProtocol = OWN
    method: str | None = None
    """Text method; None is the protocol's, else the preset's default."""
    cleaning: bool | None = None
    """Background cleaning; None is the protocol's choice."""
    refine: str | None = None
    """Mask refinement, or None."""
    selection: ImageSelection = ALL_IMAGES
    """Its limit and seed draw images or pairs; of episodes the first are measured."""
    draw: Draw = FIRST_FOLD
    """Fold, number of references and seed of episodes."""


def protocol_of(name: str | None) -> PublishedProtocol:
    """A protocol by name; None is the preset's own settings. Raises UsageError."""
    if name is None:
        return OWN
    if name not in PROTOCOLS:
        raise UsageError(f"There is no protocol {name}. Choose one of: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def benchmark_engine(preset: str, device: str, protocol: PublishedProtocol) -> Engine:
    """The engine of a preset with a protocol's settings; raises as `Engine.load`."""
    settings = Settings.load()
    chosen = choose_device(device)
    return Engine(protocol.applied(load(find(preset, settings))), chosen, settings)


def evaluate_benchmark(
    engine: Engine, run: BenchmarkRun, *, progress: Progress = NO_PROGRESS
) -> Scores | ExampleScores | PointScores | ClickBenchmarkScores:
    """Measure a preset on a published benchmark.

    Args:
        engine: From `benchmark_engine`.
        run: Which benchmark, and how.
        progress: Reports images, episodes or pairs; cancels between them.

    Raises:
        UsageError: The benchmark has no such fold.
        MaskwrightError: The folder does not hold the data set.
    """
    if run.benchmark in SEMANTIC:
        return _semantic(engine, run, progress)
    if run.benchmark in CLICKS:
        return _clicks(engine, run, progress)
    return _episodes(engine, run, progress) if run.benchmark in EPISODES else _points(engine, run, progress)


def _semantic(engine: Engine, run: BenchmarkRun, progress: Progress) -> Scores:
    """Prompt with the classes of a benchmark of label maps, and compare pixel by pixel."""
    data, protocol = SEMANTIC[run.benchmark], run.protocol
    images = _drawn(data.images(run.folder), run.selection)
    if not images:
        raise MaskwrightError(f"{run.folder} has no image of {run.benchmark}. Name the folder that has them.")
    cleaning = run.cleaning
    if cleaning is None and data.background:
        cleaning = protocol.cleaning(run.benchmark)
    prompt = TextPrompt(
        classes=protocol.classes(data.names), method=run.method or protocol.method, background=data.background,
        cleaning=cleaning, refine=run.refine, high_resolution=protocol.high_resolution,
    )  # fmt: skip

    def labelled() -> Iterator[LabelledImageData]:
        for entry in images:
            progress.check()
            image, labels = entry.image(), entry.labels()
            if labels.shape != image.size_hw:
                raise MaskwrightError(f"{entry.name} and its label map differ in size. Get the data set again.")
            yield LabelledImageData(image, labels)

    (scores,) = score_text(engine, data.names, [prompt], labelled(), total=len(images), progress=progress)
    if protocol.average_background and scores.background is not None:
        total = scores.miou * scores.classes + scores.background
        scores = replace(scores, miou=total / (scores.classes + 1), classes=scores.classes + 1)
    return scores


def _episodes(engine: Engine, run: BenchmarkRun, progress: Progress) -> ExampleScores:
    """Segment the target of each episode.

    Intersections and unions are summed over the episodes of a class; `miou` is the mean over classes.
    """
    draw, benchmark = run.draw, run.benchmark
    folds = EPISODES[benchmark].folds
    if not 0 <= draw.fold < folds:
        raise UsageError(f"{benchmark} has the folds 0 to {folds - 1}, not {draw.fold}.")
    names, count, episodes = EPISODES[benchmark].episodes(run.folder, draw)
    count = min(count, run.selection.limit or count)
    sums = np.zeros((len(names), 2), np.int64)
    accuracies, scores, ious, images = [], [], [], set()
    for done, episode in enumerate(islice(episodes, count)):
        progress.check()
        progress.report(done, count)
        predicted, score = _found(engine, episode, run.refine)
        target = episode.target
        counted = np.ones_like(target.mask) if target.ignored is None else ~target.ignored
        both = int((predicted & target.mask & counted).sum())
        either = int(((predicted | target.mask) & counted).sum())
        sums[episode.label] += both, either
        scores.append(score)
        ious.append(both / either if either else 1.0)
        accuracies.append(float((predicted == target.mask)[counted].mean()))
        images |= {shown.image.sha256 for shown in (target, *episode.references)}
    progress.report(count, count)
    per_class = [int(both) / int(either) if either else None for both, either in sums]
    known = [value for value in per_class if value is not None]
    return ExampleScores(
        preset=engine.model.name, seed=draw.seed, episodes=count, images=len(images), classes=len(known),
        miou=float(np.mean(known)) if known else 0.0, pixel_accuracy=float(np.mean(accuracies)),
        per_class=dict(zip(names, per_class, strict=True)), ranking=rank_correlation(scores, ious),
    )  # fmt: skip


def _found(engine: Engine, episode: Episode, refine: str | None) -> tuple[Any, float]:
    """(H, W) mask of the target and the confidence in it; none for references that show nothing or only the thing."""
    try:
        shown = [Reference(one.image, Mask.from_array(one.mask)) for one in episode.references]
        prediction = engine.segment_like(episode.target.image, shown, refine=refine)
    except BadReference:
        return np.zeros_like(episode.target.mask), 0.0
    return prediction.label_map > 0, prediction.scores[0]


_PCK = (0.05, 0.1, 0.15, 0.2)


def _points(engine: Engine, run: BenchmarkRun, progress: Progress) -> PointScores:
    """Match the points of each pair."""
    pairs = _drawn(read_pairs(run.folder), run.selection)
    shares: dict[str, list[list[float]]] = {}
    for done, pair in enumerate(pairs):
        progress.check()
        progress.report(done, len(pairs))
        found = engine.match_points(pair.source(), pair.source_xy, pair.target())
        distance = np.linalg.norm(found - pair.target_xy, axis=1) / pair.box_side
        shares.setdefault(pair.category, []).append([float((distance <= share).mean()) for share in _PCK])
    progress.report(len(pairs), len(pairs))
    means = np.mean([row for rows in shares.values() for row in rows], axis=0)
    return PointScores(
        preset=engine.model.name,
        pairs=len(pairs),
        pck={str(share): float(mean) for share, mean in zip(_PCK, means, strict=True)},
        per_class={category: float(np.mean(rows, axis=0)[1]) for category, rows in sorted(shares.items())},
    )


def _clicks(engine: Engine, run: BenchmarkRun, progress: Progress) -> ClickBenchmarkScores:
    """Click on the object of each image, twice: with the predicted and with the best choice among candidates."""
    files = _drawn(click_files(run.folder, run.benchmark), run.selection)
    if not files:
        raise MaskwrightError(f"{run.folder} has no image with a mask. Name the folder that has them.")
    results: dict[bool, list[list[float]]] = {False: [], True: []}
    for done, (image, mask) in enumerate(files):
        progress.report(done, len(files))
        entry = read_object(image, mask, run.benchmark)
        for oracle, runs in results.items():
            progress.check()
            runs.append(click_on(engine, entry, oracle=oracle))
    progress.report(len(files), len(files))
    return ClickBenchmarkScores(
        preset=engine.model.name, images=len(files), predicted=summary(results[False]), oracle=summary(results[True])
    )


def _drawn(entries: Sequence[T], selection: ImageSelection) -> Sequence[T]:
    """The entries to measure, in their order."""
    if selection.limit is None or selection.limit >= len(entries):
        return entries
    drawn = sorted(random.Random(selection.seed).sample(range(len(entries)), selection.limit))
    return [entries[n] for n in drawn]
