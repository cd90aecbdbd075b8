"""`maskwright validate`: check a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, print_message, print_result
from maskwright.errors import BadCoco

__all__ = ["validate"]


def validate(file: Annotated[Path, typer.Argument(help="COCO instances file.")], as_json: Json = False) -> None:
    """Check that common readers read a COCO file as it is meant."""
    from maskwright.formats.coco_rules import validate as find_faults
    from maskwright.formats.labelled_folder import read_coco

    try:
        faults = find_faults(read_coco(file))
    except BadCoco as error:
        faults = [str(error)]
    except (AttributeError, TypeError, KeyError) as error:
        faults = [f"A row is not an object, or lacks a required key ({error})."]
    for fault in faults if not as_json else ():
        print_message(fault)
    text = f"{len(faults)} faults." if faults else f"{file} is a valid COCO instances file."
    print_result({"file": str(file), "valid": not faults, "faults": faults}, text, as_json=as_json)
    if faults:
        raise typer.Exit(1)
