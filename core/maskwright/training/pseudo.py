"""Pseudo-masks of captioned images (OVS-DINO, Appendix A): captions, their nouns, boxes of the nouns, SAM's masks.

Two steps differ from the paper, so that nothing is downloaded. Nouns are those of the bundled vocabulary with its
synonyms and plain plurals, where the paper tags parts of speech. Boxes are drawn around the regions that the preset's
word model finds, where the paper asks Grounding DINO. The result is a COCO file of a labelled folder that names both
(`info.pseudo`); a person can look through it as proposals of a project.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright import __version__
from maskwright.domain import Image, rle
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import write_text
from maskwright.formats.captions import CaptionedImage
from maskwright.imaging.geometry import components
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training.vocabulary import Vocabulary

__all__ = ["PseudoCounts", "PseudoSettings", "caption_nouns", "make_pseudo_masks"]

_ROWS = "pseudo-masks.jsonl"
"""Rows of the images that are done, until the file is complete."""
_LONGEST = 4
"""Words of the longest name that is looked up."""
_IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "feet": "foot", "mice": "mouse",
    "geese": "goose", "leaves": "leaf", "shelves": "shelf", "knives": "knife", "wolves": "wolf",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoSettings:
    """Settings of a run."""

    least_captions: int = 20
    """A noun in fewer images is left out."""
    threshold: float = 0.5
    """Least probability of the word model in the region of a noun."""
    smallest: float = 0.001
    """Smallest share of the image of a region, and of the masks of one noun."""
    largest: float = 0.95
    """Largest share of the image of the masks of one noun."""


@dataclass(slots=True)
class PseudoCounts:
    """What was made, and what was left out."""

    images: int = 0
    """Images with a mask."""
    nouns: int = 0
    """Different nouns with a mask."""
    masks: int = 0
    """One a noun and image."""
    without_nouns: int = 0
    """Images whose captions have no noun of the vocabulary, as captions in another language."""
    rare_nouns: int = 0
    """Different nouns in too few images."""
    without_box: int = 0
    """Nouns of an image that the word model does not find there."""
    without_mask: int = 0
    """Nouns with a box whose mask is too small or covers the image."""
    unreadable: int = 0
    """Images that cannot be read."""

    def sentence(self) -> str:
        """All counts in words."""
        return (
            f"{self.masks} masks of {self.nouns} nouns on {self.images} images. Left out: {self.without_nouns} images "
            f"without a known noun, {self.rare_nouns} rare nouns, {self.without_box} nouns that were not found, "
            f"{self.without_mask} masks too small or too large, {self.unreadable} images that cannot be read."
        )


class _Nouns:
    """The vocabulary's class of every name and plain plural."""

    def __init__(self) -> None:
        self._class_of = {name.lower(): names[0] for names in Vocabulary.bundled().texts() for name in names}

    def __call__(self, caption: str) -> set[str]:
        words = re.findall(r"[a-z]+(?:[-'][a-z]+)*", caption.lower())
        found, place = set(), 0
        while place < len(words):
            for length in range(min(_LONGEST, len(words) - place), 0, -1):
                phrase = " ".join(words[place : place + length])
                noun = next((self._class_of[form] for form in _forms(phrase) if form in self._class_of), None)
                if noun is not None:
                    found.add(noun)
                    place += length - 1
                    break
            place += 1
        return found


def _forms(phrase: str) -> Iterator[str]:
    yield phrase
    first, _, last = phrase.rpartition(" ")
    lead = f"{first} " if first else ""
    if last in _IRREGULAR:
        yield lead + _IRREGULAR[last]
    for ending, singular in (("ies", "y"), ("es", ""), ("s", "")):
        if last.endswith(ending) and len(last) > len(ending) + 2:
            yield lead + last.removesuffix(ending) + singular


def caption_nouns(images: Sequence[CaptionedImage]) -> list[set[str]]:
    """The nouns of each image's captions, as classes of the bundled vocabulary; class names are taken as they are."""
    nouns = _Nouns()
    return [
        {text.strip().lower() for text in image.captions}
        if image.names
        else set().union(*(nouns(text) for text in image.captions))
        for image in images
    ]


def make_pseudo_masks(
    engine: Engine,
    images: Sequence[CaptionedImage],
    out: Path,
    settings: PseudoSettings,
    progress: Progress = NO_PROGRESS,
) -> PseudoCounts:
    """Write a labelled folder of pseudo-masks, or continue the one in `out`.

    Args:
        engine: Finds nouns by its default text method, and masks by its SAM.
        images: With captions.
        out: Gets `images/`, hard links where the disk allows, and `annotations.json`.
        settings: Settings of the run.
        progress: Reports images; cancels between them, and what is done is kept.

    Raises:
        Cancelled: On request.
        MaskwrightError: `out` cannot be written, holds a run with other settings, or the preset has no text or no SAM.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    counts, kinds = PseudoCounts(), caption_nouns(images)
    frequency = Counter(noun for nouns in kinds for noun in nouns)
    common = {noun for noun, number in frequency.items() if number >= settings.least_captions}
    counts.rare_nouns = len(frequency) - len(common)
    record = {
        "preset": engine.text_model.name, "weights": engine.text_model.sha256, "method": engine.text_method(),
        "nouns": "bundled vocabulary", "boxes": "regions of the word model", "version": __version__, **asdict(settings),
    }  # fmt: skip
    done = _read_rows(out / _ROWS, record)
    with (out / _ROWS).open("a", encoding="utf-8") as file:
        if not done:
            file.write(json.dumps({"settings": record}) + "\n")
        for number, (image, nouns) in enumerate(zip(images, kinds, strict=True)):
            progress.check()
            progress.report(number, len(images))
            if image.file.name not in done:
                row = _masks_of(engine, image.file, sorted(nouns & common), settings)
                done[image.file.name] = row
                file.write(json.dumps({"image": image.file.name, **row}) + "\n")
                file.flush()
    progress.report(len(images), len(images))
    _write(out, images, kinds, done, record, counts)
    (out / _ROWS).unlink()
    return counts


def _read_rows(file: Path, record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of the images that an interrupted run has done; a last line that was cut off is done again."""
    if not file.exists():
        return {}
    rows: dict[str, dict[str, Any]] = {}
    whole = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        whole.append(line)
        if "settings" in row and row["settings"] != record:
            raise MaskwrightError(
                f"{file.parent} holds an unfinished run with other settings.", "Name another folder with --out."
            )
        if "image" in row:
            rows[row.pop("image")] = row
    write_text(file, "".join(f"{line}\n" for line in whole))
    return rows


def _masks_of(engine: Engine, file: Path, nouns: list[str], settings: PseudoSettings) -> dict[str, Any]:
    """Masks of the nouns of one image, with what is left out."""
    row: dict[str, Any] = {"size": None, "masks": [], "without_box": 0, "without_mask": 0}
    try:
        image = Image.open(file)
    except MaskwrightError:
        return {**row, "unreadable": True}
    row["size"] = list(image.size_hw)
    if not nouns:
        return row
    prediction = engine.segment_text(image, nouns, background=True, threshold=settings.threshold)
    least = settings.smallest * image.size_hw[0] * image.size_hw[1]
    for index, (noun, score) in enumerate(zip(nouns, prediction.scores, strict=True), start=1):
        regions = [part for part in components(prediction.label_map == index) if part.sum() >= least]
        if not regions:
            row["without_box"] += 1
            continue
        mask = np.zeros(image.size_hw, np.bool_)
        for region in regions:
            mask |= _mask_in(engine, image, _box(region))
        if settings.smallest <= mask.mean() <= settings.largest:
            row["masks"].append({"noun": noun, "score": round(score, 4), "segmentation": rle.encode(mask)})
        else:
            row["without_mask"] += 1
    return row


def _box(region: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """left, top, right, bottom in pixels."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _mask_in(engine: Engine, image: Image, box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    candidates = engine.segment_click(image, box=box).masks()
    return candidates[0].to_array() if candidates else np.zeros(image.size_hw, np.bool_)


def _write(
    out: Path,
    images: Sequence[CaptionedImage],
    kinds: list[set[str]],
    done: dict[str, dict[str, Any]],
    record: dict[str, Any],
    counts: PseudoCounts,
) -> None:
    """Write the labelled folder, and count."""
    numbers: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, nouns in zip(images, kinds, strict=True):
        row = done[image.file.name]
        counts.unreadable += bool(row.get("unreadable"))
        counts.without_nouns += not nouns
        counts.without_box += row["without_box"]
        counts.without_mask += row["without_mask"]
        if row["size"] is None:
            continue
        counts.images += bool(row["masks"])
        height, width = row["size"]
        rows.append({"id": len(rows) + 1, "file_name": image.file.name, "height": height, "width": width})
        _place(image.file, out / "images" / image.file.name)
        for mask in row["masks"]:
            x, y, w, h = rle.bbox(mask["segmentation"])
            annotations.append({
                "id": len(annotations) + 1, "image_id": len(rows), "iscrowd": 0,
                "category_id": numbers.setdefault(mask["noun"], len(numbers) + 1), "score": mask["score"],
                "bbox": [x, y, w, h], "area": rle.area(mask["segmentation"]), "segmentation": mask["segmentation"],
            })  # fmt: skip
    counts.nouns, counts.masks = len(numbers), len(annotations)
    whole = {
        "info": {"description": "Pseudo-masks of captions", "pseudo": {**record, **asdict(counts)}},
        "images": rows, "annotations": annotations,
        "categories": [{"id": number, "name": noun} for noun, number in numbers.items()],
    }  # fmt: skip
    write_text(out / "annotations.json", json.dumps(whole))


def _place(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
