"""Which models answer: get a stronger one, or let a server answer."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from maskwright.session import PRESET_ACTIONS, PresetInfo
from napari_maskwright._qt_widgets import button

__all__ = ["ModelsBox"]

_TASKS = {"text": "words", "example": "examples", "click": "clicks"}


class ModelsBox(QWidget):
    """The presets, one at a time with what it improves, and the address of a server."""

    acted = Signal(str, str)
    """An action of `PRESET_ACTIONS`, and the preset's name."""
    server_requested = Signal(str)
    """Address of the server that should answer; empty for this computer."""

    def __init__(self) -> None:
        super().__init__()
        self.presets = QComboBox()
        self.presets.setToolTip("Models: those of this computer, and stronger ones to get.")
        self.presets.setMinimumContentsLength(12)
        self.presets.currentIndexChanged.connect(lambda _: self._describe())
        self.action = button("Use", "", self._act)
        self.page = button("Licence", "Open the page of its licence in the browser.", self._open_page)
        self.line = QLabel()
        self.line.setWordWrap(True)
        # a long name must not make the dock wide
        self.line.setMinimumWidth(1)
        self.address = QLineEdit()
        self.address.setPlaceholderText("http://gpu-server:7860")
        self.address.setToolTip(
            "Address of a running `maskwright ui`, which answers words, examples and clicks for this window; with a "
            "login as http://NAME:PASSWORD@SERVER:PORT. Empty: this computer."
        )
        self.address.returnPressed.connect(self._connect)
        self.connect_button = button("Answer there", "Let that server answer from now on.", self._connect)
        self.server = QLabel("This computer answers.")
        self.server.setWordWrap(True)
        self.server.setMinimumWidth(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 0, 4)
        for parts in ((self.presets, self.page, self.action), (self.address, self.connect_button)):
            row = QHBoxLayout()
            for part in parts:
                row.addWidget(part, part in (self.presets, self.address))
            column.addLayout(row)
            column.addWidget(self.line if self.presets in parts else self.server)
        self._infos: dict[str, PresetInfo] = {}
        self._describe()

    def show_presets(self, infos: Sequence[PresetInfo]) -> None:
        """List these presets; the one in view stays."""
        names = list(self._infos)
        self._infos = {info.name: info for info in infos}
        if list(self._infos) != names:
            before = self.presets.currentData()
            self.presets.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
            self.presets.clear()
            for info in infos:
                self.presets.addItem(info.title, info.name)
            self.presets.setCurrentIndex(max(0, self.presets.findData(before)))
            self.presets.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        self._describe()

    def show_server(self, address: str, sentence: str) -> None:
        """Say who answers; the address is without its login."""
        self.server.setText(sentence)
        local = not address
        for part in (self.presets, self.page, self.action):
            part.setEnabled(local)
        if local:
            self._describe()
        else:
            self.line.setText("The server chooses its models itself, in its page.")

    def _describe(self) -> None:
        info = self._infos.get(self.presets.currentData())
        self.action.setVisible(info is not None and bool(info.actions))
        self.page.setVisible(info is not None and bool(info.page))
        if info is None:
            self.line.setText("Open a project to see the models.")
            return
        if info.actions:
            self.action.setText(PRESET_ACTIONS[info.actions[0]])
        tasks = " and ".join(_TASKS[task] for task in info.tasks)
        uses = f"Answers {' and '.join(_TASKS[task] for task in info.used_for)} now." if info.used_for else ""
        by_hand = f"Run `maskwright models info {info.name}` to see how to get it." if info.state == "by_hand" else ""
        size = f"{info.size_text}, {info.licence}." if info.licence else f"{info.size_text}."
        share = f"{100 * info.share:.0f} %" if info.share is not None else ""
        parts = (info.improves, f"For {tasks}." if tasks else "", size, uses, by_hand, share, info.message)
        self.line.setText(" ".join(part for part in parts if part))
        self.action.setToolTip(f"{PRESET_ACTIONS[info.actions[0]]}: {info.title}." if info.actions else "")

    def _act(self) -> None:
        info = self._infos.get(self.presets.currentData())
        if info is not None and info.actions:
            self.acted.emit(info.actions[0], info.name)

    def _open_page(self) -> None:
        info = self._infos.get(self.presets.currentData())
        if info is not None:
            QDesktopServices.openUrl(QUrl(info.page, QUrl.StrictMode))

    def _connect(self) -> None:
        self.server.setText("Connecting...")
        self.server_requested.emit(self.address.text().strip())
