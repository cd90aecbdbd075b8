"""`maskwright analyse`: what a preset's layers hold, and how its classes lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, Preset, print_result, progress_bar
from maskwright.errors import MaskwrightError

__all__ = ["app"]

app = typer.Typer(
    help="Look into a preset's networks.",
    epilog="Example: maskwright analyse layers photos --out layers",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Look into a preset's networks."""


@app.command("layers", epilog="Example: maskwright analyse layers photos --preset tiny --limit 16 --out layers")
def layers(
    images: Annotated[Path, typer.Argument(help="Folder with images.")],
    out: Annotated[Path, typer.Option(help="Folder for layers.json and the charts.")],
    preset: Preset = "tiny",
    size: Annotated[int, typer.Option(min=32, help="Side in pixels of the square that images are stretched to.")] = 448,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of images.")] = 16,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure how much detail each layer keeps, how alike the last are to SAM's, and show their components."""
    from maskwright.evaluation.layer_charts import save_charts
    from maskwright.evaluation.layers import analyse_layers, load_networks
    from maskwright.imaging.reading import is_image_file
    from maskwright.models.devices import choose_device
    from maskwright.presets.folders import find
    from maskwright.presets.weights import save_record
    from maskwright.settings import Settings

    if not images.is_dir():
        raise MaskwrightError(f"There is no folder {images}.", "Check the name.")
    files = sorted(file for file in images.iterdir() if is_image_file(file))[:limit]
    networks = load_networks(find(preset, Settings.load()), choose_device(device))
    with progress_bar("Images") as bar:
        report = analyse_layers(networks, files, size=size, progress=bar)
    out.mkdir(parents=True, exist_ok=True)
    save_record(out / "layers.json", report.to_dict())
    charts = save_charts(report, out)
    lines = ["layer  log10 of high over low frequencies"]
    lines += [f"{index:5}  {value:.3f}" for index, value in enumerate(report.ratio, start=1)]
    if report.cka:
        lines.append(f"CKA with SAM ({', '.join(report.sam_layers)})")
        for block, row in zip(report.backbone_layers, report.cka, strict=True):
            lines.append(f"{block:5}  {'  '.join(f'{value:.3f}' for value in row)}")
    lines.append(f"Charts: {', '.join(str(chart) for chart in charts)}")
    value = {**report.to_dict(), "charts": [str(chart.resolve()) for chart in charts]}
    print_result(value, "\n".join(lines), as_json=as_json)


@app.command(
    "classes", epilog="Example: maskwright analyse classes ade --benchmark ade150 --trained-on coco --out classes"
)
def classes(
    data: Annotated[Path, typer.Argument(help="Labelled folder, or that of --benchmark.")],
    trained_on: Annotated[Path, typer.Option(help="Labelled folder of the training, or COCO-Stuff as published.")],
    out: Annotated[Path, typer.Option(help="Folder for classes.json.")],
    benchmark: Annotated[str | None, typer.Option(help="A benchmark of label maps, such as ade150.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="What evaluate --json printed, for the mIoU of seen and unseen classes.")
    ] = None,
    preset: Preset = "dinov3txt-l",
    size: Annotated[int, typer.Option(min=32, help="Side in pixels of the square that images are stretched to.")] = 448,
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of images of each set.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Analyse classes as dinov3.seg's paper does: text as predictor of looks, neighbours, seen and unseen classes."""
    from maskwright.evaluation.classes import LabelledClasses, analyse_classes, class_spaces
    from maskwright.formats.labelled_folder import load_json
    from maskwright.models.devices import choose_device
    from maskwright.presets.folders import find
    from maskwright.presets.loading import load_dinotxt
    from maskwright.presets.weights import save_record
    from maskwright.settings import Settings

    loaded, chosen = load_dinotxt(find(preset, Settings.load())), choose_device(device)
    known = None
    if scores is not None:
        known = load_json(scores)
        known = known.get("per_class") if isinstance(known, dict) else None
        if not isinstance(known, dict):
            raise MaskwrightError(f"{scores} has no IoU by class.", "Name a file that evaluate --json printed.")
    with progress_bar("Images") as bar:
        sets = (LabelledClasses.of(data, benchmark), LabelledClasses.of(trained_on))
        tested, trained = (
            class_spaces(
                loaded,
                labelled._replace(images=labelled.images[:limit]),
                chosen,
                size=size,
                progress=bar.part(number, 2),
            )
            for number, labelled in enumerate(sets)
        )
    report = analyse_classes(loaded.ref.name, tested, trained, known)
    out.mkdir(parents=True, exist_ok=True)
    save_record(out / "classes.json", report.to_dict())
    lines = [f"{report.classes} classes: {out / 'classes.json'}", "R2 of the prototypes by text:"]
    lines += [f"{value:.4f}  {space}" for space, value in report.r2.items()]
    for kind, part in report.seen.items():
        counts = f"{kind}: {len(part['seen'])} seen, {len(part['unseen'])} unseen"
        means = (f"{key} {value:.4f}" for key, value in part.get("miou", {}).items() if value is not None)
        lines.append(", ".join([counts, *means]))
    print_result(report.to_dict(), "\n".join(lines), as_json=as_json)
