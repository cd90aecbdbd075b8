"""The layers of one image in a viewer, and conversion of mouse positions to its pixels."""

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
from napari_maskwright._layers import colors_of, hatched, labels_of, transform_of

if TYPE_CHECKING:
    import napari

__all__ = ["Canvas"]

_CLEANING = "left unlabelled by cleaning"
_KINDS = ("image", "proposals", "accepted", "selected", _CLEANING, "clicks", "box")


class Canvas:
    """Draws an image, its masks and clicks; deleting a layer deletes no mask."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self.layers: dict[str, Any] = {}
        """The layers created here, by kind."""
        self.user_layers: dict[int, Any] = {}
        """Image layers of the user that were added to the project, by image id."""
        self.image_layer: Any = None
        """The layer of the image in view; the others lie over it."""
        self.size_hw = (1, 1)

    def show_image(self, image_id: int, image: Image) -> None:
        """Show the image, in the user's layer if it was added from one that still exists."""
        for kind in _KINDS:
            self._remove(kind)
        layer = self.user_layers.get(image_id)
        if layer is not None and layer in self._viewer.layers:
            self.image_layer = layer
        else:
            self.image_layer = self._viewer.add_image(image.pixels, name=image.name, rgb=True)
            self.layers["image"] = self.image_layer
            self._viewer.reset_view()
        self.size_hw = image.size_hw

    def show_masks(
        self, accepted: Sequence[MaskView], proposals: Sequence[MaskView], previews: Sequence[MaskView]
    ) -> None:
        """Draw accepted masks as outlines, proposals filled, and the cleaning preview hatched."""
        self._draw("accepted", labels_of(accepted, self.size_hw), colors_of(accepted), contour=2, opacity=0.9)
        self._draw("proposals", labels_of(proposals, self.size_hw), colors_of(proposals), contour=0, opacity=0.6)
        if previews:
            self._draw_temporary(_CLEANING, *hatched(previews, self.size_hw))
        else:
            self._remove(_CLEANING)

    def show_selected(self, masks: Sequence[MaskView]) -> None:
        """Fill the selected masks."""
        if masks:
            self._draw_temporary("selected", labels_of(masks, self.size_hw), colors_of(masks))
        else:
            self._remove("selected")

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Draw positive points as discs, negative points as crosses, and the box."""
        step = prompt.last if prompt is not None else None
        points = step.points if step is not None else ()
        for kind in ("clicks", "box"):
            self._remove(kind)
        if points:
            layer = Points(
                [(y - 0.5, x - 0.5) for x, y, _ in points],
                name=f"{self.image_layer.name} clicks",
                symbol=["disc" if sign else "cross" for *_, sign in points],
                face_color=["#009e73" if sign else "#d55e00" for *_, sign in points],
                border_color="white",
                size=max(3.0, max(self.size_hw) / 60),
                **transform_of(self.image_layer),
            )
            layer.editable = False
            self.layers["clicks"] = self._viewer.add_layer(layer)
        if step is not None and step.box is not None:
            x0, y0, x1, y1 = (value - 0.5 for value in step.box)
            frame = Shapes(
                [[(y0, x0), (y1, x1)]],
                shape_type="rectangle",
                name=f"{self.image_layer.name} box",
                face_color="transparent",
                edge_color="white",
                edge_width=max(self.size_hw) / 200,
                **transform_of(self.image_layer),
            )
            frame.editable = False
            self.layers["box"] = self._viewer.add_layer(frame)

    def toggle_proposals(self) -> None:
        """Hide or show the proposals and the cleaning preview."""
        layers = [self.layers[kind] for kind in ("proposals", _CLEANING) if kind in self.layers]
        visible = any(layer.visible for layer in layers)
        for layer in layers:
            layer.visible = not visible

    def to_pixels(self, position: Any) -> tuple[float, float]:
        """(x, y) in pixels of the image, with the origin at its corner, of a position in the world."""
        row, column = self.image_layer.world_to_data(position)[-2:]
        return float(column) + 0.5, float(row) + 0.5

    @property
    def click_radius(self) -> float:
        """How near to a point a click must be to hit it: 8 pixels of the screen, in pixels of the image."""
        scale = abs(float(self.image_layer.scale[-1])) or 1.0
        return 8 / (float(self._viewer.scene.camera.zoom) * scale)

    def masks_at(self, masks: Sequence[MaskView], x: float, y: float) -> list[MaskView]:
        """Those of the masks that cover a pixel, the topmost (smallest) first."""
        column, row = int(x // 1), int(y // 1)
        hits = []
        for view in sorted(masks, key=lambda view: view.mask.area):
            left, top, width, height = view.mask.bbox
            # the box first, because decoding a mask takes a while
            inside = left <= column < left + width and top <= row < top + height
            if inside and view.mask.to_array()[row, column]:
                hits.append(view)
        return hits

    def _draw_temporary(self, kind: str, labels: NDArray[np.integer[Any]], colors: Mapping[int | None, str]) -> None:
        """Draw a layer that comes and goes, without moving the layer selection to it."""
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
            labels,
            name=f"{self.image_layer.name} {kind}",
            colormap=colormap,
            opacity=opacity,
            **transform_of(self.image_layer),
        )
        layer.contour = contour
        # strokes would not reach the project
        layer.editable = False
        self.layers[kind] = self._viewer.add_layer(layer)

    def _remove(self, kind: str) -> None:
        layer = self.layers.pop(kind, None)
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
