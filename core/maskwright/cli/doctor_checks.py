"""What this machine has and lacks: the lines of `maskwright doctor`."""

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

__all__ = ["Line", "diagnose"]

_PACKAGES = ("torch", "transformers", "numpy", "pillow", "sqlalchemy", "pycocotools", "safetensors")
_FRONT_ENDS = {"gradio": "app", "napari": "napari"}


@dataclass(frozen=True, slots=True)
class Line:
    """One finding."""

    subject: str
    ok: bool
    found: str
    mend: str = ""
    """The command or step that mends it."""
    needed: bool = True
    """Nothing works without it."""


def diagnose(project: Path | None = None) -> list[Line]:
    """Look at interpreter, packages, devices, front ends, models and the project."""
    return [*_machine(), *_packages(), *_devices(), *_front_ends(), *_models(), *_project(project)]


def _machine() -> Iterator[Line]:
    yield Line("maskwright", True, __version__)
    python = platform.python_version()
    yield Line("python", sys.version_info >= (3, 11), python, "" if sys.version_info >= (3, 11) else "install 3.11")
    free = shutil.disk_usage(Path.home()).free / 2**30
    mend = "" if free > 1 else "free some space in your home folder"
    yield Line("disk", free > 1, f"{free:.1f} GiB free", mend, needed=False)


def _packages() -> Iterator[Line]:
    for name in _PACKAGES:
        try:
            yield Line(name, True, version(name))
        except PackageNotFoundError:
            yield Line(name, False, "missing", "python3 launch.py doctor")


def _devices() -> Iterator[Line]:
    from maskwright.models.devices import devices

    yield Line("devices", True, ", ".join(devices()))


def _front_ends() -> Iterator[Line]:
    for package, extra in _FRONT_ENDS.items():
        there = importlib.util.find_spec(package) is not None
        mend = "" if there else f"pip install 'maskwright[{extra}]'"
        yield Line(package, there, version(package) if there else "missing", mend, needed=False)
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        there = shutil.which("xvfb-run") is not None
        mend = "" if there else "apt-get install xvfb (napari needs a display; the browser page does not)"
        yield Line("display", there, "none; xvfb-run is there" if there else "none", mend, needed=False)


def _models() -> Iterator[Line]:
    from maskwright.presets.catalog import describe
    from maskwright.presets.loading import installed
    from maskwright.presets.official import OFFICIAL

    settings = Settings.load()
    here = installed(settings)
    for name, folder in here.items():
        try:
            whole = bool(describe(name, settings).values["whole"])
            mend = "" if whole else "delete the folder and get it again"
            yield Line(f"model {name}", whole, str(folder) if whole else "corrupt", mend, needed=name == "tiny")
        except (MaskwrightError, OSError) as error:
            yield Line(f"model {name}", False, str(error), "get it again", needed=name == "tiny")
    if "tiny" not in here:
        yield Line("model tiny", False, "missing", "install maskwright again; it comes with the package")
    for name in OFFICIAL:
        if name not in here:
            yield Line(f"model {name}", False, "missing", f"maskwright models info {name}", needed=False)


def _project(project: Path | None) -> Iterator[Line]:
    from maskwright.project import Project

    folder = project or Settings.load().project.expanduser()
    if project is None and not (folder / "project.db").exists():
        yield Line("project", True, f"none yet in {folder}", needed=False)
        return
    try:
        with Project.open(folder) as opened:
            counts = opened.status()
        yield Line("project", True, f"{folder}: {counts.images} images, {sum(counts.accepted.values())} masks")
    except MaskwrightError as error:
        yield Line("project", False, str(error), "see the sentence", needed=project is not None)
