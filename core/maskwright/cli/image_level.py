"""`evaluate --task classify | retrieve`: whole images and texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.cli.output import print_message, print_result, progress_bar
from maskwright.errors import UsageError

if TYPE_CHECKING:
    from maskwright.engine.image_level import Pooling
    from maskwright.evaluation.protocol import ImageSelection

__all__ = ["measure_image_level"]


def measure_image_level(
    data: Path, task: str, selection: ImageSelection, *, method: str | None, pooling: Pooling | None,
    preset: tuple[str, str], as_json: bool,
) -> None:  # fmt: skip
    """Measure and print; `preset` is its name and the device."""
    from maskwright.engine.image_level import image_text_encoder
    from maskwright.evaluation.image_level import evaluate_classify, evaluate_retrieve
    from maskwright.models.devices import choose_device
    from maskwright.presets.folders import find
    from maskwright.presets.loading import load
    from maskwright.settings import Settings

    if selection.only_held_out:
        raise UsageError("--held-out is for labelled folders. Leave it out.")
    name, asked = preset
    device = choose_device(asked)
    loaded = load(find(name, Settings.load()))
    encoder = image_text_encoder(loaded, device, method, pooling=pooling or "best-head")
    if pooling and encoder.name != "talk2dino":
        raise UsageError("--pooling is for Talk2DINO. Add --method talk2dino, or leave it out.")
    if asked == "auto":
        print_message(f"Running {loaded.ref.name} on {device}.")
    evaluate = evaluate_classify if task == "classify" else evaluate_retrieve
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
