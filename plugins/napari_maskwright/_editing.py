"""Strokes of napari's brush in the layer of accepted masks, which become revisions of the masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from maskwright.domain import Mask
from maskwright.session import MaskEdit
from napari_maskwright._overlay import Overlay

__all__ = ["Editing", "edits_of"]

_STROKE_MS = 500
"""Milliseconds after a stroke until it is stored; further strokes in that time belong to it."""


class Editing:
    """Watches the editable layer; one save runs at a time, and strokes made meanwhile wait for the next."""

    def __init__(self, overlay: Overlay, save: Callable[[list[MaskEdit]], bool], run: Callable[[str], None]) -> None:
        """Take the overlay, a function that stores edits (False: it cannot), and one that runs an action by name."""
        self._overlay, self._save, self._run = overlay, save, run
        self._layer: Any = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_STROKE_MS)
        self._timer.timeout.connect(self.flush)
        self._saving = False
        overlay.made = self._watch

    @property
    def unsaved(self) -> bool:
        """Whether strokes are on the screen that are not stored."""
        return self._timer.isActive() or self._saving

    def flush(self) -> None:
        """Store the strokes now."""
        self._timer.stop()
        if self._saving:
            self._timer.start()
            return
        edits = edits_of(self._overlay)
        if edits and self._save(edits):
            self._saving = True
            self._overlay.accept_strokes()

    def saved(self) -> None:
        """The strokes are stored."""
        self._saving = False

    def failed(self) -> None:
        """They could not be stored: they stay on the screen, and the next stroke tries again."""
        self._saving = False
        self._overlay.reject_strokes()

    def close(self) -> None:
        """Store what is on the screen, and watch no more."""
        if self._timer.isActive():
            self.flush()
        self._timer.stop()

    def _watch(self, layer: Any) -> None:
        self._layer = layer
        if layer.multiscale:
            return
        layer.editable = True
        layer.events.paint.connect(self._painted)
        # the layer's own history ends where the project's begins
        layer.bind_key("Control-Z", lambda layer: self._step(layer, "undo"), overwrite=True)
        layer.bind_key("Control-Shift-Z", lambda layer: self._step(layer, "redo"), overwrite=True)

    def _painted(self, _: Any = None) -> None:
        self._timer.start()

    def _step(self, layer: Any, name: str) -> None:
        """Undo or redo: strokes that are not stored by the layer, all others by the project."""
        if self._timer.isActive():
            getattr(layer, name)()
            self._timer.start()
        else:
            self._run(name)


def edits_of(overlay: Overlay) -> list[MaskEdit]:
    """What the strokes since the last drawing change: masks that gained or lost pixels, and new masks."""
    drawing, before = overlay.drawing, overlay.drawn
    if drawing is None or before is None or overlay.layer is None or overlay.layer.multiscale:
        return []
    now = np.asarray(overlay.layer.data)
    rows, columns = np.nonzero(now != before)
    if not rows.size:
        return []
    changed = set(np.unique(np.concatenate([now[rows, columns], before[rows, columns]])).tolist()) - {0}
    views = {item.number: item.view for item in drawing.masks}
    edits = []
    for number in sorted(changed):
        view = views.get(number)
        old = None if view is None else view.mask
        pixels = np.zeros(drawing.size_hw, np.bool_) if old is None else old.to_array()
        pixels[rows, columns] = _after(now[rows, columns], before[rows, columns], number, pixels[rows, columns])
        edits.append(MaskEdit(view.annotation if view else None, old, Mask.from_array(pixels)))
    return edits


def _after(now: NDArray[Any], before: NDArray[Any], number: int, own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether touched pixels belong to a mask afterwards; those of it that lie under another mask stay.

    Args:
        now: (N,) labels after the strokes.
        before: (N,) labels before.
        number: of the mask.
        own: (N,) whether the mask had the pixels.
    """
    hidden = own & (before != number)
    result: NDArray[np.bool_] = (now == number) | hidden
    return result
