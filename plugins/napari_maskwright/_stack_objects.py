"""The objects of a stack as a Labels layer of the user's: to look at in 3-D, to measure and to save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels
from napari.utils.notifications import show_error

from maskwright.session import StackLabels
from napari_maskwright._following import Following
from napari_maskwright._images import Images

if TYPE_CHECKING:
    import napari

__all__ = ["add_stack_objects"]


def add_stack_objects(viewer: napari.Viewer, following: Following, images: Images) -> None:
    """Add a layer with one number for each object of the followed layer, or say why there is none."""
    plane = following.plane()
    axis = None if plane is None else following.axis(plane)
    if plane is None or axis is None:
        show_error("This layer has a single plane. Choose a stack or a series in the list of layers.")
        return
    layer = plane.layer

    def show(result: StackLabels) -> None:
        if not result.objects or result.labels.shape != (*plane.leading_shape, *plane.size_hw):
            show_error("There are no accepted masks on the planes of this layer. Accept some first.")
            return
        numbers, categories, planes = zip(*result.objects, strict=True)
        objects = Labels(
            result.labels,
            name=f"{layer.name} objects",
            features={"index": list(numbers), "class": list(categories), "planes": list(planes)},
            **{name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units")},
        )
        if following.has(layer):
            viewer.add_layer(objects)

    images.label_stack(plane.record, plane.leading_shape, axis, show)
