"""Prompts answered by a running `maskwright ui`, on this computer or another, through its public endpoints."""

from __future__ import annotations

from maskwright.remote.engine import UNKNOWN_IMAGE, RemoteEngine

__all__ = ["UNKNOWN_IMAGE", "RemoteEngine"]
