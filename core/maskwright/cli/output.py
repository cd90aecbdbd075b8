"""Output of the commands (results on stdout, messages on stderr), and the options that many of them share."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import UsageError
from maskwright.progress import Progress

if TYPE_CHECKING:
    from maskwright.engine import Engine
    from maskwright.settings import Settings

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


_MINUTE = 60.0


class _Lines(Progress):
    """A line on stderr once a minute, for the log of a run that nobody watches."""

    def __init__(self, title: str, unit: int) -> None:
        self._title, self._unit = title, unit
        self._began, self._first, self._said = time.monotonic(), -1, time.monotonic()

    def report(self, done: int, total: int, stage: str = "") -> None:
        now = time.monotonic()
        if not 0 <= self._first <= done:
            # a new stage counts from anew
            self._began, self._first = now, done
        if now - self._said < _MINUTE:
            return
        self._said = now
        rate = (done - self._first) / max(now - self._began, 1e-9)
        left = f", {(total - done) / rate / 60:.0f} min left" if rate else ""
        counts = f"{done // self._unit:,} of {-(-total // self._unit):,}"
        print_message(f"{stage or self._title}: {counts}, {rate / self._unit:.2f} a second{left}")


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
    """Show a progress bar on stderr when that is a terminal; otherwise print a line a minute.

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
        _rate_column(),
        progress.TimeRemainingColumn(),
    ]
    if not console.is_terminal:
        yield _Lines(title, unit)
        return
    with progress.Progress(*columns, console=console) as bar:
        yield _Bar(bar, title, unit)


def _rate_column() -> Any:
    """A column with how many a second are done."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    return Rate()


def load_engine(preset: str, device: str, *, settings: Settings | None = None) -> Engine:
    """Load an engine; print which device was chosen when `device` is "auto"."""
    from maskwright.engine import Engine

    loaded = Engine.load(preset, device, settings=settings)
    if device == "auto":
        print_message(f"Running {loaded.model.name} on {loaded.device}.")
    return loaded
