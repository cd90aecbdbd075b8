"""Pixels in memory are bounded by their bytes."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.domain import Image
from maskwright.session import AnnotationSession
from maskwright.session import images as session_images


def test_the_oldest_pixels_are_given_up_and_the_latest_stay(
    session: AnnotationSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_images, "_MOST_BYTES", 5000)
    rng = np.random.default_rng(0)
    grey = [Image.from_array(rng.integers(0, 255, (40, 50), np.uint8), rgb=False, name=f"g{n}") for n in range(3)]
    assert grey[0].memory == 2000, "three channels in the memory of one"
    ids = [session.images.add(image).id for image in grey]
    assert session.images.get(ids[2]) is grey[2]
    assert session.images.get(ids[1]) is grey[1]
    assert session.images.get(ids[0]) is not grey[0]
    large = Image(rng.integers(0, 255, (100, 100, 3), np.uint8), "large")
    assert session.images.get(session.images.add(large).id) is large
