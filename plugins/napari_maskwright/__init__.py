"""Maskwright in napari: a dock widget on the same project as the browser page."""

from __future__ import annotations

import os
import sys
from contextlib import closing

__all__ = ["launch"]


def launch(*, project: str, preset: str = "tiny", device: str = "auto", engine: str = "") -> None:
    """Open napari with the dock widget on a project, which is created if it is new; returns when the window closes.

    Args:
        project: folder or database URL.
        preset: preset name or checkpoint folder.
        device: as for `Engine.load`.
        engine: address of a running `maskwright ui` that answers prompts; empty for this computer.

    Raises:
        MaskwrightError: there is no display, the project cannot be used, or the server does not answer.
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

    # report what cannot be used in the terminal, before any window opens
    with closing(AnnotationSession.open(project)) as session:
        if engine:
            session.engines.use_server(engine)
    viewer = napari.Viewer(title="Maskwright")
    widget = AnnotatorWidget(viewer, project=project, preset=preset, device=device, engine=engine)
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    napari.run()
