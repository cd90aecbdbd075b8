"""`ablate`: variants of dinov3.seg or OVS-DINO, trained and measured."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, print_message, print_result, progress_bar
from maskwright.cli.train import Background, Weight, batch_shares
from maskwright.errors import UsageError

__all__ = ["ablate"]


class _Paper(StrEnum):
    dinov3seg = "dinov3seg"
    ovs_dino = "ovs-dino"


_Table = Annotated[
    str | None,
    typer.Option(help="dinov3seg: rows of a table: 3, 4, 5, 11, 12, 14, 15, or parts (left out one at a time)."),
]


def ablate(
    data: Annotated[list[Path], typer.Argument(help="Folders with images/ and COCO annotations.json to train on.")],
    measure: Annotated[list[Path], typer.Option(help="Labelled folder whose held-out images are measured.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained variants; unfinished ones in it are resumed.")],
    paper: Annotated[
        _Paper, typer.Option(help="Model: dinov3seg, or ovs-dino (its Tables 2 to 4, with boundary IoU).")
    ] = _Paper.dinov3seg,
    table: _Table = None,
    base: Annotated[str, typer.Option(help="Preset whose encoders and SAM every variant starts from.")] = "tiny",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each variant.")] = 400,
    weight: Weight = None,
    background: Background = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of images per folder.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of training and of the draw of images.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train variants of a model, and print the mIoU of each; their presets stay in --out."""
    from maskwright.presets.folders import find
    from maskwright.project.ablation import ablate, ablate_ovs, as_table
    from maskwright.project.dinov3seg_rows import TABLES
    from maskwright.settings import Settings
    from maskwright.training.recipes import TrainingJob

    if table is not None and (paper is _Paper.ovs_dino or table not in TABLES):
        raise UsageError(f"--table is for dinov3seg and one of: {', '.join(TABLES)}.")
    with progress_bar("Steps") as bar:
        job = TrainingJob(
            folders=data,
            out=out,
            weights=batch_shares(data, weight, background),
            background=frozenset(background or []),
            steps=steps,
            seed=seed,
            device=device,
            log=print_message,
            progress=bar,
        )
        folder = find(base, Settings.load())
        if paper is _Paper.ovs_dino:
            rows = ablate_ovs(folder, job, measure, limit=limit)
        else:
            rows = ablate(folder, job, measure, limit=limit, rows=TABLES[table or "parts"])
    print_result([row.to_dict() for row in rows], as_table(rows), as_json=as_json)
