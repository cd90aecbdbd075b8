"""A project: one folder with its store, its images and the checkpoints made from them."""

from __future__ import annotations

from maskwright.project.images import AddResult, user_name
from maskwright.project.project import Project

__all__ = ["AddResult", "Project", "user_name"]
