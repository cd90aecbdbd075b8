"""`evaluate --benchmark`: a preset on a published benchmark, by a paper's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from maskwright.cli.output import print_message, print_result, progress_bar, refinement
from maskwright.errors import UsageError

if TYPE_CHECKING:
    from maskwright.evaluation.protocol import ImageSelection

__all__ = ["BenchmarkOptions", "measure_benchmark"]


class BenchmarkOptions(NamedTuple):
    """Options of `evaluate` for a benchmark."""

    benchmark: str
    protocol: str | None
    fold: int
    shots: int
    method: str | None
    cleaning: bool | None
    refine: str | None


def measure_benchmark(
    data: Path, options: BenchmarkOptions, selection: ImageSelection, *, preset: str, device: str, as_json: bool
) -> None:
    """Measure and print; raises UsageError for options that do not fit the benchmark."""
    from maskwright.evaluation.benchmarks import (
        BENCHMARKS,
        BenchmarkRun,
        benchmark_engine,
        evaluate_benchmark,
        protocol_of,
    )
    from maskwright.formats.benchmarks.clicks import CLICKS
    from maskwright.formats.benchmarks.episodes import EPISODES, Draw
    from maskwright.formats.benchmarks.points import POINTS
    from maskwright.formats.benchmarks.semantic import SEMANTIC

    name = options.benchmark
    if name not in BENCHMARKS:
        raise UsageError(f"There is no benchmark {name}. Choose one of: {', '.join(BENCHMARKS)}.")
    if name not in SEMANTIC and (options.method or options.cleaning is not None):
        raise UsageError("--method and --cleaning go with benchmarks of label maps. Leave them out.")
    if name in (*POINTS, *CLICKS) and options.refine:
        raise UsageError("--refine goes with benchmarks of label maps and few-shot ones. Leave it out.")
    if name not in EPISODES and (options.fold or options.shots != 1):
        raise UsageError("--fold and --shots go with few-shot benchmarks. Leave them out.")
    protocol = protocol_of(options.protocol)
    run = BenchmarkRun(
        benchmark=name, folder=data, protocol=protocol, method=options.method, cleaning=options.cleaning,
        refine=refinement(options.refine or ("crf" if name in EPISODES else "none")), selection=selection,
        draw=Draw(options.fold, options.shots, selection.seed),
    )  # fmt: skip
    engine = benchmark_engine(preset, device, protocol)
    if device == "auto":
        print_message(f"Running {engine.model.name} on {engine.device}.")
    with progress_bar("Images") as bar:
        scores = evaluate_benchmark(engine, run, progress=bar)
    result = {**scores.to_dict(), "benchmark": name, "protocol": options.protocol}
    if name in EPISODES:
        result |= {"fold": options.fold, "shots": options.shots}
    rows = sorted(result.get("per_class", {}).items(), key=lambda row: -(row[1] if row[1] is not None else -1))
    table = [f"{'-' if value is None else f'{value:.3f}'}  {entry}" for entry, value in rows]
    print_result(result, "\n".join([_summary(result), *table]), as_json=as_json)


def _summary(result: dict[str, Any]) -> str:
    name = result["benchmark"]
    if "oracle" in result:
        lines = (
            f"{choice}: " + ", ".join(f"{key} {value:.3f}" for key, value in result[choice].items())
            for choice in ("predicted", "oracle")
        )
        return "\n".join([f"{name}: {result['images']} objects", *lines])
    if "pck" in result:
        shares = ", ".join(f"{value:.3f} at {share}" for share, value in result["pck"].items())
        return f"{name}: PCK {shares}, over {result['pairs']} pairs"
    counted = f"{result['episodes']} episodes" if "episodes" in result else f"{result['images']} images"
    text = f"{name}: mIoU {result['miou']:.4f} over {result['classes']} classes, {counted}"
    return text + (f", background {result['background']:.3f}" if result.get("background") is not None else "")
