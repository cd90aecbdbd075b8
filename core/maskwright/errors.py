"""Errors shown to the user: a message with the cause and what to do about it (rules E-1 to E-20).

MaskwrightError
    Cancelled
    UsageError: EmptyPrompt, EmptyPhrase, BadPrompt (clicks, boxes)
    ShapeError: InvalidMask
    BadReference
    ImageUnreadable, UnsupportedImage, ImageTooLarge
    PresetMissing, BadWeights, DeviceMissing, AppMissing
    AccessRefused, Unreachable, NoDiskSpace (downloads)
    BadProject, ProjectUnwritable, Conflict, NothingToUndo, OtherImage
    BadCoco
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "AccessRefused",
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
    "NoDiskSpace",
    "NothingToUndo",
    "OtherImage",
    "PresetMissing",
    "ProjectUnwritable",
    "ShapeError",
    "Unreachable",
    "UnsupportedImage",
    "UsageError",
]


class MaskwrightError(Exception):
    """An error that the user can do something about; `str()` of it is shown as it is.

    Args:
        message: what is wrong; it may say what to do as well.
        hint: what to do, where that is a sentence of its own; `str()` appends it.
    """

    exit_status = 1
    """Exit status of a command that fails with this error."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.hint = hint


class UsageError(MaskwrightError):
    """Arguments that are wrong for every model, image and project."""

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
    """A search phrase without words."""

    def __init__(self) -> None:
        super().__init__('Type what the images should show, for example "a zebra in the grass".')


class EmptyPrompt(UsageError):
    """A text prompt without class names."""

    def __init__(self) -> None:
        super().__init__('Type at least one class name, for example "grass, cow, sky".')


class BadPrompt(UsageError):
    """Points or a box that are malformed or outside the image."""


class BadReference(MaskwrightError):
    """A reference mask that is missing, empty or covers the whole image."""


class ImageUnreadable(MaskwrightError):
    """The file is damaged, empty, or not an image."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Cannot read {name}: the file is damaged or not an image. "
            "Open it in an image viewer to check, or choose another file."
        )


class FileNotReadable(MaskwrightError):
    """A file that this user may not read."""

    def __init__(self, file: object) -> None:
        super().__init__(
            f"'{file}' is not readable. It belongs to another user: ask for the right to read it, or for a copy."
        )


class UnsupportedImage(MaskwrightError):
    """A file type that is not supported."""

    def __init__(self, name: str, supported: Iterable[str], *, heif: bool = False) -> None:
        """Take what is supported, and whether the content is HEIC under whatever name."""
        heif = heif or name.lower().endswith((".heic", ".heif"))
        extra = " `pip install 'maskwright[heic]'` adds HEIC." if heif else ""
        super().__init__(f"{name}: this file type is not supported. Supported: {', '.join(supported)}.{extra}")


class ImageTooLarge(MaskwrightError):
    """An image with more pixels than the limit; raised before they are decoded."""

    def __init__(self, name: str, megapixels: float, limit: float) -> None:
        super().__init__(
            f"{name} has {megapixels:.0f} megapixels; the limit is {limit:.0f}. "
            "Raise it with MASKWRIGHT_MAX_MEGAPIXELS, or make the image smaller."
        )


class PresetMissing(MaskwrightError):
    """A preset that is not on this computer, or a folder without one."""

    def __init__(self, name: str, looked_in: Path, known: Iterable[str], fetch_page: str | None = None) -> None:
        """Take the page of its licence where `models fetch` can get it."""
        way = f"`maskwright models info {name}` to see what it needs"
        if fetch_page:
            way = f"`maskwright models fetch {name}` to get it (licence: {fetch_page})"
        super().__init__(
            f"Model {name} is not on this computer (looked in {looked_in}). Run {way}, or use one of: "
            f"{', '.join(known)}."
        )


class BadWeights(MaskwrightError):
    """A weights file that is damaged or does not fit its model."""


class DeviceMissing(MaskwrightError):
    """A device that this machine does not have."""

    def __init__(self, device: str, present: Iterable[str]) -> None:
        super().__init__(f"This machine has no device {device}. Use one of: {', '.join(present)}.")


class AccessRefused(MaskwrightError):
    """A download for which its owner has not given access to this account, or to nobody who is not logged in."""

    def __init__(self, repository: str, page: str) -> None:
        super().__init__(
            f"The model owner has not given your account access to {repository}.",
            f"Ask at {page}, log in with `hf auth login` or set HF_TOKEN, then run it again; click and box work "
            "without it.",
        )
        self.page = page


class Unreachable(MaskwrightError):
    """A download without a network, or from a server that does not answer."""


class NoDiskSpace(MaskwrightError):
    """A download for which the disk has too little space; raised before it starts where that is possible."""

    def __init__(self, what: str, folder: Path, needed: int, free: int) -> None:
        super().__init__(
            f"{what} needs {needed / 1e9:.2f} GB in {folder}, where {max(free, 0) / 1e9:.2f} GB are free.",
            "Free some space, or name a folder on another disk with HF_HOME and MASKWRIGHT_PRESETS.",
        )


class BadProject(MaskwrightError):
    """A project that cannot be opened: missing, damaged, or made by a newer version."""


class ProjectUnwritable(MaskwrightError):
    """A project that cannot be written: read-only, another user's, locked, or the disk is full."""


class Conflict(MaskwrightError):
    """Another user or process changed the same row in the meantime; nothing was overwritten."""


class NothingToUndo(MaskwrightError):
    """There is no step to undo or redo."""


class OtherImage(MaskwrightError):
    """The step to undo or redo changed another image than the one in view."""

    def __init__(self, sentence: str, image_id: int) -> None:
        super().__init__(sentence)
        self.image_id = image_id


class BadCoco(MaskwrightError):
    """A JSON file that is not a COCO dataset."""


class AppMissing(MaskwrightError):
    """A front end that is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The {name} front end is not installed. Run `python3 launch.py`, or `pip install 'maskwright[{name}]'`."
        )
