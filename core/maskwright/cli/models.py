"""Presets: what is here, what is missing, and how to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, answer

__all__ = ["app"]

app = typer.Typer(
    help="Presets: what is here, what is missing, and how to get it.", epilog="Example: maskwright models list",
    no_args_is_help=True,
)  # fmt: skip


@app.command("list", epilog="Example: maskwright models list")
def models_list(as_json: Json = False) -> None:
    """List presets on this computer and official ones that can be added."""
    from maskwright.presets.loading import installed
    from maskwright.presets.official import OFFICIAL
    from maskwright.settings import Settings

    here = installed(Settings.load())
    rows = [{"name": name, "installed": True, "folder": str(folder)} for name, folder in here.items()]
    rows += [{"name": name, "installed": False, "folder": None} for name in OFFICIAL if name not in here]
    answer(rows, as_json, "\n".join(f"{r['name']}  {r['folder'] or 'not on this computer'}" for r in rows))


@app.command("info", epilog="Example: maskwright models info dinov3txt-l")
def models_info(name: str, as_json: Json = False) -> None:
    """Say which files a preset needs, where they are published, and their licence."""
    from maskwright.presets.catalog import describe
    from maskwright.settings import Settings

    facts = describe(name, Settings.load())
    answer(facts.values, as_json, facts.text)


@app.command("import", epilog="Example: maskwright models import backbone.pth head.pth vocab.gz --as dinov3txt-l")
def models_import(
    files: Annotated[list[Path], typer.Argument(help="The authors' files, in any order.")],
    name: Annotated[str, typer.Option("--as", help="Official preset to make of them.")],
    as_json: Json = False,
) -> None:
    """Make a preset of the authors' files; missing or misshapen keys are refused by name."""
    from maskwright.presets.convert import import_preset
    from maskwright.settings import Settings

    folder = import_preset(files, name, Settings.load().presets.expanduser())
    answer({"name": name, "folder": str(folder)}, as_json, f"{name} is ready in {folder}.")


@app.command("fetch", epilog="Example: maskwright models fetch dinov3txt-l")
def models_fetch(name: str, as_json: Json = False) -> None:
    """Get a preset's files from the Hugging Face hub; says which must be downloaded by hand."""
    from maskwright.presets.catalog import fetch

    got = fetch(name)
    answer(got.values, as_json, got.text)
    if got.values["by_hand"]:
        raise typer.Exit(1)


@app.command("verify", epilog="Example: maskwright models verify tiny")
def models_verify(name: str, as_json: Json = False) -> None:
    """Check that a preset's files are whole and fit their model."""
    from maskwright.presets.loading import find, load
    from maskwright.settings import Settings

    folder = find(name, Settings.load())
    model = load(folder).ref
    value = {"name": name, "folder": str(folder), "sha256": model.sha256}
    answer(value, as_json, f"{name} is whole: {folder} ({model.sha256[:12]}).")


@app.command("count", epilog="Example: maskwright models count dinov3seg-l")
def models_count(
    name: Annotated[str, typer.Argument(help="dinov3seg-l, or a preset with a dinov3.seg.")] = "dinov3seg-l",
    classes: Annotated[
        int, typer.Option(min=1, help="Words asked for at once; the words themselves are encoded.")
    ] = 150,
    as_json: Json = False,
) -> None:
    """Count the parameters and operations of dinov3.seg for one square picture; no weights are needed."""
    from dataclasses import asdict

    from maskwright.evaluation.model_size import count
    from maskwright.models.dinov3seg import SPECS
    from maskwright.presets.config import Dinov3SegProtocol
    from maskwright.presets.loading import dinov3seg_settings, find
    from maskwright.settings import Settings

    if name == "dinov3seg-l":
        config, protocol = SPECS["vitl16"], Dinov3SegProtocol()
    else:
        settings = dinov3seg_settings(find(name, Settings.load()))
        config, protocol = settings.model, settings.protocol
    found = count(config, protocol, classes=classes)
    lines = [f"{number:13,}  {part}" for part, number in found.parameters.items()]
    lines.append(f"{found.parameters_total:13,}  parameters in all")
    lines += [f"{number:13,.1f}  {stage}" for stage, number in found.operations.items()]
    lines.append(
        f"{found.operations_total:13,.1f}  10^9 multiply-adds in all, for a square picture at a side of "
        f"{' and '.join(map(str, found.sides))} pixels and {classes} classes"
    )
    lines.append(f"{2 * found.operations_total:13,.1f}  10^9 operations, multiplications and additions counted apart")
    answer(asdict(found), as_json, "\n".join(lines))
