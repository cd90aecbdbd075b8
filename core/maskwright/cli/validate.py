"""`maskwright validate`: check a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, answer, say
from maskwright.errors import BadCoco

__all__ = ["validate"]


def validate(file: Annotated[Path, typer.Argument(help="COCO instances file.")], as_json: Json = False) -> None:
    """Check that common readers take a COCO file as it is meant."""
    from maskwright.formats.coco_rules import validate as faults_of
    from maskwright.formats.labelled_folder import read_coco

    try:
        faults = faults_of(read_coco(file))
    except BadCoco as error:
        faults = [str(error)]
    except (AttributeError, TypeError, KeyError) as error:
        faults = [f"A row is not an object, or lacks what every row has ({error})."]
    for fault in faults if not as_json else ():
        say(fault)
    text = f"{len(faults)} faults." if faults else f"{file} is as every reader expects it."
    answer({"file": str(file), "valid": not faults, "faults": faults}, as_json, text)
    if faults:
        raise typer.Exit(1)
