"""Masks by example, masks for a whole project, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from maskwright.cli.output import Device, Json, Preset, Refine, answer, engine, progress_bar, refinement, say
from maskwright.errors import MaskwrightError

__all__ = ["PairsCommand", "like"]

_Pairs = list[str]
"""Picture and mask with a NUL between them, which no file name holds; see `PairsCommand`."""
_TAKE_TWO = ("--reference", "--not-this")


class PairsCommand(TyperCommand):
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
    refine: Refine = "crf",
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
                expected = model.provenance_like(picture, shows, refine=how, negative_references=against)
                written = None if force else written_before(picture, out / inside, category, expected)
                if written is None:
                    found = model.segment_like(picture, shows, category, how, negative_references=against)
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
    from maskwright.imaging.reading import is_image_file

    for path in paths:
        if not path.is_dir():
            yield path, Path()
            continue
        for file in sorted(path.rglob("*")):
            # an answer of an earlier run is no picture to search
            if is_image_file(file) and not file.name.endswith((".labels.png", ".overlay.png")):
                yield file, file.parent.relative_to(path)


def _reference(pair: str, category: str) -> Any:
    from maskwright.domain import Image, Mask, Reference
    from maskwright.imaging.reading import read_mask

    picture, mask = map(Path, pair.split("\0"))
    return Reference(Image.open(picture), Mask.from_array(read_mask(mask), category=category))
