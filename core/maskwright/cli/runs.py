"""`runs` and `activate`: list fine-tuning runs and choose the model in use."""

from __future__ import annotations

from typing import Annotated

import typer

from maskwright.cli.output import Json, ProjectFolder, print_result

__all__ = ["activate", "runs"]


def runs(project: ProjectFolder, as_json: Json = False) -> None:
    """List the fine-tuning runs with their scores; an asterisk marks the model in use."""
    from maskwright.project import Project

    with Project.open(project) as opened:
        listed, active = opened.runs.all(), opened.runs.active()
    lines = [
        f"{'*' if run.name == active else ' '} {run.name}  {run.state}  {run.created_at[:16]}"
        + (f"  mIoU {run.before.miou:.3f} -> {run.after.miou:.3f}" if run.before and run.after else "")
        for run in listed
    ]
    rows = [run.to_dict() | {"active": run.name == active} for run in listed]
    print_result(rows, "\n".join(lines) or "No runs yet.", as_json=as_json)


def activate(
    project: ProjectFolder,
    run: Annotated[str, typer.Argument(help='A run that is done, or "base" for the preset before all runs.')],
    as_json: Json = False,
) -> None:
    """Choose the model that the project uses."""
    from maskwright.project import Project
    from maskwright.project.images import user_name

    with Project.open(project) as opened:
        opened.runs.activate(None if run == "base" else run, user=user_name())
        value = {"active": opened.runs.active(), "checkpoint": opened.runs.model()}
    print_result(value, f"The project uses {run}.", as_json=as_json)
