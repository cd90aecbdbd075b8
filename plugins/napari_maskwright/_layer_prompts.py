"""Layers of the user as prompts or masks of the plane in view: points, shapes, labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask
from maskwright.session import DrawnPrompt, MaskwrightError, masks_of_labels, polygon_mask

if TYPE_CHECKING:
    import napari

__all__ = ["LayerUse", "uses_of"]

_NEGATIVE = ("cross", "x", "hbar", "vbar")
"""Symbols of negative points."""


@dataclass(frozen=True, slots=True)
class LayerUse:
    """A way to use a layer."""

    text: str
    prompts: Callable[[], list[DrawnPrompt]] | None = None
    """What the click model answers; None for masks that are taken as they are."""
    masks: Callable[[], list[Mask]] | None = None


def uses_of(
    layer: Any, viewer: napari.Viewer, image_layer: Any, index: tuple[int, ...], size_hw: tuple[int, int]
) -> list[LayerUse]:
    """What can be done with a layer of the user on a plane of an image layer; nothing for another kind of layer.

    Args:
        layer: points, shapes or labels.
        viewer: of the layers.
        image_layer: of the image in view.
        index: of the plane along the image layer's leading axes.
        size_hw: (height, width) of the plane.
    """
    kind = type(layer).__name__
    plane = _Plane(viewer, image_layer, index, size_hw)
    if kind == "Points":
        return [
            LayerUse("Each point is an object", lambda: [DrawnPrompt((point,)) for point in plane.points(layer)]),
            LayerUse("All points are one object", lambda: [DrawnPrompt(tuple(plane.points(layer)))]),
        ]
    if kind == "Shapes":
        return [
            LayerUse("Find the object in each shape", lambda: plane.shape_prompts(layer)),
            LayerUse("Take the shapes as masks", masks=lambda: plane.shape_masks(layer)),
        ]
    if kind == "Labels":
        return [
            LayerUse("Take the labels as masks", masks=lambda: plane.label_masks(layer)),
            LayerUse(
                "Correct each label by the click model",
                lambda: [DrawnPrompt(mask=mask) for mask in plane.label_masks(layer)],
            ),
        ]
    return []


class _Plane:
    """The plane in view, in whose pixels prompts are."""

    def __init__(self, viewer: Any, image_layer: Any, index: tuple[int, ...], size_hw: tuple[int, int]) -> None:
        self._viewer, self._layer, self._index, self._size_hw = viewer, image_layer, index, size_hw

    def points(self, layer: Any) -> list[tuple[float, float, int]]:
        """Points in the plane: x, y, and 1, or 0 for those that are drawn as crosses."""
        places, here = self._to_pixels(layer, np.asarray(layer.data, float).reshape(-1, layer.ndim))
        symbols = [getattr(symbol, "value", str(symbol)) for symbol in np.broadcast_to(layer.symbol, len(places))]
        points = [
            (float(x), float(y), int(symbol not in _NEGATIVE))
            for (x, y), symbol, shown in zip(places, symbols, here, strict=True)
            if shown
        ]
        return _some(points, layer, "point")

    def shape_prompts(self, layer: Any) -> list[DrawnPrompt]:
        """A box for each rectangle, a rough mask for each other shape."""
        prompts = []
        for kind, corners in self._shapes(layer):
            box = _box(corners) if kind == "rectangle" else None
            prompts.append(DrawnPrompt(box=box) if box else DrawnPrompt(mask=polygon_mask(corners, self._size_hw)))
        return prompts

    def shape_masks(self, layer: Any) -> list[Mask]:
        """A mask for each shape."""
        return [polygon_mask(corners, self._size_hw) for _, corners in self._shapes(layer)]

    def label_masks(self, layer: Any) -> list[Mask]:
        """A mask for each label in the plane, named by a column "class" of the layer's features if it has one."""
        labels = self._labels(layer)
        features = layer.features
        names = {}
        if "class" in features and "index" in features:
            names = {int(number): str(name) for number, name in zip(features["index"], features["class"], strict=True)}
        return masks_of_labels(labels, names)

    def _shapes(self, layer: Any) -> list[tuple[str, NDArray[np.float64]]]:
        """Kind and corners (x, y) of each closed shape in the plane."""
        found = []
        for kind, corners in zip(layer.shape_type, layer.data, strict=True):
            places, here = self._to_pixels(layer, np.asarray(corners, float))
            if here.all() and kind not in ("line", "path"):
                found.append((str(kind), _ellipse(places) if kind == "ellipse" else places))
        return _some(found, layer, "closed shape")

    def _labels(self, layer: Any) -> NDArray[np.integer[Any]]:
        data = layer.data[0] if layer.multiscale else layer.data
        grid = np.array([(0, 0), (0, self._size_hw[1] - 1), (self._size_hw[0] - 1, 0)], float)
        corners = np.array([self._to_other(layer, place) for place in grid])
        leading, corners = np.rint(corners[0, :-2]).astype(int), corners[:, -2:]
        if any(not 0 <= place < length for place, length in zip(leading, data.shape, strict=False)):
            raise MaskwrightError(f"Layer {layer.name} has no plane here.", "Move the slider to one that it has.")
        plane = np.asarray(data[tuple(leading)])
        if plane.shape == self._size_hw and np.allclose(corners, grid, atol=1e-3):
            return plane
        # nearest labels, where the layer is scaled, moved or turned against the image
        right, down = ((corners[n] - corners[0]) / max(1, self._size_hw[2 - n] - 1) for n in (1, 2))
        out = np.zeros(self._size_hw, plane.dtype)
        columns = np.arange(self._size_hw[1])[:, None]
        for row in range(self._size_hw[0]):
            places = np.rint(corners[0] + row * down + columns * right).astype(int)
            inside = ((places >= 0) & (places < plane.shape)).all(axis=1)
            out[row, inside] = plane[tuple(places[inside].T)]
        return out

    def _to_pixels(self, layer: Any, data: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(N, 2) x, y in pixels of the image of places in a layer, and whether each lies in the plane."""
        here, places = np.ones(len(data), bool), np.zeros((len(data), 2))
        for number, place in enumerate(data):
            world = np.array(self._viewer.dims.point, float)
            own = np.asarray(layer.data_to_world(place), float)
            world[len(world) - len(own) :] = own
            pixel = np.asarray(self._layer.world_to_data(world), float)[-self._layer.ndim :]
            here[number] = tuple(np.rint(pixel[:-2]).astype(int)) == self._index
            places[number] = pixel[-1] + 0.5, pixel[-2] + 0.5
        return places, here

    def _to_other(self, layer: Any, row_column: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where a pixel of the plane lies in another layer's data."""
        world = np.array(self._viewer.dims.point, float)
        own = np.asarray(self._layer.data_to_world((*self._index, *row_column)), float)
        world[len(world) - len(own) :] = own
        place: NDArray[np.float64] = np.asarray(layer.world_to_data(world), float)[-layer.ndim :]
        return place


def _some(found: list[Any], layer: Any, what: str) -> list[Any]:
    if not found:
        raise MaskwrightError(f"Layer {layer.name} has no {what} in this plane.", "Draw one, then use it again.")
    return found


def _box(corners: NDArray[np.float64]) -> tuple[float, float, float, float] | None:
    """left, top, right, bottom of a rectangle; None for one that is turned against the image."""
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    upright = all(min(abs(x - left), abs(x - right)) + min(abs(y - top), abs(y - bottom)) < 1 for x, y in corners)
    return (float(left), float(top), float(right), float(bottom)) if upright else None


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on the ellipse in a box of four corners."""
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)[:, None]
    points: NDArray[np.float64] = centre + np.cos(angles) * first + np.sin(angles) * second
    return points
