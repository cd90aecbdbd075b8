"""Pseudo-masks of captions: nouns, what is left out and counted, and a folder that training and review read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.domain import ModelRef, Prediction, PromptKind, Provenance
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.formats.captions import CaptionedImage, read_captions
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions
from maskwright.training import pseudo
from maskwright.training.noun_masks import read_noun_images
from maskwright.training.pseudo import PseudoSettings, caption_nouns, make_pseudo_masks

CAPTIONS = {
    "a3.png": "Two cows stand in the grass.",
    "a5.png": "A cow near a bus",
    "a6.png": "Eine Kuh auf der Weide",
    "a7.png": "a group of people with cows behind a traffic light",
}
"""By file name; none is held out of training."""


def _captioned(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    rows, texts = [], []
    for number, (name, text) in enumerate(CAPTIONS.items(), start=1):
        Pillow.fromarray(np.full((20, 30, 3), 40 * number, np.uint8)).save(folder / "images" / name)
        rows.append({"id": number, "file_name": name})
        texts.append({"id": number, "image_id": number, "caption": text})
    (folder / "captions.json").write_text(json.dumps({"images": rows, "annotations": texts}))
    return folder


class Known:
    """Stands for an engine that finds cows on the left, grass nowhere, and everything else everywhere."""

    text_model = ModelRef("known", "0" * 64)

    def __init__(self) -> None:
        self.images: list[str] = []
        self.boxes: list[tuple[float, ...]] = []

    def text_method(self) -> str:
        return "dinotxt"

    def segment_text(self, image: mw.Image, nouns: list[str], **options: Any) -> Prediction:
        assert options == {"background": True, "threshold": 0.5}
        self.images.append(image.name)
        labels = np.zeros(image.size_hw, np.int32)
        for number, noun in enumerate(nouns, start=1):
            if noun == "cow":
                labels[5:15, 2:10] = number
            elif noun != "grass":
                labels[labels == 0] = number
        scores = (0.7,) * len(nouns)
        provenance = Provenance(PromptKind.TEXT, self.text_model, "known", image.sha256, None)
        return Prediction(labels, tuple(nouns), scores, scores, (), provenance)

    def segment_click(self, image: mw.Image, box: tuple[float, ...]) -> Prediction:
        self.boxes.append(box)
        left, top, right, bottom = map(int, box)
        labels = np.zeros(image.size_hw, np.int32)
        labels[top:bottom, left:right] = 1
        provenance = Provenance(PromptKind.CLICK, self.text_model, "known", image.sha256, None)
        return Prediction(labels, ("object",), (0.9,), (0.9,), (), provenance)


@pytest.fixture
def images(tmp_path: Path) -> list[CaptionedImage]:
    return read_captions(_captioned(tmp_path / "captioned"))


def test_nouns_are_classes_of_the_vocabulary(images: list[CaptionedImage]) -> None:
    assert caption_nouns(images) == [
        {"cow", "grass"},
        {"cow", "bus"},
        set(),
        {"person", "cow", "traffic light"},
    ]
    (named,) = caption_nouns([CaptionedImage(Path("a"), ("Cow", "Zebra crossing"), names=True)])
    assert named == {"cow", "zebra crossing"}


def test_masks_are_made_and_what_is_left_out_is_counted(images: list[CaptionedImage], tmp_path: Path) -> None:
    images = [*images, CaptionedImage(tmp_path / "broken.png", ("a cow",), names=False)]
    images[-1].file.write_text("Dear Sir or Madam")
    engine, out = Known(), tmp_path / "out"
    counts = make_pseudo_masks(engine, images, out, PseudoSettings(least_captions=1))  # type: ignore[arg-type]
    assert engine.boxes[0] == (2, 5, 10, 15)
    assert (counts.images, counts.masks, counts.nouns) == (3, 3, 1), "cows"
    assert counts.without_nouns == 1, "a caption in another language"
    assert counts.without_box == 2, "grass; and people took the place of the traffic light, or the other way round"
    assert counts.without_mask == 2, "what covers the image is no object"
    assert counts.unreadable == 1
    written = json.loads((out / "annotations.json").read_text())
    assert [row["name"] for row in written["categories"]] == ["cow"]
    assert written["info"]["pseudo"]["boxes"] == "regions of the word model"
    assert written["annotations"][0]["bbox"] == [2, 5, 8, 10]
    assert not (out / pseudo._ROWS).exists()
    data = read_noun_images([out])
    assert (len(data.images), data.nouns, data.without_masks) == (3, ("cow",), 1)
    assert data.images[0].scored is None, "all pixels are scored"
    with Project.open(tmp_path / "review", create=True) as project:
        imported = project.exchange.import_coco(out / "annotations.json", options=ImportOptions(None, True))
        assert (imported.masks, imported.proposals) == (3, 3), "a person looks through them"


def test_rare_nouns_are_left_out(images: list[CaptionedImage], tmp_path: Path) -> None:
    counts = make_pseudo_masks(Known(), images, tmp_path / "out", PseudoSettings(least_captions=3))  # type: ignore[arg-type]
    assert (counts.rare_nouns, counts.masks, counts.without_box) == (4, 3, 0)


def test_without_any_mask_the_file_is_empty_and_training_says_so(images: list[CaptionedImage], tmp_path: Path) -> None:
    counts = make_pseudo_masks(Known(), images, tmp_path / "out", PseudoSettings())  # type: ignore[arg-type]
    assert (counts.masks, counts.rare_nouns) == (0, 5)
    with pytest.raises(MaskwrightError, match="has a mask to train on"):
        read_noun_images([tmp_path / "out"])


def test_an_interrupted_run_continues(images: list[CaptionedImage], tmp_path: Path) -> None:
    class Stop(Progress):
        def cancelled(self) -> bool:
            return len(engine.images) >= 2

    engine, out = Known(), tmp_path / "out"
    settings = PseudoSettings(least_captions=1)
    with pytest.raises(Cancelled):
        make_pseudo_masks(engine, images, out, settings, Stop())  # type: ignore[arg-type]
    with (out / pseudo._ROWS).open("a") as file:
        file.write('{"image": "a6.png", "si')
    with pytest.raises(MaskwrightError, match="other settings"):
        make_pseudo_masks(engine, images, out, PseudoSettings(least_captions=2))  # type: ignore[arg-type]
    counts = make_pseudo_masks(engine, images, out, settings)  # type: ignore[arg-type]
    assert engine.images == ["a3.png", "a5.png", "a7.png"], "each is segmented once"
    assert counts.masks == 3
