"""What is at the place that a user names as a project, before anything is created there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from maskwright.imaging.reading import is_image_file
from maskwright.session.messages import plural

__all__ = ["LocationKind", "ProjectLocation"]


class LocationKind(Enum):
    """What is there."""

    PROJECT = "project"
    """A project, or a database URL, which only opening can tell."""
    NEW = "new"
    """Nothing, or an empty folder."""
    IMAGES = "images"
    """A folder of image files."""
    OTHER = "other"
    """Something that is no place for a project."""


@dataclass(frozen=True, slots=True)
class ProjectLocation:
    """A place that a user named, and what to say of it."""

    location: str
    kind: LocationKind
    message: str = ""
    """What is there instead of a project; a question where one can be created."""

    @classmethod
    def inspect(cls, location: str) -> ProjectLocation:
        """Look at a folder or database URL; creates nothing."""
        location = location.strip()
        if not location:
            return cls("", LocationKind.OTHER, "Type the folder of a project, or choose one with Open.")
        if "://" in location:
            return cls(location, LocationKind.PROJECT)
        folder = Path(location).expanduser()
        if (folder / "project.db").exists():
            return cls(str(folder), LocationKind.PROJECT)
        if folder.is_file():
            return cls(location, LocationKind.OTHER, f"{folder.name} is a file. Name the folder of a project.")
        entries = list(folder.iterdir()) if folder.is_dir() else []
        images = sum(is_image_file(entry) for entry in entries)
        if images:
            question = f"{folder} has {plural(images, 'image')}, but no project. Create one there with these images?"
            return cls(str(folder), LocationKind.IMAGES, question)
        if entries:
            question = f"{folder} is a folder of other files, without a project. Create one there?"
        else:
            question = f"There is no project at {folder}. Create one?"
        return cls(str(folder), LocationKind.NEW, question)
