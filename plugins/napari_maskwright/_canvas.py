"""The layers of one image in a viewer, and where on it a mouse event is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Points, Shapes
from napari.utils import DirectLabelColormap
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.session import MaskView
from napari_maskwright._layers import colors_of, hatched, labels_of, placement

if TYPE_CHECKING:
    import napari

__all__ = ["Canvas"]

_CLEANED = "left unlabelled by cleaning"
"""Kind of layer that holds no masks."""
_KINDS = ("image", "proposals", "accepted", "chosen", _CLEANED, "clicks", "box")


class Canvas:
    """Draws an image, its masks and a prompt; deleting a layer deletes no mask."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self.layers: dict[str, Any] = {}
        """The layers that were made, by kind."""
        self.taken: dict[int, Any] = {}
        """Layers of the user's own, by the id of the image that was made of them."""
        self.anchor: Any = None
        """The layer of the image, which the others lie over."""
        self.size_hw = (1, 1)

    def show_image(self, image_id: int, image: Image) -> None:
        """Show the image, in the layer it was taken from when there is one."""
        for kind in _KINDS:
            self._remove(kind)
        taken = self.taken.get(image_id)
        if taken is not None and taken in self._viewer.layers:
            self.anchor = taken
        else:
            self.anchor = self._viewer.add_image(image.pixels, name=image.name, rgb=True)
            self.layers["image"] = self.anchor
            self._viewer.reset_view()
        self.size_hw = image.size_hw

    def show_masks(
        self, accepted: Sequence[MaskView], proposals: Sequence[MaskView], cleaned: Sequence[MaskView]
    ) -> None:
        """Accepted masks as outlines, proposals as areas, what cleaning left unlabelled as stripes."""
        self._draw("accepted", labels_of(accepted, self.size_hw), colors_of(accepted), contour=2, opacity=0.9)
        self._draw("proposals", labels_of(proposals, self.size_hw), colors_of(proposals), contour=0, opacity=0.6)
        if cleaned:
            self._pass(_CLEANED, *hatched(cleaned, self.size_hw))
        else:
            self._remove(_CLEANED)

    def show_chosen(self, rows: Sequence[MaskView]) -> None:
        """Fill the masks that are chosen."""
        if rows:
            self._pass("chosen", labels_of(rows, self.size_hw), colors_of(rows))
        else:
            self._remove("chosen")

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Show the clicks, discs on the thing and crosses beside it, and the box."""
        step = prompt.last if prompt is not None else None
        points = step.points if step is not None else ()
        for kind in ("clicks", "box"):
            self._remove(kind)
        if points:
            layer = Points(
                [(y - 0.5, x - 0.5) for x, y, _ in points], name=f"{self.anchor.name} clicks",
                symbol=["disc" if sign else "cross" for *_, sign in points],
                face_color=["#009e73" if sign else "#d55e00" for *_, sign in points], border_color="white",
                size=max(3.0, max(self.size_hw) / 60), **placement(self.anchor),
            )  # fmt: skip
            layer.editable = False
            self.layers["clicks"] = self._viewer.add_layer(layer)
        if step is not None and step.box is not None:
            x0, y0, x1, y1 = (value - 0.5 for value in step.box)
            frame = Shapes(
                [[(y0, x0), (y1, x1)]], shape_type="rectangle", name=f"{self.anchor.name} box",
                face_color="transparent", edge_color="white", edge_width=max(self.size_hw) / 200,
                **placement(self.anchor),
            )  # fmt: skip
            frame.editable = False
            self.layers["box"] = self._viewer.add_layer(frame)

    def toggle_proposals(self) -> None:
        """Hide or show the proposals, and what cleaning left unlabelled."""
        layers = [self.layers[kind] for kind in ("proposals", _CLEANED) if kind in self.layers]
        visible = any(layer.visible for layer in layers)
        for layer in layers:
            layer.visible = not visible

    def place(self, position: Any) -> tuple[float, float]:
        """The (x, y) in the image's pixels, counted from its border, of a place in the world."""
        row, column = self.anchor.world_to_data(position)[-2:]
        return float(column) + 0.5, float(row) + 0.5

    @property
    def near(self) -> float:
        """How many of the image's pixels a marker's reach on the screen is."""
        scale = abs(float(self.anchor.scale[-1])) or 1.0
        return 8 / (float(self._viewer.scene.camera.zoom) * scale)

    def under(self, rows: Sequence[MaskView], x: float, y: float) -> list[MaskView]:
        """Those of the masks that cover a place, the one on top first."""
        column, row = int(x // 1), int(y // 1)
        hit = []
        for one in sorted(rows, key=lambda one: one.mask.area):
            left, top, width, height = one.mask.bbox
            # to decode a mask takes a while
            inside = left <= column < left + width and top <= row < top + height
            if inside and one.mask.to_array()[row, column]:
                hit.append(one)
        return hit

    def _pass(self, kind: str, labels: NDArray[np.integer[Any]], colors: Mapping[int | None, str]) -> None:
        """Draw a layer that comes and goes, and would take the selection with it."""
        selected = set(self._viewer.layers.selection)
        self._draw(kind, labels, colors, contour=0, opacity=0.6)
        self._viewer.layers.selection = selected

    def _draw(
        self,
        kind: str,
        labels: NDArray[np.integer[Any]],
        colors: Mapping[int | None, str],
        *,
        contour: int,
        opacity: float,
    ) -> None:
        colormap = DirectLabelColormap(color_dict=dict(colors))
        layer = self.layers.get(kind)
        if layer is not None and layer in self._viewer.layers:
            layer.data = labels
            layer.colormap = colormap
            return
        layer = Labels(
            labels, name=f"{self.anchor.name} {kind}", colormap=colormap, opacity=opacity, **placement(self.anchor)
        )
        layer.contour = contour
        # editing comes with the store's revisions; until then a stroke would be lost
        layer.editable = False
        self.layers[kind] = self._viewer.add_layer(layer)

    def _remove(self, kind: str) -> None:
        layer = self.layers.pop(kind, None)
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
