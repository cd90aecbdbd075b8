"""Training of OVS-DINO on a preset's encoders: it learns, resumes, counts what it leaves out; then text prompts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import maskwright as mw
from maskwright.domain import rle
from maskwright.engine import Engine
from maskwright.errors import BadWeights, MaskwrightError
from maskwright.presets.config_io import sections
from maskwright.presets.loading import load
from maskwright.presets.weights import write_part
from maskwright.progress import Progress
from maskwright.training.config import OvsConfig
from maskwright.training.loop import TrainProgress
from maskwright.training.noun_masks import NounSteps, read_noun_images
from maskwright.training.recipes import TrainingJob, ovs_config, train_ovs_dino
from tests.core.training.conftest import NAMES


def _config(folder: Path, **changes: object) -> OvsConfig:
    small = replace(ovs_config(folder), steps=8, batch=4, size=64, teacher_size=128, mask_side=32, warmup=0.1)
    return replace(small, **{"negatives": 1, "ema": 0.5, **changes})  # type: ignore[arg-type]


def _job(labelled_folder: Path, out: Path, **changes: object) -> TrainingJob:
    return TrainingJob(folders=[labelled_folder], out=out, **changes)  # type: ignore[arg-type]


CURVE: list[TrainProgress] = []
"""Reports of the training of `trained`."""


@pytest.fixture(scope="module")
def trained(small_preset: Path, labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset with an OVS-DINO that was trained for forty steps."""
    out = Path(shutil.copytree(small_preset, tmp_path_factory.mktemp("ovs") / "edges"))
    job = _job(labelled_folder, out)
    options = replace(job.options(), on_step=CURVE.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingJob, "options", lambda self: options)
        assert train_ovs_dino(job, _config(out, steps=40, lr=1e-2))
    return out


def test_both_losses_fall(trained: Path) -> None:
    assert sections(trained)["ovs-dino"]["middle"] == "encoder"
    first, last = CURVE[0].parts, CURVE[-1].parts
    assert last["cosine"] < first["cosine"]
    assert last["mse"] < first["mse"]
    assert last["dice"] + last["bce"] < first["dice"] + first["bce"]


class StopAt(Progress):
    """Cancels when it is asked for the n-th time."""

    def __init__(self, question: int) -> None:
        self._left = question

    def cancelled(self) -> bool:
        self._left -= 1
        return self._left == 0


@pytest.mark.parametrize("trained_blocks", [0, 1])
def test_a_run_that_was_stopped_gives_the_same_weights(
    small_preset: Path, labelled_folder: Path, tmp_path: Path, trained_blocks: int
) -> None:
    """Stopped among the nouns, among the images whose maps are computed, or between two steps."""
    weights, nouns = [], len(NAMES)
    # a frozen DINO's images are asked about before the first step
    images = 0 if trained_blocks else len(read_noun_images([labelled_folder]).images)
    for number, stops in enumerate(([], [2, nouns + 1, nouns + images + 1])):
        out = Path(shutil.copytree(small_preset, tmp_path / str(number)))
        config = _config(out, steps=4, trained_blocks=trained_blocks)
        for stop in stops:
            assert not train_ovs_dino(_job(labelled_folder, out, progress=StopAt(stop)), config)
            assert "ovs-dino" not in sections(out), "text is not answered by it before the last step"
        assert train_ovs_dino(_job(labelled_folder, out), config)
        weights.append((out / "ovs-dino.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"align": 0.0}, id="without SA"),
        pytest.param({"middle": "sam"}, id="without encoder"),
        pytest.param({"trained_blocks": 1, "mirror": 1.0, "nouns": 1}, id="trained block"),
    ],
)
def test_every_switch_trains_and_answers(
    small_preset: Path, labelled_folder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    out = Path(shutil.copytree(small_preset, tmp_path / "mine"))
    assert train_ovs_dino(_job(labelled_folder, out), _config(out, steps=2, **changes))
    image = mw.Image.open(labelled_folder / "images" / "m1.png")
    assert Engine.load(out, "cpu").segment_text(image, NAMES, "ovs-dino").label_map.min() >= 1


def test_nothing_of_the_preset_but_ovs_dino_changes(small_preset: Path, trained: Path) -> None:
    own, before = sections(trained), sections(small_preset)
    assert {name: own[name] for name in before} == before
    preset = load(trained)
    assert preset.ovs_dino is not None
    assert preset.dinotxt is not None
    assert preset.ovs_dino.model.visual is preset.dinotxt.model.visual_model, "nothing is held twice"
    assert json.loads((trained / "ovs-dino.json").read_text())["nouns"] == list(NAMES)


# text prompts


def _ask(engine: Engine, image: mw.Image, **options: object) -> mw.Prediction:
    return engine.segment_text(image, list(NAMES), "ovs-dino", **options)  # type: ignore[arg-type]


def test_it_answers_what_it_was_taught(trained: Path, labelled_folder: Path) -> None:
    engine, image = Engine.load(trained, "cpu"), mw.Image.open(labelled_folder / "images" / "m2.png")
    assert engine.text_methods == ("dinotxt", "ovs-dino")
    found = _ask(engine, image)
    assert found.provenance["method"] == "ovs-dino"
    assert found.provenance["weights"] == sections(trained)["ovs-dino"]["sha256"]
    assert (found.label_map[:, :16] == 1).mean() > 0.9, "grass is on the left"
    for options in ({"refine": "pamr"}, {"background": True}, {"background": True, "cleaning": True}):
        _ask(engine, image, **options)
    assert engine.encoder_calls == 1, "a further prompt runs no encoder"
    counts = [int((_ask(engine, image, threshold=least).label_map > 0).sum()) for least in (0.1, 0.5, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    objects = _ask(engine, image, instances=True).masks()
    assert {mask.category for mask in objects} <= set(NAMES)


def test_sams_embedding_may_take_the_place_of_the_middle(
    trained: Path, labelled_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table 4 on the same weights; otherwise SAM is never called."""
    image = mw.Image.open(labelled_folder / "images" / "m2.png")
    folder = Path(shutil.copytree(trained, tmp_path / "swapped"))
    write_part(folder, "ovs-dino", {**sections(folder)["ovs-dino"], "middle": "sam"})
    own, swapped = Engine.load(trained, "cpu"), Engine.load(folder, "cpu")
    calls: list[int] = []
    for engine in (own, swapped):
        sam = engine._preset.sam
        assert sam is not None
        sam.model.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    first = _ask(own, image)
    assert calls == []
    second = _ask(swapped, image)
    assert calls == [1]
    assert not np.array_equal(first.max_scores, second.max_scores)


def test_a_preset_without_it_says_so(small_preset: Path, trained: Path, tmp_path: Path) -> None:
    image = mw.Image(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(MaskwrightError, match="has no OVS-DINO"):
        _ask(Engine.load(small_preset, "cpu"), image)
    folder = Path(shutil.copytree(trained, tmp_path / "other"))
    write_part(folder, "ovs-dino", {**sections(folder)["ovs-dino"], "built_on": "0" * 64})
    with pytest.raises(BadWeights, match="other weights"):
        load(folder)


# data


def _folder(place: Path, rows: list[dict[str, object]], **whole: object) -> Path:
    (place / "images").mkdir(parents=True)
    names = [{"id": k, "name": name} for k, name in enumerate(("Cow", "sky", "ghost"), start=1)]
    images = [{"id": n, "file_name": f"p{n}.png", "width": 8, "height": 6} for n in (1, 2)]
    whole = {"images": images, "annotations": rows, "categories": names, **whole}
    (place / "annotations.json").write_text(json.dumps(whole))
    return place


def _row(category: int, box: list[int], **more: object) -> dict[str, object]:
    x, y, w, h = box
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {"id": category, "image_id": 1, "category_id": category, "segmentation": [polygon], **more}


def test_masks_that_overlap_stay_apart(tmp_path: Path) -> None:
    data = read_noun_images([_folder(tmp_path / "d", [_row(1, [0, 0, 4, 6]), _row(2, [2, 0, 4, 6])])])
    (image,) = data.images
    assert data.nouns == ("cow", "sky", "ghost")
    assert data.without_masks == 1, "the second image has no mask"
    assert [rle.area(image.masks[n]) for n in (0, 1)] == [24, 24]
    assert image.absent.tolist() == [2], "the folder labels ghosts, and there is none"
    assert image.scored is not None
    assert rle.area(image.scored) == 36


def test_pseudo_masks_score_every_pixel_and_say_nothing_of_other_nouns(tmp_path: Path) -> None:
    (image,) = read_noun_images([_folder(tmp_path / "d", [_row(1, [0, 0, 4, 6])], info={"pseudo": {}})]).images
    assert image.scored is None
    assert image.absent.size == 0


def test_without_any_mask_there_is_nothing_to_train_on(tmp_path: Path, small_preset: Path) -> None:
    with pytest.raises(MaskwrightError, match="No image of empty has a mask"):
        read_noun_images([_folder(tmp_path / "empty", [])])
    with pytest.raises(MaskwrightError, match="no preset with SAM"):
        ovs_config(tmp_path)


def test_every_epoch_shows_each_image_once_in_another_order(labelled_folder: Path, small_preset: Path) -> None:
    data = read_noun_images([labelled_folder])
    steps = NounSteps(data, _config(small_preset, batch=5), stretch=False)
    count = len(data.images)
    drawn = [index for step in range(2 * count) for index in steps._indices(step)]
    epochs = np.array(drawn[: count * (len(drawn) // count)]).reshape(-1, count)
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1
    batch = steps[3]
    again = steps[3]
    assert torch.equal(batch.masks, again.masks)
    assert torch.equal(batch.pixels, again.pixels)
