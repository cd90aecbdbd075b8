"""What the command palette and the menu offer: the gestures of the widget that is open."""

from __future__ import annotations

import napari
from napari.utils.notifications import show_info

__all__ = ["accept", "next_image", "previous_image", "redo", "reject", "run", "undo"]


def run(viewer: napari.Viewer) -> None:
    """Find masks for the words."""
    _gesture(viewer, "run")


def accept(viewer: napari.Viewer) -> None:
    """Accept the proposals that are selected, or all."""
    _gesture(viewer, "accept")


def reject(viewer: napari.Viewer) -> None:
    """Reject the proposals that are selected, or all."""
    _gesture(viewer, "reject")


def undo(viewer: napari.Viewer) -> None:
    """Take back the last click, else the last step on the image in view."""
    _gesture(viewer, "undo")


def redo(viewer: napari.Viewer) -> None:
    """Do again what was undone last."""
    _gesture(viewer, "redo")


def next_image(viewer: napari.Viewer) -> None:
    """Show the next image."""
    _gesture(viewer, "next")


def previous_image(viewer: napari.Viewer) -> None:
    """Show the image before."""
    _gesture(viewer, "previous")


def _gesture(viewer: napari.Viewer, name: str) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    open_ones = [one for one in viewer.window.dock_widgets.values() if isinstance(one, AnnotatorWidget)]
    if not open_ones:
        show_info("Open Plugins > Maskwright first.")
    else:
        # as with the keys, which the last one to open has bound
        open_ones[-1].gesture(name)
