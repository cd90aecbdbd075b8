"""`maskwright doctor`: what this machine lacks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, answer

__all__ = ["doctor"]


def doctor(
    project: Annotated[Path | None, typer.Option(help="A project to check; default: yours, if there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine has, what is missing, and the command that mends it."""
    from maskwright.cli.doctor_checks import diagnose

    report = diagnose(project)
    width = max(len(line.subject) for line in report)
    text = "\n".join(
        f"{'ok ' if line.ok else 'NO '} {line.subject:<{width}}  {line.found}"
        + (f" -> {line.mend}" if line.mend else "")
        for line in report
    )
    answer([asdict(line) for line in report], as_json, text)
    if any(line.needed and not line.ok for line in report):
        raise typer.Exit(1)
