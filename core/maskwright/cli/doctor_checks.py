"""Checks of `maskwright doctor`: interpreter, packages, devices, front ends, presets and the project."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from maskwright import __version__
from maskwright.errors import MaskwrightError
from maskwright.settings import Settings

__all__ = ["Check", "diagnose"]

_PACKAGES = ("torch", "numpy", "pillow", "sqlalchemy", "pycocotools", "safetensors")
_FRONT_ENDS = {"gradio": "app", "napari": "napari"}


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    subject: str
    ok: bool
    found: str
    mend: str = ""
    """The command or step that fixes it."""
    needed: bool = True
    """Whether Maskwright needs it to work at all."""


def diagnose(project: Path | None = None) -> list[Check]:
    """Run all checks."""
    return [*_machine(), *_packages(), *_devices(), *_front_ends(), *_models(), *_project(project)]


def _machine() -> Iterator[Check]:
    yield Check("maskwright", ok=True, found=__version__)
    python = platform.python_version()
    yield Check(
        "python",
        ok=sys.version_info >= (3, 11),
        found=python,
        mend="" if sys.version_info >= (3, 11) else "install 3.11",
    )
    free = shutil.disk_usage(Path.home()).free / 2**30
    mend = "" if free > 1 else "free some space in your home folder"
    yield Check("disk", ok=free > 1, found=f"{free:.1f} GiB free", mend=mend, needed=False)


def _packages() -> Iterator[Check]:
    for name in _PACKAGES:
        try:
            yield Check(name, ok=True, found=version(name))
        except PackageNotFoundError:
            yield Check(name, ok=False, found="missing", mend="python3 launch.py doctor")


def _devices() -> Iterator[Check]:
    from maskwright.models.devices import devices

    yield Check("devices", ok=True, found=", ".join(devices()))


def _front_ends() -> Iterator[Check]:
    for package, extra in _FRONT_ENDS.items():
        available = importlib.util.find_spec(package) is not None
        mend = "" if available else f"pip install 'maskwright[{extra}]'"
        yield Check(package, ok=available, found=version(package) if available else "missing", mend=mend, needed=False)
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        available = shutil.which("xvfb-run") is not None
        mend = "" if available else "apt-get install xvfb (napari needs a display; the browser page does not)"
        yield Check(
            "display",
            ok=available,
            found="none; xvfb-run is installed" if available else "none",
            mend=mend,
            needed=False,
        )


def _models() -> Iterator[Check]:
    from maskwright.presets.catalog import describe
    from maskwright.presets.folders import installed
    from maskwright.presets.official import OFFICIAL

    settings = Settings.load()
    presets = installed(settings)
    for name, folder in presets.items():
        try:
            intact = bool(describe(name, settings).values["whole"])
            mend = "" if intact else _way(name)
            yield Check(
                f"model {name}", ok=intact, found=str(folder) if intact else "corrupt", mend=mend, needed=name == "tiny"
            )
        except (MaskwrightError, OSError) as error:
            yield Check(f"model {name}", ok=False, found=str(error), mend=_way(name), needed=name == "tiny")
    if "tiny" not in presets:
        yield Check("model tiny", ok=False, found="missing", mend="install maskwright again; it comes with the package")
    for name in OFFICIAL:
        if name not in presets:
            yield Check(f"model {name}", ok=False, found="missing", mend=_way(name), needed=False)


def _way(name: str) -> str:
    """How to get a preset that is missing or damaged."""
    from maskwright.presets.official import OFFICIAL

    official = OFFICIAL.get(name)
    if official is not None:
        return f"maskwright models {'fetch' if official.fetchable else 'info'} {name} (licence: {official.page})"
    return "delete the folder and install the preset again"


def _project(project: Path | None) -> Iterator[Check]:
    from maskwright.project import Project

    folder = project or Settings.load().project.expanduser()
    if project is None and not (folder / "project.db").exists():
        yield Check("project", ok=True, found=f"none yet in {folder}", needed=False)
        return
    try:
        with Project.open(folder) as opened:
            counts = opened.status()
        yield Check(
            "project", ok=True, found=f"{folder}: {counts.images} images, {sum(counts.accepted.values())} masks"
        )
    except MaskwrightError as error:
        yield Check("project", ok=False, found=str(error), mend="see the message", needed=project is not None)
