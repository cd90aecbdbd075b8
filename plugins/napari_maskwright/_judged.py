"""A window with the held-out images of a fine-tuned model: by people, before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QComboBox, QDialog, QHBoxLayout, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from maskwright.session import JudgedImage, JudgedOverlays

__all__ = ["JudgedWindow"]


class DividedImage(QWidget):
    """Two images of one size: the first on the left of a line, the second on its right."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._images: tuple[QImage, ...] = ()
        self._share = 0.5
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)
        self.setMinimumSize(QSize(160, 120))

    def show_images(self, *images: NDArray[np.uint8]) -> None:
        """Show one or two (H, W, 3) images."""
        # the image does not copy the pixels
        self._images = tuple(
            QImage(part.tobytes(), part.shape[1], part.shape[0], 3 * part.shape[1], QImage.Format_RGB888).copy()
            for part in images
        )
        self.update()

    def divide(self, share: float) -> None:
        """Move the line, 0 to 1 from the left."""
        self._share = share
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802, ARG002 - Qt's name and signature
        """Draw the images as large as they fit."""
        if not self._images:
            return
        first, last = self._images[0], self._images[-1]
        scale = min(self.width() / first.width(), self.height() / first.height())
        width, height = max(1, round(first.width() * scale)), max(1, round(first.height() * scale))
        place = QRect((self.width() - width) // 2, (self.height() - height) // 2, width, height)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.SmoothPixmapTransform)
        painter.drawImage(place, first)
        if last is not first:
            line = place.left() + round(width * self._share)
            painter.setClipRect(QRect(line, place.top(), place.right() - line + 1, height))
            painter.drawImage(place, last)
            painter.setClipping(False)
            painter.setPen(QPen(Qt.white, 2))
            painter.drawLine(line, place.top(), line, place.bottom())
        painter.end()


class JudgedWindow(QDialog):
    """The images of one run, the one that got worst first."""

    def __init__(
        self,
        parent: QWidget,
        title: str,
        images: Sequence[JudgedImage],
        ask: Callable[[int, Callable[[JudgedOverlays], None]], None],
    ) -> None:
        """Show the first image.

        Args:
            parent: Window that this one belongs to.
            title: Of the window.
            images: In their order.
            ask: Draws the masks over an image by its id, and calls its second argument with the results.
        """
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WA_DeleteOnClose)
        self.resize(900, 460)
        self._ask, self._wanted = ask, 0
        self.images = QComboBox()
        self.images.setToolTip("Held-out images, the one that got worst first.")
        for image in images:
            scores = " -> ".join("-" if value is None else f"{value:.2f}" for value in (image.before, image.after))
            self.images.addItem(f"{image.file_name}: {scores}", image.image_id)
        self.images.currentIndexChanged.connect(lambda _: self._request())
        self.person, self.answers = DividedImage("By people"), DividedImage("Before and after")
        self.slider = QSlider(Qt.Horizontal)
        self.slider.setRange(0, 100)
        self.slider.setValue(50)
        self.slider.setToolTip("Before on the left of the line, after on the right.")
        self.slider.valueChanged.connect(lambda value: self.answers.divide(value / 100))
        column, sides = QVBoxLayout(self), QHBoxLayout()
        left, right, captions = QVBoxLayout(), QVBoxLayout(), QHBoxLayout()
        left.addWidget(QLabel("By people"))
        left.addWidget(self.person, 1)
        captions.addWidget(QLabel("Before"), 1)
        captions.addWidget(QLabel("After"))
        right.addLayout(captions)
        right.addWidget(self.answers, 1)
        for side in (left, right):
            sides.addLayout(side, 1)
        column.addWidget(self.images)
        column.addLayout(sides, 1)
        column.addWidget(self.slider)
        self._request()

    def _request(self) -> None:
        self._wanted = self.images.currentData()
        wanted = self._wanted

        def show(overlays: JudgedOverlays) -> None:
            if wanted == self._wanted:
                self.person.show_images(overlays.person)
                self.answers.show_images(overlays.before, overlays.after)

        self._ask(wanted, show)
