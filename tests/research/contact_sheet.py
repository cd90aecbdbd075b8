"""A contact sheet of the sample images with what a preset finds in them by text.

    python -m tests.research.contact_sheet OUT.npz [--preset tiny]      predict
    python -m tests.research.contact_sheet SHEET.jpg BEFORE.npz AFTER.npz   draw, one column per file

Prediction and drawing are apart, so that two versions of the program can stand side by side on one sheet. Only the
public Python API is used.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import maskwright as mw

_SIDE = 300
_COLORS = [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233), (240, 228, 66)]
_NAMES = (
    "chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg", "motorcycle_left.png", "000000000030.jpg",
    "000000000071.jpg", "000000000073.jpg", "000000000086.jpg", "000000000165.jpg", "000000000370.jpg",
    "000000000459.jpg",
)  # fmt: skip


def _samples() -> list[tuple[str, str, mw.Image]]:
    """(file name, words, image) of the samples on the sheet."""
    import skimage.data

    import maskwright_assets

    folder = Path(maskwright_assets.__file__).parent / "samples"
    rows = {row["file"]: row for row in json.loads((folder / "samples.json").read_text(encoding="utf-8"))}
    samples = []
    for name in _NAMES:
        place = Path(skimage.data.__file__).parent if "package" in rows[name] else folder
        samples.append((name, rows[name]["words"], mw.Image.open(place / name)))
    return samples


def _predict(out: Path, preset: str) -> None:
    engine = mw.Engine.load(preset)
    found: dict[str, Any] = {}
    for name, words, image in _samples():
        prediction = engine.segment_text(image, [word.strip() for word in words.split(",")])
        found[name] = prediction.label_map.astype(np.uint8)
    np.savez_compressed(out, **found)


def _tile(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], names: list[str]) -> Image.Image:
    picture = pixels.astype(np.float32) * 0.55
    for number in range(1, len(names) + 1):
        picture[labels == number] += 0.45 * np.array(_COLORS[(number - 1) % len(_COLORS)], np.float32)
    picture[labels == 0] = pixels[labels == 0]
    tile = Image.fromarray(picture.astype(np.uint8))
    tile.thumbnail((_SIDE, _SIDE))
    sheet = Image.new("RGB", (_SIDE, _SIDE + 34), "white")
    sheet.paste(tile, ((_SIDE - tile.width) // 2, (_SIDE - tile.height) // 2))
    draw, x = ImageDraw.Draw(sheet), 4
    for number, name in enumerate(names, start=1):
        share = (labels == number).mean()
        draw.rectangle((x, _SIDE + 6, x + 9, _SIDE + 15), fill=_COLORS[(number - 1) % len(_COLORS)])
        text = f"{name} {share:.0%}"
        draw.text((x + 13, _SIDE + 4), text, fill="black")
        x += 22 + int(draw.textlength(text))
        if x > _SIDE - 60:
            break
    return sheet


def _draw(out: Path, files: list[Path]) -> None:
    columns = [np.load(file) for file in files]
    samples = _samples()
    width, height, pairs = _SIDE + 6, _SIDE + 40, 2
    rows = (len(samples) + pairs - 1) // pairs
    sheet = Image.new("RGB", (width * len(columns) * pairs, height * rows), "white")
    for place, (name, words, image) in enumerate(samples):
        names = [word.strip() for word in words.split(",")]
        for column, labels in enumerate(columns):
            x = (place % pairs) * len(columns) + column
            sheet.paste(_tile(image.pixels, labels[name], names), (x * width, place // pairs * height))
    sheet.save(out, quality=82)


def main() -> None:
    """Predict, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("predictions", type=Path, nargs="*")
    parser.add_argument("--preset", default="tiny")
    options = parser.parse_args()
    if options.predictions:
        _draw(options.out, options.predictions)
    else:
        _predict(options.out, options.preset)


if __name__ == "__main__":
    main()
