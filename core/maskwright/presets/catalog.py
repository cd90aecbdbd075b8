"""The catalogue of presets: what is installed, and what the official ones need."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from maskwright.errors import PresetMissing
from maskwright.files.hashing import sha256_of
from maskwright.presets.config import OVS_DINO, OVS_ENCODERS
from maskwright.presets.config_io import sections
from maskwright.presets.folders import CONFIG, find, installed, tasks
from maskwright.presets.loading import dinotxt_settings, dinov3seg_settings
from maskwright.presets.official import OFFICIAL
from maskwright.settings import Settings

__all__ = ["Facts", "describe"]


class Facts(NamedTuple):
    """What is known of a preset, as values and as text."""

    values: dict[str, Any]
    text: str


def describe(name: str, settings: Settings) -> Facts:
    """What a preset is, where it is installed, and which files it is made from.

    Args:
        name: of a preset, or the path of a folder.
        settings: for the folder of installed presets.

    Raises:
        PresetMissing: neither installed nor official.
    """
    values: dict[str, Any] = {"name": name, "installed": None, "files": []}
    lines = [name]
    here = installed(settings)
    if name in here or (Path(name).expanduser() / CONFIG).is_file():
        _describe_installed(find(name, settings), values, lines)
    if name in OFFICIAL:
        _describe_official(name, values, lines)
    if len(lines) == 1:
        raise PresetMissing(name, settings.presets.expanduser(), [*here, *OFFICIAL])
    return Facts(values, "\n".join(lines))


def _describe_installed(folder: Path, values: dict[str, Any], lines: list[str]) -> None:
    parts = sections(folder)
    stored = [part for part in parts.values() if "weights" in part]
    intact = [_is_intact(folder / str(part["weights"]), str(part["sha256"])) for part in stored]
    sha256 = str(stored[0]["sha256"]) if stored else ""
    values |= {"installed": str(folder), "sha256": sha256, "whole": bool(stored) and all(intact)}
    lines.append(f"installed in {folder}")
    for part, good in zip(stored, intact, strict=True):
        lines.append(f"{part['weights']} {part['sha256'][:12]}, {'intact' if good else 'DAMAGED'}")
    if "dinotxt" in parts:
        known = dinotxt_settings(folder).vocabulary
        names = "not limited" if known is None else f"{len(known)} class names (others are tried, with a note)"
        lines.append(f"vocabulary: {names}")
    values["tasks"] = list(tasks(folder))
    if tasks(folder):
        lines.append(f"segments by {' and by '.join(tasks(folder))}")
    if "dinov3seg" in parts:
        trained = dinov3seg_settings(folder).trained
        lines.append(f"text prompts use {'dinov3.seg' if trained else 'dino.txt until dinov3.seg is trained'}")
    if not parts.get("talk2dino", {}).get("trained", True):
        lines.append("Talk2DINO waits for training (maskwright train-projection)")
    elif "talk2dino" in parts:
        lines.append("Talk2DINO also takes text prompts (--method talk2dino) and finds images by a phrase")
    if OVS_DINO in parts:
        lines.append("OVS-DINO also takes text prompts (--method ovs-dino)")
    elif OVS_ENCODERS in parts:
        lines.append("OVS-DINO waits for training (maskwright train --task ovs)")
    card = folder / "README.md"
    lines += [f"model card: {card}"] if card.is_file() else []


def _describe_official(name: str, values: dict[str, Any], lines: list[str]) -> None:
    official = OFFICIAL[name]
    values |= {
        "description": official.description,
        "improves": official.improves,
        "fetchable": official.fetchable,
        "files": [asdict(file) for file in official.files],
    }
    lines += [official.description, official.improves]
    for file in official.files:
        lines.append(f"needs {file.name}: {file.what}")
        lines.append(f"  licence: {file.licence}")
        lines.append(f"  published at {file.page}" + (f"; on the hub as {file.hub}" if file.hub else ""))
        if file.gated:
            lines.append(f"  accept the licence at https://huggingface.co/{file.hub} first")
        if not file.fetchable:
            lines.append("  not on the hub: download it by hand")
    if official.fetchable:
        lines.append(f"then: maskwright models fetch {name} (about {official.size / 1e6:,.0f} MB)")
        lines.append(f"  or with the files: maskwright models import FILE... --as {name}")
    else:
        lines.append(f"then: maskwright models import FILE... --as {name}")


def _is_intact(weights: Path, sha256: str) -> bool:
    return weights.is_file() and sha256_of(weights) == sha256
