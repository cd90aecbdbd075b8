"""`maskwright analyse`: what the layers of a preset's backbone hold."""

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
