"""Published benchmarks: what is averaged, prompted and cleaned, counted again by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.domain import Image, ModelRef, Prediction, PromptKind, Provenance, Reference, TextPrompt
from maskwright.engine import Engine
from maskwright.errors import BadReference, MaskwrightError, UsageError
from maskwright.evaluation.benchmarks import BenchmarkRun, benchmark_engine, evaluate_benchmark, protocol_of
from maskwright.evaluation.few_shot import ExampleScores
from maskwright.evaluation.protocol import ImageSelection
from maskwright.evaluation.protocols import OWN, PROTOCOLS
from maskwright.formats.benchmarks import episodes
from maskwright.formats.benchmarks.episodes import Benchmark, Draw, Episode, MaskedImage
from maskwright.formats.benchmarks.semantic import SEMANTIC
from maskwright.models.devices import choose_device
from maskwright.presets.config import PointMatching
from maskwright.presets.loading import load
from maskwright.settings import Settings
from tests.core.formats.benchmarks.fakes import SIZE, WRITERS, label_maps


class Known:
    """Stands for an engine that finds what it is told to, for the arithmetic alone."""

    model = ModelRef("known", "0" * 64)

    def __init__(self, found: list[np.ndarray[Any, Any]]) -> None:
        self.found = iter(found)
        self.prompts: list[TextPrompt] = []

    def text_method(self, method: str | None = None) -> str:
        return method or "dinotxt"

    def segment(self, image: Image, prompt: TextPrompt, **options: Any) -> Prediction:
        self.prompts.append(prompt)
        return self._prediction(image, next(self.found), len(prompt.names))

    def segment_like(self, image: Image, references: list[Reference], refine: str | None) -> Prediction:
        if not all(reference.mask.area for reference in references):
            raise BadReference("empty")
        return self._prediction(image, next(self.found), 1)

    def match_points(self, source: Image, points: Any, target: Image) -> Any:
        return np.asarray(next(self.found))

    def _prediction(self, image: Image, labels: np.ndarray[Any, Any], count: int) -> Prediction:
        zeros = (0.5,) * count
        provenance = Provenance(PromptKind.TEXT, self.model, "known", image.sha256, None)
        return Prediction(labels.astype(np.int32), ("x",) * count, zeros, zeros, (), provenance)


def measure(found: list[Any], **options: Any) -> tuple[Any, Known]:
    engine = Known(found)
    return evaluate_benchmark(engine, BenchmarkRun(**options)), engine  # type: ignore[arg-type]


def _iou(true: list[Any], found: list[Any], label: int) -> float:
    pairs = [(t, f) for t, f in zip(true, found, strict=True)]
    both = sum(int(((t == label) & (f == label)).sum()) for t, f in pairs)
    either = sum(int((((t == label) | (f == label)) & (t >= 0)).sum()) for t, f in pairs)
    return both / either


@pytest.mark.parametrize("protocol", [None, "talk2dino"])
def test_background_is_averaged_as_the_paper_does(tmp_path: Path, protocol: str | None) -> None:
    maps = label_maps(20, background=True)
    WRITERS["voc21"](tmp_path, maps)
    found = [np.roll(labels, 5, axis=1).clip(0) for labels in maps]
    scores, engine = measure(found, benchmark="voc21", folder=tmp_path, protocol=protocol_of(protocol))
    present = [k for k in range(1, 21) if any((labels == k).any() for labels in maps)]
    expected = [_iou(maps, found, k) for k in present]
    assert scores.background == pytest.approx(_iou(maps, found, 0))
    if protocol == "talk2dino":
        expected.append(scores.background)
    assert (scores.classes, scores.miou) == (len(expected), pytest.approx(np.mean(expected)))
    assert all(prompt.background for prompt in engine.prompts)
    assert {prompt.cleaning for prompt in engine.prompts} == {protocol == "talk2dino" or None}


def test_cleaning_is_for_two_benchmarks_and_can_be_switched(tmp_path: Path) -> None:
    maps = label_maps(59, background=True)
    WRITERS["pc60"](tmp_path, maps)
    for wanted, expected in ((None, False), (True, True)):
        _, engine = measure(
            [labels.clip(0) for labels in maps], benchmark="pc60", folder=tmp_path, protocol=PROTOCOLS["talk2dino"],
            cleaning=wanted,
        )  # fmt: skip
        assert {prompt.cleaning for prompt in engine.prompts} == {expected}


def test_the_first_synonym_where_the_protocol_asks(tmp_path: Path) -> None:
    """Of ADE20K's 847 names ten repeat as first synonyms; they stay classes of their own."""
    maps = label_maps(847, background=False)
    WRITERS["ade847"](tmp_path, maps)
    options = {"benchmark": "ade847", "folder": tmp_path}
    scores, engine = measure([labels.clip(1) for labels in maps], protocol=PROTOCOLS["dinov3seg"], **options)
    asked = engine.prompts[0].classes
    assert len(asked) == len(scores.per_class) == 847
    assert [name.synonyms for name in asked[:2]] == [("wall",), ("building",)]
    assert len({name.synonyms for name in asked}) == 837
    assert (scores.miou, scores.classes) == (1.0, len(np.unique(np.stack(maps))) - 1)
    assert engine.prompts[0].method == "dinov3seg"
    _, engine = measure([labels.clip(1) for labels in maps], **options)
    assert engine.prompts[0].classes[1].synonyms == ("building", "edifice")
    assert engine.prompts[0].method is None


def test_limit_draws_pictures(tmp_path: Path) -> None:
    maps = label_maps(20, background=False)
    WRITERS["voc20"](tmp_path, maps)
    scores, engine = measure(
        [np.ones(SIZE)] * 3, benchmark="voc20", folder=tmp_path, selection=ImageSelection(limit=2)
    )  # fmt: skip
    assert scores.images == len(engine.prompts) == 2


def test_a_label_map_of_another_size_is_one_sentence(tmp_path: Path) -> None:
    maps = label_maps(20, background=False)
    WRITERS["voc20"](tmp_path, [maps[0], maps[1], maps[2][:, :10]])
    with pytest.raises(MaskwrightError, match=r"2007_000002\.jpg and its label map differ in size"):
        measure([np.ones(SIZE)] * 3, benchmark="voc20", folder=tmp_path)


def _shown(mask: np.ndarray[Any, Any], seed: int, ignored: np.ndarray[Any, Any] | None = None) -> MaskedImage:
    return MaskedImage(Image(np.full((*SIZE, 3), seed, np.uint8)), mask.astype(bool), ignored)


def test_intersections_and_unions_are_summed_per_class(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    masks, found = rng.random((2, 5, *SIZE)) > 0.5
    ignored = rng.random(SIZE) > 0.8
    labels = [0, 1, 0, 1, 1]
    told = [
        Episode(k, _shown(mask, n, ignored if n == 4 else None), (_shown(mask if n != 3 else mask & False, 9 + n),))
        for n, (k, mask) in enumerate(zip(labels, masks, strict=True))
    ]
    benchmark = Benchmark(lambda folder, draw: (["a", "b", "c"], 5, iter(told)), folds=2)
    monkeypatch.setitem(episodes.EPISODES, "fake", benchmark)
    answers = [found[0], found[1], found[2], found[4]]
    scores, _ = measure(answers, benchmark="fake", folder=Path())
    assert isinstance(scores, ExampleScores)
    # a reference that shows nothing finds nothing
    predicted = [found[0], found[1], found[2], np.zeros(SIZE, bool), found[4]]
    valid = [np.ones(SIZE, bool)] * 4 + [~ignored]
    expected = []
    for k in (0, 1):
        rows = [n for n in range(5) if labels[n] == k]
        both = sum((predicted[n] & masks[n] & valid[n]).sum() for n in rows)
        either = sum(((predicted[n] | masks[n]) & valid[n]).sum() for n in rows)
        expected.append(both / either)
    assert scores.per_class == {"a": pytest.approx(expected[0]), "b": pytest.approx(expected[1]), "c": None}
    assert scores.miou == pytest.approx(np.mean(expected))
    assert (scores.episodes, scores.classes) == (5, 2)
    with pytest.raises(UsageError, match="folds 0 to 1"):
        measure(answers, benchmark="fake", folder=Path(), draw=Draw(fold=2))


def test_points_within_a_share_of_the_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwright.evaluation import benchmarks
    from maskwright.formats.benchmarks.points import PointPair

    image = Image(np.zeros((*SIZE, 3), np.uint8))
    true = np.array([[10.0, 10.0], [20.0, 20.0]])
    pairs = [PointPair(name, lambda: image, lambda: image, true, true, 20.0) for name in ("cat", "cat", "dog")]
    monkeypatch.setattr(benchmarks, "read_pairs", lambda folder: pairs)
    found = [true + np.array(moved) for moved in ([[0.5, 0.0], [0.0, 3.5]], [[1.9, 0.0], [0.0, 9.0]], np.zeros((2, 2)))]
    scores, _ = measure(found, benchmark="spair", folder=tmp_path)
    assert scores.pck == {
        "0.05": pytest.approx((0.5 + 0 + 1) / 3), "0.1": pytest.approx((0.5 + 0.5 + 1) / 3),
        "0.15": pytest.approx((0.5 + 0.5 + 1) / 3), "0.2": pytest.approx((1 + 0.5 + 1) / 3),
    }  # fmt: skip
    assert scores.per_class == {"cat": pytest.approx(0.5), "dog": pytest.approx(1.0)}


def test_protocols_change_the_settings_of_every_method(segmenting_preset: Path, talking_preset: Path) -> None:
    preset = load(segmenting_preset)
    changed = PROTOCOLS["dinov3seg"].applied(preset)
    assert preset.dinov3seg is not None
    assert changed.dinov3seg is not None
    assert (changed.dinov3seg.settings.protocol.square, changed.dinov3seg.settings.class_pooling) == (True, (1, 1))
    assert changed.dinov3seg.settings.protocol.sides == preset.dinov3seg.settings.protocol.sides
    slide = PROTOCOLS["dinotxt"].applied(preset).dinotxt
    assert slide is not None
    assert slide.settings.protocol == PROTOCOLS["dinotxt"].slide
    talking = PROTOCOLS["talk2dino"].applied(load(talking_preset)).talk2dino
    assert talking is not None
    assert (talking.settings.protocol.window, talking.settings.protocol.stride) == (448, 224)
    assert preset.insid3 is not None
    points = replace(preset.insid3, settings=replace(preset.insid3.settings, points=PointMatching()))
    corners = PROTOCOLS["insid3"].applied(replace(preset, insid3=points)).insid3
    assert corners is not None
    assert corners.settings.points == PointMatching(centred=False)
    assert OWN.applied(preset) == preset
    with pytest.raises(UsageError, match="no protocol clip"):
        protocol_of("clip")


@pytest.mark.parametrize("benchmark", ["voc20", "ade150", "pc60"])
def test_every_reader_runs_on_a_model(benchmark: str, tmp_path: Path, talking_preset: Path) -> None:
    data = SEMANTIC[benchmark]
    WRITERS[benchmark](tmp_path, label_maps(len(data.names), background=data.background))
    engine = benchmark_engine(str(talking_preset), "cpu", OWN)
    run = BenchmarkRun(benchmark=benchmark, folder=tmp_path, method="talk2dino", refine="pamr")
    scores = evaluate_benchmark(engine, run)
    assert scores == evaluate_benchmark(Engine(load(talking_preset), choose_device("cpu"), Settings.load()), run)
    assert 0 <= scores.miou <= 1  # type: ignore[union-attr]
    assert scores.images == 3  # type: ignore[union-attr]
