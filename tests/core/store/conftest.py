"""A store in a temporary folder with one image of 20 x 10 pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import ImageRecord, Mask
from maskwright.store import NewAnnotation, NewImage, Store

MakeAnnotation = Callable[..., NewAnnotation]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "project.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store.open(file, create=True) as opened:
        yield opened


@pytest.fixture
def image(store: Store) -> ImageRecord:
    return store.add_image(NewImage("a" * 64, "images/cow.jpg", 20, 10, alias="photos/cow.jpg", who="ann"))


@pytest.fixture
def new(image: ImageRecord) -> MakeAnnotation:
    """A new annotation of a 3 x 6 rectangle; name what should differ."""

    def make(category: str = "cow", *, score: float | None = None, **others: object) -> NewAnnotation:
        pixels = np.zeros((10, 20), bool)
        pixels[2:5, 3:9] = True
        values: dict[str, object] = {"image_id": image.id, "mask": Mask.from_array(pixels, score=score)} | others
        return NewAnnotation(category=category, **values)  # type: ignore[arg-type]

    return make
