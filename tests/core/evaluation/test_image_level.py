"""Zero-shot classification and retrieval: vectors beside the models' own outputs, ranks beside sorted lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from maskwright.engine.image_level import image_text_encoder
from maskwright.errors import BadCoco, MaskwrightError
from maskwright.evaluation.image_level import evaluate_classify, evaluate_retrieve
from maskwright.evaluation.protocol import ImageSelection
from maskwright.formats.captions import read_retrieval
from maskwright.formats.class_folders import read_class_folders
from maskwright.models.normalization import IMAGENET_MEAN, IMAGENET_STD
from maskwright.presets.loading import load

CPU = torch.device("cpu")
COLOURS = ("red", "green", "blue", "white", "black", "grey", "cyan")


class ByColour:
    """Stands for an encoder: an image's vector is its first pixel, a text's is looked up."""

    name = "known"

    def __init__(self, texts: dict[str, Tensor]) -> None:
        self.texts = texts

    def image(self, pixels: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(pixels[0, 0].astype(np.float32))

    def class_name(self, synonyms: Sequence[str]) -> Tensor:
        return self.texts[synonyms[0]]

    def captions(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self.texts[text] for text in texts])

    def similarity(self, images: Tensor, texts: Tensor) -> Tensor:
        return images @ texts.T


def _picture(file: Path, colour: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((4, 5, 3), colour, np.uint8)).save(file)


def test_classes_are_folders_and_ranks_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = {name: torch.from_numpy(rng.normal(size=3).astype(np.float32)) for name in COLOURS}
    colours = rng.integers(0, 256, (7, 4, 3))
    for n, name in enumerate(COLOURS):
        for k in range(4):
            _picture(tmp_path / name / f"{k}.png", colours[n, k])
    scores = evaluate_classify(ByColour(vectors), tmp_path, "p")  # type: ignore[arg-type]
    order = sorted(COLOURS)
    ranks = []
    for n, name in enumerate(COLOURS):
        for k in range(4):
            alike = {
                other: float(vectors[other] @ torch.from_numpy(colours[n, k].astype(np.float32))) for other in order
            }
            ranks.append((name, sorted(order, key=lambda other: -alike[other]).index(name)))
    assert scores.top1 == pytest.approx(np.mean([rank < 1 for _, rank in ranks]))
    assert scores.top5 == pytest.approx(np.mean([rank < 5 for _, rank in ranks]))
    assert scores.per_class["red"] == pytest.approx(np.mean([rank < 1 for name, rank in ranks if name == "red"]))
    assert (scores.images, scores.classes) == (28, 7)
    limited = evaluate_classify(ByColour(vectors), tmp_path, "p", selection=ImageSelection(limit=3))  # type: ignore[arg-type]
    assert limited.images == 3


def test_names_of_imagenet(tmp_path: Path) -> None:
    for synset in ("n01440764", "n01443537"):
        _picture(tmp_path / "val" / synset / "a.jpg", 9)
    assert read_class_folders(tmp_path / "val").names == ("n01440764", "n01443537")
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    assert read_class_folders(tmp_path / "val").names == ("tench, Tinca tinca", "goldfish")
    (tmp_path / "val" / "classes.json").write_text(json.dumps({"n01440764": "tench"}))
    with pytest.raises(MaskwrightError, match="does not list n01443537"):
        read_class_folders(tmp_path / "val")
    (tmp_path / "val" / "classes.json").write_text("[")
    with pytest.raises(BadCoco, match="no table"):
        read_class_folders(tmp_path / "val")
    with pytest.raises(MaskwrightError, match="no folders of images"):
        read_class_folders(tmp_path / "nothing")


def test_ranks_of_captions_and_images(tmp_path: Path) -> None:
    """Five images with one to three captions each, beside sorted lists."""
    rng = np.random.default_rng(1)
    texts = {
        f"text {n} {k}": torch.from_numpy(rng.normal(size=3).astype(np.float32)) for n in range(5) for k in range(3)
    }
    own = {n: [f"text {n} {k}" for k in range(1 + n % 3)] for n in range(5)}
    colours = rng.integers(0, 256, (5, 3))
    rows = []
    for n in range(5):
        _picture(tmp_path / "val2014" / f"{n}.png", colours[n])
        row = {
            "filepath": "val2014",
            "filename": f"{n}.png",
            "split": "test",
            "sentences": [{"raw": t} for t in own[n]],
        }
        rows.append(row)
    rows.append(rows[0] | {"split": "train"})
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": rows}))
    scores = evaluate_retrieve(ByColour(texts), tmp_path, "p")  # type: ignore[arg-type]
    alike = {(n, t): float(texts[t] @ torch.from_numpy(colours[n].astype(np.float32))) for n in own for t in texts}
    asked = [(n, t) for n in own for t in own[n]]
    by_text = [sorted(own, key=lambda m: -alike[m, t]).index(n) + 1 for n, t in asked]
    every = [t for _, t in asked]
    by_image = [min(sorted(every, key=lambda t: -alike[n, t]).index(t) for t in own[n]) + 1 for n in own]
    for found, ranks in ((scores.image_by_text, by_text), (scores.text_by_image, by_image)):
        assert found["r1"] == pytest.approx(np.mean(np.array(ranks) <= 1))
        assert found["r5"] == pytest.approx(np.mean(np.array(ranks) <= 5))
        assert (found["median_rank"], found["mean_rank"]) == (np.median(ranks), pytest.approx(np.mean(ranks)))
    assert (scores.images, scores.captions) == (5, len(asked))


def test_coco_2017_as_published(tmp_path: Path) -> None:
    _picture(tmp_path / "val2017" / "1.jpg", 1)
    data = {
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "annotations": [{"image_id": 1, "caption": " A cow. "}, {"image_id": 1, "caption": "Grass."}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(data))
    (image,) = read_retrieval(tmp_path)
    assert (image.file.name, image.captions) == ("1.jpg", ("A cow.", "Grass."))
    data["annotations"].append({"image_id": 2, "caption": "Sky."})
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(data))
    with pytest.raises(MaskwrightError, match=r"no file .*2\.jpg"):
        read_retrieval(tmp_path)


def test_dinotxts_vectors_are_whole(small_preset: Path) -> None:
    """[CLS ; mean patch] of the middle of the resized image, and whole text embeddings, unit length each."""
    preset = load(small_preset)
    encoder = image_text_encoder(preset, CPU, None)
    assert preset.dinotxt is not None
    model, tokenizer = preset.dinotxt.model, preset.dinotxt.tokenizer
    pixels = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    shown = torch.from_numpy(pixels[16:240, 48:272].copy()).permute(2, 0, 1)[None] / 255
    normed = (shown - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    with torch.inference_mode():
        features = model.encode_image(normed)
        expected = F.normalize(torch.cat([features.cls[0], features.patches[0].mean(dim=0)]), dim=0)
        text = model.encode_text(tokenizer(["cow", "a photo of a cow."]))
    torch.testing.assert_close(encoder.image(pixels), expected, atol=1e-5, rtol=0)
    mean = sum(row / row.norm() for row in text)
    torch.testing.assert_close(encoder.class_name(["cow"]), mean / mean.norm())  # type: ignore[union-attr]
    torch.testing.assert_close(encoder.captions(["cow"])[0], text[0] / text[0].norm())
    with pytest.raises(MaskwrightError, match="has no Talk2DINO"):
        image_text_encoder(preset, CPU, "talk2dino")
    with pytest.raises(MaskwrightError, match="does not compare whole images"):
        image_text_encoder(preset, CPU, "dinov3seg")


def test_talk2dinos_best_head_and_mean_region(talking_preset: Path) -> None:
    preset = load(talking_preset)
    assert preset.talk2dino is not None
    model = preset.talk2dino.model
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    best, mean = (image_text_encoder(preset, CPU, "talk2dino", pooling=kind) for kind in ("best-head", "mean"))
    texts = best.captions(["a cow", "the sky"])
    with torch.inference_mode():
        projected = model.projection(model.text(preset.talk2dino.tokenizer(["a cow", "the sky"])).float())
    torch.testing.assert_close(texts, projected / projected.norm(dim=1, keepdim=True))
    heads, region = best.image(pixels)[None], mean.image(pixels)[None]
    cosines = F.normalize(heads[0], dim=-1) @ texts.T
    torch.testing.assert_close(best.similarity(heads, texts)[0], cosines.max(dim=0).values)
    torch.testing.assert_close(mean.similarity(region, texts)[0], F.normalize(region[0, 0], dim=0) @ texts.T)
