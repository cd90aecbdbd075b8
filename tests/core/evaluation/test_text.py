"""The evaluation protocol on pictures small enough to count by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.domain import ModelRef, Prediction, PromptKind, Provenance, Scores, TextPrompt, rle
from maskwright.engine import Engine
from maskwright.errors import BadCoco, Cancelled, MaskwrightError
from maskwright.evaluation.metrics import BoundaryCounts, Confusion
from maskwright.evaluation.protocol import ImageSelection
from maskwright.evaluation.text import CLEANING_TABLE, PostProcessing, evaluate_text
from maskwright.formats.labelled_folder import LabelledFolder, held_out
from tests.progress import Recorded

SKY, COW, CAR = 7, 3, 9
CATEGORIES = [{"id": SKY, "name": "sky"}, {"id": COW, "name": "cow"}, {"id": CAR, "name": "car"}]


class Known:
    """Stands for an engine whose answers are known, for the arithmetic alone."""

    model = ModelRef("known", "0" * 64)

    def __init__(self, answers: Mapping[str, Sequence[Sequence[int]]] | None = None) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[str, ...], bool]] = []
        self.variants: list[PostProcessing] = []

    def text_method(self, method: str | None = None) -> str:
        return method or "dinotxt"

    def segment(self, image: mw.Image, prompt: TextPrompt, **options: Any) -> Prediction:
        self.asked.append((image.name, prompt.names, prompt.background))
        self.variants.append(PostProcessing(prompt.cleaning, prompt.refine))
        found = np.ones(image.size_hw) if self.answers is None else np.array(self.answers[image.name])
        zeros = (0.0,) * len(prompt.names)
        provenance = Provenance(PromptKind.TEXT, self.model, "known", image.sha256, None)
        return Prediction(found.astype(np.int32), prompt.names, zeros, zeros, (), provenance)


def _mask(rows: Sequence[str], letter: str) -> dict[str, Any]:
    return dict(rle.encode(np.array([[c == letter for c in row] for row in rows])))


def write(
    folder: Path, images: Mapping[str, tuple[int, int]], annotations: list[dict[str, Any]], **others: Any
) -> Path:
    """A labelled folder; images are given as name: (height, width)."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, (name, (height, width)) in enumerate(images.items(), start=1):
        Pillow.new("RGB", (width, height), (number, 0, 0)).save(folder / "images" / name)
        rows.append({"id": number, "file_name": name, "width": width, "height": height})
    annotations = [{"id": n, "iscrowd": 0, **row} for n, row in enumerate(annotations, start=1)]
    data = {"images": rows, "annotations": annotations, "categories": CATEGORIES, **others}
    (folder / "annotations.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a: "s" sky, "c" cow, "." nothing, "x" a crowd of cows. b: sky everywhere, over it a cow in the corner."""
    a = ["sscc", "s.cx"]
    return write(
        tmp_path / "data",
        {"a.png": (2, 4), "b.png": (2, 2)},
        [
            {"image_id": 1, "category_id": SKY, "segmentation": _mask(a, "s")},
            {"image_id": 1, "category_id": COW, "segmentation": _mask(a, "c")},
            {"image_id": 1, "category_id": COW, "segmentation": _mask(a, "x"), "iscrowd": 1},
            {"image_id": 2, "category_id": COW, "segmentation": _mask(["c.", ".."], "c")},
            {"image_id": 2, "category_id": SKY, "segmentation": _mask(["ss", "ss"], "s")},
        ],
    )


ANSWERS = {"a.png": [[1, 2, 2, 2], [1, 1, 3, 2]], "b.png": [[2, 2], [1, 1]]}


def measure(engine: Known, folder: Path, **options: Any) -> Scores:
    return evaluate_text(engine, folder, **options)[0]  # type: ignore[arg-type]


def test_by_hand_with_unlabelled_pixels_ignored(folder: Path) -> None:
    engine = Known(ANSWERS)
    scores = measure(engine, folder)
    # sky: 4 right, 6 true, 4 predicted; cow: 3 right, 4 true, 5 predicted; car: predicted once, never true
    assert scores.per_class == {"sky": pytest.approx(4 / 6), "cow": pytest.approx(3 / 6), "car": None}
    assert list(scores.per_class) == ["sky", "cow", "car"]
    assert scores.miou == pytest.approx((4 / 6 + 3 / 6) / 2)
    assert scores.pixel_accuracy == pytest.approx(7 / 10)
    assert (scores.classes, scores.images) == (2, 2)
    assert (scores.task, scores.method, scores.preset) == ("text", "dinotxt", "known")
    assert engine.asked == [(name, ("sky", "cow", "car"), False) for name in ("a.png", "b.png")]


def test_by_hand_with_background(folder: Path) -> None:
    engine = Known(ANSWERS)
    scores = measure(engine, folder, background=True)
    # the one unlabelled pixel is background that was called sky; the crowd stays out
    assert scores.per_class == {"sky": pytest.approx(4 / 7), "cow": pytest.approx(3 / 6), "car": None}
    assert scores.miou == pytest.approx((4 / 7 + 3 / 6) / 2)
    assert scores.pixel_accuracy == pytest.approx(7 / 11)
    assert scores.classes == 2, "the background is not averaged"
    assert scores.background == 0.0, "one pixel is background, and none was left"
    assert all(background for _, _, background in engine.asked)
    assert measure(Known(ANSWERS), folder).background is None, "it is told only where it is scored"


def test_background_that_is_found_counts_as_right(folder: Path) -> None:
    answers = {"a.png": [[1, 1, 2, 2], [1, 0, 2, 0]], "b.png": [[2, 1], [1, 1]]}
    scores = measure(Known(answers), folder, background=True)
    assert (scores.miou, scores.pixel_accuracy, scores.background) == (1.0, 1.0, 1.0)


def test_background_by_hand(folder: Path) -> None:
    answers = {"a.png": [[1, 0, 2, 0], [0, 0, 2, 0]], "b.png": [[2, 1], [0, 1]]}
    scores = measure(Known(answers), folder, background=True)
    # the crowd's pixel stays out: one is truly background and was found, with four that are none
    assert scores.background == pytest.approx(1 / 5)
    assert scores.per_class["sky"] == pytest.approx(3 / 6)
    assert scores.per_class["cow"] == pytest.approx(3 / 4)
    assert scores.miou == pytest.approx((3 / 6 + 3 / 4) / 2), "and it is not averaged"


def test_without_true_background_it_has_no_score(tmp_path: Path) -> None:
    shape = _mask(["ss"], "s")
    data = write(tmp_path / "d", {"a.png": (1, 2)}, [{"image_id": 1, "category_id": SKY, "segmentation": shape}])
    assert measure(Known({"a.png": [[0, 1]]}), data, background=True).background is None


# things


def _with_things(folder: Path, *things: int) -> Path:
    data = json.loads((folder / "annotations.json").read_text())
    data["categories"] = [{**row, "supercategory": "thing" if row["id"] in things else "stuff"} for row in CATEGORIES]
    (folder / "annotations.json").write_text(json.dumps(data))
    return folder


def test_only_things_are_asked_for_and_all_the_rest_is_background(folder: Path) -> None:
    engine = Known({"a.png": [[0, 0, 1, 1], [0, 1, 2, 0]], "b.png": [[1, 0], [0, 1]]})
    scores = measure(engine, _with_things(folder, COW, CAR), selection=ImageSelection(only_things=True))
    assert engine.asked == [(name, ("cow", "car"), True) for name in ("a.png", "b.png")]
    # cow: 3 right, 4 true, 5 found; background: 5 of 7 found, and nothing else called so
    assert scores.per_class == {"cow": pytest.approx(3 / 6), "car": None}
    assert scores.background == pytest.approx(5 / 7)
    assert scores.pixel_accuracy == pytest.approx(8 / 11), "the crowd's pixel stays out"


def test_labels_of_things_follow_the_file_whatever_stands_between(folder: Path) -> None:
    engine = Known({"a.png": [[1, 1, 2, 2], [1, 0, 2, 2]], "b.png": [[2, 1], [1, 1]]})
    scores = measure(engine, _with_things(folder, SKY, COW), selection=ImageSelection(only_things=True))
    assert engine.asked[0][1] == ("sky", "cow")
    assert scores.per_class == {"sky": 1.0, "cow": 1.0}
    empty = Known({"a.png": [[1] * 4] * 2, "b.png": [[1] * 2] * 2})
    assert measure(empty, folder, selection=ImageSelection(only_things=True)).background == 0.0


def test_a_file_without_things_is_one_sentence(folder: Path) -> None:
    for data in (folder, _with_things(folder)):
        with pytest.raises(MaskwrightError, match=r"marks no category as a thing \(supercategory\)\. .*\.$"):
            measure(Known(), data, selection=ImageSelection(only_things=True))


# variants


def test_the_table_of_cleaning_has_four_rows() -> None:
    assert [tuple(row)[:2] for row in CLEANING_TABLE] == [
        (False, None), (True, None), (False, "pamr"), (True, "pamr"),
    ]  # fmt: skip


def test_every_variant_is_measured_on_its_own(folder: Path) -> None:
    class Cleaned(Known):
        """Finds everything, but the sky only where nothing is cleaned."""

        def segment(self, image: mw.Image, prompt: TextPrompt, **options: Any) -> Prediction:
            found = super().segment(image, prompt, **options)
            if not prompt.cleaning:
                return found
            return replace(found, label_map=np.where(found.label_map == 1, 0, found.label_map))

    engine = Cleaned({"a.png": [[1, 1, 2, 2], [1, 0, 2, 0]], "b.png": [[2, 1], [1, 1]]})
    rows = evaluate_text(engine, folder, background=True, variants=CLEANING_TABLE)  # type: ignore[arg-type]
    assert [(row.cleaning, row.refine) for row in rows] == [tuple(row)[:2] for row in CLEANING_TABLE]
    assert engine.variants == [*CLEANING_TABLE, *CLEANING_TABLE], "image by image"
    assert [row.miou for row in rows] == [1.0, 0.5, 1.0, 0.5]
    assert [row.background for row in rows] == [1.0, pytest.approx(1 / 7), 1.0, pytest.approx(1 / 7)]
    assert {row.images for row in rows} == {2}


def test_without_options_it_is_as_the_preset_says(folder: Path) -> None:
    engine = Known(ANSWERS)
    scores = measure(engine, folder)
    assert set(engine.variants) == {PostProcessing()}
    assert (scores.cleaning, scores.refine) == (None, None)


def test_an_image_is_encoded_once_for_all_variants(folder: Path, talking_preset: Path) -> None:
    engine = Engine.load(talking_preset, "cpu")
    rows = evaluate_text(engine, folder, method="talk2dino", background=True, variants=CLEANING_TABLE)
    assert engine.encoder_calls == 2
    assert [row.method for row in rows] == ["talk2dino"] * 4
    assert all(0 <= row.miou <= 1 for row in rows)
    for row, variant in zip(rows, CLEANING_TABLE, strict=True):
        assert evaluate_text(engine, folder, method="talk2dino", background=True, variants=(variant,)) == [row]


def test_missing_answer_counts_against_the_class(folder: Path) -> None:
    scores = measure(Known({"a.png": np.zeros((2, 4)), "b.png": np.zeros((2, 2))}), folder)  # type: ignore[dict-item]
    assert scores.per_class == {"sky": 0.0, "cow": 0.0, "car": None}
    assert (scores.miou, scores.pixel_accuracy, scores.classes) == (0.0, 0.0, 2)


def test_confusion_sums_over_images() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[1, 1]]), np.array([[1, 2]]))
    confusion.add(np.array([[1, -1], [-1, -1]]), np.array([[1, 2], [0, 1]]))
    assert confusion.iou()[1:] == [pytest.approx(2 / 3), None]
    assert confusion.accuracy() == pytest.approx(2 / 3)
    assert Confusion(2).iou() == [None, None, None]
    assert Confusion(2).accuracy() == 0.0


def test_no_ground_truth_at_all(tmp_path: Path) -> None:
    scores = measure(Known(), write(tmp_path / "data", {"a.png": (2, 2)}, []))
    assert (scores.classes, scores.miou, scores.pixel_accuracy) == (0, 0.0, 0.0)


# which images


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write(tmp_path / "many", {f"n{n}.png": (1, 2) for n in range(30)}, [])


def _measured(many: Path, **options: Any) -> list[str]:
    engine = Known()
    scores = measure(engine, many, selection=ImageSelection(**options))
    names = [name for name, _, _ in engine.asked]
    assert scores.images == len(names)
    return names


def test_limit_draws_by_seed(many: Path) -> None:
    first = _measured(many, limit=5)
    assert len(first) == 5
    assert first == _measured(many, limit=5, seed=0)
    assert first == sorted(first, key=lambda name: int(name[1:-4])), "in file order"
    assert len({tuple(_measured(many, limit=5, seed=seed)) for seed in range(5)}) > 1
    assert first != [f"n{n}.png" for n in range(5)]
    assert _measured(many, limit=99) == _measured(many) == [f"n{n}.png" for n in range(30)]


def test_held_out(many: Path) -> None:
    names = _measured(many, only_held_out=True)
    assert names == [f"n{n}.png" for n in range(30) if held_out(f"n{n}.png")]
    assert 0 < len(names) < 30
    assert set(_measured(many, only_held_out=True, limit=2)) < set(names)
    assert held_out("cow.jpg") == held_out("folder/cow.png"), "the name without folder and extension decides"


def test_nothing_to_measure(tmp_path: Path) -> None:
    name = next(f"n{n}.png" for n in range(30) if not held_out(f"n{n}.png"))
    data = write(tmp_path / "data", {name: (1, 1)}, [])
    with pytest.raises(MaskwrightError, match="has no image to measure"):
        measure(Known(), data, selection=ImageSelection(only_held_out=True))


def test_progress_and_cancel(folder: Path, small_preset: Path) -> None:
    progress = Recorded()
    measure(Known(ANSWERS), folder, progress=progress)
    assert progress.reports == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(Cancelled):
        evaluate_text(Engine.load(small_preset, "cpu"), folder, progress=Recorded(lambda: True))


def test_with_a_real_model(folder: Path, small_preset: Path) -> None:
    engine = Engine.load(small_preset, "cpu")
    scores, again = (evaluate_text(engine, folder, method="dinotxt", background=b)[0] for b in (False, False))
    assert scores == again
    assert (scores.preset, scores.classes) == ("small", 2)
    assert 0 <= scores.miou <= 1
    with pytest.raises(MaskwrightError, match="no text method magic"):
        evaluate_text(engine, folder, method="magic")


# how masks are written


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(_mask(["ss.", "ss."], "s"), id="compressed"),
        pytest.param({"size": [2, 3], "counts": [0, 4, 2]}, id="uncompressed"),
        pytest.param([[0, 0, 2, 0, 2, 2, 0, 2]], id="polygon"),
        pytest.param([[0, 0, 1, 0, 1, 2, 0, 2], [1, 0, 2, 0, 2, 2, 1, 2]], id="two polygons"),
        pytest.param([[0, 0, 2, 0, 2, 2, 0, 2], [0, 0, 3, 2]], id="polygon and a line, which covers nothing"),
    ],
)
def test_all_kinds_of_masks(tmp_path: Path, shape: Any) -> None:
    data = write(tmp_path / "d", {"a.png": (2, 3)}, [{"image_id": 1, "category_id": SKY, "segmentation": shape}])
    scores = measure(Known({"a.png": [[1, 1, 2], [2, 1, 2]]}), data)
    assert scores.per_class["sky"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"size": [2, 3], "counts": "!"}, id="foreign characters"),
        pytest.param({"size": [2, 3], "counts": ""}, id="no runs"),
        pytest.param({"size": [2, 3], "counts": [0, 400]}, id="runs past the end"),
        pytest.param({"size": [2, 3], "counts": [-1, 7]}, id="negative run"),
        pytest.param({"size": [2], "counts": [0, 6]}, id="half a size"),
        pytest.param({"counts": [0, 6]}, id="no size"),
        pytest.param(_mask(["s"], "s"), id="another size than the image"),
        pytest.param("ss", id="text"),
        pytest.param([5], id="number"),
        pytest.param([["a", "b", "c", "d", "e", "f"]], id="polygon of words"),
    ],
)
def test_damaged_masks(tmp_path: Path, shape: Any) -> None:
    data = write(tmp_path / "d", {"a.png": (2, 3)}, [{"image_id": 1, "category_id": SKY, "segmentation": shape}])
    with pytest.raises(BadCoco, match=r"[Aa]nnotation 1 "):
        measure(Known(), data)


def test_category_that_is_not_listed(tmp_path: Path) -> None:
    shape = _mask(["s"], "s")
    for number, row in enumerate(({"category_id": 77}, {})):
        data = write(tmp_path / str(number), {"a.png": (1, 1)}, [{"image_id": 1, "segmentation": shape, **row}])
        with pytest.raises(BadCoco, match=r"category (77|None)"):
            measure(Known(), data)


# folders that are none


def test_not_a_labelled_folder(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MaskwrightError, match=r"is not a labelled folder: it needs images/ and annotations\.json"):
            LabelledFolder.read(place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a JSON file"),
        ("[]", "not a COCO dataset: images is missing"),
        ('{"images": [], "annotations": []}', "not a COCO dataset: categories is missing"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "is not complete: .* missing or not valid"),
        ('{"images": [], "annotations": [3], "categories": []}', "is not complete"),
        ('{"images": [], "annotations": [], "categories": ["cow"]}', "is not complete"),
    ],
)
def test_not_coco(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(BadCoco, match=words):
        LabelledFolder.read(tmp_path)


@pytest.mark.parametrize("names", [["cow", "cow"], ["Cow", "cow"], ["cow", " "], ["cow", ""], []])
def test_names_that_a_prompt_cannot_tell_apart(tmp_path: Path, names: list[str]) -> None:
    categories = [{"id": n, "name": name} for n, name in enumerate(names)]
    data = write(tmp_path / "d", {"a.png": (1, 1)}, [], categories=categories)
    with pytest.raises(MaskwrightError, match="lists no category, one without a name, or a name twice"):
        measure(Known(), data)


def test_missing_picture(folder: Path) -> None:
    (folder / "images" / "b.png").unlink()
    with pytest.raises(MaskwrightError, match=r"There is no file .*b\.png"):
        measure(Known(ANSWERS), folder)


def test_boundary_iou_is_that_of_rings() -> None:
    """A square of 20 in an image of 60 x 80: the ring is 2 pixels wide, as 2 % of the diagonal."""
    true = np.zeros((60, 80), np.int16)
    true[20:40, 20:40] = 1
    shifted = np.roll(true, 1, axis=1)
    ring = 20**2 - 16**2
    counts = BoundaryCounts(2)
    counts.add(true, shifted)
    # of the left and right sides one of two columns agrees; of the top and bottom all but the ends
    inner = np.zeros_like(true, dtype=bool)
    inner[22:38, 22:38] = True
    both = ((true == 1) & ~inner & (shifted == 1) & ~np.roll(inner, 1, axis=1)).sum()
    assert counts.iou() == [pytest.approx(both / (2 * ring - both)), None]
    assert 0.5 < both / (2 * ring - both) < 0.9
    thick = BoundaryCounts(1)
    thick.add(true, np.where(true == 1, 1, 0))
    assert thick.iou() == [1.0]
    ignored = BoundaryCounts(1)
    ignored.add(np.where(true == 1, true, -1), np.ones_like(true))
    assert ignored.iou() == [1.0], "what is predicted on pixels that are not counted does not matter"


def test_boundary_iou_is_measured_on_request(tmp_path: Path) -> None:
    square = ["AAA.", "AAA.", "...."]
    folder = write(tmp_path / "d", {"a.png": (3, 4)}, [{"image_id": 1, "category_id": COW, **_segmentation(square)}])
    engine = Known({"a.png": [[2, 2, 2, 0], [2, 2, 2, 0], [0, 0, 0, 0]]})
    (plain,) = evaluate_text(engine, folder)  # type: ignore[arg-type]
    assert plain.boundary_iou is None
    assert "boundary_iou" not in plain.to_dict()
    (found,) = evaluate_text(engine, folder, variants=[PostProcessing(boundary=True)])  # type: ignore[arg-type]
    assert found.to_dict()["boundary_iou"] == 1.0
    assert Scores.from_dict(found.to_dict()) == found


def _segmentation(rows: Sequence[str]) -> dict[str, Any]:
    return {"id": 1, "segmentation": _mask(rows, "A")}
