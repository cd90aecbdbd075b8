"""Text prompts with dinov3.seg through the engine: who answers, any shape, many classes, one encoding."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.resources import as_file
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.domain import Image
from maskwright.engine import Engine
from maskwright.engine import dinov3seg as seg
from maskwright.errors import BadWeights, Cancelled, EmptyPrompt, MaskwrightError, UsageError
from maskwright.imaging.geometry import area_size, slide
from maskwright.models.devices import choose_device
from maskwright.presets.folders import bundled
from maskwright.presets.loading import Preset, load
from maskwright.presets.weights import save_part
from maskwright.settings import Settings
from tests.progress import Recorded

WORDS = ["grass", "cow", "sky", "a zebra"]


def _picture(height: int = 60, width: int = 80, seed: int = 0) -> Image:
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 256, (-(-height // 10), -(-width // 10), 3), np.uint8)
    return Image(np.kron(blocks, np.ones((10, 10, 1), np.uint8))[:height, :width].copy())


@pytest.fixture(scope="module")
def engine(segmenting_preset: Path) -> Engine:
    return Engine.load(segmenting_preset, "cpu")


def _changed(folder: Path, **settings: Any) -> Engine:
    """An engine of the preset with other settings of dinov3.seg."""
    preset = load(folder)
    assert preset.dinov3seg is not None
    changed = replace(preset.dinov3seg, settings=replace(preset.dinov3seg.settings, **settings))
    return Engine(replace(preset, dinov3seg=changed), choose_device("cpu"), Settings.load())


def test_dinov3seg_answers_where_the_preset_has_it(engine: Engine) -> None:
    found = engine.segment_text(_picture(), WORDS)
    assert found.provenance["method"] == "dinov3seg"
    assert found.provenance["weights"] == engine.text_model.sha256 != engine.model.sha256
    assert found.note == ""
    assert engine.text_methods == ("dinov3seg", "dinotxt")
    asked = engine.segment_text(_picture(), WORDS, method="dinov3seg")
    assert np.array_equal(asked.label_map, found.label_map)
    other = engine.segment_text(_picture(), WORDS, method="dinotxt")
    assert other.provenance["method"] == "dinotxt"
    assert other.provenance["weights"] == engine.model.sha256
    assert not np.array_equal(other.label_map, found.label_map)


def test_closed_vocabulary_gives_every_pixel_a_class(engine: Engine) -> None:
    found = engine.segment_text(_picture(), WORDS)
    assert found.label_map.min() >= 1
    assert sum(mask.area for mask in found.masks()) == 60 * 80
    assert found.out_of_vocabulary == ("a zebra",)


def test_open_vocabulary_leaves_what_is_unlikely(engine: Engine) -> None:
    nothing = engine.segment_text(_picture(), WORDS, threshold=1.0)
    assert not nothing.label_map.any()
    assert 0 < max(nothing.max_scores) < 1
    some = engine.segment_text(_picture(), WORDS, threshold=float(np.median(nothing.max_scores)) - 0.001)
    assert 0 < (some.label_map > 0).sum() <= 60 * 80
    assert all(mask.score is not None and mask.score >= 0.2 for mask in some.masks())


def test_second_prompt_costs_no_encoder_pass(segmenting_preset: Path) -> None:
    engine, image = Engine.load(segmenting_preset, "cpu"), _picture()
    engine.segment_text(image, ["grass"])
    engine.segment_text(image, ["cow", "sky"], threshold=0.5)
    assert engine.encoder_calls == 1
    engine.segment_text(image, ["cow", "sky"], method="dinotxt")
    assert engine.encoder_calls == 2


def test_preset_without_it_answers_with_dinotxt(small_preset: Path) -> None:
    engine = Engine.load(small_preset, "cpu")
    found = engine.segment_text(_picture(), WORDS)
    assert found.provenance["method"] == "dinotxt"
    assert found.note == ""
    with pytest.raises(MaskwrightError, match=r"dinov3\.seg"):
        engine.segment_text(_picture(), WORDS, method="dinov3seg")


def test_untrained_parts_answer_zero_shot_and_say_so(segmenting_preset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    shutil.copytree(segmenting_preset, folder)
    told = json.loads((folder / "config.json").read_text())
    told["dinov3seg"]["trained"] = False
    (folder / "config.json").write_text(json.dumps(told))
    engine = Engine.load(folder, "cpu")
    zero_shot = engine.segment_text(_picture(), WORDS, method="dinotxt")
    assert zero_shot.note == ""
    for method in (None, "dinov3seg"):
        found = engine.segment_text(_picture(), WORDS, method=method)
        assert "not trained yet" in found.note
        assert found.provenance["method"] == "dinotxt"
        assert np.array_equal(found.label_map, zero_shot.label_map)


def test_high_resolution_is_dinotxts(engine: Engine) -> None:
    found = engine.segment_text(_picture(), WORDS, high_resolution=True)
    assert found.provenance["method"] == "dinotxt"
    with pytest.raises(UsageError, match="dinotxt"):
        engine.segment_text(_picture(), WORDS, method="dinov3seg", high_resolution=True)


@pytest.mark.parametrize("method", ["magic", "", "DINOTXT"])
def test_unknown_method_is_one_sentence(engine: Engine, method: str) -> None:
    with pytest.raises(UsageError, match="dinov3seg, dinotxt"):
        engine.segment_text(_picture(), WORDS, method=method)


@pytest.mark.parametrize("prompt", ["", " , |", []])
def test_empty_prompt_is_refused(engine: Engine, prompt: str | list[str]) -> None:
    with pytest.raises(EmptyPrompt):
        engine.segment_text(_picture(), prompt)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 300), (300, 1), (37, 211), (400, 90), (64, 64)], ids=lambda size: f"{size[0]}x{size[1]}"
)
@pytest.mark.parametrize("aggregation", ["lga", "global", "catseg"])
def test_any_shape_is_answered(segmenting_preset: Path, size: tuple[int, int], aggregation: str) -> None:
    base = load(segmenting_preset).dinov3seg
    assert base is not None
    engine = _changed(segmenting_preset, protocol=replace(base.settings.protocol, aggregation=aggregation))
    found = engine.segment_text(_picture(*size), WORDS)
    assert found.label_map.shape == size
    assert found.label_map.min() >= 1
    assert all(0 <= score <= 1 for score in found.scores)


def test_aggregations_differ(segmenting_preset: Path) -> None:
    base = load(segmenting_preset).dinov3seg
    assert base is not None
    best = {
        kind: _changed(segmenting_preset, protocol=replace(base.settings.protocol, aggregation=kind))
        .segment_text(_picture(90, 160), WORDS)
        .max_scores
        for kind in ("lga", "global", "catseg")
    }
    assert len(set(best.values())) == 3


@pytest.mark.parametrize("size", [(640, 640), (480, 640), (333, 1000), (2000, 100), (1, 5000), (97, 101)], ids=str)
def test_windows_cover_the_whole_image_without_squashing_it(size: tuple[int, int]) -> None:
    height, width = resized = area_size(size, 640, least=384, multiple=16)
    assert height % 16 == width % 16 == 0
    assert min(resized) >= 384
    ratio = min(max(size[0] / size[1], 1 / 8), 8)
    assert height / width == pytest.approx(ratio, rel=0.05)
    if 384**2 / 640**2 < ratio < 640**2 / 384**2:
        assert height * width == pytest.approx(640 * 640, rel=0.06)
    covered = np.zeros(resized, bool)
    for top, left in slide(resized, 384, 256):
        assert top % 16 == left % 16 == 0
        covered[top : top + 384, left : left + 384] = True
    assert covered.all()
    assert slide(area_size((700, 700), 640, least=384, multiple=16), 384, 256) == [
        (0, 0),
        (0, 256),
        (256, 0),
        (256, 256),
    ]


def test_many_classes_in_chunks_equal_all_at_once(segmenting_preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"thing {n}" for n in range(60)]
    engine = Engine.load(segmenting_preset, "cpu")
    chunked = engine.segment_text(_picture(), names)
    monkeypatch.setattr(seg, "_CHUNK", 1000)
    whole = Engine.load(segmenting_preset, "cpu").segment_text(_picture(), names)
    assert np.mean(chunked.label_map == whole.label_map) > 0.999
    np.testing.assert_allclose(chunked.max_scores, whole.max_scores, atol=1e-5)


def test_preselection_keeps_the_classes_most_like_the_image(segmenting_preset: Path) -> None:
    names = [f"thing {n}" for n in range(20)]
    every = _changed(segmenting_preset, max_classes=None).segment_text(_picture(), names)
    assert min(every.max_scores) > 1e-6
    few = _changed(segmenting_preset, max_classes=5).segment_text(_picture(), names)
    kept = [name for name, best in zip(names, few.max_scores, strict=True) if best > 1e-6]
    assert len(kept) == 5
    assert {names[k - 1] for k in np.unique(few.label_map)} <= set(kept)
    # they answer as if nobody had asked for the others
    alone = _changed(segmenting_preset, max_classes=None).segment_text(_picture(), kept)
    np.testing.assert_allclose([b for b in few.max_scores if b > 1e-6], alone.max_scores, atol=1e-5)


def test_synonyms_make_one_class(engine: Engine) -> None:
    found = engine.segment_text(_picture(), "grass|lawn, sky")
    assert found.categories == ("grass", "sky")
    assert not np.array_equal(found.max_scores, engine.segment_text(_picture(), "grass, sky").max_scores)


def test_encoding_can_be_cancelled(segmenting_preset: Path) -> None:
    engine, progress = Engine.load(segmenting_preset, "cpu"), Recorded(lambda: len(progress.reports) > 2)
    with pytest.raises(Cancelled):
        engine.segment_text(_picture(), WORDS, progress=progress)
    assert progress.reports == sorted(progress.reports)
    assert engine.segment_text(_picture(), WORDS).label_map.min() >= 1


def test_text_tower_is_held_once(segmenting_preset: Path) -> None:
    preset = load(segmenting_preset)
    assert preset.dinov3seg is not None
    assert preset.dinotxt is not None
    assert preset.dinov3seg.model.vlm.text_model is preset.dinotxt.model.text_model


def test_it_is_tied_to_the_weights_it_was_made_on(segmenting_preset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(segmenting_preset, tmp_path / "other")
    text = load(folder).dinotxt
    assert text is not None
    with torch.no_grad():
        text.model.logit_scale.add_(1)
    told = json.loads((folder / "config.json").read_text())["dinotxt"]
    told = {key: value for key, value in told.items() if key not in ("weights", "sha256")}
    save_part(folder, "dinotxt", text.model.state_dict(), told, dtype=torch.float16)
    with pytest.raises(BadWeights, match="other weights"):
        load(folder)


@pytest.mark.parametrize("value", [None, [], {"trained": True}, "magic"], ids=str)
def test_damaged_settings_are_one_sentence(segmenting_preset: Path, tmp_path: Path, value: object) -> None:
    folder = shutil.copytree(segmenting_preset, tmp_path / "bad")
    told = json.loads((folder / "config.json").read_text())
    if value == "magic":
        told["dinov3seg"]["protocol"]["aggregation"] = value
    else:
        told["dinov3seg"] = value
    (folder / "config.json").write_text(json.dumps(told))
    with pytest.raises(BadWeights, match="damaged"):
        load(folder)


def test_weights_that_the_preset_has_are_not_stored_again(segmenting_preset: Path) -> None:
    from safetensors.torch import load_file

    stored = load_file(segmenting_preset / "dinov3seg.safetensors")
    assert stored
    assert all(name.startswith(("anyup.", "aggregator.")) for name in stored)


@pytest.fixture(scope="module")
def tiny() -> Preset:
    return load(bundled() / "tiny")


def test_bundled_model_finds_what_is_named(tiny: Preset) -> None:
    """A street of the gallery, whose pictures were not trained on: sky above, pavement below."""
    engine = Engine(tiny, choose_device("cpu"), Settings.load())
    assert engine.text_methods[:2] == ("dinov3seg", "dinotxt")
    with as_file(resources("maskwright_assets") / "samples" / "000000000257.jpg") as file:
        image = Image.open(file)
    found = {mask.category: mask.to_array() for mask in engine.segment_text(image, "sky, pavement, truck").masks()}
    rows = {name: np.nonzero(mask)[0].mean() / mask.shape[0] for name, mask in found.items()}
    assert rows["sky"] < 0.4 < 0.6 < rows["pavement"]


def test_half_precision_changes_little(segmenting_preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = _picture(120, 160)
    exact = Engine.load(segmenting_preset, "cpu").segment_text(image, ["grass", "sky", "cow"])

    def always(device: torch.device, model: Any) -> Any:
        return torch.autocast(device.type, dtype=torch.bfloat16)

    monkeypatch.setattr(seg, "half_precision", always)
    # as on a GPU: encoders in half precision as well
    other = load(segmenting_preset)
    assert other.encoders
    for encoder in other.encoders:
        encoder.to(torch.bfloat16)
    half = Engine(other, choose_device("cpu"), Settings.load()).segment_text(image, ["grass", "sky", "cow"])
    # probabilities alone: with random weights many pixels are a tie
    np.testing.assert_allclose(half.max_scores, exact.max_scores, atol=0.05)


def test_pretrained_convolutions_stay_in_single_precision(tiny: Preset) -> None:
    """In bfloat16 the bundled preset's probabilities moved by up to 0.47."""
    assert not tiny.encoders
    assert tiny.dinov3seg
    with seg.half_precision(torch.device("cuda"), tiny.dinov3seg.model):
        assert not torch.is_autocast_enabled("cuda")
