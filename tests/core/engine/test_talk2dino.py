"""Text prompts with Talk2DINO through the engine, background cleaning and refinement with every method."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import maskwright as mw
from maskwright.domain import Prediction, Reference
from maskwright.domain.prompts import REFINEMENTS
from maskwright.engine import Engine
from maskwright.engine.talk2dino import Talk2DinoMethod
from maskwright.engine.text_method import preprocess, upsample
from maskwright.errors import BadWeights, Cancelled, EmptyPrompt, MaskwrightError, UsageError
from maskwright.models.sliding_window import EncodedWindows
from maskwright.presets.config_io import sections
from maskwright.presets.convert import import_talk2dino
from maskwright.presets.loading import LoadedTalk2Dino, load, load_dinotxt
from maskwright.presets.weights import save_part, write_part
from maskwright.progress import NO_PROGRESS
from maskwright.settings import Settings
from tests.core.presets.test_convert_talk2dino import (
    V2,
    V3,
    _made,
    needs_vocabulary,
    official_clip,
    official_dinov2,
    official_dinov3,
    projection,
    written,
)
from tests.progress import Recorded

WORDS = ["grass", "cow", "sky", "a zebra"]
CPU = torch.device("cpu")


def _noise(height: int = 48, width: int = 70, seed: int = 0) -> mw.Image:
    return mw.Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def engine(talking_preset: Path) -> Engine:
    return Engine.load(talking_preset, "cpu")


def _talking(folder: Path) -> LoadedTalk2Dino:
    found = load(folder).talk2dino
    assert found is not None
    return found


def _ask(engine: Engine, image: mw.Image, words: str | Sequence[str] = WORDS, **options: Any) -> Prediction:
    return engine.segment_text(image, words, method="talk2dino", **options)


def _changed(folder: Path, into: Path, part: str, **settings: Any) -> Engine:
    """An engine of a copy of the preset with other settings."""
    shutil.copytree(folder, into)
    write_part(into, part, {**sections(into)[part], **settings})
    return Engine.load(into, "cpu")


# who answers


def test_it_answers_when_it_is_asked_for(engine: Engine, talking_preset: Path) -> None:
    assert engine.text_methods == ("dinotxt", "talk2dino"), "dino.txt stays the default"
    image = _noise()
    found = _ask(engine, image)
    assert found.provenance["method"] == "talk2dino"
    assert found.provenance["preset"] == "talking"
    assert found.provenance["weights"] == _talking(talking_preset).settings.sha256 != engine.model.sha256
    assert engine.segment_text(image, WORDS).provenance["method"] == "dinotxt"
    assert not np.array_equal(engine.segment_text(image, WORDS).label_map, found.label_map)


def test_a_preset_without_it_says_so_in_one_sentence(small_preset: Path) -> None:
    engine = Engine.load(small_preset, "cpu")
    with pytest.raises(MaskwrightError, match="Talk2DINO"):
        _ask(engine, _noise())
    with pytest.raises(MaskwrightError, match="talk2dino-b"):
        engine.encode_phrase("a cow")
    assert engine.encoder_calls == 0


def test_high_resolution_is_not_its(engine: Engine) -> None:
    with pytest.raises(UsageError, match="dinotxt"):
        _ask(engine, _noise(), high_resolution=True)


# one encoding


def test_a_second_prompt_runs_no_encoder(talking_preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, image = Engine.load(talking_preset, "cpu"), _noise()
    _ask(engine, image, ["grass", "cow"])
    assert engine.encoder_calls == 1
    model = engine._preset.talk2dino.model  # type: ignore[union-attr]
    passes: list[int] = []
    encode = model.visual.forward
    monkeypatch.setattr(model.visual, "forward", lambda *given: passes.append(1) or encode(*given))
    for options in ({}, {"background": True}, {"background": True, "cleaning": False}, {"refine": "pamr"}):
        _ask(engine, image, "sky, cow", **options)
    assert (engine.encoder_calls, passes) == (1, [])
    _ask(engine, mw.Image(255 - image.pixels))
    assert engine.encoder_calls == 2
    assert passes
    engine.segment_text(image, WORDS, method="dinotxt")
    assert engine.encoder_calls == 3, "dino.txt keeps other features"


def test_encoding_reports_progress_and_can_be_cancelled(talking_preset: Path) -> None:
    engine, stopped = Engine.load(talking_preset, "cpu"), Recorded(lambda: len(stopped.reports) > 0)
    wide = _noise(64, 400)
    with pytest.raises(Cancelled):
        _ask(engine, wide, progress=stopped)
    assert engine._embeddings.used == 0
    finished = Recorded()
    _ask(engine, wide, progress=finished)
    assert finished.reports == sorted(finished.reports)
    windows = finished.reports[-1][1]
    assert (finished.reports[0], finished.reports[-1]) == ((0, windows), (windows, windows))
    assert len(finished.reports) > 2


# scores


def _direct(method: Talk2DinoMethod, image: mw.Image, names: list[str]) -> Tensor:
    """(T, h, w) scores of an image that is one window, from the model itself."""
    model = method.preset.model
    classes = torch.stack([method.class_embedding([name]) for name in names])
    pixels = F.interpolate(preprocess(image.pixels, CPU, stretch=False), (64, 64), mode="bilinear", antialias=True)
    with torch.no_grad():
        patches = F.normalize(model.visual(pixels).patch_map(), dim=1)[0]
    cosines = torch.einsum("chw,tc->thw", patches, classes)
    return F.interpolate(cosines.sigmoid()[None], (64, 64), mode="bilinear", align_corners=True)[0]


def test_scores_of_one_window_are_sigmoids_of_cosines(talking_preset: Path) -> None:
    method = Talk2DinoMethod(_talking(talking_preset), CPU)
    image = _noise(50, 50)
    embedding = method.encode(image.pixels, NO_PROGRESS)
    assert embedding.positions == ((0, 0),)
    assert embedding.attention.shape == (1, 2, 16)
    found = method.scores(embedding, torch.stack([method.class_embedding([name]) for name in WORDS]), cleaning=None)
    torch.testing.assert_close(found.maps, _direct(method, image, WORDS), rtol=1e-4, atol=1e-5)
    assert found.background is None


def test_encoders_in_half_precision_change_little(talking_preset: Path) -> None:
    """As on a GPU, where the projection stays in single precision."""
    image, found = _noise(), []
    for dtype in (torch.float32, torch.bfloat16):
        preset = load(talking_preset)
        assert preset.talk2dino is not None
        for encoder in preset.encoders:
            encoder.to(dtype)
        method = Talk2DinoMethod(preset.talk2dino, CPU)
        classes = torch.stack([method.class_embedding([name]) for name in WORDS])
        assert classes.dtype == torch.float32
        embedding = method.encode(image.pixels, NO_PROGRESS)
        found.append([method.scores(embedding, classes, cleaning=b).maps for b in (None, 0.2)])
    for exact, half in zip(*found, strict=True):
        assert not torch.equal(exact, half)
        torch.testing.assert_close(half, exact, rtol=0, atol=0.02)


def test_a_class_vector_is_made_of_all_prompts_of_all_synonyms(talking_preset: Path) -> None:
    preset = _talking(talking_preset)
    prompts = ["cow", "a photo of a cow.", "cattle", "a photo of a cattle."]
    with torch.no_grad():
        raw = preset.model.text(preset.tokenizer(prompts))
        wanted = F.normalize(preset.model.projection(raw.mean(dim=0)), dim=0)
    torch.testing.assert_close(
        Talk2DinoMethod(preset, CPU).class_embedding(["cow", "cattle"]), wanted, rtol=1e-4, atol=1e-5
    )


def test_windows_that_overlap_are_averaged(talking_preset: Path) -> None:
    """Patches that are the class vectors themselves: left one class, right another."""
    method = Talk2DinoMethod(_talking(talking_preset), CPU)
    left, right = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
    left[0], right[1] = 5, 0.1
    windows = EncodedWindows(torch.stack([left, right]), torch.zeros(2, 1, 4), ((0, 0), (0, 32)), (64, 96))
    maps = method.scores(windows, torch.eye(3), cleaning=None).maps
    sure, none = 1 / (1 + np.exp(-1)), 0.5
    assert torch.allclose(maps[0, :, :32], torch.tensor(sure).float()), "lengths of patches do not matter"
    assert torch.allclose(maps[0, :, 32:64], torch.tensor((sure + none) / 2).float())
    assert torch.allclose(maps[1, :, 64:], torch.tensor(sure).float())
    assert torch.allclose(maps[2], torch.tensor(none))


def test_at_the_presets_threshold_the_chance_is_a_half(engine: Engine, talking_preset: Path) -> None:
    method, image = Talk2DinoMethod(_talking(talking_preset), CPU), _noise()
    least = method.preset.settings.threshold
    classes = torch.stack([method.class_embedding([name]) for name in WORDS])
    maps = method.scores(method.encode(image.pixels, NO_PROGRESS), classes, cleaning=None).maps
    large = upsample(maps, image.size_hw).numpy()
    wanted = np.where(large.max(axis=0) >= least, large.argmax(axis=0) + 1, 0)
    assert 0 < (wanted == 0).sum() < wanted.size, "the test shows something"
    for options in ({"threshold": 0.5, "cleaning": False}, {"background": True, "cleaning": False}):
        found = _ask(engine, image, **options)
        assert np.array_equal(found.label_map, wanted)
        assert found.provenance["parameters"]["threshold"] == 0.5
    assert all(0.5 <= score <= 1 for score in found.scores if score)


def test_a_higher_threshold_leaves_more(engine: Engine) -> None:
    counts = [
        int((_ask(engine, _noise(), threshold=threshold).label_map > 0).sum()) for threshold in (0.1, 0.5, 0.7, 1.0)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[-1] == 0


def test_a_closed_vocabulary_labels_every_pixel(engine: Engine) -> None:
    found = _ask(engine, _noise())
    assert found.label_map.min() >= 1
    assert len(np.unique(found.label_map)) > 1
    assert sum(mask.area for mask in found.masks()) == 48 * 70
    assert found.provenance["parameters"] == {
        "threshold": None, "cleaning": None, "refine": None, "high_resolution": False,
    }  # fmt: skip
    assert found.unlabelled_by_cleaning is None


def test_the_order_of_names_permutes_the_answer(engine: Engine) -> None:
    for options in ({}, {"background": True}):
        first, second = _ask(engine, _noise(), **options), _ask(engine, _noise(), WORDS[::-1], **options)
        turned = np.where(second.label_map, len(WORDS) + 1 - second.label_map, 0)
        assert np.mean(turned == first.label_map) > 0.999, "only ties may fall otherwise"


# cleaning


METHODS = [
    pytest.param("talking_preset", "talk2dino", id="Talk2DINO"),
    pytest.param("talking_preset", "dinotxt", id="dino.txt"),
    pytest.param("segmenting_preset", "dinov3seg", id="dinov3.seg"),
]


@pytest.fixture(scope="module")
def asked(request: pytest.FixtureRequest) -> Callable[..., Prediction]:
    """Ask a method of a preset about noise, at a threshold that about half of the pixels reach."""
    loaded: dict[str, Engine] = {}
    halves: dict[tuple[str, str], float] = {}

    def half(engine: Engine, method: str) -> float:
        low, high = 0.0, 1.0
        for _ in range(8):
            middle = (low + high) / 2
            reached = engine.segment_text(_noise(), WORDS, method, threshold=middle, cleaning=False).label_map > 0
            low, high = (middle, high) if reached.mean() > 0.5 else (low, middle)
        return low

    def ask(preset: str, method: str, **options: Any) -> Prediction:
        if preset not in loaded:
            loaded[preset] = Engine.load(request.getfixturevalue(preset), "cpu")
        if "background" not in options:
            if (preset, method) not in halves:
                halves[preset, method] = half(loaded[preset], method)
            options["threshold"] = halves[preset, method]
        return loaded[preset].segment_text(_noise(), WORDS, method, **options)

    return ask


@pytest.mark.parametrize(("preset", "method"), METHODS)
def test_cleaning_leaves_more_unlabelled_and_says_where(
    asked: Callable[..., Prediction], preset: str, method: str
) -> None:
    plain, cleaned = (asked(preset, method, cleaning=wanted) for wanted in (False, True))
    assert plain.provenance["parameters"]["cleaning"] == 0
    assert cleaned.provenance["parameters"]["cleaning"] == 0.2
    assert plain.unlabelled_by_cleaning is None
    assert cleaned.unlabelled_by_cleaning is not None
    assert cleaned.unlabelled_by_cleaning.dtype == bool
    assert cleaned.unlabelled_by_cleaning.shape == (48, 70)
    assert np.array_equal(cleaned.unlabelled_by_cleaning, (plain.label_map > 0) & (cleaned.label_map == 0))
    assert cleaned.unlabelled_by_cleaning.any(), "the test shows something"
    assert not np.array_equal(plain.max_scores, cleaned.max_scores)


@pytest.mark.parametrize(("preset", "method"), METHODS)
def test_left_open_cleaning_is_what_the_preset_says(asked: Callable[..., Prediction], preset: str, method: str) -> None:
    left, cleaned = asked(preset, method), asked(preset, method, cleaning=True)
    assert left.provenance["parameters"] == cleaned.provenance["parameters"]
    assert np.array_equal(left.label_map, cleaned.label_map)
    assert left.unlabelled_by_cleaning is not None


@pytest.mark.parametrize(("preset", "method"), METHODS)
def test_a_closed_vocabulary_is_never_cleaned(asked: Callable[..., Prediction], preset: str, method: str) -> None:
    every = [asked(preset, method, background=False, cleaning=wanted) for wanted in (None, False)]
    for found in every:
        assert np.array_equal(found.label_map, every[0].label_map)
        assert found.unlabelled_by_cleaning is None
        assert found.provenance["parameters"]["cleaning"] is None
    assert every[0].label_map.min() >= 1
    with pytest.raises(UsageError):
        asked(preset, method, background=False, cleaning=True)


@pytest.mark.parametrize("method", [pytest.param("talk2dino", id="Talk2DINO"), pytest.param("dinotxt", id="dino.txt")])
def test_a_preset_may_switch_cleaning_off(talking_preset: Path, tmp_path: Path, method: str) -> None:
    engine = _changed(talking_preset, tmp_path / "plain", method, cleaning=0.0)
    left = engine.segment_text(_noise(), WORDS, method, background=True)
    assert left.provenance["parameters"]["cleaning"] == 0
    assert left.unlabelled_by_cleaning is None
    wanted = engine.segment_text(_noise(), WORDS, method, background=True, cleaning=True)
    assert wanted.provenance["parameters"]["cleaning"] == 0.2, "asked for, it is the published weight"
    assert wanted.unlabelled_by_cleaning is not None
    other = _changed(talking_preset, tmp_path / "strong", method, cleaning=0.7)
    strong = other.segment_text(_noise(), WORDS, method, background=True)
    assert strong.provenance["parameters"]["cleaning"] == 0.7
    assert not np.array_equal(strong.max_scores, wanted.max_scores)


def test_a_preset_says_by_which_formula_it_is_cleaned(talking_preset: Path, tmp_path: Path) -> None:
    released, paper = (
        _ask(_changed(talking_preset, tmp_path / formula, "talk2dino", formula=formula), _noise(), background=True)
        for formula in ("released", "paper")
    )
    assert paper.provenance["parameters"] == released.provenance["parameters"]
    assert not np.array_equal(paper.max_scores, released.max_scores)


def test_cleaned_scores_are_between_those_that_there_were(talking_preset: Path) -> None:
    method = Talk2DinoMethod(_talking(talking_preset), CPU)
    embedding = method.encode(_noise(50, 50).pixels, NO_PROGRESS)
    classes = torch.stack([method.class_embedding([name]) for name in WORDS])
    plain, none, cleaned = (method.scores(embedding, classes, cleaning=b).maps for b in (None, 0.0, 0.2))
    assert torch.equal(plain, none)
    assert plain.min() - 1e-6 <= cleaned.min()
    assert cleaned.max() <= plain.max() + 1e-6


def test_high_resolution_does_not_say_that_it_was_cleaned(engine: Engine) -> None:
    found = engine.segment_text(_noise(), WORDS, background=True, cleaning=True, high_resolution=True)
    assert not found.provenance["parameters"]["cleaning"]
    assert found.unlabelled_by_cleaning is None


# refinement


@pytest.mark.parametrize("refine", REFINEMENTS)
@pytest.mark.parametrize(("preset", "method"), METHODS)
def test_every_method_is_refined(asked: Callable[..., Prediction], preset: str, method: str, refine: str) -> None:
    for options in ({"background": False}, {"cleaning": True}, {"cleaning": False}):
        plain, other, again = (asked(preset, method, refine=how, **options) for how in (None, refine, refine))
        assert other.provenance["parameters"] == {**plain.provenance["parameters"], "refine": refine}
        assert other.label_map.shape == plain.label_map.shape
        assert not np.array_equal(other.label_map, plain.label_map)
        assert other.label_map.min() >= (1 if "background" in options else 0)
        assert all(0 <= score <= 1 for score in other.scores)
        assert np.array_equal(other.label_map, again.label_map)


def test_what_refining_left_unlabelled_is_not_laid_to_cleaning(engine: Engine) -> None:
    plain, cleaned = (_ask(engine, _noise(), background=True, refine="pamr", cleaning=c) for c in (False, True))
    assert cleaned.unlabelled_by_cleaning is not None
    assert np.array_equal(cleaned.unlabelled_by_cleaning, (plain.label_map > 0) & (cleaned.label_map == 0))


@pytest.mark.parametrize("refine", ["x", "", "PAMR"])
def test_an_unknown_refinement_is_refused_before_encoding(talking_preset: Path, refine: str) -> None:
    engine = Engine.load(talking_preset, "cpu")
    with pytest.raises(UsageError):
        _ask(engine, _noise(), refine=refine)
    assert engine.encoder_calls == 0


# odd prompts and pictures


@pytest.mark.parametrize("background", [False, True])
def test_two_hundred_classes_at_once(engine: Engine, background: bool) -> None:
    names = [f"thing {n}" for n in range(200)]
    found = _ask(engine, _noise(), names, background=background)
    assert found.categories == tuple(names)
    assert len(found.max_scores) == 200
    assert found.label_map.max() <= 200
    assert background or found.label_map.min() >= 1


@pytest.mark.parametrize(
    ("words", "categories"),
    [
        pytest.param(["cow", "Cow ", "sky", "cow"], ("cow", "sky"), id="repeated"),
        pytest.param("🐄, sky", ("🐄", "sky"), id="emoji"),
        pytest.param("floccinaucinihilipilification", ("floccinaucinihilipilification",), id="never seen"),
        pytest.param("牛|cow, Straße", ("牛", "Straße"), id="other scripts"),
        pytest.param(["cow " * 400, "{}", "{0}{name}"], (("cow " * 400).strip(), "{}", "{0}{name}"), id="long and odd"),
    ],
)
def test_odd_prompts_are_answered(engine: Engine, words: str | list[str], categories: tuple[str, ...]) -> None:
    found = _ask(engine, _noise(), words)
    assert found.categories == categories
    assert found.label_map.min() >= 1


@pytest.mark.parametrize("words", ["", " , |", []], ids=repr)
def test_an_empty_prompt_is_one_sentence(engine: Engine, words: str | list[str]) -> None:
    with pytest.raises(EmptyPrompt):
        _ask(engine, _noise(), words)


@pytest.mark.parametrize(
    "size",
    [pytest.param(size, id=f"{size[0]}x{size[1]}") for size in ((1, 1), (1, 300), (300, 1), (37, 211), (64, 64))],
)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="closed"),
        pytest.param({"background": True}, id="cleaned"),
        pytest.param({"background": True, "refine": "pamr"}, id="refined"),
    ],
)
def test_any_shape_is_answered(engine: Engine, size: tuple[int, int], options: dict[str, Any]) -> None:
    found = _ask(engine, _noise(*size), **options)
    assert found.label_map.shape == size
    assert options or found.label_map.min() >= 1
    assert all(0 <= score <= 1 for score in (*found.scores, *found.max_scores))
    assert found.unlabelled_by_cleaning is None or found.unlabelled_by_cleaning.shape == size


def test_a_long_picture_is_squeezed(talking_preset: Path) -> None:
    method = Talk2DinoMethod(_talking(talking_preset), CPU)
    sizes = {size: method.encode(_noise(*size).pixels, NO_PROGRESS).resized_hw for size in ((40, 80), (10, 400))}
    assert sizes == {(40, 80): (64, 128), (10, 400): (64, 256)}


# a preset of Talk2DINO alone


@pytest.fixture(scope="module", params=["DINOv2", "DINOv3"])
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Imported, with small windows."""
    config, backbone = (V2, official_dinov2) if request.param == "DINOv2" else (V3, official_dinov3)
    model, place = _made(config), tmp_path_factory.mktemp("alone")
    given = written(place / "downloads", backbone(model), official_clip(model), projection(model))
    folder = import_talk2dino(given, place / "mine", config)
    protocol = {"short_side": 112, "longest": 448, "window": 112, "stride": 56}
    write_part(folder, "talk2dino", {**sections(folder)["talk2dino"], "protocol": protocol, "matched_at": 100})
    return folder


@needs_vocabulary
def test_alone_it_answers_words_by_default(alone: Path, tmp_path: Path) -> None:
    engine, image = Engine.load(alone, "cpu", settings=Settings(cache=tmp_path)), _noise()
    assert engine.text_methods == ("talk2dino",)
    found = engine.segment_text(image, ["cow", "Kuh", "🐄"])
    assert found.provenance["method"] == "talk2dino"
    assert found.provenance["weights"] == engine.model.sha256 == engine.text_model.sha256
    assert found.label_map.min() >= 1
    assert found.out_of_vocabulary == (), "it has seen too many words to list"
    assert found.note == ""
    engine.segment_text(image, WORDS, background=True, refine="pamr")
    assert engine.encoder_calls == 1
    assert engine.encode_regions(image).shape[1:] == engine.encode_phrase("a cow").shape


@needs_vocabulary
@pytest.mark.parametrize(
    ("ask", "words"),
    [
        pytest.param(lambda e, i: e.segment_click(i, [(3, 3)]), r"mine does not take clicks\. .*\.$", id="click"),
        pytest.param(lambda e, i: e.segment_click(i, box=(1, 1, 9, 9)), "does not take clicks", id="box"),
        pytest.param(lambda e, i: e.segment_everything(i), "does not take clicks", id="everything"),
        pytest.param(
            lambda e, i: e.segment_like(i, [Reference(i, mw.Mask.from_array(np.eye(48, 70, dtype=bool)))]),
            "mine",
            id="example",
        ),
        pytest.param(lambda e, i: e.match_points(i, [(1, 1)], i), "mine", id="points"),
        pytest.param(lambda e, i: e.segment_text(i, "cow", "dinotxt"), r"mine has no dino\.txt", id="dino.txt"),
        pytest.param(lambda e, i: e.segment_text(i, "cow", "dinov3seg"), r"mine has no dinov3\.seg", id="dinov3.seg"),
        pytest.param(lambda e, i: e.segment_text(i, "cow", high_resolution=True), "mine", id="high"),
        pytest.param(
            lambda e, i: e.suggest(i, mw.Mask.from_array(np.eye(48, 70, dtype=bool)), ["cow"]),
            "mine",
            id="suggestions",
        ),
    ],
)
def test_alone_it_refuses_what_it_cannot_in_one_sentence(
    alone: Path, ask: Callable[[Engine, mw.Image], object], words: str
) -> None:
    engine = Engine.load(alone, "cpu")
    with pytest.raises(MaskwrightError, match=words) as caught:
        ask(engine, _noise())
    assert "\n" not in str(caught.value)
    assert engine.encoder_calls == 0


# files


def test_a_projection_is_tied_to_the_encoders_it_was_made_for(talking_preset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(talking_preset, tmp_path / "other")
    model = load_dinotxt(folder)
    with torch.no_grad():
        model.model.logit_scale.add_(1)
    told = {key: value for key, value in sections(folder)["dinotxt"].items() if key not in ("weights", "sha256")}
    save_part(folder, "dinotxt", model.model.state_dict(), told, dtype=torch.float16)
    with pytest.raises(BadWeights, match="Talk2DINO of other"):
        Engine.load(folder, "cpu")


def test_its_encoders_are_those_of_the_text_model(talking_preset: Path) -> None:
    """Nothing is held twice."""
    preset = load(talking_preset)
    assert preset.talk2dino is not None
    assert preset.dinotxt is not None
    held = {id(value) for value in preset.dinotxt.model.parameters()}
    for part in (preset.talk2dino.model.visual, preset.talk2dino.model.text):
        assert {id(value) for value in part.parameters()} <= held
    assert (talking_preset / "talk2dino.safetensors").stat().st_size < 8_000
    assert preset.talk2dino.settings.encoders_sha256 == preset.dinotxt.settings.sha256


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda told: None, id="nothing"),
        pytest.param(lambda told: [], id="a list"),
        pytest.param(lambda told: {**told, "zoom": 3}, id="unknown key"),
        pytest.param(lambda told: {**told, "protocol": {"windows": 3}}, id="unknown key of the protocol"),
        pytest.param(lambda told: {**told, "projection": {"text": 64, "depth": 3}}, id="unknown size"),
        pytest.param(lambda told: {key: told[key] for key in told if key != "projection"}, id="no sizes"),
        pytest.param(lambda told: {key: told[key] for key in told if key != "weights"}, id="no weights"),
        pytest.param(lambda told: {key: told[key] for key in told if key != "prompts"}, id="no prompts"),
        pytest.param(lambda told: {**told, "model": {"dinov1": {}}}, id="an unknown backbone"),
        pytest.param(lambda told: {**told, "formula": "magic"}, id="an unknown formula"),
        pytest.param(
            lambda told: {**told, "model": {}, "tokenizer": "tokenizer.json"},
            id="no backbone",
        ),
    ],
)
def test_damaged_settings_are_one_sentence(
    talking_preset: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    folder = shutil.copytree(talking_preset, tmp_path / "bad")
    whole = sections(folder)
    whole["talk2dino"] = change(whole["talk2dino"])
    (folder / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(BadWeights, match="damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param(lambda own: {k: own[k] for k in list(own)[1:]}, r"lacks linear_layer\.weight", id="missing"),
        pytest.param(lambda own: {**own, "extra": torch.ones(1)}, "unknown extra", id="left over"),
        pytest.param(lambda own: {**own, "linear_layer.bias": torch.ones(3)}, r"\(3,\) instead of \(16,\)", id="shape"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    talking_preset: Path, tmp_path: Path, state: Callable[[dict[str, Tensor]], dict[str, Tensor]], words: str
) -> None:
    folder = shutil.copytree(talking_preset, tmp_path / "bad")
    told = sections(folder)["talk2dino"]
    save_part(folder, "talk2dino", state(_talking(folder).model.projection.state_dict()), told, dtype=torch.float16)
    with pytest.raises(BadWeights, match=words):
        load(folder)


def test_other_weights_than_the_settings_name_are_refused(talking_preset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(talking_preset, tmp_path / "bad")
    file = folder / "talk2dino.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BadWeights, match="not the expected one"):
        load(folder)
    file.unlink()
    with pytest.raises(BadWeights, match="Cannot read the weights"):
        load(folder)


def test_the_note_of_untrained_parts_is_told_only_where_dinotxt_stands_in(
    talking_preset: Path, segmenting_preset: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(talking_preset, tmp_path / "parts")
    shutil.copy(segmenting_preset / "dinov3seg.safetensors", folder)
    write_part(folder, "dinov3seg", {**sections(segmenting_preset)["dinov3seg"], "trained": False})
    engine = Engine.load(folder, "cpu")
    assert "not trained yet" in engine.segment_text(_noise(), WORDS).note
    assert _ask(engine, _noise()).note == ""
