"""The catalogue of presets: what is installed, what the official ones need, and downloads from the hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from maskwright.errors import MaskwrightError, PresetMissing, UsageError
from maskwright.files.hashing import sha256_of
from maskwright.presets.config_io import sections
from maskwright.presets.loading import dinotxt_settings, dinov3seg_settings, find, installed
from maskwright.presets.official import OFFICIAL
from maskwright.presets.weights import CONFIG
from maskwright.settings import Settings

__all__ = ["Facts", "describe", "fetch"]


_PROMPTS = {"word": {"dinotxt", "talk2dino"}, "example": {"dinotxt", "insid3"}, "click": {"sam"}}
"""Entries of `config.json` that make a preset take a kind of prompt."""


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
    prompts = [prompt for prompt, entries in _PROMPTS.items() if parts.keys() & entries]
    lines.append(f"segments by {' and by '.join(prompts)}")
    if "dinov3seg" in parts:
        trained = dinov3seg_settings(folder).trained
        lines.append(f"text prompts use {'dinov3.seg' if trained else 'dino.txt until dinov3.seg is trained'}")
    if "talk2dino" in parts:
        lines.append("Talk2DINO also takes text prompts (--method talk2dino) and finds images by a phrase")
    card = folder / "README.md"
    lines += [f"model card: {card}"] if card.is_file() else []


def _describe_official(name: str, values: dict[str, Any], lines: list[str]) -> None:
    official = OFFICIAL[name]
    values |= {"description": official.description, "files": [asdict(file) for file in official.files]}
    lines.append(official.description)
    for file in official.files:
        lines.append(f"needs {file.name}: {file.what}")
        lines.append(f"  licence: {file.licence}")
        lines.append(f"  published at {file.page}" + (f"; on the hub as {file.hub}" if file.hub else ""))
        if not file.hub:
            lines.append("  not on the hub: download it by hand")
    lines.append(f"then: maskwright models import FILE... --as {name}")


def _is_intact(weights: Path, sha256: str) -> bool:
    return weights.is_file() and sha256_of(weights) == sha256


def fetch(name: str) -> Facts:
    """Download the files of an official preset that the Hugging Face hub has, into the hub's cache.

    Raises:
        MaskwrightError: unknown preset, no network, or access refused; the message has the page to ask for it.
    """
    if name not in OFFICIAL:
        raise UsageError(f"{name} is not an official preset. Known: {', '.join(OFFICIAL)}.")
    fetched, by_hand, lines = [], [], []
    for file in OFFICIAL[name].files:
        if file.hub is None:
            by_hand.append(asdict(file))
            lines.append(f"{file.name} must be downloaded by hand from {file.page} ({file.licence}).")
            continue
        path = _download(file.hub)
        fetched.append(path)
        lines.append(f"{file.what}: {path}")
    files = " ".join([*fetched, *(file["name"] for file in by_hand)])
    lines.append(f"Then run: maskwright models import {files} --as {name}")
    return Facts({"name": name, "fetched": fetched, "by_hand": by_hand}, "\n".join(lines))


def _download(repository: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    page = f"https://huggingface.co/{repository}"
    try:
        return str(hf_hub_download(repository, "model.safetensors"))
    except GatedRepoError as error:
        raise MaskwrightError(
            f"The model owner has not given your account access to {repository}. Ask at {page}, then run it again."
        ) from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise MaskwrightError(
            f"Cannot reach the model hub for {repository}. Check the network (and HF_HUB_OFFLINE), or download the "
            f"file from {page} by hand."
        ) from error
