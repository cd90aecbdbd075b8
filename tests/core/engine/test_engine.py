"""The engine's promises: encode once, share, stop, and give each pixel its class."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import maskwright as mw
from maskwright.domain import ModelRef
from maskwright.domain.prompts import parse_class_names
from maskwright.engine import Engine
from maskwright.engine.cache import EmbeddingCache, EmbeddingKey
from maskwright.engine.dinotxt import DinoTxtMethod, Pyramid
from maskwright.engine.label_map import Labels, label
from maskwright.errors import Cancelled, DeviceMissing, EmptyPrompt, MaskwrightError, PresetMissing
from maskwright.models.sliding_window import EncodedWindows
from maskwright.presets.loading import load_dinotxt
from maskwright.progress import Progress, cancellable
from maskwright.settings import Settings
from tests.progress import Recorded


@pytest.fixture
def engine(small_preset: Path) -> Engine:
    return Engine.load(small_preset, "cpu")


@pytest.fixture
def image(rng: np.random.Generator) -> mw.Image:
    return mw.Image(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))


def _counted(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> Callable[[], int]:
    calls = []
    original = getattr(target, name)
    monkeypatch.setattr(target, name, lambda *args, **kw: calls.append(1) or original(*args, **kw))
    return lambda: len(calls)


def test_second_prompt_runs_neither_backbone_nor_known_words(
    engine: Engine, image: mw.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.segment_text(image, ["grass", "cow"])
    assert engine.encoder_calls == 1
    model = engine._preset.dinotxt.model
    passes = _counted(monkeypatch, model, "encode_image")
    words = _counted(monkeypatch, model, "encode_text")
    engine.segment_text(image, "cow, grass", background=True)
    assert (passes(), words(), engine.encoder_calls) == (0, 0, 1)
    engine.segment_text(image, ["sky"])
    assert (passes(), words(), engine.encoder_calls) == (0, 1, 1)


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param(lambda engine, image, _: engine.segment_text(image, "cow"), id="text"),
        pytest.param(lambda engine, image, mask: engine.segment_like(image, [mw.Reference(image, mask)]), id="example"),
        pytest.param(lambda engine, image, _: engine.segment_click(image, [(20, 20)]), id="click"),
    ],
)
def test_a_prompt_that_nobody_waits_for_ends_at_the_next_layer(
    engine: Engine, image: mw.Image, prompt: Callable[[Engine, mw.Image, mw.Mask], object]
) -> None:
    class AtLayer(Progress):
        layers, last = 0, 1 << 30

        def cancelled(self) -> bool:
            self.layers += 1
            return self.layers > self.last

    region = np.zeros(image.size_hw, bool)
    region[10:20, 10:30] = True
    free, stopped = AtLayer(), AtLayer()
    with cancellable(stopped):
        stopped.last = 10
        with pytest.raises(Cancelled):
            prompt(engine, image, mw.Mask.from_array(region))
    assert stopped.layers == 11
    assert engine.encoder_calls <= 1
    with cancellable(free):
        prompt(engine, image, mw.Mask.from_array(region))
    assert free.layers > 10, "what was stopped is computed again"
    layers = free.layers
    prompt(engine, image, mw.Mask.from_array(region))
    assert free.layers == layers, "nothing is checked outside of the context"


def test_another_image_is_encoded_and_the_same_content_is_not(engine: Engine, image: mw.Image) -> None:
    engine.segment_text(image, "cow")
    engine.segment_text(mw.Image(image.pixels.copy()), "cow")
    assert engine.encoder_calls == 1
    engine.segment_text(mw.Image(255 - image.pixels), "cow")
    assert engine.encoder_calls == 2


def test_threads_share_one_encoding(engine: Engine, image: mw.Image) -> None:
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: found.append(engine.segment_text(image, "cow, sky").label_map))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert engine.encoder_calls == 1
    assert all(np.array_equal(found[0], other) for other in found)


def test_cache_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    cache = EmbeddingCache(limit_bytes=1000)
    made: list[str] = []

    def key(name: str) -> EmbeddingKey:
        return EmbeddingKey(name, ModelRef("m", "0"), None)

    def get(name: str) -> None:
        def make() -> Pyramid:
            made.append(name)
            return Pyramid((EncodedWindows(torch.zeros(100), torch.zeros(0), (), (1, 1)),))

        cache.get_or_make(key(name), make)

    for name in ("a", "b", "a", "c", "a", "b"):
        get(name)
    assert cache.used == 800
    assert made == ["a", "b", "c", "b"]


def test_cancel_stops_before_the_next_pass_and_keeps_nothing(engine: Engine, image: mw.Image) -> None:
    with pytest.raises(Cancelled):
        engine.segment_text(image, "cow", progress=Recorded(lambda: True))
    assert engine.encoder_calls == 0
    answers = iter([False, True])
    with pytest.raises(Cancelled):
        engine.segment_text(image, "cow", progress=Recorded(lambda: next(answers, True)))
    assert engine._embeddings.used == 0
    assert engine.segment_text(image, "cow").label_map.shape == (40, 60)


def test_closed_vocabulary_labels_every_pixel_and_open_leaves_some_out(engine: Engine, image: mw.Image) -> None:
    closed = engine.segment_text(image, ["cow", "grass", "sky"])
    assert set(np.unique(closed.label_map)) <= {1, 2, 3}
    assert closed.label_map.min() >= 1
    assert sum(mask.area for mask in closed.masks()) == 40 * 60
    nothing = engine.segment_text(image, ["cow", "grass", "sky"], threshold=1.0)
    assert not nothing.label_map.any()
    assert nothing.masks() == []


def test_class_order_permutes_the_answer(engine: Engine, image: mw.Image) -> None:
    names = ["cow", "grass", "sky", "tree"]
    first = engine.segment_text(image, names)
    second = engine.segment_text(image, names[::-1])
    assert np.array_equal(5 - second.label_map, first.label_map)


def test_high_resolution_is_kept_beside_the_windows(engine: Engine, image: mw.Image) -> None:
    progress = Recorded()
    found = engine.segment_text(image, "cow, sky", high_resolution=True, progress=progress)
    assert found.label_map.shape == (40, 60)
    assert progress.reports == sorted(progress.reports)
    assert progress.reports[-1][0] == progress.reports[-1][1] > 1
    engine.segment_text(image, "cow, sky")
    engine.segment_text(image, "sky", high_resolution=True)
    assert engine.encoder_calls == 2


def test_provenance_names_everything_that_changes_the_result(engine: Engine, image: mw.Image) -> None:
    told = engine.segment_text(image, "cow|cattle, sky", threshold=0.4).provenance
    assert told["prompt"] == "cow|cattle, sky"
    assert told["weights"] == engine.model.sha256
    assert told["parameters"] == {"threshold": 0.4, "cleaning": 0.2, "refine": None, "high_resolution": False}
    assert told["image"] == image.sha256
    assert told["version"] == mw.__version__


def test_unfamiliar_words_are_named_and_still_answered(engine: Engine, image: mw.Image) -> None:
    found = engine.segment_text(image, ["cow", "cows", "floccinaucinihilipilification", "cow|floccus"])
    assert found.out_of_vocabulary == ("floccinaucinihilipilification",)
    assert len(found.categories) == 3


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("grass, cow ,sky", ["grass", "cow", "sky"]),
        ("cow,, ,Cow,cow", ["cow"]),
        ("car|automobile, road", ["car", "road"]),
        (["a, b", "c"], ["a, b", "c"]),
        ("🐄", ["🐄"]),
    ],
)
def test_class_names(prompt: str | list[str], names: list[str]) -> None:
    assert [name.name for name in parse_class_names(prompt)] == names


@pytest.mark.parametrize("prompt", ["", " , ", [], ["", " "], "|"])
def test_empty_prompt(prompt: str | list[str]) -> None:
    with pytest.raises(EmptyPrompt):
        parse_class_names(prompt)


def test_options_that_are_not_there(engine: Engine, image: mw.Image, small_preset: Path) -> None:
    for options in ({"method": "magic"}, {"refine": "crfs"}, {"threshold": 1.5}):
        with pytest.raises(MaskwrightError):
            engine.segment_text(image, "cow", **options)
    with pytest.raises(DeviceMissing, match="cuda:7"):
        Engine.load(small_preset, "cuda:7")
    with pytest.raises(PresetMissing, match="nosuch"):
        Engine.load("nosuch", settings=Settings())


def test_label_takes_the_nearest_direction_and_averages_windows(small_preset: Path) -> None:
    """Features that are the class vectors themselves: the map must be theirs, also where windows overlap."""
    loaded = load_dinotxt(small_preset)
    protocol = replace(loaded.settings.protocol, window=32, stride=16)
    settings = replace(loaded.settings, protocol=protocol, background_scale=20.0, threshold=0.5)
    classes = torch.eye(3)
    left, right = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
    left[0], right[1] = 1, 1
    windows = EncodedWindows(torch.stack([left, right]), torch.zeros(2, 1, 4), ((0, 0), (0, 32)), (32, 64))
    method = DinoTxtMethod(replace(loaded, settings=settings), torch.device("cpu"))

    def labels(classes: torch.Tensor, threshold: float | None) -> Labels:
        cleaning = None if threshold is None else 0.0
        return label(method.scores(Pyramid((windows,)), classes, cleaning=cleaning), (16, 32), threshold or 0.0)

    found = labels(classes, None)
    assert (found.label_map[:, :16] == 1).all()
    assert (found.label_map[:, 16:] == 2).all()
    assert found.scores[2] == 0
    opened = labels(classes[1:], 0.5)
    assert (opened.label_map[:, :15] == 0).all(), "fits neither class"
    assert (opened.label_map[:, 17:] == 1).all()
    assert opened.max_scores[0] > 0.99


def test_vector_of_a_class_is_the_mean_of_its_prompts_local_halves(engine: Engine) -> None:
    preset = engine._preset.dinotxt
    prompts = ["cow", "a photo of a cow.", "sky", "a photo of a sky."]
    local = preset.model.encode_text(preset.tokenizer(prompts)).chunk(2, dim=1)[1]
    mean = (local / local.norm(dim=1, keepdim=True)).mean(dim=0)
    found = DinoTxtMethod(preset, engine.device).class_embedding(["cow", "sky"])
    torch.testing.assert_close(found, mean / mean.norm(), rtol=1e-4, atol=1e-5)
