"""`maskwright validate`: check a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, print_message, print_result
from maskwright.errors import BadCoco

__all__ = ["validate"]


_LINES = 20
"""Sentences of one level that are printed; `--json` has them all."""


def validate(file: Annotated[Path, typer.Argument(help="COCO instances file.")], as_json: Json = False) -> None:
    """Check that common readers read a COCO file as it is meant."""
    from maskwright.formats.coco_rules import Fault, faults_of
    from maskwright.formats.labelled_folder import read_coco

    try:
        faults = faults_of(read_coco(file))
    except BadCoco as error:
        faults = [Fault(str(error))]
    except (AttributeError, TypeError, KeyError) as error:
        faults = [Fault(f"A row is not an object, or lacks a required key ({error}).")]
    levels = {
        level: [str(fault) for fault in faults if fault.level == level] for level in ("error", "warning", "extra")
    }
    errors, warnings, extras = levels.values()
    for level in (errors, warnings) if not as_json else ():
        for fault in level[:_LINES]:
            print_message(fault if level is errors else f"Warning: {fault}")
        if len(level) > _LINES:
            print_message(f"... and {len(level) - _LINES} more; --json lists them all.")
    text = f"{len(errors)} faults." if errors else f"{file} is a valid COCO instances file."
    if warnings:
        text += f" {len(warnings)} warnings."
    if extras:
        text += f" In {len(extras)} places it differs from Maskwright's own files, which harms no reader."
    value = {"file": str(file), "valid": not errors, "faults": errors, "warnings": warnings, "extras": extras}
    print_result(value, text, as_json=as_json)
    if errors:
        raise typer.Exit(1)
