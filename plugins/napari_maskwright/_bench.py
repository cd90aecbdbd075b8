"""Speed of the window: the longest pause of its thread and the memory while a user works."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from maskwright.domain import Image, Mask
from maskwright.session import AnnotationSession, Progress

__all__ = ["bench"]

_MASKS, _IMAGES = 272, 2000
_LARGE_HW = 8000, 12_000
_TICK_MS = 2
_SAMPLE_SECONDS = 0.01
_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """One action of the user."""

    action: str
    pause: float
    """Longest time, in ms of the CPU, that the window's thread did not answer."""
    pause_wall: float
    """The same in ms of the clock, which other programs on the machine lengthen."""
    seconds: float
    """From the action to the end of what it shows."""
    memory: float
    """Most memory of the process above that before the action, in MB."""


class _Meter:
    """Measures the longest pause and the most memory of what runs inside `measure`."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._process = psutil.Process()
        self._last = self._last_wall = 0.0
        self._pause = self._pause_wall = 0.0
        self._timer = QTimer()
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self._tick)

    @contextmanager
    def measure(self, action: str) -> Iterator[None]:
        """Measure an action, to the end of the drawing that it causes."""
        before, peak, ended = self._process.memory_info().rss, 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(_SAMPLE_SECONDS):
                peak = max(peak, self._process.memory_info().rss)

        watcher = threading.Thread(target=watch, name="maskwright-bench", daemon=True)
        self._pause = self._pause_wall = 0.0
        self._last, self._last_wall, began = time.thread_time(), time.monotonic(), time.monotonic()
        self._timer.start()
        watcher.start()
        yield
        seconds = time.monotonic() - began
        _settle()
        self._timer.stop()
        ended.set()
        watcher.join()
        memory = max(0, peak - before) / 2**20
        self.steps.append(Step(action, 1000 * self._pause, 1000 * self._pause_wall, seconds, memory))

    def _tick(self) -> None:
        now, wall = time.thread_time(), time.monotonic()
        self._pause = max(self._pause, now - self._last)
        self._pause_wall = max(self._pause_wall, wall - self._last_wall - _TICK_MS / 1000)
        self._last, self._last_wall = now, wall


def bench(*, preset: str, device: str, progress: Progress, large: bool = True) -> list[dict[str, Any]]:
    """Measure a window that is shown, in projects of its own.

    Args:
        preset: preset name or checkpoint folder.
        device: as for `Engine.load`.
        progress: reports actions.
        large: also measure an image of 12,000 x 8,000 pixels.

    Returns:
        For each action its name, the longest pause in ms of CPU and of the clock, seconds, and MB of memory.
    """
    import napari

    from napari_maskwright._widget import AnnotatorWidget

    meter = _Meter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        small, many, empty = (Path(home) / name for name in ("small", "many", "empty"))
        progress.report(0, 7, "Preparing")
        _fill(small, [_cells(1024, seed) for seed in range(3)], masks_on=3)
        _fill(many, [_cells(24, seed) for seed in range(_IMAGES)])
        viewer = napari.Viewer(show=True)
        widget = AnnotatorWidget(viewer, project=str(small), preset=preset, device=device)
        viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
        try:
            _until(lambda: widget.controller is not None and widget.controller.image_id == 1)
            with meter.measure("first click, which loads the model"):
                _click(widget, 500, 500)
            widget.run_action("clear")
            _until(lambda: not widget._masks)
            for number, (name, action) in enumerate(_actions(widget, many)):
                progress.report(number + 1, 7, name)
                with meter.measure(name):
                    action()
            if large:
                progress.report(6, 7, "12,000 x 8,000 pixels")
                _large(widget, viewer, empty, meter)
        finally:
            widget.shut_down()
            viewer.close()
            _settle()
    progress.report(7, 7)
    return [asdict(step) for step in meter.steps]


def _actions(widget: Any, many: Path) -> list[tuple[str, Callable[[], None]]]:
    def accept() -> None:
        widget.run_action("accept")
        _until(lambda: _decided(widget))

    def step(image_id: int, masks: int) -> None:
        widget.controller.images.open(image_id)
        _until(lambda: widget.controller.image_id == image_id and len(widget._masks) == masks)

    def open_many() -> None:
        widget.open_project(str(many))
        _until(lambda: widget._project.images.count() == _IMAGES and widget.controller.image_id is not None)

    return [
        ("click", lambda: _click(widget, 300, 300)),
        ("accept", accept),
        ("switch to another image", lambda: step(2, 0)),
        (f"switch to {_MASKS} masks", lambda: step(3, _MASKS)),
        (f"click among {_MASKS} masks", lambda: _click(widget, 700, 700)),
        (f"open {_IMAGES:,} images", open_many),
    ]


def _large(widget: Any, viewer: Any, project: Path, meter: _Meter) -> None:
    """A click on a 16-bit image that is already in napari."""
    widget.open_project(str(project), create=True)
    _until(lambda: widget.controller is not None and widget.controller.session.folder.name == project.name)
    pixels = np.tile(_cells(1000, 0)[..., 0].astype(np.uint16) * 16, (_LARGE_HW[0] // 1000, _LARGE_HW[1] // 1000))
    y, x = _LARGE_HW[0] // 2, _LARGE_HW[1] // 2
    pixels[y - 40 : y + 40, x - 40 : x + 40] = np.where(np.hypot(*np.mgrid[-40:40, -40:40]) < 16, 3200, 400)
    with meter.measure("show 12,000 x 8,000 pixels"):
        viewer.add_image(pixels, name="large", contrast_limits=(0, 4096))
        _until(lambda: widget._canvas.size_hw == _LARGE_HW)
    with meter.measure("click on 12,000 x 8,000 pixels"):
        _click(widget, x, y)
    with meter.measure("accept on 12,000 x 8,000 pixels"):
        widget.run_action("accept")
        _until(lambda: _decided(widget))


def _decided(widget: Any) -> bool:
    """Whether masks are accepted, and no proposal is open."""
    return bool(widget._masks) and all(view.annotation for view in widget._masks)


def _click(widget: Any, x: float, y: float) -> None:
    """A positive point, until its mask is on screen."""
    widget.add_point(x, y, opposite=False, radius=0.0)
    _until(lambda: any(view.proposal for view in widget._masks))


def _fill(folder: Path, images: list[NDArray[np.uint8]], *, masks_on: int | None = None) -> None:
    """Make a project, with masks on the image of this number, from 1."""
    session = AnnotationSession.open(str(folder))
    ids = [session.images.add(Image(pixels, f"image {n}")).id for n, pixels in enumerate(images)]
    if masks_on is not None:
        size = images[0].shape[:2]
        disc = np.hypot(*np.mgrid[-12:13, -12:13]) < 12
        places = [(x, y) for y in range(20, size[0] - 40, 56) for x in range(20, size[1] - 40, 56)][:_MASKS]
        for x, y in places:
            mask = Mask.from_part(disc, (x, y), (size[0], size[1]))
            session.masks.draw(ids[masks_on - 1], mask, f"class {x % 5}")
    session.close()


def _cells(side: int, seed: int) -> NDArray[np.uint8]:
    """(side, side, 3) bright discs in noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(10, 40, (side, side), dtype=np.uint8)
    ys, xs = np.mgrid[-16:16, -16:16]
    disc = np.hypot(ys, xs) < 15
    for y, x in rng.integers(16, max(17, side - 16), (side * side // 5000, 2)):
        target = pixels[y - 16 : y + 16, x - 16 : x + 16]
        target[disc[: target.shape[0], : target.shape[1]]] = 200
    # its own content, whatever its size
    pixels[0, :2] = seed % 256, seed // 256
    return np.repeat(pixels[..., None], 3, axis=2)


def _until(ready: Callable[[], bool]) -> None:
    """Let the window run until something is true."""
    end = time.monotonic() + _TIMEOUT
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("The window did not get there in five minutes.")
        QApplication.processEvents()
        time.sleep(0.001)


def _settle() -> None:
    """Let the window draw what it has to draw."""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.001)
