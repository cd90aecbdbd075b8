"""Keys of the dock in a viewer: bound beside the user's own, and gone with the dock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari

__all__ = ["KEYS", "KeyBindings"]

KEYS = {
    "Q": ("run", "Find masks"),
    "G": ("accept", "Accept"),
    "U": ("reject", "Reject"),
    "N": ("next", "Next image"),
    "Shift-N": ("previous", "Previous image"),
    "H": ("hide", "Hide or show proposals"),
    "W": ("tool", "Click off, point, box"),
    "K": ("sign", "Positive or negative points"),
    "J": ("other", "Another mask for the clicks"),
    "Shift-U": ("undo", "Undo: the last click, else the last step"),
    "Shift-R": ("redo", "Redo"),
    "Shift-H": ("clear", "Clear the clicks"),
    "Control-Z": ("undo", "Undo, where the active layer has no undo of its own"),
    **{
        f"Control-{key}": (f"class {key}", f"Class {key}: for the selected masks, else for the next one")
        for key in range(1, 10)
    },
    "Control-Shift-Z": ("redo", "Redo, where the active layer has no redo of its own"),
}
"""Key -> (action, description); keys that no napari default for the viewer uses."""


class KeyBindings:
    """The keys of one dock in one viewer."""

    def __init__(self, viewer: napari.Viewer, run: Callable[[str], None]) -> None:
        """Take a viewer, and a function that runs an action by name."""
        self._viewer, self._run = viewer, run
        self._bound: dict[str, Callable[[Any], None]] = {}

    def attach(self) -> list[str]:
        """Bind the keys that the user has not bound; returns those that the user has."""
        taken = []
        for key, (action, _) in KEYS.items():
            if key in self._bound:
                continue
            function = self._function(action)
            try:
                self._viewer.bind_key(key, function)
            except ValueError:
                taken.append(key)
            else:
                self._bound[key] = function
        return taken

    def detach(self) -> None:
        """Give back the keys that are still ours."""
        for key, function in self._bound.items():
            if function in self._viewer.keymap.values():
                self._viewer.bind_key(key, None)
        self._bound = {}

    def _function(self, action: str) -> Callable[[Any], None]:
        # napari takes what a key function returns for a generator
        def press(_: Any) -> None:
            self._run(action)

        return press
