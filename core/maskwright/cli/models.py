"""Presets: what is here, what is missing, and how to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.terminal import Json, answer

__all__ = ["app"]

app = typer.Typer(
    help="Presets: what is here, what is missing, and how to get it.", epilog="Example: maskwright models list",
    no_args_is_help=True,
)  # fmt: skip


@app.command("list", epilog="Example: maskwright models list")
def models_list(as_json: Json = False) -> None:
    """List presets on this computer and official ones that can be added."""
    from maskwright.models.presets import installed
    from maskwright.models.registry import OFFICIAL
    from maskwright.settings import Settings

    here = installed(Settings.load())
    rows = [{"name": name, "installed": True, "folder": str(folder)} for name, folder in here.items()]
    rows += [{"name": name, "installed": False, "folder": None} for name in OFFICIAL if name not in here]
    answer(rows, as_json, "\n".join(f"{r['name']}  {r['folder'] or 'not on this computer'}" for r in rows))


@app.command("info", epilog="Example: maskwright models info dinov3txt-l")
def models_info(name: str, as_json: Json = False) -> None:
    """Say which files a preset needs, where they are published, and their licence."""
    from maskwright.models.catalogue import describe
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
    from maskwright.models.importing import import_preset
    from maskwright.settings import Settings

    folder = import_preset(files, name, Settings.load().presets.expanduser())
    answer({"name": name, "folder": str(folder)}, as_json, f"{name} is ready in {folder}.")


@app.command("fetch", epilog="Example: maskwright models fetch dinov3txt-l")
def models_fetch(name: str, as_json: Json = False) -> None:
    """Get a preset's files from the Hugging Face hub; says which must be downloaded by hand."""
    from maskwright.models.catalogue import fetch

    got = fetch(name)
    answer(got.values, as_json, got.text)
    if got.values["by_hand"]:
        raise typer.Exit(1)


@app.command("verify", epilog="Example: maskwright models verify tiny")
def models_verify(name: str, as_json: Json = False) -> None:
    """Check that a preset's files are whole and fit their model."""
    from maskwright.models.presets import find, load
    from maskwright.settings import Settings

    folder = find(name, Settings.load())
    model = load(folder).ref
    value = {"name": name, "folder": str(folder), "sha256": model.sha256}
    answer(value, as_json, f"{name} is whole: {folder} ({model.sha256[:12]}).")
