"""`maskwright models`: list, fetch, import and verify presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, print_result, progress_bar

__all__ = ["app"]

_MEGABYTE = 10**6

app = typer.Typer(
    help="List, fetch, import and verify presets.",
    epilog="Example: maskwright models list",
    no_args_is_help=True,
)


@app.command("list", epilog="Example: maskwright models list")
def models_list(as_json: Json = False) -> None:
    """List the presets on this computer and the official ones that can be added."""
    from maskwright.presets.folders import installed
    from maskwright.presets.official import OFFICIAL
    from maskwright.settings import Settings

    presets = installed(Settings.load())
    rows: list[dict[str, object]] = [
        {"name": name, "installed": True, "folder": str(folder)} for name, folder in presets.items()
    ]
    lines = [f"{name}  {folder}" for name, folder in presets.items()]
    for name, official in OFFICIAL.items():
        if name in presets:
            continue
        rows.append({"name": name, "installed": False, "folder": None, "fetchable": official.fetchable})
        how = f"fetch, {official.size / 1e6:,.0f} MB" if official.fetchable else "some files by hand"
        lines.append(f"{name}  not on this computer ({how}{'; accept its licence first' * official.gated})")
    print_result(rows, "\n".join(lines), as_json=as_json)


@app.command("info", epilog="Example: maskwright models info dinov3txt-l")
def models_info(name: str, as_json: Json = False) -> None:
    """Print which files a preset needs, where they are published, and their licence."""
    from maskwright.presets.catalog import describe
    from maskwright.settings import Settings

    facts = describe(name, Settings.load())
    print_result(facts.values, facts.text, as_json=as_json)


@app.command("import", epilog="Example: maskwright models import backbone.pth head.pth vocab.gz --as dinov3txt-l")
def models_import(
    files: Annotated[list[Path], typer.Argument(help="The authors' files, in any order.")],
    name: Annotated[str, typer.Option("--as", help="Official preset to convert them to.")],
    as_json: Json = False,
) -> None:
    """Convert the authors' files to a preset; missing or misshapen keys are refused by name."""
    from maskwright.presets.convert import import_preset
    from maskwright.settings import Settings

    folder = import_preset(files, name, Settings.load().presets.expanduser())
    print_result({"name": name, "folder": str(folder)}, f"{name} is ready in {folder}.", as_json=as_json)


@app.command("fetch", epilog="Example: maskwright models fetch talk2dino-b")
def models_fetch(name: str, as_json: Json = False) -> None:
    """Download a preset's files and make the preset; print which must be downloaded by hand, if any."""
    from dataclasses import asdict

    from maskwright.presets.fetching import fetch
    from maskwright.settings import Settings

    with progress_bar(f"Looking for {name}", unit=_MEGABYTE) as progress:
        fetched = fetch(name, Settings.load(), progress=progress)
    value = {
        "name": name,
        "folder": None if fetched.folder is None else str(fetched.folder),
        "fetched": [str(path) for path in fetched.paths],
        "by_hand": [asdict(file) for file in fetched.by_hand],
    }
    if fetched.folder is not None:
        print_result(value, f"{name} is ready in {fetched.folder}.", as_json=as_json)
        return
    lines = [str(path) for path in fetched.paths]
    lines += [f"{file.name} must be downloaded by hand from {file.page} ({file.licence})." for file in fetched.by_hand]
    files = " ".join([*map(str, fetched.paths), *(file.name for file in fetched.by_hand)])
    lines.append(f"Then run: maskwright models import {files} --as {name}")
    print_result(value, "\n".join(lines), as_json=as_json)
    raise typer.Exit(1)


@app.command("verify", epilog="Example: maskwright models verify tiny")
def models_verify(name: str, as_json: Json = False) -> None:
    """Check that a preset's files are intact and fit their model."""
    from maskwright.presets.folders import find
    from maskwright.presets.loading import load
    from maskwright.settings import Settings

    folder = find(name, Settings.load())
    model = load(folder).ref
    value = {"name": name, "folder": str(folder), "sha256": model.sha256}
    print_result(value, f"{name} is intact: {folder} ({model.sha256[:12]}).", as_json=as_json)


@app.command("count", epilog="Example: maskwright models count dinov3seg-l")
def models_count(
    name: Annotated[str, typer.Argument(help="dinov3seg-l, or a preset with a dinov3.seg.")] = "dinov3seg-l",
    classes: Annotated[
        int, typer.Option(min=1, help="Class names in one prompt; their encoding is not counted.")
    ] = 150,
    as_json: Json = False,
) -> None:
    """Count the parameters and operations of dinov3.seg for one square image; no weights are needed."""
    from dataclasses import asdict

    from maskwright.evaluation.model_size import count
    from maskwright.models.dinov3seg import SPECS
    from maskwright.presets.config import Dinov3SegProtocol
    from maskwright.presets.folders import find
    from maskwright.presets.loading import dinov3seg_settings
    from maskwright.settings import Settings

    if name == "dinov3seg-l":
        config, protocol = SPECS["vitl16"], Dinov3SegProtocol()
    else:
        settings = dinov3seg_settings(find(name, Settings.load()))
        config, protocol = settings.model, settings.protocol
    size = count(config, protocol, classes=classes)
    lines = [f"{number:13,}  {part}" for part, number in size.parameters.items()]
    lines.append(f"{size.parameters_total:13,}  parameters in total")
    lines += [f"{number:13,.1f}  {stage}" for stage, number in size.operations.items()]
    lines.append(
        f"{size.operations_total:13,.1f}  10^9 multiply-adds in total, for a square image at a side of "
        f"{' and '.join(map(str, size.sides))} pixels and {classes} classes"
    )
    lines.append(
        f"{2 * size.operations_total:13,.1f}  10^9 operations, multiplications and additions counted separately"
    )
    print_result(asdict(size), "\n".join(lines), as_json=as_json)
