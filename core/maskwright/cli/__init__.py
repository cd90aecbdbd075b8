"""The command line `maskwright`: results on stdout, messages on stderr, one clear line when something fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from maskwright import __version__
from maskwright.cli import (
    ablate,
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
    runs,
    segment,
    train,
    train_projection,
    ui,
    validate,
)
from maskwright.cli.output import say
from maskwright.errors import MaskwrightError

__all__ = ["app", "main"]

app = typer.Typer(
    name="maskwright",
    help="Segmentation masks by word, by click or by example; accepted masks become COCO files and better models.",
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
    "train-projection": (train_projection.train_projection, "photos-with-captions --out my-preset"),
    "ablate": (ablate.ablate, "data/msrc_v2 data/coco128 --measure data/msrc_v2 --steps 400 --out ablation"),
    "ui": (ui.ui, "--project streets --port 7861"),
    "napari": (napari.napari, "--project streets"),
    "doctor": (doctor.doctor, "--json"),
}
"""Name of each command, its function, and the arguments of its example."""
app.add_typer(project.app, name="project")
app.add_typer(models.app, name="models")
for _name, (_command, _arguments) in _COMMANDS.items():
    app.command(
        _name, epilog=f"Example: maskwright {_name} {_arguments}", cls=like.PairsCommand if _name == "like" else None
    )(_command)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Segmentation masks by word, by click or by example; accepted masks become COCO files and better models."""


def main() -> None:
    """Run the command line; every failure is one line and an exit status (1 failed, 2 usage, 130 interrupted)."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        # a file name need not be text; JSON reads these escapes, too
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except MaskwrightError as error:
        if debug:
            raise
        _fail(str(error), 1)
    except (KeyboardInterrupt, SystemExit) as stop:
        # typer answers Ctrl+C with the status alone
        if isinstance(stop, KeyboardInterrupt) or stop.code == 130:
            _fail("Interrupted; nothing half-done was kept.", 130)
        raise
    except Exception as error:
        # the last line of defence: a person gets one line, a developer asks for the rest
        if debug:
            raise
        first = (str(error).splitlines() or [""])[0]
        _fail(f"Unexpected failure ({type(error).__name__}: {first}). Run it again with --debug and report it.", 1)


def _fail(sentence: str, status: int) -> None:
    say(f"maskwright: {sentence}")
    raise SystemExit(status)
