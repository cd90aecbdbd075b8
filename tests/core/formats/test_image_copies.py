"""Copies of images for an export: upright, complete, with distinct names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import Image, ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.formats.image_copies import ImageCopies


def record(name: str, orientation: int = 1, number: int = 1) -> ImageRecord:
    return ImageRecord(number, "0" * 64, name, 40, 30, orientation, "")


def draw(file: Path, rng: np.random.Generator, orientation: int, **options: Any) -> np.ndarray[Any, Any]:
    """A picture with a tag; gives it upright."""
    y, x = np.mgrid[:30, :40]
    pixels = np.stack([x * 6, y * 8, x + y], 2).astype(np.uint8) + rng.integers(0, 4, (30, 40, 3), dtype=np.uint8)
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(file, exif=exif, icc_profile=b"profile", **options)
    return Image.open(file).pixels


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize(
    ("suffix", "options", "loss"),
    [
        pytest.param("jpg", {"quality": 95}, 3, id="jpeg"),
        pytest.param("png", {}, 0, id="png"),
        pytest.param("webp", {"lossless": True}, 0, id="webp"),
        pytest.param("tif", {}, 0, id="tiff"),
    ],
)
def test_a_turned_image_becomes_upright(
    tmp_path: Path, rng: np.random.Generator, orientation: int, suffix: str, options: dict[str, Any], loss: int
) -> None:
    name = f"images/a.{suffix}"
    expected = draw(tmp_path / "project" / name, rng, orientation, **options)
    copied = ImageCopies(tmp_path / "project", tmp_path / "out").copy(record(name, orientation))
    file = tmp_path / "out" / name
    assert (copied.orientation, copied.file_name) == (1, name)
    assert copied.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    with Pillow.open(file) as opened:
        assert opened.getexif().get(0x0112, 1) == 1
        assert opened.info.get("icc_profile") == b"profile"
        plain = np.asarray(opened.convert("RGB"))
    assert plain.shape == expected.shape
    assert np.abs(plain.astype(int) - expected).mean() <= loss
    assert np.array_equal(Image.open(file).pixels, plain)


def test_an_mpo_image_of_a_phone(tmp_path: Path, rng: np.random.Generator) -> None:
    second = Pillow.fromarray(np.zeros((30, 40, 3), np.uint8))
    images = tmp_path / "project" / "images"
    expected = draw(images / "a.jpg", rng, 6, format="MPO", save_all=True, append_images=[second])
    draw(images / "plain.jpg", rng, 6)
    copies = ImageCopies(tmp_path / "project", tmp_path / "out")
    files = [tmp_path / "out" / copies.copy(record(f"images/{one}.jpg", 6)).file_name for one in ("a", "plain")]
    with Pillow.open(files[0]) as opened, Pillow.open(files[1]) as plain:
        assert opened.format == "JPEG"
        assert np.abs(np.asarray(opened).astype(int) - expected).mean() < 3
        # and with as little loss as any JPEG
        assert opened.quantization == plain.quantization  # type: ignore[attr-defined]


def test_an_upright_image_is_copied_byte_by_byte(tmp_path: Path, rng: np.random.Generator) -> None:
    draw(tmp_path / "project" / "images" / "a.jpg", rng, 1)
    given = record("images/a.jpg")
    assert ImageCopies(tmp_path / "project", tmp_path / "out").copy(given) == given
    files = [tmp_path / home / "images" / "a.jpg" for home in ("project", "out")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_names_that_differ_in_their_ending_or_in_capitals_get_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    names = ["images/a.jpg", "images/a.png", "images/A.tif", "images/a-2.png", "images/v1.2/a.jpg", "images/v1.3/a.jpg"]
    copies = ImageCopies(tmp_path / "project", tmp_path / "out")
    for name in names:
        draw(tmp_path / "project" / name, rng, 1)
    found = [copies.copy(record(name)).file_name for name in names]
    assert found == [
        "images/a.jpg", "images/a-2.png", "images/A-3.tif", "images/a-2-2.png", "images/v1.2/a.jpg", "images/v1.3/a.jpg"
    ]  # fmt: skip
    for name, copy in zip(names, found, strict=True):
        assert (tmp_path / "project" / name).read_bytes() == (tmp_path / "out" / copy).read_bytes()


def test_a_missing_image_is_named_and_the_others_come(tmp_path: Path) -> None:
    copies = ImageCopies(tmp_path / "project", tmp_path / "out")
    assert copies.copy(record("images/a.jpg", 6)) == record("images/a.jpg", 6)
    assert copies.missing == ["images/a.jpg"]
    assert not (tmp_path / "out").exists()


def test_an_image_that_cannot_be_turned_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project" / "images").mkdir(parents=True)
    (tmp_path / "project" / "images" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(MaskwrightError, match=r"^Cannot copy images/a\.jpg to "):
        ImageCopies(tmp_path / "project", tmp_path / "out").copy(record("images/a.jpg", 6))
    draw(tmp_path / "project" / "images" / "b.png", np.random.default_rng(0), 6)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(MaskwrightError, match=r"^Cannot turn images/b\.png upright: "):
        ImageCopies(tmp_path / "project", tmp_path / "out").copy(record("images/b.png", 6))
    assert list((tmp_path / "out" / "images").iterdir()) == []
