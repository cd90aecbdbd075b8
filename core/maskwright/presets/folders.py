"""Preset folders on this computer: where they are, and what each answers; without torch."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path

from maskwright.errors import PresetMissing
from maskwright.presets.official import OFFICIAL, Task
from maskwright.settings import Settings

__all__ = ["CONFIG", "TASKS", "bundled", "find", "installed", "tasks"]

CONFIG = "config.json"
TASKS: dict[Task, set[str]] = {
    "text": {"dinotxt", "talk2dino", "ovs-dino"}, "example": {"dinotxt", "insid3"}, "click": {"sam"},
}  # fmt: skip
"""Entries of `config.json` that make a preset answer a kind of prompt."""


def bundled() -> Path:
    """Folder of the presets that come with the package."""
    with as_file(files("maskwright_assets") / "presets") as folder:
        return folder


def installed(settings: Settings) -> dict[str, Path]:
    """Folder of every preset on this computer by name, bundled ones first."""
    folders: dict[str, Path] = {}
    for place in (bundled(), settings.presets.expanduser()):
        if place.is_dir():
            folders |= {child.name: child for child in sorted(place.iterdir()) if (child / CONFIG).is_file()}
    return folders


def find(name: str, settings: Settings) -> Path:
    """Folder of a preset by name, or of a checkpoint by path; raises PresetMissing."""
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return folder.resolve()
    here = installed(settings)
    if name not in here:
        known = [*here, *(other for other in OFFICIAL if other not in here)]
        official = OFFICIAL.get(name)
        page = official.page if official is not None and official.fetchable else None
        raise PresetMissing(name, settings.presets.expanduser(), known, page)
    return here[name]


def tasks(folder: Path) -> tuple[Task, ...]:
    """Those of TASKS that a preset answers; none when its `config.json` cannot be read."""
    try:
        parts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    # imported encoders may wait for their projection
    ready = (
        {name for name, part in parts.items() if name != "talk2dino" or part.get("trained", True)}
        if isinstance(parts, dict)
        else set()
    )
    return tuple(task for task, entries in TASKS.items() if entries & ready)
