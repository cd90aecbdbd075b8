"""Masks by example, masks for a whole project, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from maskwright.cli.output import Device, Folder, Json, Preset, answer, engine, progress_bar, refinement, say
from maskwright.errors import MaskwrightError

__all__ = ["Pairs", "like", "predict"]

_Pairs = list[str]
"""Picture and mask with a NUL between them, which no file name holds; see `Pairs`."""
_TAKE_TWO = ("--reference", "--not-this")
_Refine = Annotated[str, typer.Option(help="Refinement of contours: crf, pamr or none.")]


class Pairs(TyperCommand):
    """A command whose options for pictures with masks take two words each, which typer cannot say of repeated ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for option in self.params:
            if isinstance(option, TyperOption) and option.opts[0] in _TAKE_TWO:
                option.metavar = "PICTURE MASK"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two words of such an option, then parse as usual."""
        rest, joined = list(args), []
        while rest:
            word = rest.pop(0)
            joined.append(word)
            if word in _TAKE_TWO:
                if len(rest) < 2 or rest[1].startswith("--"):
                    raise typer.BadParameter("it takes a picture and its mask", ctx=ctx, param_hint=word)
                joined.append("\0".join((rest.pop(0), rest.pop(0))))
        return super().parse_args(ctx, joined)


def like(
    images: Annotated[list[Path], typer.Argument(help="Pictures to search, and folders of pictures.")],
    reference: Annotated[
        _Pairs,
        typer.Option(help="A picture and its mask, a PNG that is not black where the thing is; repeat it for more."),
    ],
    not_this: Annotated[
        _Pairs | None, typer.Option("--not-this", help="A picture and the mask of what it is not.")
    ] = None,
    category: Annotated[str, typer.Option(help="Name of what is found.")] = "object",
    refine: _Refine = "crf",
    force: Annotated[bool, typer.Option("--force", help="Also pictures whose answer is there already.")] = False,
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Find in other pictures what a mask shows in one; the most certain finds are listed first."""
    from maskwright.domain import Image
    from maskwright.formats.prediction_files import write_prediction, written_before

    pictures = list(_pictures(images))
    if not pictures:
        raise MaskwrightError("No pictures were found there. Check the folder.")
    shows, against = ([_reference(pair, category) for pair in pairs or ()] for pairs in (reference, not_this))
    model, how = engine(preset, device), refinement(refine)
    rows: list[tuple[float, str, Path]] = []
    failed = False
    with progress_bar("Pictures") as bar:
        for number, (file, inside) in enumerate(pictures):
            bar.report(number, len(pictures))
            try:
                picture = Image.open(file)
                expected = model.provenance_like(picture, shows, refine=how, not_this=against)
                written = None if force else written_before(picture, out / inside, category, expected)
                if written is None:
                    found = model.segment_like(picture, shows, category, how, not_this=against)
                    written = write_prediction(found, picture, out / inside)
            except MaskwrightError as error:
                if len(pictures) == 1:
                    raise
                say(f"{file}: {error}")
                failed = True
                continue
            if as_json:
                answer(written, True, "")
            score = written["masks"][0]["score"] if written["masks"] else 0.0
            rows.append((score, "" if written["masks"] else "nothing found", Path(written["overlay"])))
        bar.report(len(pictures), len(pictures))
    if not as_json:
        rows.sort(key=lambda row: (-row[0], row[2]))
        answer(None, False, "\n".join(f"{score:.2f}  {overlay}  {note}".rstrip() for score, note, overlay in rows))
    if failed:
        raise typer.Exit(1)


def _pictures(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Each picture with the folder its answers go to, inside that of all answers."""
    from maskwright.imaging.reading import is_picture

    for path in paths:
        if not path.is_dir():
            yield path, Path()
            continue
        for file in sorted(path.rglob("*")):
            # an answer of an earlier run is no picture to search
            if is_picture(file) and not file.name.endswith((".labels.png", ".overlay.png")):
                yield file, file.parent.relative_to(path)


def _reference(pair: str, category: str) -> Any:
    from maskwright.domain import Image, Mask, Reference
    from maskwright.imaging.reading import read_mask

    picture, mask = map(Path, pair.split("\0"))
    return Reference(Image.open(picture), Mask.from_array(read_mask(mask), category=category))


def predict(
    project: Folder,
    text: Annotated[str | None, typer.Option(help='Class names, separated by commas; synonyms with "|".')] = None,
    like_category: Annotated[
        str | None, typer.Option(help="A category of the project: find more like its references.")
    ] = None,
    accept_above: Annotated[
        float | None, typer.Option(help="Accept masks with at least this score; the others wait for a person.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="With --text: how sure a class must be, 0 to 1.")] = None,
    refine: _Refine = "crf",
    force: Annotated[bool, typer.Option("--force", help="Also images that this prompt has been over.")] = False,
    preset: Annotated[str | None, typer.Option(help="Default: the model the project uses, or tiny.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Propose masks on all images of a project that lack them; goes on where it was stopped."""
    from maskwright.project import Project
    from maskwright.project.prelabel import predict_like, predict_text

    if (text is None) == (like_category is None):
        raise typer.BadParameter("give either --text or --like-category")
    if (text is None and threshold is not None) or (text is not None and refine != "crf"):
        raise typer.BadParameter("--threshold goes with --text, --refine with --like-category")
    with Project.open(project) as opened, progress_bar("Images") as bar:
        model = engine(preset or opened.runs.model() or "tiny", device)
        told: dict[str, Any] = {"accept_above": accept_above, "again": force, "progress": bar}
        if text is not None:
            results = predict_text(opened, model, text, threshold=threshold, **told)
        else:
            results = predict_like(opened, model, str(like_category), refine=refinement(refine), **told)
        rows = []
        for row in results:
            rows.append(row)
            if row.problem:
                say(row.problem)
    rows.sort(key=lambda row: (-row.score, row.record.id))
    proposed, accepted = sum(row.proposed for row in rows), sum(row.accepted for row in rows)
    problems = [row.problem for row in rows if row.problem]
    value = {
        "images": len(rows), "proposed": proposed, "accepted": accepted, "problems": problems,
        "results": [
            {"image": row.record.id, "file": row.record.file_name, "score": row.score, "proposed": row.proposed,
             "accepted": row.accepted}
            for row in rows if not row.problem
        ],
    }  # fmt: skip
    lines = [f"{row.score:.2f}  {row.record.id}: {Path(row.record.file_name).name}" for row in rows if row.score]
    head = f"{len(rows)} images, {proposed} masks proposed, {accepted} accepted"
    answer(value, as_json, "\n".join([head, *lines]))
    if problems:
        raise typer.Exit(1)
