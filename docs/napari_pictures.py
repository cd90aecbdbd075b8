"""Make the pictures of napari with the dock from a real window: the animated one of the guide, and screenshots.

    xvfb-run -a -s "-screen 0 1280x800x24" .venv/bin/python docs/napari_pictures.py    writes docs/napari.webp
    ... docs/napari_pictures.py --screens DIR     writes screenshots, dark and light, wide and narrow, into DIR

It opens the sample image of nuclei, and acts on the dock with mouse and keys. QT_SCALE_FACTOR=2 shows a 4k screen.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
SHOWN = (960, 600)
"""Pixels of the animated picture."""
WORDS = "nucleus"


class Session:
    """A window with the sample and the dock on a project of its own."""

    def __init__(self, folder: Path, size: tuple[int, int], theme: str = "dark") -> None:
        import napari
        from napari._qt import qt_main_window
        from qtpy.QtTest import QTest

        from napari_maskwright._samples import nuclei
        from napari_maskwright._widget import AnnotatorWidget

        self.wait_ms = QTest.qWait
        # napari's note about PyQt5 would lie over the window
        qt_main_window.SHOW_QT_WARNING = False
        self.viewer = napari.Viewer(title="Maskwright")
        self.viewer.theme = theme
        self.viewer.window.resize(*size)
        ((pixels, options, _),) = nuclei()
        self.viewer.add_image(pixels, **options)
        self.widget = AnnotatorWidget(self.viewer, project=str(folder), device="cpu")
        self.viewer.window.add_dock_widget(self.widget, name="Maskwright", area="right")
        self.wait(lambda: self.widget.controller is not None)
        self.wait_ms(500)
        self.viewer.reset_view()
        self.frames: list[Pillow.Image] = []
        self.durations: list[int] = []
        self.pointer = (300.0, 300.0)

    def wait(self, ready: Callable[[], Any]) -> None:
        """Let the window work until something is true."""
        for _ in range(9000):
            if ready():
                break
            self.wait_ms(100)
        else:
            raise SystemExit("The window did not get ready.")
        self.wait_ms(300)

    def idle(self) -> bool:
        """Whether nothing runs."""
        return not self.widget._busy.isVisible()

    def shot(self) -> Pillow.Image:
        """The window as it is."""
        return Pillow.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")

    def take(self, milliseconds: int = 150) -> None:
        """Add a frame with the pointer."""
        whole = self.shot()
        frame = whole.resize(SHOWN, Pillow.Resampling.LANCZOS)
        x, y = self.pointer[0] * SHOWN[0] / whole.width, self.pointer[1] * SHOWN[1] / whole.height
        arrow = [(x, y), (x, y + 15), (x + 4, y + 11.5), (x + 10, y + 11)]
        ImageDraw.Draw(frame).polygon(arrow, fill="white", outline="black")
        self.frames.append(frame)
        self.durations.append(milliseconds)

    def to(self, part: Any) -> None:
        """Move the pointer to a part of the dock."""
        place = part.mapTo(part.window(), part.rect().center())
        self.glide(place.x(), place.y())

    def to_pixel(self, x: float, y: float, steps: int = 4) -> None:
        """Move the pointer to a pixel of the image."""
        canvas, camera = self.viewer.window._qt_viewer.canvas.native, self.viewer.scene.camera
        offset = canvas.mapTo(canvas.window(), canvas.rect().topLeft())
        row, column = (np.array([y, x]) - np.asarray(camera.center)[-2:]) * camera.zoom
        self.glide(offset.x() + column + canvas.width() / 2, offset.y() + row + canvas.height() / 2, steps)

    def glide(self, x: float, y: float, steps: int = 4) -> None:
        """Move the pointer to a place of the window."""
        left, top = self.pointer
        for step in range(1, steps + 1):
            self.pointer = (left + (x - left) * step / steps, top + (y - top) * step / steps)
            self.take(60)

    def find(self) -> None:
        """Type the words and wait for the masks."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.keyClicks(self.widget._classes, WORDS)
        QTest.keyClick(self.widget._classes, Qt.Key_Return)
        self.wait(lambda: self.widget._proposals.table.count() and self.idle())
        self.wait_ms(600)


def animate(folder: Path) -> None:
    """Words, a bulk decision, a click, and the brush."""
    from tests.plugin.mouse import press

    film = Session(folder, (1280, 800))
    film.take(700)
    film.to(film.widget._classes)
    film.find()
    film.take(1400)
    film.widget._proposals.least.setValue(0.6)
    film.to(film.widget._proposals.above)
    film.widget._proposals.above.click()
    film.wait(lambda: film.widget._accepted.list.count() and film.idle())
    film.wait_ms(600)
    film.take(1200)
    film.to(film.widget._accepted.by_object)
    film.widget._accepted.by_object.click()
    film.wait_ms(200)
    film.take(1200)
    film.widget.run_action("tool")
    view = next(view for view in film.widget._masks if view.annotation)
    height, width = film.widget._canvas.size_hw
    film.to_pixel(width * 0.45, height * 0.4)
    press(film.viewer, [(width * 0.45, height * 0.4)])
    film.wait(lambda: film.widget.controller.prompt is not None and film.idle())
    film.wait_ms(400)
    film.take(1400)
    film.widget.run_action("clear")
    layer = film.widget._layers["accepted"]
    film.viewer.layers.selection.active = layer
    layer.mode, layer.brush_size, layer.selected_label = "paint", 12, 1
    left, top, wide, high = view.mask.bbox
    places = [(left + wide + 2, top + high * part) for part in (0.2, 0.5, 0.8)]
    film.to_pixel(*places[0])
    press(film.viewer, places)
    film.take(300)
    film.wait(lambda: film.idle() and not film.widget._editing.unsaved)
    film.take(1600)
    first, *others = film.frames
    first.save(
        HERE / "napari.webp", save_all=True, append_images=others, duration=film.durations, loop=0, quality=55, method=4
    )
    film.viewer.close()


def screens(folder: Path, target: Path) -> None:
    """Screenshots: fresh, with proposals, with accepted masks and each folded part, dark and light, wide and narrow."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QApplication

    from napari_maskwright._qt_widgets import Section

    target.mkdir(parents=True, exist_ok=True)
    scale = os.environ.get("QT_SCALE_FACTOR", "1")
    for theme in ("dark", "light"):
        session = Session(folder / theme, (1280, 800), theme)

        def shoot(name: str, session: Session = session, theme: str = theme) -> None:
            session.wait_ms(300)
            session.shot().save(target / f"{theme}-{scale}x-{name}.png")

        shoot("fresh")
        session.find()
        shoot("proposals")
        session.widget.run_action("accept above")
        session.wait(session.idle)
        shoot("accepted")
        sections = session.widget.findChildren(Section)
        for section in sections:
            for other in sections:
                other.header.setChecked(other is section)
            shoot(section.header.text().lower().replace(" ", "-"))
        dock = session.widget.parent()
        session.viewer.window._qt_window.resizeDocks([dock], [320], Qt.Horizontal)
        for section in sections:
            section.header.setChecked(section is sections[0])
        shoot("narrow")
        session.viewer.close()
        QApplication.processEvents()


def main() -> None:
    """Make what the arguments name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--screens", type=Path, help="folder for screenshots, in place of the animated picture")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.screens:
            screens(Path(folder), chosen.screens)
        else:
            animate(Path(folder))


if __name__ == "__main__":
    main()
