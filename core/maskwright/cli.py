"""The command line `maskwright`: results on stdout, messages on stderr, one clear line when something fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import entry_points
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from maskwright import __version__
from maskwright.errors import AppMissing, MaskwrightError

__all__ = ["app", "main"]

app = typer.Typer(
    name="maskwright",
    help="Segmentation masks by word; accepted masks become COCO files.",
    epilog='Example: maskwright segment street.jpg --text "road, car, sky"',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
project_app = typer.Typer(
    help="Make a project, add pictures, look at it.", epilog="Example: maskwright project new streets",
    no_args_is_help=True,
)  # fmt: skip
models_app = typer.Typer(
    help="Presets: what is here, what is missing, and how to get it.", epilog="Example: maskwright models list",
    no_args_is_help=True,
)  # fmt: skip
app.add_typer(project_app, name="project")
app.add_typer(models_app, name="models")

Folder = Annotated[str, typer.Argument(help="The project: its folder, or a database URL.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Preset = Annotated[str, typer.Option(help="Preset name or checkpoint folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _answer(value: Any, as_json: bool, text: str) -> None:
    if as_json:
        text = json.dumps(value, ensure_ascii="utf" not in (sys.stdout.encoding or "").lower())
    print(text, flush=True)  # noqa: T201


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr when it is a terminal; tells nothing otherwise."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=console,
        disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _engine(preset: str, device: str) -> Any:
    from maskwright.engine import Engine

    engine = Engine.load(preset, device)
    if device == "auto":
        _say(f"Running {engine.model.name} on {engine.device}.")
    return engine


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Segmentation masks by word; accepted masks become COCO files."""


@app.command(epilog='Example: maskwright segment street.jpg --text "road, car, sky" --out masks')
def segment(
    image: Annotated[Path, typer.Argument(help="Picture file.")],
    text: Annotated[str, typer.Option(help='Class names, separated by commas; synonyms with "|".')],
    method: Annotated[str | None, typer.Option(help="Text method; default: dinotxt.")] = None,
    background: Annotated[bool, typer.Option("--background", help="Leave what was not named unlabelled.")] = False,
    threshold: Annotated[float | None, typer.Option(help="How sure a class must be, 0 to 1; with background.")] = None,
    high_resolution: Annotated[
        bool, typer.Option("--high-resolution", help="Slow procedure for fine structures.")
    ] = False,
    refine: Annotated[str | None, typer.Option(help="Refinement of masks.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Find regions by words: writes a label map, an overlay and the masks."""
    from maskwright.domain import Image
    from maskwright.export.images import write_prediction

    picture = Image.open(image)
    engine = _engine(preset, device)
    with _progress("Encoding") as bar:
        found = engine.segment_text(
            picture, text, method, background, refine, threshold=threshold, high_resolution=high_resolution,
            progress=lambda share: bar(round(100 * share), 100),
        )  # fmt: skip
    if found.unfamiliar:
        _say(f"This model was not taught: {', '.join(found.unfamiliar)}. Expect little of it.")
    if len(found.categories) == 1 and not background and threshold is None:
        _say("One class and no --background: the class covers the whole picture.")
    answer = write_prediction(found, picture, out)
    lines = [f"{m['category']}: {100 * m['area'] / found.label_map.size:.1f} % of the picture" for m in answer["masks"]]
    _answer(answer, as_json, "\n".join([*lines, answer["label_map"], answer["overlay"], answer["masks_file"]]))


@project_app.command("new", epilog="Example: maskwright project new streets")
def project_new(
    folder: Annotated[str, typer.Argument(help="Folder to make, or a database URL.")], as_json: Json = False
) -> None:
    """Make an empty project; an existing one is left as it is."""
    from maskwright.project import Project

    with Project.open(folder, create=True) as project:
        _answer({"project": str(project.folder)}, as_json, f"Project {project.folder} is ready.")


@project_app.command("add", epilog="Example: maskwright project add streets photos/ cow.jpg")
def project_add(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="Pictures and folders of pictures.")],
    link: Annotated[bool, typer.Option("--link", help="Do not copy the pictures; link to them.")] = False,
    as_json: Json = False,
) -> None:
    """Add pictures; what cannot be read is listed and skipped."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        results = [row for file in files for row in project.add(file, copy=not link)]
    bad = [row.problem for row in results if row.problem]
    for line in [*bad, *(row.notice for row in results if row.notice)]:
        _say(line)
    added = sum(row.new for row in results)
    known = len(results) - added - len(bad)
    _answer(
        {"added": added, "known": known, "problems": bad},
        as_json,
        f"{added} pictures added, {known} known already, {len(bad)} could not be read.",
    )
    if bad or not results:
        if not results:
            _say("No pictures were found there. Check the folder.")
        raise typer.Exit(1)


@project_app.command("status", epilog="Example: maskwright project status streets")
def project_status(folder: Folder, as_json: Json = False) -> None:
    """Count images and masks."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        counts = project.status()
    lines = [f"{counts.images} images, {counts.annotated_images} with accepted masks"]
    lines += [f"{name}: {number}" for name, number in counts.accepted.items()]
    values = {
        "images": counts.images, "annotated_images": counts.annotated_images, "accepted": dict(counts.accepted),
        "rejected": counts.rejected,
    }  # fmt: skip
    _answer(values, as_json, "\n".join(lines))


@project_app.command("images", epilog="Example: maskwright project images streets")
def project_images(folder: Folder, as_json: Json = False) -> None:
    """List the images with their ids."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        rows = [asdict(record) for record in project.images()]
    _answer(rows, as_json, "\n".join(f"{r['id']}  {r['file_name']}  {r['width']} x {r['height']}" for r in rows))


class _Format(StrEnum):
    coco = "coco"


class _Segmentation(StrEnum):
    rle = "rle"
    polygon = "polygon"


@app.command(epilog="Example: maskwright export streets coco.json")
def export(
    project: Folder,
    out: Annotated[Path, typer.Argument(help="File to write.")],
    format: Annotated[_Format, typer.Option(help="File format.")] = _Format.coco,  # noqa: A002
    segmentation: Annotated[_Segmentation, typer.Option(help="How masks are written.")] = _Segmentation.rle,
    states: Annotated[str, typer.Option(help="States, separated by commas.")] = "accepted",
    only_annotated: Annotated[bool, typer.Option("--only-annotated", help="Leave out images without masks.")] = False,
    all_categories: Annotated[bool, typer.Option("--all-categories", help="Also those without masks.")] = False,
    as_json: Json = False,
) -> None:
    """Write the accepted masks as a COCO file."""
    from maskwright.project import Project

    with Project.open(project) as opened:
        file = opened.export_coco(
            out, states=[s.strip() for s in states.split(",")], segmentation=segmentation.value,
            only_annotated=only_annotated, all_categories=all_categories,
        )  # fmt: skip
        counts = opened.status()
    value = {"file": str(file), "format": format.value, "images": counts.images}
    _answer(value, as_json, f"Wrote {file}.")


class _Task(StrEnum):
    text = "text"


class _Unlabelled(StrEnum):
    ignore = "ignore"
    background = "background"


@app.command(epilog="Example: maskwright evaluate data/msrc_v2 --task text --preset tiny --held-out --json")
def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and COCO annotations.json.")],
    task: Annotated[_Task, typer.Option(help="What is measured.")],
    method: Annotated[str | None, typer.Option(help="Text method; default: dinotxt.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    unlabelled: Annotated[
        _Unlabelled, typer.Option(help="Pixels without annotation: not counted, or counted as background.")
    ] = _Unlabelled.ignore,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only the images that training leaves out.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images, drawn by the seed.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure a preset on labelled images."""
    from maskwright.evaluation import evaluate_text

    engine = _engine(preset, device)
    with _progress("Images") as bar:
        scores = evaluate_text(
            engine, data, method=method, background=unlabelled is _Unlabelled.background, only_held_out=held_out,
            limit=limit, seed=seed, progress=bar,
        )  # fmt: skip
    rows = sorted(scores.per_class.items(), key=lambda row: -(row[1] if row[1] is not None else -1))
    table = [f"{'-' if iou is None else f'{iou:.3f}'}  {name}" for name, iou in rows]
    head = f"mIoU {scores.miou:.3f} over {scores.classes} classes, pixel accuracy {scores.pixel_accuracy:.3f}"
    _answer(asdict(scores) | {"task": task.value}, as_json, "\n".join([f"{head}, {scores.images} images", *table]))


@app.command(epilog="Example: maskwright train data/msrc_v2 data/nuclei --background nuclei --out my-preset")
def train(
    data: Annotated[list[Path], typer.Argument(help="Folders with images/ and COCO annotations.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the preset; a run that stopped there goes on.")],
    weight: Annotated[list[str] | None, typer.Option(help="FOLDER=NUMBER: share of each batch; default 1.")] = None,
    background: Annotated[
        list[str] | None, typer.Option(help="FOLDER whose unlabelled pixels are none of its classes.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of the run.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so many; the same call goes on.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same data, same CPU: same weights.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train a text preset like `tiny` from scratch on labelled images."""
    from maskwright.training.run import train_preset

    shares = dict(_share(row) for row in weight or [])
    names = {folder.name for folder in data}
    for name in [*shares, *(background or [])]:
        if name not in names:
            raise MaskwrightError(f"{name} is none of the folders given: {', '.join(sorted(names))}.")
    with _progress("Steps") as bar:
        finished = train_preset(
            data, out, weights=shares, background=frozenset(background or []), steps=steps, minutes=minutes,
            seed=seed, device=device, say=_say, progress=bar,
        )  # fmt: skip
    text = f"{'Finished' if finished else 'Stopped early; the same command goes on'}: {out}"
    _answer({"preset": str(out.resolve()), "finished": finished}, as_json, text)


def _share(row: str) -> tuple[str, float]:
    name, _, number = row.partition("=")
    try:
        return name, float(number)
    except ValueError as error:
        raise typer.BadParameter(f"{row!r} is not FOLDER=NUMBER") from error


@models_app.command("list", epilog="Example: maskwright models list")
def models_list(as_json: Json = False) -> None:
    """List presets on this computer and official ones that can be added."""
    from maskwright.models.presets import installed
    from maskwright.models.registry import OFFICIAL
    from maskwright.settings import Settings

    here = installed(Settings.load())
    rows = [{"name": name, "installed": True, "folder": str(folder)} for name, folder in here.items()]
    rows += [{"name": name, "installed": False, "folder": None} for name in OFFICIAL if name not in here]
    _answer(rows, as_json, "\n".join(f"{r['name']}  {r['folder'] or 'not on this computer'}" for r in rows))


@models_app.command("info", epilog="Example: maskwright models info dinov3txt-l")
def models_info(name: str, as_json: Json = False) -> None:
    """Say which files a preset needs, where they are published, and their licence."""
    from maskwright.models.catalogue import describe
    from maskwright.settings import Settings

    facts = describe(name, Settings.load())
    _answer(facts.values, as_json, facts.text)


@models_app.command(
    "import", epilog="Example: maskwright models import backbone.pth head.pth vocab.gz --as dinov3txt-l"
)
def models_import(
    files: Annotated[list[Path], typer.Argument(help="The authors' files, in any order.")],
    name: Annotated[str, typer.Option("--as", help="Official preset to make of them.")],
    as_json: Json = False,
) -> None:
    """Make a preset of the authors' files; missing or misshapen keys are refused by name."""
    from maskwright.models.importing import import_preset
    from maskwright.settings import Settings

    folder = import_preset(files, name, Settings.load().presets.expanduser())
    _answer({"name": name, "folder": str(folder)}, as_json, f"{name} is ready in {folder}.")


@models_app.command("fetch", epilog="Example: maskwright models fetch dinov3txt-l")
def models_fetch(name: str, as_json: Json = False) -> None:
    """Get a preset's files from the Hugging Face hub; says which must be downloaded by hand."""
    from maskwright.models.catalogue import fetch

    answer = fetch(name)
    _answer(answer.values, as_json, answer.text)
    if answer.values["by_hand"]:
        raise typer.Exit(1)


@models_app.command("verify", epilog="Example: maskwright models verify tiny")
def models_verify(name: str, as_json: Json = False) -> None:
    """Check that a preset's files are whole and fit their model."""
    from maskwright.models.presets import find, load_text
    from maskwright.settings import Settings

    preset = load_text(find(name, Settings.load()))
    value = {"name": name, "folder": str(preset.folder), "sha256": preset.ref.sha256}
    _answer(value, as_json, f"{name} is whole: {preset.folder} ({preset.ref.sha256[:12]}).")


@app.command(epilog="Example: maskwright doctor")
def doctor(
    project: Annotated[Path | None, typer.Option(help="A project to check; default: yours, if there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine has, what is missing, and the command that mends it."""
    from maskwright.diagnosis import diagnose

    report = diagnose(project)
    width = max(len(line.subject) for line in report)
    text = "\n".join(
        f"{'ok ' if line.ok else 'NO '} {line.subject:<{width}}  {line.found}"
        + (f" -> {line.mend}" if line.mend else "")
        for line in report
    )
    _answer([asdict(line) for line in report], as_json, text)
    if any(line.needed and not line.ok for line in report):
        raise typer.Exit(1)


@app.command(epilog="Example: maskwright ui --project streets --port 7861")
def ui(
    project: Annotated[str | None, typer.Option(help="Folder or database URL; made when new.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than this computer needs --auth.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860.")] = None,
    auth: Annotated[str | None, typer.Option(help="USER:PASSWORD.")] = None,
) -> None:
    """Open the browser page on a project and print its address."""
    from maskwright.settings import Settings

    launch = _front_end("app")
    launch(
        project=project or str(Settings.load().project.expanduser()), preset=preset, device=device, host=host,
        port=port, auth=auth,
    )  # fmt: skip


def _front_end(name: str) -> Callable[..., None]:
    for entry in entry_points(group="maskwright.frontends", name=name):
        try:
            launch: Callable[..., None] = entry.load()
        except ImportError as error:
            raise AppMissing(name) from error
        return launch
    raise AppMissing(name)


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
    _say(f"maskwright: {sentence}")
    raise SystemExit(status)
