"""`train-tiny` from end to end on a few small images and random networks."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

import maskwright as mw
from maskwright.domain import rle
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.formats.labelled_folder import held_out
from maskwright.imaging.similarity import NEAR_DUPLICATE, perceptual_hash
from maskwright.models.anyup import AnyUpConfig
from maskwright.models.dinotxt import DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.efficientnet_lite import LiteConfig
from maskwright.models.sam import Sam, SamConfig, official_name
from maskwright.models.tiny_vit import TinyVitConfig
from maskwright.presets.config_io import sections
from maskwright.progress import Progress
from maskwright.training.config import TINY_OVS, TINY_SEG, ClickConfig
from maskwright.training.projection import TINY_PROJECTION
from maskwright.training.tiny.images import LABELLED, read_images
from maskwright.training.tiny.pretrained import Pretrained
from maskwright.training.tiny.stages import TinyConfig, TinyJob, train_tiny
from maskwright.training.tiny.tower import TowerConfig
from maskwright.training.tiny.words import WordsConfig
from maskwright.training.vocabulary import Vocabulary
from tests.core.models.test_pretrained_encoders import published_lite

LITE = LiteConfig(stem=8, widths=(4, 6, 8, 8, 10, 12, 16), depths=(1,) * 7)
ENCODER = TinyVitConfig(widths=(8, 16, 16, 32), depths=(1,) * 4, heads=(1, 2, 2, 2), windows=(4,) * 4, out=32)
DINOTXT = DinoTxtConfig(
    DinoV3Config(width=32, depth=1, heads=2, layer_scale=1.0, trunk=LITE),
    HeadConfig(blocks=1, heads=2, layer_scale=1.0),
    TextConfig(vocabulary=400, context=24, width=32, depth=1, heads=2),
)
CLASSES = {
    "msrc_v2": ("grass", "sky"),
    "coco128": ("person", "road"),
    "clothing": ("shirt", "skin"),
    "nuclei": ("nucleus",),
}
IMAGENET = ("tench", "goldfish", "cock")


def _config() -> TinyConfig:
    crops: dict[str, Any] = {"steps": 2, "batch": 6, "crop": 64, "short_side": (64, 80)}
    seg = replace(TINY_SEG, **crops)
    model = replace(
        seg.model, anyup=AnyUpConfig(width=8, heads=2),
        aggregator=replace(seg.model.aggregator, hidden=24, heads=2, window=4, text_guidance=8, appearance_guidance=8,
                           decoder=(16, 16), decoder_guidance=(8, 8)),
    )  # fmt: skip
    return TinyConfig(
        sam=SamConfig(size=128, longest=128, tiny_vit=ENCODER, out=32, decoder_heads=2, decoder_mlp=64),
        tower=TowerConfig(steps=2, batch=32),
        clicks=ClickConfig(steps=2, batch=5),
        words=WordsConfig(model=DINOTXT, **crops),
        seg=replace(seg, model=model),
        projection=replace(TINY_PROJECTION, epochs=1, batch=4, size=64),
        ovs=replace(TINY_OVS, steps=2, batch=2, size=64, teacher_size=128, mask_side=32),
    )


def _picture(rng: np.random.Generator) -> Pillow.Image:
    """Soft blobs: no picture is a near-duplicate of another."""
    coarse = Pillow.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    return coarse.resize((64, 64), Pillow.Resampling.BILINEAR)


def _labelled(folder: Path, names: tuple[str, ...], rng: np.random.Generator) -> None:
    (folder / "images").mkdir(parents=True)
    images, rows = [], []
    for number in range(1, 7):
        file = f"{folder.name}{number}.png"
        _picture(rng).save(folder / "images" / file)
        images.append({"id": number, "file_name": file, "width": 64, "height": 64})
        for category in range(1, len(names) + 1):
            mask = np.zeros((64, 64), bool)
            mask[8:56, 30 * category - 22 : 30 * category] = True
            rows.append({"id": 9 * number + category, "image_id": number, "category_id": category,
                         "segmentation": rle.encode(mask), "iscrowd": 0})  # fmt: skip
    categories = [{"id": n, "name": name} for n, name in enumerate(names, start=1)]
    data = {"images": images, "annotations": rows, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(data))


def _png(values: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(values).save(stream, format="PNG")
    return stream.getvalue()


def _pack(blobs: list[bytes]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    offsets = np.cumsum([0, *map(len, blobs)])
    return np.frombuffer(b"".join(blobs), np.uint8), offsets


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as the training data, with six images a set and teachers' labels for the photographs."""
    root, rng = tmp_path_factory.mktemp("tiny") / "data", np.random.default_rng(0)
    for name, classes in CLASSES.items():
        _labelled(root / name, classes, rng)
    photographs = [root / "bsds500" / "images" / f"b{n}.jpg" for n in range(6)]
    boxed = [root / "coco128" / "images_boxes_only" / f"c{n}.jpg" for n in range(3)]
    for file in (*photographs, *boxed):
        file.parent.mkdir(parents=True, exist_ok=True)
        _picture(rng).save(file)
    drawn = {
        "images": [{"id": n, "file_name": file.name} for n, file in enumerate(boxed)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [4, 4, 30, 30]} for n in range(3)],
        "categories": [{"id": 1, "name": "person"}],
    }
    (root / "coco128" / "annotations_boxes_only.json").write_text(json.dumps(drawn))
    mixed = root / "mixed256"
    mixed.mkdir()
    (mixed / "vocabulary.json").write_text(json.dumps({"classes": [{"name": name} for name in IMAGENET]}))
    names = ["imagenet_n01", "imagenet_n02", "imagenet_n03"]
    jpg, offsets = _pack([_png(np.asarray(_picture(rng))) for _ in names])
    meta = [{"dataset": "imagenet_sample", "name": name, "labels": [n]} for n, name in enumerate(names)]
    packed = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(mixed / "mixed256-000.npz", meta=packed, jpg=jpg, jpg_off=offsets)
    keys = [f"bsds500/images/{file.name}" for file in photographs]
    keys += [f"coco128/images_boxes_only/{file.name}" for file in boxed]
    keys += [f"imagenet_sample/{name}" for name in names]
    voc = np.where(np.arange(32) < 16, 15, 255)[None].repeat(24, axis=0).astype(np.uint8)
    png, offsets = _pack([_png(voc) for _ in range(2 * len(keys))])
    (root / "pseudo").mkdir()
    every = [f"{teacher}:{key}" for teacher in ("voc", "city") for key in keys]
    np.savez(root / "pseudo" / "label_maps.npz", names=every, png=png, offsets=offsets)
    box = {"name": "car", "score": 0.9, "bbox_xyxy": [10, 10, 50, 40]}
    (root / "pseudo" / "coco_boxes.json").write_text(json.dumps({keys[0]: [box], keys[-1]: [box]}))
    return root


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """Small random networks in the layouts of the published files."""
    root = tmp_path_factory.mktemp("pretrained")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = _config()
        sam = Sam(config.sam).state_dict()
        bert = BertModel(
            BertConfig(
                vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
            ),
            add_pooling_layer=False,
        )
    depth = {name: config.sam.iou_depth if "iou_prediction_head" in name else 3 for name in sam}
    encoder = "image_encoder."
    theirs = {name if name.startswith(encoder) else official_name(name, depth[name]): v for name, v in sam.items()}
    torch.save(theirs, root / "mobile_sam.pt")
    torch.save(published_lite(LITE, classes=len(IMAGENET)), root / "lite.pth")
    letters = {"[PAD]": 0, "[UNK]": 1} | {chr(code): code for code in range(2, 128)}
    letters |= {f"##{chr(code)}": 128 + code for code in range(128)}
    tokenizer = Tokenizer(models.WordPiece(letters, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with zipfile.ZipFile(root / "model.zip", "w") as archive:
        archive.writestr("config.json", json.dumps(bert.config.to_dict()))
        archive.writestr("model.safetensors", save(bert.state_dict()))
        archive.writestr("tokenizer.json", tokenizer.to_str())
    (root / "index.noun").write_text("  licence\ndog n 1 0 1 1 00001\nfox_terrier n 1 1 @ 1 0 00002\n")
    (root / "data.noun").write_text("  licence\n00001 05 n 01 dog 0 000 | a pet\n00002 05 n 01 fox_terrier 0 000 | b\n")
    return Pretrained(
        mobile_sam=root / "mobile_sam.pt", lite=root / "lite.pth", minilm=root / "model.zip", wordnet=root
    )


@pytest.fixture(scope="module")
def finished(data: Path, pretrained: Pretrained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folder of a finished run, and what it said."""
    out, lines = tmp_path_factory.mktemp("run"), list[str]()
    assert train_tiny(TinyJob(data=data, pretrained=pretrained, out=out, log=lines.append), _config())
    return out, lines


@pytest.mark.slow
def test_the_stages_end_in_a_preset_that_segments(finished: tuple[Path, list[str]]) -> None:
    out, lines = finished
    preset = out / "preset"
    assert {"dinotxt", "insid3", "sam", "dinov3seg", "talk2dino", "ovs-dino"} == sections(preset).keys()
    engine = Engine.load(preset, "cpu")
    image = mw.Image(np.asarray(_picture(np.random.default_rng(5))))
    assert engine.text_methods == ("dinov3seg", "dinotxt", "talk2dino", "ovs-dino")
    for method in engine.text_methods:
        assert engine.segment_text(image, ["grass", "dog"], method=method).label_map.any()
    assert engine.segment_click(image, [(20, 20)]).masks()
    assert any(line.startswith("Visual model: step 2/2") for line in lines)
    files = json.loads((preset / "training_images.json").read_text())
    assert files.keys() == {*LABELLED, "bsds500", "coco_boxes", "imagenet"}
    assert all(files.values())
    assert not [name for names in files.values() for name in names if held_out(name)]
    before, after = (load_file(folder / "sam.safetensors") for folder in (out / "mobile_sam", preset))
    encoder = [name for name in before if name.startswith("image_encoder.")]
    assert all(torch.equal(before[name].half(), after[name]) for name in encoder), "the encoder is the pretrained one"


class _StopAtBoxes(Progress):
    """Cancels after the text tower, the clicks and the first photographs."""

    stopped = False

    def report(self, done: int, total: int, stage: str = "") -> None:
        self.stopped = self.stopped or (stage == "Masks of boxes" and done > 2)

    def cancelled(self) -> bool:
        return self.stopped


@pytest.mark.slow
def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    data: Path, pretrained: Pretrained, finished: tuple[Path, list[str]], tmp_path: Path
) -> None:
    job = TinyJob(data=data, pretrained=pretrained, out=tmp_path)
    with pytest.raises(Cancelled):
        train_tiny(replace(job, progress=_StopAtBoxes()), _config())
    assert not (tmp_path / "preset").exists()
    clicks = (tmp_path / "clicks" / "sam.safetensors").stat().st_mtime_ns
    assert train_tiny(job, _config())
    assert (tmp_path / "clicks" / "sam.safetensors").stat().st_mtime_ns == clicks, "a finished stage is not repeated"
    for name in ("sam", "dinotxt", "dinov3seg", "talk2dino", "ovs-dino"):
        whole, parts = (load_file(folder / "preset" / f"{name}.safetensors") for folder in (finished[0], tmp_path))
        assert all(torch.equal(value, parts[key]) for key, value in whole.items()), name


def test_missing_networks_and_images_are_one_sentence(data: Path, pretrained: Pretrained, tmp_path: Path) -> None:
    with pytest.raises(MaskwrightError) as caught:
        train_tiny(TinyJob(data=data, pretrained=replace(pretrained, lite=tmp_path / "none.pth"), out=tmp_path))
    assert "none.pth" in str(caught.value)
    with pytest.raises(MaskwrightError) as caught:
        train_tiny(TinyJob(data=tmp_path, pretrained=pretrained, out=tmp_path / "run"))
    assert "msrc_v2" in str(caught.value)


def test_near_duplicates_of_held_out_images_are_left_out(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    folder = root / "msrc_v2" / "images"
    reserved = next(file for file in sorted(folder.iterdir()) if held_out(file.name))
    other = next(file for file in sorted(folder.iterdir()) if not held_out(file.name))
    before = read_images(root, Vocabulary.bundled(), frozenset())
    assert other.name in before.files["msrc_v2"]
    image = Pillow.open(reserved)
    image.crop((0, 0, 63, 63)).resize((70, 64)).save(other)
    assert (perceptual_hash(Pillow.open(other)) ^ perceptual_hash(image)).bit_count() <= NEAR_DUPLICATE
    after = read_images(root, Vocabulary.bundled(), frozenset())
    assert other.name not in after.files["msrc_v2"]
    assert set(LABELLED) <= after.files.keys()
