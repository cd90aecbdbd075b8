"""Times, measured side by side in one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, Preset, load_engine, print_result, progress_bar
from maskwright.errors import UsageError

__all__ = ["bench"]


def bench(
    task: Annotated[str, typer.Option(help="What is timed: example, click, text, refine or store.")] = "example",
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Each number is the median of so many; default: 5, or 50 clicks.")
    ] = None,
    preset: Preset = "tiny",
    method: Annotated[str | None, typer.Option(help="With --task text: dinov3seg, dinotxt or talk2dino.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="With --task text: dinov3.seg of the published size, untrained.")
    ] = False,
    masks: Annotated[
        int, typer.Option(min=10_000, help="With --task store: how many there are in the end.")
    ] = 1_000_000,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Time prompts by word, or clicks; parts beside the way their authors compute them; or a project as it grows."""
    if random_weights and task != "text":
        raise UsageError("Random weights are for --task text. Add it, or leave --random-weights out.")
    if task == "click":
        _bench_click(preset, device, rounds or 50, as_json)
    elif task == "text":
        _bench_text(preset, method, device, rounds or 5, as_json, random_weights=random_weights)
    elif task == "refine":
        _bench_refine(device, rounds or 1, as_json)
    elif task == "example":
        _bench_example(device, rounds or 5, as_json)
    elif task == "store":
        _bench_store(masks, rounds or 200, as_json)
    else:
        raise UsageError(f"There is no benchmark {task}. Known: example, click, text, refine, store.")


def _bench_store(masks: int, rounds: int, as_json: bool) -> None:
    from maskwright.project.store_speed import bench_store

    with progress_bar("Masks") as bar:
        found = bench_store(masks=masks, rounds=rounds, progress=bar)
    lines = [
        f"On {json.dumps(found.machine)}; milliseconds, and times as much as with a tenth of the masks",
        " ".join([f"{'masks':15}", *(f"{size.masks:>15,}" for size in found.sizes)]),
    ]
    for name, ratios in found.growth.items():
        cells = [f"{1000 * getattr(size, name):.1f}" for size in found.sizes]
        told = [cells[0], *(f"{cell} ({ratio:.1f}x)" for cell, ratio in zip(cells[1:], ratios, strict=True))]
        lines.append(" ".join([f"{name:15}", *(f"{cell:>15}" for cell in told)]))
    lines.append(
        f"Export of {found.export_masks:,} masks ({found.export_mb:.0f} MB): {found.export_seconds:.1f} s, peak memory "
        f"{found.export_above_start_mb:.0f} MB above the start"
    )
    print_result(asdict(found), "\n".join(lines), as_json=as_json)


def _bench_click(preset: str, device: str, rounds: int, as_json: bool) -> None:
    from maskwright.evaluation.speed import bench_click

    timed = bench_click(load_engine(preset, device), rounds=rounds)
    head = f"{timed.preset} at {timed.longest} pixels on {json.dumps(timed.machine)}: first click "
    first, further, slowest = (f"{1000 * t:.0f} ms" for t in (timed.first, timed.further, timed.slowest))
    rest = f"{first}, further ones {further} (median of {timed.rounds}, at most {slowest})"
    print_result(asdict(timed), f"{head}{rest}, {timed.encoder_calls} encoder call", as_json=as_json)


def _bench_text(
    preset: str, method: str | None, device: str, rounds: int, as_json: bool, *, random_weights: bool
) -> None:
    from maskwright.evaluation.speed import bench_text, published_size

    timed_engine = published_size(device) if random_weights else load_engine(preset, device)
    asked = bench_text(timed_engine, method=method, rounds=rounds)
    height, width = asked.size_hw
    text = (
        f"{asked.preset} ({asked.method}), {width} x {height} pixels, {asked.classes} words, on "
        f"{json.dumps(asked.machine)}: first prompt {asked.first:.2f} s, further ones {asked.further:.2f} s "
        f"(median of {asked.rounds}), {asked.encoder_calls} encoder call; peak memory {asked.peak_mb:,.0f} MB"
    )
    print_result(asdict(asked), text, as_json=as_json)


def _bench_refine(device: str, rounds: int, as_json: bool) -> None:
    from maskwright.evaluation.speed import bench_refine
    from maskwright.models.devices import choose_device

    refined = bench_refine(rounds=rounds, device=str(choose_device(device)))
    height, width = refined.size_hw
    text = (
        f"PAMR, {width} x {height} pixels, {refined.classes} classes, on {json.dumps(refined.machine)}: "
        f"{refined.ours:.1f} s, authors' way {refined.authors:.1f} s; {refined.ratio:.2f} times as fast; peak "
        f"memory {refined.peak_mb:,.0f} MB, authors' way {refined.authors_peak_mb:,.0f} MB; largest difference "
        f"{refined.largest_difference:.1e}"
    )
    print_result(asdict(refined), text, as_json=as_json)


def _bench_example(device: str, rounds: int, as_json: bool) -> None:
    from maskwright.evaluation.speed import bench_example
    from maskwright.models.devices import choose_device

    found = bench_example(rounds=rounds, device=str(choose_device(device)))
    lines = [f"{found.grid} x {found.grid} cells, {found.channels} channels, on {json.dumps(found.machine)}"]
    for name, ours in found.ours.items():
        lines.append(f"{name:22} {1000 * ours:8.1f} ms   authors' way {1000 * found.authors[name]:8.1f} ms")
    lines.append(f"{'all':22} {1000 * found.ours_total:8.1f} ms   authors' way {1000 * found.authors_total:8.1f} ms")
    lines.append(f"{found.ratio:.1f} times as fast; one dense product takes {1000 * found.product:.1f} ms")
    lines.append(f"same clusters: {found.same_clusters}; same mask: {found.same_mask}")
    print_result(asdict(found), "\n".join(lines), as_json=as_json)
