"""COCO segmentations of labelled folders, and the errors of damaged ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.domain import rle
from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.labelled_folder import read_coco
from maskwright.formats.segmentation import mask_of

BLOCK = np.zeros((30, 40), bool)
BLOCK[2:9, 3:20] = True
RUNS = rle.runs_from_text(rle.encode(BLOCK)["counts"]).tolist()


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(dict(rle.encode(BLOCK)), id="compressed"),
        pytest.param({"size": [30, 40], "counts": RUNS}, id="uncompressed"),
        pytest.param([[3, 2, 20, 2, 20, 9, 3, 9]], id="polygon"),
        pytest.param([[3, 2, 20, 2, 20, 9, 3, 9], [1, 2, 3, 4]], id="polygon and a line"),
    ],
)
def test_every_way_to_write_a_mask(shape: Any) -> None:
    assert np.array_equal(mask_of({"segmentation": shape}, (30, 40)), BLOCK)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"size": [30, 40], "counts": [1]}, id="short"),
        pytest.param({"size": [30, 40]}, id="no counts"),
        pytest.param({"size": [40, 30], "counts": [1200]}, id="another size"),
        pytest.param("cow", id="text"),
        pytest.param([["a"] * 6], id="letters"),
        pytest.param([7], id="numbers"),
        # these three ended the process in pycocotools
        pytest.param([[0, 0, 1e9, 0, 1e9, 1e9]], id="far away"),
        pytest.param([[0, 0, float("nan"), 0, 5, 5]], id="nan"),
        pytest.param([[0, 0, float("inf"), 0, 5, 5]], id="infinite"),
    ],
)
def test_damaged_masks_are_an_error(shape: Any) -> None:
    with pytest.raises(BadCoco, match="nnotation 5"):
        mask_of({"id": 5, "segmentation": shape}, (30, 40))


def test_what_is_no_coco_file(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(MaskwrightError, match="There is no file"):
        read_coco(file)
    for text, says in (("[" * 100_000, "nested too deep"), ("{", "is not a JSON file"), ("{}", "images is missing")):
        file.write_text(text)
        with pytest.raises(BadCoco, match=says):
            read_coco(file)
