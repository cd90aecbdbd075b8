"""Output of the commands (results on stdout, messages on stderr), and the options that many of them share."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import UsageError
from maskwright.progress import Progress

if TYPE_CHECKING:
    from maskwright.engine import Engine

__all__ = [
    "AllImages",
    "Category",
    "Cleaning",
    "Device",
    "Json",
    "Method",
    "Preset",
    "ProjectFolder",
    "Refine",
    "load_engine",
    "print_message",
    "print_result",
    "progress_bar",
    "refinement",
]


def _check_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise typer.BadParameter(f"{device!r} is not a device. Use auto, cpu, cuda, cuda:N or mps.")
    return device


def _check_category(category: str) -> str:
    if not category.strip():
        raise typer.BadParameter('a category needs a name, for example "cow".')
    return category


Category = Annotated[str, typer.Option(callback=_check_category, help="Category of the masks.")]
Cleaning = Annotated[
    bool | None,
    typer.Option("--cleaning/--no-cleaning", help="Background cleaning, with --background; default: the preset's."),
]
AllImages = Annotated[
    bool, typer.Option("--all", help="Train on every image; otherwise one in five and the samples are left out.")
]
Device = Annotated[str, typer.Option(callback=_check_device, help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Method = Annotated[
    str | None, typer.Option(help="dinov3seg (the default where the preset has it), dinotxt, talk2dino or ovs-dino.")
]
Preset = Annotated[str, typer.Option(help="Preset name or checkpoint folder.")]
ProjectFolder = Annotated[str, typer.Argument(help="The project: its folder, or a database URL.")]
Refine = Annotated[str, typer.Option(help="Refine the contours: crf, pamr or none.")]


def print_message(text: str) -> None:
    """Print a message for the user on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def print_result(value: Any, text: str, *, as_json: bool) -> None:
    """Print a result on stdout: `value` as one line of JSON, or `text`."""
    if as_json:
        text = json.dumps(value, ensure_ascii="utf" not in (sys.stdout.encoding or "").lower())
    print(text, flush=True)  # noqa: T201


def refinement(name: str) -> str | None:
    """The value of `--refine` as a prompt takes it.

    Raises:
        UsageError: an unknown refinement.
    """
    from maskwright.domain.prompts import REFINEMENTS

    if name not in (*REFINEMENTS, "none"):
        raise UsageError(f"There is no refinement {name}. Choose one of: {', '.join(REFINEMENTS)}, none.")
    return None if name == "none" else name


class _Bar(Progress):
    def __init__(self, bar: Any, title: str, unit: int) -> None:
        self._bar, self._title, self._unit = bar, title, unit
        self._task = bar.add_task(title, total=None)

    def report(self, done: int, total: int, stage: str = "") -> None:
        self._bar.update(
            self._task, description=stage or self._title, completed=done // self._unit, total=-(-total // self._unit)
        )


@contextmanager
def progress_bar(title: str, *, unit: int = 1) -> Iterator[Progress]:
    """Show a progress bar on stderr when that is a terminal; print nothing otherwise.

    Args:
        title: shown until a stage is reported.
        unit: what is reported is divided by it, such as 1,000,000 for bytes.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = [
        *progress.Progress.get_default_columns()[:2],
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    ]
    with progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield _Bar(bar, title, unit)


def load_engine(preset: str, device: str) -> Engine:
    """Load an engine; print which device was chosen when `device` is "auto"."""
    from maskwright.engine import Engine

    loaded = Engine.load(preset, device)
    if device == "auto":
        print_message(f"Running {loaded.model.name} on {loaded.device}.")
    return loaded
