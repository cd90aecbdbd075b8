"""`evaluate --task classify | retrieve`: whole images and texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from maskwright.cli.output import print_message, print_result, progress_bar
from maskwright.errors import UsageError

if TYPE_CHECKING:
    from maskwright.engine.image_level import Pooling
    from maskwright.evaluation.protocol import ImageSelection

__all__ = ["Comparison", "measure_image_level"]


class Comparison(NamedTuple):
    """What is measured, and with what."""

    task: str
    """classify or retrieve."""
    method: str | None
    pooling: Pooling | None
    """Of Talk2DINO."""
    others: bool
    """Whether options of other tasks were given."""


def measure_image_level(
    data: Path, comparison: Comparison, selection: ImageSelection, *, preset: str, device: str, as_json: bool
) -> None:
    """Measure and print; raises UsageError for options that do not fit."""
    from maskwright.engine.image_level import image_text_encoder
    from maskwright.evaluation.image_level import evaluate_classify, evaluate_retrieve
    from maskwright.models.devices import choose_device
    from maskwright.presets.folders import find
    from maskwright.presets.loading import load
    from maskwright.settings import Settings

    if selection.only_held_out or comparison.others:
        raise UsageError(
            f"--task {comparison.task} takes --method, --pooling, --limit and --seed. Leave the others out."
        )
    loaded, chosen = load(find(preset, Settings.load())), choose_device(device)
    encoder = image_text_encoder(loaded, chosen, comparison.method, pooling=comparison.pooling or "best-head")
    if comparison.pooling and encoder.name != "talk2dino":
        raise UsageError("--pooling is for Talk2DINO. Add --method talk2dino, or leave it out.")
    if device == "auto":
        print_message(f"Running {loaded.ref.name} on {chosen}.")
    evaluate = evaluate_classify if comparison.task == "classify" else evaluate_retrieve
    with progress_bar("Images") as bar:
        scores = evaluate(encoder, data, loaded.ref.name, selection=selection, progress=bar)
    result = scores.to_dict()
    print_result(result, "\n".join(_lines(result)), as_json=as_json)


def _lines(result: dict[str, Any]) -> list[str]:
    if result["task"] == "classify":
        head = f"top-1 {result['top1']:.4f}, top-5 {result['top5']:.4f} of {result['classes']} classes"
        rows = sorted(result["per_class"].items(), key=lambda row: -(row[1] if row[1] is not None else -1))
        table = [f"{'-' if value is None else f'{value:.3f}'}  {name}" for name, value in rows]
        return [f"{head}, {result['images']} images", *table]
    lines = [f"{result['images']} images, {result['captions']} captions"]
    for kind in ("image_by_text", "text_by_image"):
        numbers = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in result[kind].items())
        lines.append(f"{kind.replace('_', ' ')}: {numbers}")
    return lines
