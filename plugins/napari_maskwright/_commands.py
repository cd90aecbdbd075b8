"""Commands for napari's command palette and menus: actions of the open dock widget."""

from __future__ import annotations

import napari
from napari.utils.notifications import show_info

__all__ = [
    "accept",
    "cancel",
    "everything",
    "export",
    "finetune",
    "next_image",
    "previous_image",
    "redo",
    "reject",
    "run",
    "save_table",
    "stack_objects",
    "undo",
    "use_layer",
]


def run(viewer: napari.Viewer) -> None:
    """Find masks for the class names."""
    _run_action(viewer, "run")


def everything(viewer: napari.Viewer) -> None:
    """Find everything in the image."""
    _run_action(viewer, "everything")


def use_layer(viewer: napari.Viewer) -> None:
    """Use the selected layer of points, shapes or labels as prompts or masks."""
    _run_action(viewer, "use layer")


def accept(viewer: napari.Viewer) -> None:
    """Accept the selected proposals, or all."""
    _run_action(viewer, "accept")


def reject(viewer: napari.Viewer) -> None:
    """Reject the selected proposals, or all."""
    _run_action(viewer, "reject")


def undo(viewer: napari.Viewer) -> None:
    """Undo the last click, else the last step on the image in view."""
    _run_action(viewer, "undo")


def redo(viewer: napari.Viewer) -> None:
    """Redo what was undone last."""
    _run_action(viewer, "redo")


def next_image(viewer: napari.Viewer) -> None:
    """Show the next image."""
    _run_action(viewer, "next")


def previous_image(viewer: napari.Viewer) -> None:
    """Show the previous image."""
    _run_action(viewer, "previous")


def export(viewer: napari.Viewer) -> None:
    """Export the accepted masks of the project as COCO."""
    _run_action(viewer, "export")


def save_table(viewer: napari.Viewer) -> None:
    """Save the table of the image's accepted masks as CSV."""
    _run_action(viewer, "save table")


def finetune(viewer: napari.Viewer) -> None:
    """Fine-tune the model on the accepted masks."""
    _run_action(viewer, "start")


def cancel(viewer: napari.Viewer) -> None:
    """Stop the prompt that is running."""
    _run_action(viewer, "stop prompt")


def stack_objects(viewer: napari.Viewer) -> None:
    """Add a Labels layer with the objects that the accepted masks of a stack show."""
    _run_action(viewer, "stack objects")


def _run_action(viewer: napari.Viewer, name: str) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    widgets = [widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, AnnotatorWidget)]
    if not widgets:
        show_info("Open Plugins > Maskwright first.")
    else:
        # the keys, too, belong to the widget that was opened last
        widgets[-1].run_action(name)
