"""`bench`: speed and memory of prompts, INSID3, PAMR, a project, its search, napari; what fine-tuning brings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.front_ends import front_end
from maskwright.cli.output import Device, Json, Preset, load_engine, print_result, progress_bar
from maskwright.errors import UsageError

if TYPE_CHECKING:
    from maskwright.project.finetune_bench import FinetuneTask
    from maskwright.project.finetune_runs import FinetuneOptions

__all__ = ["bench"]


def bench(
    task: Annotated[
        str, typer.Option(help="example, click, text, refine, store, find, napari or finetune.")
    ] = "example",
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Rounds, of which the median is taken: 5, or 50 clicks; with finetune: epochs."),
    ] = None,
    preset: Preset = "tiny",
    method: Annotated[
        str | None, typer.Option(help="With --task text: dinov3seg, dinotxt, talk2dino or ovs-dino.")
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="With --task text: dinov3.seg of published size, random weights."),
    ] = False,
    masks: Annotated[
        int, typer.Option(min=10_000, help="With --task store: number of masks at the largest size.")
    ] = 1_000_000,
    project: Annotated[
        str | None,
        typer.Option(help="With --task store: address of an empty PostgreSQL database, in which the masks stay."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --task finetune: labelled folder, of which some images are accepted.")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="With --task finetune: number of accepted images.")] = 40,
    sequence: Annotated[
        str, typer.Option(help="With --task finetune: beginning of their names; other sequences are measured.")
    ] = "",
    classes: Annotated[str, typer.Option(help="With --task finetune: classes, separated by commas; all.")] = "",
    retain: Annotated[
        Path | None, typer.Option(help="With --task finetune: labelled folder that shows what was forgotten.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="With --task finetune: measured images.")] = None,
    clicks: Annotated[bool, typer.Option("--clicks", help="With --task finetune: clicks learn, not words.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Time prompts, stages of INSID3, PAMR, a growing project, napari's window; or measure what fine-tuning brings."""
    if random_weights and task != "text":
        raise UsageError("Random weights are for --task text. Add it, or leave --random-weights out.")
    timed: dict[str, Callable[[], None]] = {
        "click": lambda: _bench_click(preset, device, rounds or 50, as_json=as_json),
        "text": lambda: _bench_text(preset, method, device, rounds, random_weights=random_weights, as_json=as_json),
        "refine": lambda: _bench_refine(device, rounds or 1, as_json=as_json),
        "example": lambda: _bench_example(device, rounds or 5, as_json=as_json),
        "store": lambda: _bench_store(masks, rounds or 200, project, as_json=as_json),
        "find": lambda: _bench_find(preset, device, as_json=as_json),
        "napari": lambda: _bench_napari(preset, device, as_json=as_json),
    }
    if task in timed:
        timed[task]()
    elif task == "finetune":
        wanted = _finetune_task(data, images, sequence, classes, retain, limit)
        _bench_finetune(wanted, preset, _finetune_options(method, device, rounds, clicks=clicks), as_json=as_json)
    else:
        raise UsageError(
            f"There is no benchmark {task}. Known: example, click, text, refine, store, find, napari, finetune."
        )


def _bench_napari(preset: str, device: str, *, as_json: bool) -> None:
    measure = front_end("napari", "_bench", "bench")
    with progress_bar("Actions") as bar:
        steps = measure(preset=preset, device=device, progress=bar)
    lines = [f"{'':32}{'longest pause (CPU)':>20}{'(clock)':>12}{'time':>10}{'memory':>12}"]
    lines += [
        f"{step['action']:32}{step['pause']:>17.0f} ms{step['pause_wall']:>9.0f} ms{step['seconds']:>8.1f} s"
        f"{step['memory']:>+9.0f} MB"
        for step in steps
    ]
    print_result({"task": "napari", "preset": preset, "steps": steps}, "\n".join(lines), as_json=as_json)


def _finetune_task(
    data: Path | None, images: int, sequence: str, classes: str, retain: Path | None, limit: int | None
) -> FinetuneTask:
    from maskwright.project.finetune_bench import FinetuneTask

    if data is None:
        raise UsageError("Name a labelled folder with --data.")
    named = tuple(name.strip() for name in classes.split(",") if name.strip())
    return FinetuneTask(data=data, images=images, sequence=sequence, classes=named, retain=retain, limit=limit)


def _finetune_options(method: str | None, device: str, epochs: int | None, *, clicks: bool) -> FinetuneOptions:
    from maskwright.project.finetune_runs import FinetuneOptions

    return FinetuneOptions(task="click" if clicks else "text", method=method, device=device, epochs=epochs)


def _bench_finetune(task: FinetuneTask, preset: str, options: FinetuneOptions, *, as_json: bool) -> None:
    from maskwright.project.finetune_bench import bench_finetune

    with progress_bar("Images") as bar:
        result = bench_finetune(task, preset, options, bar)
    measure = "clicks to IoU 0.85" if result.task == "click" else "mIoU"
    text = (
        f"{result.method} learned from {result.images} images in {result.seconds / 60:.1f} min; {measure} held out "
        f"{result.held_out[0]:.3f} -> {result.held_out[1]:.3f}, on {result.measured} other images "
        f"{result.others[0]:.3f} -> {result.others[1]:.3f}"
    )
    if result.retained is not None:
        text += f"; mIoU of what it knew before {result.retained[0]:.3f} -> {result.retained[1]:.3f}"
    print_result(asdict(result), text, as_json=as_json)


def _bench_store(masks: int, rounds: int, address: str | None, *, as_json: bool) -> None:
    from maskwright.project.store_speed import bench_store

    with progress_bar("Masks") as bar:
        result = bench_store(masks=masks, rounds=rounds, address=address, progress=bar)
    lines = [
        f"{result.database} on {json.dumps(result.machine)}; milliseconds, and ratio to a tenth of the masks",
        " ".join([f"{'masks':15}", *(f"{size.masks:>15,}" for size in result.sizes)]),
    ]
    for name, ratios in result.growth.items():
        cells = [f"{1000 * getattr(size, name):.1f}" for size in result.sizes]
        cells = [cells[0], *(f"{cell} ({ratio:.1f}x)" for cell, ratio in zip(cells[1:], ratios, strict=True))]
        lines.append(" ".join([f"{name:15}", *(f"{cell:>15}" for cell in cells)]))
    lines.append(
        f"Export of {result.export_masks:,} masks ({result.export_mb:.0f} MB): {result.export_seconds:.1f} s, peak "
        f"memory {result.export_above_start_mb:.0f} MB above the start"
    )
    lines.append(
        f"{result.writers} processes that accept {result.writers_masks // result.writers:,} masks each at once: "
        f"{result.writers_seconds:.1f} s ({result.writers_masks / result.writers_seconds:.0f} a second), "
        f"{result.writers_refused} tried again, none lost"
    )
    print_result(asdict(result), "\n".join(lines), as_json=as_json)


def _bench_find(preset: str, device: str, *, as_json: bool) -> None:
    from maskwright.project.search_speed import bench_find

    with progress_bar("Images") as bar:
        result = bench_find(load_engine(preset, device), progress=bar)
    times = [
        f"{name} {getattr(result, key):.2f} s ({getattr(result, f'{key}_cpu'):.2f} s of the processor)"
        for name, key in (
            ("first phrase", "first"), ("further ones", "further"), ("what to label next", "label_next"),
            ("near-duplicates", "duplicates"),
        )
    ]  # fmt: skip
    text = (
        f"{result.images:,} images of {result.regions[0]} regions ({result.megabytes:.0f} MB) on "
        f"{json.dumps(result.machine)}: {', '.join(times)}, of which {100 * result.duplicates_found:.1f} % are found"
    )
    print_result(asdict(result), text, as_json=as_json)


def _bench_click(preset: str, device: str, rounds: int, *, as_json: bool) -> None:
    from maskwright.evaluation.speed import bench_click

    result = bench_click(load_engine(preset, device), rounds=rounds)
    first, further, slowest = (f"{1000 * t:.0f} ms" for t in (result.first, result.further, result.slowest))
    text = (
        f"{result.preset} at {result.longest} pixels on {json.dumps(result.machine)}: first click {first}, further "
        f"clicks {further} (median of {result.rounds}, at most {slowest}), {result.encoder_calls} encoder call"
    )
    print_result(asdict(result), text, as_json=as_json)


def _bench_text(
    preset: str, method: str | None, device: str, rounds: int | None, *, random_weights: bool, as_json: bool
) -> None:
    from maskwright.evaluation.speed import bench_text, published_size

    engine = published_size(device) if random_weights else load_engine(preset, device)
    result = bench_text(engine, method=method, rounds=rounds or 5)
    height, width = result.size_hw
    text = (
        f"{result.preset} ({result.method}), {width} x {height} pixels, {result.classes} classes, on "
        f"{json.dumps(result.machine)}: first prompt {result.first:.2f} s, further prompts {result.further:.2f} s "
        f"(median of {result.rounds}), {result.encoder_calls} encoder call; peak memory {result.peak_mb:,.0f} MB"
    )
    print_result(asdict(result), text, as_json=as_json)


def _bench_refine(device: str, rounds: int, *, as_json: bool) -> None:
    from maskwright.evaluation.speed import bench_refine
    from maskwright.models.devices import choose_device

    result = bench_refine(rounds=rounds, device=str(choose_device(device)))
    height, width = result.size_hw
    text = (
        f"PAMR, {width} x {height} pixels, {result.classes} classes, on {json.dumps(result.machine)}: "
        f"{result.seconds:.2f} s; peak memory {result.peak_mb:,.0f} MB"
    )
    print_result(asdict(result), text, as_json=as_json)


def _bench_example(device: str, rounds: int, *, as_json: bool) -> None:
    from maskwright.evaluation.speed import bench_example
    from maskwright.models.devices import choose_device

    result = bench_example(rounds=rounds, device=str(choose_device(device)))
    lines = [f"{result.grid} x {result.grid} patches, {result.channels} channels, on {json.dumps(result.machine)}"]
    lines += [f"{name:22} {1000 * seconds:8.1f} ms" for name, seconds in result.stages.items()]
    lines.append(f"{'all':22} {1000 * result.total:8.1f} ms")
    lines.append(f"{'one dense product':22} {1000 * result.product:8.1f} ms")
    print_result(asdict(result), "\n".join(lines), as_json=as_json)
