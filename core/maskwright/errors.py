"""Errors that a person may meet: one sentence with the cause and the way out (rules E-1 to E-20).

MaskwrightError
    Cancelled
    UsageError: EmptyPrompt, EmptyPhrase, BadPrompt (clicks, boxes)
    ShapeError: InvalidMask
    BadReference
    ImageUnreadable, UnsupportedImage, ImageTooLarge
    PresetMissing, BadWeights, DeviceMissing, AppMissing
    BadProject, ProjectUnwritable, Conflict, NothingToUndo, OtherImage
    BadCoco
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "AppMissing",
    "BadCoco",
    "BadProject",
    "BadPrompt",
    "BadReference",
    "BadWeights",
    "Cancelled",
    "Conflict",
    "DeviceMissing",
    "EmptyPhrase",
    "EmptyPrompt",
    "ImageTooLarge",
    "ImageUnreadable",
    "InvalidMask",
    "MaskwrightError",
    "NothingToUndo",
    "OtherImage",
    "PresetMissing",
    "ProjectUnwritable",
    "ShapeError",
    "UnsupportedImage",
    "UsageError",
]


class MaskwrightError(Exception):
    """Something a person can mend; `str()` of it is fit to be shown as it is."""

    exit_status = 1
    """Of a command that fails with it."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        """Take what is wrong, and what to do where that is a sentence of its own."""
        super().__init__(f"{message} {hint}".strip())
        self.hint = hint


class UsageError(MaskwrightError):
    """Arguments that no model, image or project could make right."""

    exit_status = 2


class Cancelled(MaskwrightError):
    """The work was stopped on request."""

    def __init__(self) -> None:
        super().__init__("Cancelled; nothing half-done was kept.")


class ShapeError(MaskwrightError):
    """An array has the wrong shape or type."""


class InvalidMask(ShapeError):
    """A mask is not a boolean (H, W) array of its image's size."""


class EmptyPhrase(UsageError):
    """Nothing to look for."""

    def __init__(self) -> None:
        super().__init__('Type what the pictures should show, such as "a zebra in the grass".')


class EmptyPrompt(UsageError):
    """A text prompt without a single class name."""

    def __init__(self) -> None:
        super().__init__('Type at least one class name, for example "grass, cow, sky".')


class BadPrompt(UsageError):
    """Clicks or a box that cannot be answered."""


class BadReference(MaskwrightError):
    """A reference mask that shows nothing, or does not tell the thing from the rest."""


class ImageUnreadable(MaskwrightError):
    """The file is damaged, empty, or not an image."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Cannot read {name}: the file is damaged or not an image. "
            "Open it in a picture viewer to check, or choose another file."
        )


class UnsupportedImage(MaskwrightError):
    """A kind of file that is known but not read."""

    def __init__(self, name: str, supported: Iterable[str]) -> None:
        super().__init__(f"{name}: this file type is not supported. Supported: {', '.join(supported)}.")


class ImageTooLarge(MaskwrightError):
    """More pixels than the limit; raised before the pixels are decoded."""

    def __init__(self, name: str, megapixels: float, limit: float) -> None:
        super().__init__(
            f"{name} has {megapixels:.0f} megapixels; the limit is {limit:.0f}. "
            "Raise it with MASKWRIGHT_MAX_MEGAPIXELS, or make the picture smaller."
        )


class PresetMissing(MaskwrightError):
    """A preset name or folder that holds no weights."""

    def __init__(self, name: str, looked_in: Path, known: Iterable[str]) -> None:
        super().__init__(
            f"Model {name} is not on this computer (looked in {looked_in}). "
            f"Run `maskwright models info {name}` to see what it needs, or use one of: {', '.join(known)}."
        )


class BadWeights(MaskwrightError):
    """A weights file that is damaged or does not fit its model."""


class DeviceMissing(MaskwrightError):
    """A device was asked for by name that this machine lacks."""

    def __init__(self, device: str, present: Iterable[str]) -> None:
        super().__init__(f"This machine has no device {device}. Use one of: {', '.join(present)}.")


class BadProject(MaskwrightError):
    """A project that cannot be opened: missing, damaged, or made by a newer version."""


class ProjectUnwritable(MaskwrightError):
    """A project that cannot be written: read-only, another user's, locked, or the disk is full."""


class Conflict(MaskwrightError):
    """Somebody else changed the same thing meanwhile; nothing was overwritten."""


class NothingToUndo(MaskwrightError):
    """There is no step left to take back, or to do again."""


class OtherImage(MaskwrightError):
    """The step to undo or redo was on another image than the one in view."""

    def __init__(self, sentence: str, image_id: int) -> None:
        super().__init__(sentence)
        self.image_id = image_id


class BadCoco(MaskwrightError):
    """A JSON file that is not a COCO dataset."""


class AppMissing(MaskwrightError):
    """A front end whose extra is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The {name} front end is not installed. Run `python3 launch.py`, or `pip install 'maskwright[{name}]'`."
        )
