"""Picture files of every kind, upright and 8-bit; and one sentence for each that cannot be read."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.errors import ImageTooLarge, ImageUnreadable, MaskwrightError, UnsupportedImage
from maskwright.imaging.normalization import to_8bit
from maskwright.imaging.reading import SUFFIXES, file_kind, is_image_file, read_image

UPRIGHT = {
    1: lambda s: s,
    2: lambda s: s[:, ::-1],
    3: lambda s: s[::-1, ::-1],
    4: lambda s: s[::-1],
    5: lambda s: s.transpose(1, 0, 2),
    6: lambda s: np.rot90(s, -1),
    7: lambda s: np.rot90(s, 2).transpose(1, 0, 2),
    8: lambda s: np.rot90(s, 1),
}
"""What each EXIF orientation asks of the stored pixels (EXIF 2.32, table of tag 0x0112)."""


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)


def _file(image: Pillow.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image = Pillow.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"") -> bytes:
    """A PNG by hand: its header may promise what its rows do not hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("orientation", list(UPRIGHT))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_orientation(pixels: np.ndarray, kind: str, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = read_image(_file(pixels, kind, **options), "a")
    turned = read_image(_file(pixels, kind, exif=exif, **options), "a")
    assert kind == "JPEG" or np.array_equal(stored.pixels, pixels)
    assert np.array_equal(turned.pixels, UPRIGHT[orientation](stored.pixels))
    assert (stored.orientation, turned.orientation) == (1, orientation)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_out_of_range_is_upright(pixels: np.ndarray, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    found = read_image(_file(pixels, exif=exif), "a.png")
    assert found.orientation == 1
    assert np.array_equal(found.pixels, pixels)


def test_orientation_of_another_type_is_upright(pixels: np.ndarray) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    # type SHORT made BYTE, UNDEFINED, ASCII: a damaged or odd writer
    data = _file(pixels, "TIFF", exif=exif)
    entry = data.index(struct.pack("<HHI", 0x0112, 3, 1))
    for kind in (1, 2, 7):
        damaged = bytearray(data)
        damaged[entry + 2] = kind
        found = read_image(bytes(damaged), "a.tif")
        assert found.orientation in (1, 6)
        assert found.pixels.size == pixels.size


def test_time_of_capture(pixels: np.ndarray) -> None:
    exif = Pillow.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    assert read_image(_file(pixels, "JPEG", exif=exif), "a.jpg").captured == "2024:05:06 07:08:09"
    assert read_image(_file(pixels, "JPEG"), "a.jpg").captured == ""


def test_alpha_is_dropped_and_the_colours_stay(pixels: np.ndarray) -> None:
    alpha = np.arange(40, dtype=np.uint8).reshape(5, 8)[:, :, None]
    assert np.array_equal(read_image(_file(np.concatenate([pixels, alpha], axis=2)), "a.png").pixels, pixels)
    grey = np.concatenate([pixels[:, :, :1], alpha], axis=2)
    found = read_image(_file(Pillow.fromarray(grey, "LA")), "a.png").pixels
    assert np.array_equal(found, np.repeat(pixels[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("transparent", [{}, {"transparency": 3}, {"transparency": bytes(range(8))}])
def test_palette(transparent: dict[str, Any], rng: np.random.Generator) -> None:
    colours = rng.integers(0, 256, (8, 3), dtype=np.uint8)
    index = rng.integers(0, 8, (6, 7), dtype=np.uint8)
    image = Pillow.fromarray(index, "L").copy()
    image = image.convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    assert np.array_equal(read_image(_file(image, **transparent), "a.png").pixels, colours[index])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_grey(kind: str, pixels: np.ndarray) -> None:
    found = read_image(_file(pixels[:, :, 0], kind), "a").pixels
    assert found.shape == (5, 8, 3)
    assert np.ptp(found.astype(int), axis=2).max() == 0


def test_black_and_white() -> None:
    mask = np.eye(5, 8, dtype=bool)
    assert np.array_equal(read_image(_file(mask), "a.png").pixels[:, :, 1], mask * np.uint8(255))


def test_cmyk(pixels: np.ndarray) -> None:
    found = read_image(_file(Pillow.fromarray(pixels).convert("CMYK"), "TIFF"), "a.tif").pixels
    assert np.array_equal(found, np.asarray(Pillow.fromarray(pixels).convert("CMYK").convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_stretched(kind: str) -> None:
    plane = np.linspace(1000, 5000, 4000, dtype=np.uint16).reshape(40, 100)
    found = read_image(_file(plane, kind), "a").pixels
    assert found.dtype == np.uint8
    grey = found[:, :, 0].ravel().astype(int)
    assert (grey.min(), grey.max()) == (0, 255)
    assert (np.diff(grey) >= 0).all()
    assert abs(grey[2000] - 128) <= 1


def test_sixteen_bit_colour() -> None:
    values = (np.arange(2 * 3 * 3).reshape(2, 3, 3) * 3000).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    found = read_image(png(3, 2, depth=16, colour=2, rows=rows), "a.png").pixels
    assert np.abs(found.astype(int) - values.astype(int) // 256).max() <= 1


def test_float_planes_with_holes() -> None:
    plane = np.linspace(-1, 1, 60, dtype=np.float32).reshape(6, 10)
    plane[2, 3], plane[4, 4] = np.nan, np.inf
    found = read_image(_file(plane, "TIFF"), "a.tif").pixels
    assert (found.min(), found.max()) == (0, 255)
    assert not to_8bit(np.full((3, 4), 7.5)).any(), "a constant plane is black"


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 300)])
def test_thin_pictures(size: tuple[int, int]) -> None:
    assert read_image(_file(Pillow.new("RGB", size, "red")), "a.png").pixels.shape == (size[1], size[0], 3)


# what cannot be read


@pytest.mark.parametrize("name", ["a.heic", "b.HEIF", "c.gif", "d.mp4", "e.svg", "f.pdf", "g.avif"])
def test_known_but_not_read(name: str) -> None:
    with pytest.raises(UnsupportedImage, match=name):
        read_image(b"anything", name)


def test_a_gif_under_another_name_is_not_decoded(pixels: np.ndarray) -> None:
    with pytest.raises(UnsupportedImage):
        read_image(_file(pixels, "GIF"), "a.png")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"Dear Sir or Madam", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="signature alone"),
        pytest.param(png(8, 8), id="no rows"),
        pytest.param(png(0, 8), id="no width"),
    ],
)
def test_damaged(data: bytes) -> None:
    with pytest.raises(ImageUnreadable, match=r"a\.jpg"):
        read_image(data, "a.jpg")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_cut_anywhere_is_one_sentence_and_no_warning(kind: str, rng: np.random.Generator) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    options = {} if kind == "BMP" else {"exif": exif}
    data = _file(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), kind, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageUnreadable):
            read_image(data[: len(data) // 2], "a.jpg")
        for length in range(0, len(data), max(1, len(data) // 60)):
            with suppress(MaskwrightError):
                read_image(data[:length], "a.jpg")


def test_random_damage_never_surfaces(rng: np.random.Generator, pixels: np.ndarray) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 3
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        whole = _file(pixels, kind, exif=exif)
        for _ in range(150):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), int(rng.integers(1, 6))):
                data[place] = int(rng.integers(0, 256))
            with suppress(MaskwrightError):
                read_image(bytes(data), "a", max_megapixels=5)


# size


@pytest.mark.alone
def test_too_large_is_refused_before_it_is_decoded() -> None:
    data = _file(Pillow.new("1", (10100, 10000)))
    began = time.perf_counter()
    with pytest.raises(ImageTooLarge, match=r"101 megapixels.* 100.*MASKWRIGHT_MAX_MEGAPIXELS"):
        read_image(data, "big.png")
    assert time.perf_counter() - began < 0.2


def test_decompression_bomb() -> None:
    with pytest.raises(ImageTooLarge, match="3600 megapixels"):
        read_image(png(60000, 60000), "bomb.png")


def test_the_limit_is_ours_alone(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 3)
    assert np.array_equal(read_image(_file(pixels), "a.png").pixels, pixels)
    assert Pillow.MAX_IMAGE_PIXELS == 3
    with pytest.raises(ImageTooLarge):
        read_image(_file(pixels), "a.png", max_megapixels=39e-6)
    monkeypatch.setenv("MASKWRIGHT_MAX_MEGAPIXELS", "0.00004")
    assert read_image(_file(pixels), "a.png").pixels.shape == (5, 8, 3)


# files


def test_open(tmp_path: Path, pixels: np.ndarray) -> None:
    for name in ("a" * 200 + ".png", "Straße 牛 🐄.PNG", ".hidden.png"):
        file = tmp_path / name
        file.write_bytes(_file(pixels))
        image = mw.Image.open(file)
        assert (image.name, image.path, image.size_hw) == (name, file, (5, 8))
        assert is_image_file(file) == (not name.startswith("."))
    with pytest.raises(MaskwrightError, match=r"nothere\.png"):
        mw.Image.open(tmp_path / "nothere.png")
    with pytest.raises(MaskwrightError, match="folder"):
        mw.Image.open(tmp_path)
    assert not is_image_file(tmp_path)
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


# kinds of files


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "avif", "heic"])
def test_photos_of_phones_and_web_pages(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:15] = 200
    kind = {"heic": "HEIF", "avif": "AVIF"}.get(suffix, "JPEG")
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra heic is not installed").register_heif_opener()
    file = tmp_path / f"photo.{suffix}"
    Pillow.fromarray(pixels).save(file, kind, quality=95)
    assert is_image_file(file)
    assert np.abs(mw.Image.open(file).pixels.astype(int) - pixels).max() < 12


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image"),
        (b"II*\0", "image"),
        (b"RIFF\0\0\0\0WEBP", "image"),
        (b"GIF89a", "unsupported"),
        (b"%PDF-1.7", "unsupported"),
        (b"plain text", "other"),
        (b"", "other"),
    ],
)
def test_a_file_without_a_known_ending_is_told_by_its_content(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "IMG_0001").write_bytes(start)
    assert file_kind(tmp_path / "IMG_0001") == kind


def test_pages_of_a_tiff_without_its_smaller_copies(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(np.full((4, 5), shade, np.uint8)) for shade in (10, 20, 30)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    first = mw.Image.open(tmp_path / "stack.tif")
    assert (first.pages, first.pixels[0, 0, 0]) == (3, 10)
    assert "stack.tif has 3 pages" in first.pages_notice
    assert mw.Image.open(tmp_path / "stack.tif", page=2).pixels[0, 0, 0] == 30
    with pytest.raises(ImageUnreadable):
        mw.Image.open(tmp_path / "stack.tif", page=3)
    small = Pillow.fromarray(np.full((2, 2), 9, np.uint8))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "pyramid.tif", save_all=True, append_images=[small])
    assert mw.Image.open(tmp_path / "pyramid.tif").pages == 1
