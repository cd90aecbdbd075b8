"""Clicks through the engine: encode once, go on from any mask, and refuse in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import maskwright as mw
from maskwright.engine import Engine
from maskwright.engine.everything import distinct
from maskwright.engine.sam import mask_prompt
from maskwright.errors import BadPrompt, Cancelled, InvalidMask, MaskwrightError
from maskwright.models.sam import postprocess
from maskwright.progress import Progress
from tests.progress import Recorded


@pytest.fixture(scope="module")
def tiny() -> Engine:
    return Engine.load("tiny", "cpu")


@pytest.fixture
def engine(small_preset: Path) -> Engine:
    return Engine.load(small_preset, "cpu")


@pytest.fixture
def disc(rng: np.random.Generator) -> mw.Image:
    """A bright disc, 40 pixels across, on dark ground."""
    pixels = rng.integers(0, 50, (120, 160, 3), dtype=np.uint8)
    ys, xs = np.mgrid[:120, :160]
    pixels[(xs - 100) ** 2 + (ys - 60) ** 2 < 20**2] = (220, 200, 60)
    return mw.Image(pixels)


def _iou(mask: Any, truth: Any) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def test_a_click_finds_the_thing_and_another_one_is_cheap(tiny: Engine, disc: mw.Image) -> None:
    truth = disc.pixels[:, :, 0] > 100
    before = tiny.encoder_calls
    first = tiny.segment_click(disc, [(100, 60)])
    masks = first.masks()
    assert 1 <= len(masks) <= 3
    assert [m.score for m in masks] == sorted((m.score for m in masks), reverse=True)
    assert np.array_equal(first.label_map == 1, masks[0].to_array())
    assert max(_iou(m.to_array(), truth) for m in masks) > 0.6
    again = tiny.segment_click(disc, [(100, 60), (20, 20)], [1, 0], start=masks[0])
    assert len(again.masks()) == 1
    assert _iou(again.masks()[0].to_array(), truth) > 0.6
    assert tiny.encoder_calls == before + 1
    told = again.provenance
    assert (told["source"], told["method"], told["prompt"]["points"]) == ("click", "sam", [[100, 60, 1], [20, 20, 0]])
    json.dumps(dict(told))


def test_a_prepared_image_is_not_encoded_again(engine: Engine, disc: mw.Image) -> None:
    class _AfterFiveLayers(Progress):
        layers = 0

        def cancelled(self) -> bool:
            self.layers += 1
            return self.layers > 6

    progress = _AfterFiveLayers()
    with pytest.raises(Cancelled):
        engine.prepare_clicks(disc, progress=progress)
    assert progress.layers == 7, "it stops at once, in the middle of the encoder"
    engine.prepare_clicks(disc)
    prepared = engine.encoder_calls
    engine.segment_click(disc, [(100, 60)])
    assert engine.encoder_calls == prepared


def test_a_box_means_one_thing(tiny: Engine, disc: mw.Image) -> None:
    found = tiny.segment_click(disc, box=(120, 80, 80, 40))
    (mask,) = found.masks()
    assert _iou(mask.to_array(), disc.pixels[:, :, 0] > 100) > 0.6
    outside = mask.to_array()
    outside[38:82, 78:122] = False
    assert not outside.any(), "the answer stays in the box, but for a little"
    assert found.provenance["source"] == "box"
    assert found.provenance["prompt"]["box"] == (80, 40, 120, 80)


def test_an_accepted_mask_is_corrected(tiny: Engine, disc: mw.Image) -> None:
    truth = disc.pixels[:, :, 0] > 100
    half = truth.copy()
    half[:, 100:] = False
    mask = mw.Mask.from_array(half, category="sun")
    (found,) = tiny.segment_click(disc, [(112, 60)], start=mask).masks()
    assert found.category == "sun"
    assert _iou(found.to_array(), truth) > _iou(half, truth)


def test_going_on_from_an_answer_uses_its_logits(engine: Engine, disc: mw.Image) -> None:
    start = engine.segment_click(disc, [(100, 60)]).masks()[0]
    known = engine._clicks.known_logits(disc, start)
    assert known is not None
    assert isinstance(known.logits, torch.Tensor)
    other = mw.Mask.from_array(disc.pixels[:, :, 0] > 100)
    assert engine._clicks.known_logits(disc, other) is None


def test_a_mask_becomes_logits_that_give_it_back(tiny: Engine, disc: mw.Image) -> None:
    truth = disc.pixels[:, :, 0] > 100
    embedding = tiny._clicks.embedding(disc)
    config = tiny._clicks.preset.settings.model
    logits = mask_prompt(truth, config, embedding)
    assert logits.shape == (1, *(4 * side for side in embedding.features.shape[-2:]))
    back = postprocess(logits[None], embedding.input_hw, disc.size_hw, config)[0, 0] > 0
    assert _iou(back.numpy(), truth) > 0.95


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        pytest.param({"points": [(-1, 5)]}, "outside", id="left of it"),
        pytest.param({"points": [(5, 5), (5, 121)]}, "outside", id="below it"),
        pytest.param({"points": [(np.nan, 5)]}, "outside", id="nowhere"),
        pytest.param({}, "", id="nothing"),
        pytest.param({"points": [(5, 5)], "labels": [1, 0]}, "1 points and 2 labels", id="too many labels"),
        pytest.param({"points": [(5, 5)], "labels": [2]}, "label", id="other label"),
        pytest.param({"points": [5, 5, 5]}, "pairs", id="no pairs"),
        pytest.param({"box": (10, 10, 10, 40)}, "box", id="no width"),
        pytest.param({"box": (170, 10, 180, 40)}, "box", id="box beside it"),
        pytest.param({"box": (1, 2, 3)}, "four numbers", id="three numbers"),
        pytest.param({"box": (1, 2, np.inf, 4)}, "four numbers", id="no number"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(
    engine: Engine, disc: mw.Image, prompt: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadPrompt, match=says):
        engine.segment_click(disc, **prompt)


def test_a_mask_of_another_size_is_refused(engine: Engine, disc: mw.Image) -> None:
    mask = mw.Mask.from_array(np.ones((3, 3), bool))
    with pytest.raises(InvalidMask):
        engine.segment_click(disc, [(5, 5)], start=mask)
    with pytest.raises(InvalidMask):
        engine.suggest(disc, mask, ["cow"])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (2000, 3), (37, 91)])
def test_any_size_of_image(tiny: Engine, size_hw: tuple[int, int], rng: np.random.Generator) -> None:
    image = mw.Image(rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8))
    height, width = size_hw
    for prompt in ({"points": [(width, height)]}, {"points": [(0, 0)]}, {"box": (0, 0, width, height)}):
        found = tiny.segment_click(image, **prompt)
        assert found.label_map.shape == size_hw
        assert all(mask.area for mask in found.masks())


def test_two_hundred_points(tiny: Engine, disc: mw.Image, rng: np.random.Generator) -> None:
    points = rng.uniform(0, 120, (200, 2))
    truth = disc.pixels[:, :, 0] > 100
    signs = truth[points[:, 1].astype(int), points[:, 0].astype(int)].astype(int)
    assert len(tiny.segment_click(disc, points, signs).masks()) <= 1


def test_only_parts_with_a_click_are_kept(tiny: Engine, rng: np.random.Generator) -> None:
    from skimage.measure import label

    pixels = rng.integers(0, 40, (120, 160, 3), dtype=np.uint8)
    for x in (20, 70, 120):
        pixels[40:80, x : x + 20] = (220, 60, 60)
    image = mw.Image(pixels)
    for mask in tiny.segment_click(image, [(80, 60)]).masks():
        assert label(mask.to_array(), connectivity=2).max() == 1


def test_everything_is_distinct_and_can_be_stopped(tiny: Engine, disc: mw.Image) -> None:
    progress = Recorded()
    found = tiny.segment_everything(
        disc, points_per_side=8, pred_iou_thresh=0.25, stability_score_thresh=0.5, progress=progress
    )
    assert progress.reports[0][0] == 0
    assert progress.reports[-1][0] == progress.reports[-1][1]
    masks = found.masks()
    assert len(masks) > 1
    assert [m.score for m in masks] == sorted((m.score for m in masks), reverse=True)
    arrays = [m.to_array() for m in masks]
    assert all(_iou(a, b) < 0.8 for n, a in enumerate(arrays) for b in arrays[:n])
    with pytest.raises(Cancelled):
        tiny.segment_everything(disc, progress=Recorded(lambda: True))


def test_alike_and_contained_masks_are_one_thing() -> None:
    plane = torch.zeros(5, 20, 20, dtype=torch.bool)
    plane[0, :10] = True
    plane[1, :11] = True  # IoU 0.91
    plane[2, :10, :13] = True  # inside the first, and 0.65 of it
    plane[3, :10, :5] = True  # inside the first, a quarter of it: a part
    plane[4, 12:] = True
    assert distinct(plane) == [0, 3, 4]


def test_what_is_this(tiny: Engine) -> None:
    from maskwright_app.samples import samples

    path = next(s.path for s in samples() if "giraffe" in s.class_names and "tree" in s.class_names)
    image = mw.Image.open(path)
    found = {m.category: m for m in tiny.segment_text(image, "grass, sky, tree, book, car").masks()}
    name = max(found, key=lambda key: found[key].area)
    ranked = tiny.suggest(image, found[name], ["book", "car", "grass", "sky", "tree"])
    assert ranked[0][0] == name
    assert [chance for _, chance in ranked] == sorted((chance for _, chance in ranked), reverse=True)
    assert all(0 <= chance <= 1 for _, chance in ranked)


def test_a_preset_without_clicks_says_so(small_preset: Path, tmp_path: Path, disc: mw.Image) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    for file in small_preset.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    del config["sam"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MaskwrightError, match="words"):
        Engine.load(folder, "cpu").segment_click(disc, [(1, 1)])
