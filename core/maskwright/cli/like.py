"""`maskwright like`: masks by reference images and their masks (in-context segmentation)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from maskwright.cli.output import (
    Category,
    Device,
    Json,
    Preset,
    Refine,
    load_engine,
    print_message,
    print_result,
    progress_bar,
    refinement,
)
from maskwright.errors import MaskwrightError

__all__ = ["PairsCommand", "like"]

_Pairs = list[str]
"""Paths of an image and its mask joined by a NUL, which no file name holds; see `PairsCommand`."""
_PAIR_OPTIONS = ("--reference", "--not-this")


class PairsCommand(TyperCommand):
    """A command with repeatable options of two values each (an image and its mask), which typer does not support."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for option in self.params:
            if isinstance(option, TyperOption) and option.opts[0] in _PAIR_OPTIONS:
                option.metavar = "IMAGE MASK"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two values of such an option, then parse as usual."""
        rest, joined = list(args), []
        while rest:
            argument = rest.pop(0)
            joined.append(argument)
            if argument in _PAIR_OPTIONS:
                if len(rest) < 2 or rest[1].startswith("--"):
                    raise typer.BadParameter("it takes an image and its mask", ctx=ctx, param_hint=argument)
                joined.append("\0".join((rest.pop(0), rest.pop(0))))
        return super().parse_args(ctx, joined)


def like(
    images: Annotated[list[Path], typer.Argument(help="Images to segment, and folders of images.")],
    reference: Annotated[
        _Pairs,
        typer.Option(help="An image and its mask, a PNG that is not black on the object; repeat it for more."),
    ],
    not_this: Annotated[
        _Pairs | None,
        typer.Option("--not-this", help="A negative reference: an image and the mask of what not to find."),
    ] = None,
    category: Category = "object",
    refine: Refine = "crf",
    force: Annotated[bool, typer.Option("--force", help="Redo images whose result is already there.")] = False,
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Find in images what a mask shows in a reference image; the highest scores are listed first."""
    from maskwright.domain import Image, ReferencePrompt
    from maskwright.formats.prediction_files import write_prediction, written_before

    files = list(_image_files(images))
    if not files:
        raise MaskwrightError("There are no images in that folder. Check its name.")
    positive, negative = (tuple(_reference(pair, category) for pair in pairs or ()) for pairs in (reference, not_this))
    prompt = ReferencePrompt(
        references=positive, negative_references=negative, category=category, refine=refinement(refine)
    )
    engine = load_engine(preset, device)
    rows: list[tuple[float, str, Path]] = []
    failed = False
    with progress_bar("Images") as bar:
        for number, (file, subfolder) in enumerate(files):
            bar.report(number, len(files))
            try:
                image = Image.open(file)
                if image.pages_notice:
                    print_message(image.pages_notice)
                expected = engine.provenance(image, prompt)
                written = None if force else written_before(image, out / subfolder, category, expected)
                if written is None:
                    written = write_prediction(engine.segment(image, prompt), image, out / subfolder)
            except MaskwrightError as error:
                if len(files) == 1:
                    raise
                print_message(f"{file}: {error}")
                failed = True
                continue
            if as_json:
                print_result(written, "", as_json=True)
            score = written["masks"][0]["score"] if written["masks"] else 0.0
            rows.append((score, "" if written["masks"] else "no mask", Path(written["overlay"])))
        bar.report(len(files), len(files))
    if not as_json:
        rows.sort(key=lambda row: (-row[0], row[2]))
        lines = [f"{score:.2f}  {overlay}  {note}".rstrip() for score, note, overlay in rows]
        print_result(None, "\n".join(lines), as_json=False)
    if failed:
        raise typer.Exit(1)


def _image_files(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Each image file, and the subfolder of the output folder that its results go to."""
    from maskwright.imaging.reading import is_image_file

    for path in paths:
        if not path.is_dir():
            yield path, Path()
            continue
        for file in sorted(path.rglob("*")):
            # results of an earlier run are not searched
            if is_image_file(file) and not file.name.endswith((".labels.png", ".overlay.png")):
                yield file, file.parent.relative_to(path)


def _reference(pair: str, category: str) -> Any:
    from maskwright.domain import Image, Mask, Reference
    from maskwright.imaging.reading import read_mask

    image, mask = map(Path, pair.split("\0"))
    return Reference(Image.open(image), Mask.from_array(read_mask(mask), category=category))
