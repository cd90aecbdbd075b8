"""Maskwright in napari: one dock widget on the same project as the browser page."""

from __future__ import annotations

import os
import sys

__all__ = ["launch"]


def launch(*, project: str, preset: str = "tiny", device: str = "auto") -> None:
    """Open napari with the dock widget on a project, which is made when it is new; returns when the window closes.

    Args:
        project: folder or database URL.
        preset: preset name or checkpoint folder.
        device: as for `Engine.load`.

    Raises:
        MaskwrightError: there is no display, or the project cannot be used.
    """
    from maskwright.errors import MaskwrightError
    from maskwright.project import Project

    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & set(os.environ):
        # Qt would end the whole process without a word that helps
        raise MaskwrightError(
            "napari needs a display, and there is none. Log in with one, run it under `xvfb-run -a`, or use the "
            "browser page: `maskwright ui`."
        )
    import napari

    from napari_maskwright._widget import AnnotatorWidget

    # a project that cannot be used is one sentence in the terminal, before any window opens
    Project.open(project, create=True).close()
    viewer = napari.Viewer(title="Maskwright")
    widget = AnnotatorWidget(viewer, project=project, preset=preset, device=device)
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    napari.run()
