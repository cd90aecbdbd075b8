"""Benchmarks of label maps: what was written in the owners' code is read as the label that it stands for."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.errors import MaskwrightError
from maskwright.formats.benchmarks.files import read_pickle
from maskwright.formats.benchmarks.semantic import SEMANTIC
from tests.core.formats.benchmarks.fakes import WRITERS, label_maps, photograph


@pytest.mark.parametrize("name", SEMANTIC)
def test_labels_are_those_that_were_written(name: str, tmp_path: Path) -> None:
    data = SEMANTIC[name]
    maps = label_maps(len(data.names), background=data.background)
    WRITERS[name](tmp_path, maps)
    pictures = data.images(tmp_path)
    assert len(pictures) == 3
    for number, (picture, labels) in enumerate(zip(pictures, maps, strict=True)):
        expected = labels.copy()
        if name in ("pc60", "coco-object"):
            # what nobody labelled counts as background
            expected[expected == -1] = 0
        assert np.array_equal(picture.labels(), expected)
        photograph(tmp_path / "same.png", number + (name == "ade150"))
        seen = np.abs(picture.image().pixels.astype(int) - np.asarray(Pillow.open(tmp_path / "same.png"))).mean()
        assert seen < 12, "the picture of these labels, but for JPEG"


def test_class_lists_have_their_published_lengths() -> None:
    lengths = {name: len(data.names) for name, data in SEMANTIC.items()}
    assert lengths == {
        "voc20": 20, "voc21": 20, "pc59": 59, "pc60": 59, "pc459": 459, "ade150": 150, "ade847": 847,
        "cityscapes": 19, "coco-stuff": 171, "coco-object": 80,
    }  # fmt: skip
    assert [SEMANTIC["coco-object"].names[n] for n in (0, 79)] == ["person", "toothbrush"]
    assert {name for name, data in SEMANTIC.items() if data.background} == {"voc21", "pc60", "coco-object"}


def test_large_pictures_of_the_full_ade20k_are_shrunk_as_it_is_prepared(tmp_path: Path) -> None:
    (labels,) = label_maps(847, background=False)[:1]
    WRITERS["ade847"](tmp_path, [labels.repeat(40, axis=0).repeat(40, axis=1)] * 3)
    place = tmp_path / "ADE20K_2021_17_01" / "images" / "ADE" / "validation" / "urban" / "street"
    photograph(place / "ADE_val_00000000.jpg", 0, (1200, 1600))
    picture = SEMANTIC["ade847"].images(tmp_path)[0]
    image, drawn = picture.image(), picture.labels()
    assert image.size_hw == drawn.shape == (512, 683)
    rows, columns = (np.arange(new) * old // new for new, old in ((512, 30), (683, 40)))
    assert np.array_equal(drawn, labels[rows[:, None], columns])
    original = np.asarray(Pillow.open(place / "ADE_val_00000000.jpg")).astype(int)
    # the middle of a new pixel lies between four old ones
    y, x = (100 + 0.5) * 1200 / 512 - 0.5, (300 + 0.5) * 1600 / 683 - 0.5
    window = original[int(y) : int(y) + 2, int(x) : int(x) + 2]
    assert (window.min(axis=(0, 1)) <= image.pixels[100, 300]).all()
    assert (image.pixels[100, 300] <= window.max(axis=(0, 1))).all()


@pytest.mark.parametrize("name", SEMANTIC)
def test_another_folder_is_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(MaskwrightError, match="does not hold") as caught:
        SEMANTIC[name].images(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit",)

    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(MaskwrightError, match=r"builtins\.exec"):
        read_pickle(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(b"text")
    with pytest.raises(MaskwrightError, match="not a pickle"):
        read_pickle(tmp_path / "b.pkl")
    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"x": np.array(["a"], dtype=object), "y": np.float64(2)}))
    assert read_pickle(tmp_path / "c.pkl")["y"] == 2
