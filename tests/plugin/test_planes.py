"""Planes of image layers: every number type, one plane read at a time, channels, and the place that is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_maskwright._planes import Plane, axis_names, channel_axes, companions, plane_in_view

napari_layers = pytest.importorskip("napari.layers")


def _layer(data: Any, **options: Any) -> Any:
    return napari_layers.Image(data, **options)


@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", ">u2", "uint32", "int64", "float16", "float32", "float64"])
def test_numbers_of_every_type_keep_their_order(kind: str) -> None:
    values = np.arange(3 * 30 * 40).reshape(3, 30, 40) % (2 if kind == "bool" else 200)
    image = Plane(_layer(values.astype(kind)), (1,)).read()
    assert image.size_hw == (30, 40)
    grey = image.pixels[..., 0].ravel().astype(int)
    order = np.argsort(values[1].ravel(), kind="stable")
    assert (np.diff(grey[order]) >= 0).all()
    assert grey.min() == 0
    assert grey.max() > 0


def test_colours_and_pyramids_are_read_at_their_finest() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 4), dtype=np.uint8)
    for layer in (_layer(pixels, rgb=True), _layer([pixels, pixels[::2, ::2]], rgb=True, multiscale=True)):
        plane = Plane(layer, ())
        assert plane.size_hw == (30, 40)
        assert np.array_equal(plane.read().pixels, pixels[..., :3])


def test_only_the_plane_is_read() -> None:
    class Lazy:
        shape, ndim, dtype, size = (5, 7, 30, 40), 4, np.dtype(np.uint16), 5 * 7 * 30 * 40
        reads: list[Any] = []  # noqa: RUF012 - one test

        def __len__(self) -> int:
            return 5

        def __getitem__(self, key: Any) -> Any:
            self.reads.append(key)
            return np.full((30, 40), 10 * key[0] + key[1], np.uint16)

    layer = _layer(np.zeros((5, 7, 30, 40), np.uint16))
    layer._data, lazy = Lazy(), Lazy
    plane = plane_in_view(layer, (3.2, 5.9, 0, 0))
    plane.read()
    assert lazy.reads == [(3, 6)]
    assert plane.leading_shape == (5, 7)
    assert plane.name.endswith("t3 z6")


def test_a_plane_knows_its_place(tmp_path: Any) -> None:
    layer = _layer(
        np.random.default_rng(0).integers(0, 4000, (2, 3, 30, 40)), name="cells", scale=(1, 2, 0.5, 0.25),
        units=("pixel", "um", "um", "um"), axis_labels=("c", "z", "y", "x"), contrast_limits=(100, 3000),
    )  # fmt: skip
    assert axis_names(layer) == ("c", "z")
    assert channel_axes(layer) == [0]
    record = Plane(layer, (1, 2)).record
    assert (record.layer, record.axes, record.index) == ("cells", ("c", "z"), (1, 2))
    assert record.pixel_size == pytest.approx((0.5, 0.25))
    assert record.unit == "micrometer"
    assert record.contrast is None
    plane = Plane(layer, (1, 2), contrast=True)
    assert plane.record.contrast == (100.0, 3000.0)
    assert plane.read().plane == plane.record
    assert (plane.read().pixels != Plane(layer, (1, 2)).read().pixels).any()
    assert Plane(layer, (1, 2), composite=0).record.index == (None, 2)
    assert Plane(layer, (0, 2), composite=0).key == Plane(layer, (1, 2), composite=0).key


def test_channels_along_an_axis_become_red_green_and_blue() -> None:
    data = np.zeros((2, 30, 40), np.uint8)
    data[0, :10], data[1, 5:20] = 200, 100
    pixels = Plane(_layer(data), (0,), composite=0).read().pixels
    assert np.array_equal(pixels[..., 0], data[0])
    assert np.array_equal(pixels[..., 1], data[1])
    assert not pixels[..., 2].any()


def test_layers_over_each_other_are_added_in_their_colours() -> None:
    data = np.zeros((2, 30, 40), np.uint8)
    data[0, :10], data[1, 5:20] = 200, 100
    green, magenta = _layer(data[0], colormap="green", name="a"), _layer(data[1], colormap="magenta", name="b")
    other = _layer(np.zeros((30, 41), np.uint8), name="other size")
    assert companions(green, [green, magenta, other]) == (green, magenta)
    magenta.visible = False
    assert companions(green, [green, magenta]) == ()
    plane = Plane(green, (), channels=(green, magenta))
    pixels, name = plane.read().pixels, plane.name
    assert name == "a + b"
    assert (pixels[2, 2].tolist(), pixels[15, 2].tolist()) == ([0, 200, 0], [100, 0, 100])
    assert pixels[7, 2].tolist() == [100, 200, 100]
    key = plane.key
    magenta.colormap = "red"
    assert plane.key != key
    assert plane.read().pixels[15, 2].tolist() == [100, 0, 0]
