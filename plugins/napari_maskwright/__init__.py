"""Maskwright in napari: a dock widget on the same project as the browser page."""

from __future__ import annotations

import os
import sys

__all__ = ["launch"]


def launch(*, project: str, preset: str = "tiny", device: str = "auto") -> None:
    """Open napari with the dock widget on a project, which is created if it is new; returns when the window closes.

    Args:
        project: folder or database URL.
        preset: preset name or checkpoint folder.
        device: as for `Engine.load`.

    Raises:
        MaskwrightError: there is no display, or the project cannot be used.
    """
    from maskwright.session import AnnotationSession, MaskwrightError

    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & set(os.environ):
        # Qt would abort the process without a helpful message
        raise MaskwrightError(
            "napari needs a display, and there is none. Log in with one, run it under `xvfb-run -a`, or use the "
            "browser page: `maskwright ui`."
        )
    import napari

    from napari_maskwright._widget import AnnotatorWidget

    # report a project that cannot be used in the terminal, before any window opens
    AnnotationSession.open(project).close()
    viewer = napari.Viewer(title="Maskwright")
    widget = AnnotatorWidget(viewer, project=project, preset=preset, device=device)
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    napari.run()
