"""Prompts by example through the engine: encoded once, kept, stopped, and honest about bad references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.domain import ReferencePrompt
from maskwright.engine import Engine
from maskwright.errors import BadPrompt, BadReference, Cancelled, InvalidMask, MaskwrightError, UsageError
from maskwright.settings import Settings
from maskwright_app.samples import samples
from tests.progress import Recorded

GREEN = (40, 160, 50)


def picture(rng: np.random.Generator, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (96, 128)) -> mw.Image:
    """Red ground with green boxes (x, y, w, h)."""
    pixels = rng.integers(0, 40, (*size, 3), dtype=np.uint8)
    pixels[..., 0] += 150
    for x, y, w, h in boxes:
        pixels[y : y + h, x : x + w] = GREEN
    return mw.Image(pixels)


def boxed(image: mw.Image, x: int, y: int, w: int, h: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros(image.size_hw, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def iou(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path / "computed")


@pytest.fixture
def engine(small_preset: Path, settings: Settings) -> Engine:
    return Engine.load(small_preset, "cpu", settings=settings)


@pytest.fixture
def shown(rng: np.random.Generator) -> mw.Reference:
    image = picture(rng, (16, 16, 48, 40))
    return mw.Reference(image, boxed(image, 16, 16, 48, 40))


@pytest.fixture(scope="module")
def tiny() -> Engine:
    return Engine.load("tiny", "cpu")


def test_a_green_box_is_found_elsewhere_by_the_bundled_model(tiny: Engine, rng: np.random.Generator) -> None:
    image, target = picture(rng, (16, 16, 48, 40)), picture(rng, (64, 40, 40, 44))
    reference = mw.Reference(image, mw.Mask.from_array(boxed(image, 16, 16, 48, 40), category="box"))
    found = tiny.segment_like(target, [reference], refine=None)
    (mask,) = found.masks()
    assert mask.category == "box"
    assert iou(mask.to_array(), boxed(target, 64, 40, 40, 44)) > 0.75
    assert 0 < found.scores[0] <= 1
    sharper = tiny.segment_like(target, [reference]).label_map > 0
    assert iou(sharper, boxed(target, 64, 40, 40, 44)) >= iou(mask.to_array(), boxed(target, 64, 40, 40, 44))


def test_reference_and_target_the_same_picture(tiny: Engine) -> None:
    """A real photograph finds about the mask it was shown."""
    image = mw.Image.open(next(sample.path for sample in samples() if "cup" in sample.class_names))
    text = tiny.segment_text(image, "cup, table", method="dinotxt")
    cup = text.label_map == 1
    found = tiny.segment_like(image, [mw.Reference(image, cup)], "cup").label_map > 0
    assert iou(found, cup) > 0.6


def test_references_are_encoded_once(engine: Engine, shown: mw.Reference, rng: np.random.Generator) -> None:
    targets = [picture(rng, (20 + 8 * n, 30, 30, 30)) for n in range(3)]
    for target in targets:
        engine.segment_like(target, [shown])
    assert engine.encoder_calls == 1 + len(targets)
    engine.segment_like(targets[0], [shown], refine="pamr")
    engine.segment_like(targets[0], [mw.Reference(shown.image, boxed(shown.image, 0, 0, 20, 20))])
    engine.match_points(shown.image, [(20, 20)], targets[1])
    assert engine.encoder_calls == 1 + len(targets), "another mask, refinement or task encodes nothing anew"


def test_the_positional_basis_is_kept_on_disk_and_made_again_when_damaged(
    small_preset: Path, settings: Settings, shown: mw.Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskwright.models import insid3

    def answer() -> np.ndarray[Any, Any]:
        return Engine.load(small_preset, "cpu", settings=settings).segment_like(shown.image, [shown]).label_map

    first = answer()
    (file,) = settings.cache.iterdir()
    computed: list[int] = []
    original = insid3.positional_basis
    monkeypatch.setattr(insid3, "positional_basis", lambda *told: computed.append(1) or original(*told))
    assert np.array_equal(answer(), first)
    assert not computed
    file.write_bytes(file.read_bytes()[:40])
    assert np.array_equal(answer(), first)
    assert computed == [1]


def test_a_cache_that_cannot_be_written_does_no_harm(small_preset: Path, shown: mw.Reference, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = Engine.load(small_preset, "cpu", settings=Settings(cache=tmp_path / "file" / "below"))
    assert engine.segment_like(shown.image, [shown]).categories == ("object",)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda image: np.zeros(image.size_hw, bool), "empty", id="empty"),
        pytest.param(lambda image: np.ones(image.size_hw, bool), "whole image", id="all"),
    ],
)
def test_a_reference_mask_without_foreground_or_background(
    engine: Engine, shown: mw.Reference, make: Callable[[mw.Image], np.ndarray[Any, Any]], words: str
) -> None:
    with pytest.raises(BadReference, match=words):
        engine.segment_like(shown.image, [mw.Reference(shown.image, make(shown.image))])


def test_prompts_that_are_refused(engine: Engine, shown: mw.Reference) -> None:
    with pytest.raises(BadReference, match="reference"):
        engine.segment_like(shown.image, [])
    with pytest.raises(UsageError, match="crfs"):
        engine.segment_like(shown.image, [shown], refine="crfs")
    with pytest.raises(InvalidMask):
        mw.Reference(shown.image, np.ones((3, 3), bool))
    with pytest.raises(BadPrompt):
        engine.match_points(shown.image, [(-1, 5)], shown.image)
    with pytest.raises(BadPrompt):
        engine.match_points(shown.image, [1, 2, 3], shown.image)
    with pytest.raises(Cancelled):
        engine.segment_like(shown.image, [shown], progress=Recorded(lambda: True))


@pytest.mark.parametrize("size", [(3, 8000), (8000, 3), (1, 1), (17, 5)])
def test_strips_and_specks(
    engine: Engine, shown: mw.Reference, rng: np.random.Generator, size: tuple[int, int]
) -> None:
    target = picture(rng, size=size)
    for refine in (None, "crf", "pamr"):
        assert engine.segment_like(target, [shown], refine=refine).label_map.shape == size
    if size != (1, 1):
        half = np.zeros(size, bool)
        half[: (size[0] + 1) // 2, : (size[1] + 1) // 2] = True
        assert engine.segment_like(shown.image, [mw.Reference(target, half)]).label_map.shape == (96, 128)


def test_a_grey_picture_of_sixteen_bits(engine: Engine, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    ramp[20:40, 30:60] = 65535
    Pillow.fromarray(ramp).save(tmp_path / "deep.png")
    image = mw.Image.open(tmp_path / "deep.png")
    found = engine.segment_like(image, [mw.Reference(image, boxed(image, 30, 20, 30, 20))])
    assert found.label_map.shape == (60, 80)


def test_several_references_and_one_of_what_it_is_not(tiny: Engine, rng: np.random.Generator) -> None:
    first, second = picture(rng, (10, 10, 40, 40)), picture(rng, (70, 40, 40, 40))
    shows = [mw.Reference(first, boxed(first, 10, 10, 40, 40)), mw.Reference(second, boxed(second, 70, 40, 40, 40))]
    target = picture(rng, (40, 30, 44, 44))
    found = tiny.segment_like(target, shows)
    assert iou(found.label_map > 0, boxed(target, 40, 30, 44, 44)) > 0.75
    against = tiny.segment_like(target, shows[:1], negative_references=[shows[1]])
    assert (against.label_map > 0).sum() < (found.label_map > 0).sum() / 2
    assert len(found.provenance["prompt"]) == 2
    assert against.provenance["parameters"]["not_this"] == [against.provenance["prompt"][0] | {
        "image": second.sha256, "mask": against.provenance["parameters"]["not_this"][0]["mask"],
    }]  # fmt: skip


def test_provenance_names_what_was_asked(engine: Engine, shown: mw.Reference) -> None:
    found = engine.segment_like(shown.image, [shown], "box", "crf")
    told = found.provenance
    assert (told["source"], told["method"], told["weights"]) == ("reference", "insid3", engine.model.sha256)
    assert told["prompt"][0]["image"] == shown.image.sha256
    assert told["parameters"] == {
        "size": 128, "components": 4, "tau": 0.9, "merge": 0.1, "refine": "crf", "not_this": [],
    }  # fmt: skip
    assert dict(told) == engine.provenance(shown.image, ReferencePrompt(references=(shown,)))


def test_points_follow_what_they_lie_on(tiny: Engine, rng: np.random.Generator) -> None:
    image, target = picture(rng, (16, 16, 48, 40)), picture(rng, (56, 44, 48, 40))
    (found,) = tiny.match_points(image, [(40, 36)], target)
    assert 56 < found[0] < 104, "into the box"
    assert 44 < found[1] < 84, "into the box"
    same = tiny.match_points(image, [(18.5, 20.0), (60.0, 50.0)], image)
    assert np.abs(same - [(18.5, 20.0), (60.0, 50.0)]).max() < 8


def test_a_preset_of_the_backbone_alone(tmp_path: Path, shown: mw.Reference) -> None:
    import torch
    from safetensors.torch import save_file

    from maskwright.models.dinov3 import DinoV3, DinoV3Config
    from maskwright.presets.convert import import_insid3

    config = DinoV3Config(width=32, depth=1, heads=2)
    torch.manual_seed(0)
    state = {name.removeprefix("vit."): value for name, value in DinoV3(config).state_dict().items()}
    hub = {name.replace("model.layer.", "layer.", 1): value for name, value in state.items()}
    save_file(hub, tmp_path / "backbone.safetensors")
    folder = import_insid3([tmp_path / "backbone.safetensors"], tmp_path / "insid3-x", config)
    engine = Engine.load(folder, "cpu")
    assert engine._preset.insid3.settings.method.components == 16
    assert engine.segment_like(shown.image, [shown]).provenance["preset"] == "insid3-x"
    with pytest.raises(MaskwrightError, match="no text model"):
        engine.segment_text(shown.image, "cow")
    with pytest.raises(MaskwrightError, match="one file"):
        import_insid3([tmp_path / "backbone.safetensors"] * 2, tmp_path / "two", config)
    del hub["norm.weight"]
    save_file(hub, tmp_path / "part.safetensors")
    with pytest.raises(MaskwrightError, match="lacks"):
        import_insid3([tmp_path / "part.safetensors"], tmp_path / "part", config)
