"""`maskwright doctor`: what this machine lacks, and how to fix it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, print_result

__all__ = ["doctor"]


def doctor(
    project: Annotated[
        Path | None, typer.Option(help="A project to check; default: the default project, if it exists.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check this machine; print what is missing and the command that fixes it."""
    from maskwright.cli.doctor_checks import diagnose

    checks = diagnose(project)
    width = max(len(check.subject) for check in checks)
    lines = [
        f"{'ok ' if check.ok else 'NO '} {check.subject:<{width}}  {check.found}"
        + (f" -> {check.mend}" if check.mend else "")
        for check in checks
    ]
    print_result([asdict(check) for check in checks], "\n".join(lines), as_json=as_json)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(1)
