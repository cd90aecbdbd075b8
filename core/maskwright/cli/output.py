"""How the command line speaks: answers on stdout, all else on stderr; and the options many commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from maskwright.progress import Progress

__all__ = [
    "Cleaning",
    "Device",
    "Folder",
    "Json",
    "Method",
    "Preset",
    "Refine",
    "answer",
    "engine",
    "progress_bar",
    "refinement",
    "say",
]

Folder = Annotated[str, typer.Argument(help="The project: its folder, or a database URL.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Preset = Annotated[str, typer.Option(help="Preset name or checkpoint folder.")]
Method = Annotated[
    str | None, typer.Option(help="dinov3seg (the default where the preset has it), dinotxt or talk2dino.")
]
Refine = Annotated[str, typer.Option(help="Refinement of contours: crf, pamr or none.")]
Cleaning = Annotated[
    bool | None,
    typer.Option("--cleaning/--no-cleaning", help="Background cleaning, with --background; default: the preset's."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def say(text: str) -> None:
    """One line for the person."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def answer(value: Any, as_json: bool, text: str) -> None:
    """The result, for machines or for people."""
    if as_json:
        text = json.dumps(value, ensure_ascii="utf" not in (sys.stdout.encoding or "").lower())
    print(text, flush=True)  # noqa: T201


def refinement(word: str) -> str | None:
    """What `--refine` says: "none" is no refinement."""
    return None if word == "none" else word


class _Bar(Progress):
    def __init__(self, bar: Any, title: str) -> None:
        self._bar, self._title, self._task = bar, title, bar.add_task(title, total=None)

    def report(self, done: int, total: int, stage: str = "") -> None:
        self._bar.update(self._task, description=stage or self._title, completed=done, total=total)


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar on stderr when it is a terminal; silent otherwise."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = [
        *progress.Progress.get_default_columns()[:2],
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    ]
    with progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield _Bar(bar, title)


def engine(preset: str, device: str) -> Any:
    """The loaded engine; tells which device it chose when that was left to it."""
    from maskwright.engine import Engine

    loaded = Engine.load(preset, device)
    if device == "auto":
        say(f"Running {loaded.model.name} on {loaded.device}.")
    return loaded
