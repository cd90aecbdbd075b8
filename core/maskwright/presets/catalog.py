"""Facts on presets in words: what they need, what is here, and the hub's part of getting them."""

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


_WAYS = (("word", ("dinotxt", "talk2dino")), ("example", ("dinotxt", "insid3")), ("click", ("sam",)))


class Facts(NamedTuple):
    """The same answer for machines and for people."""

    values: dict[str, Any]
    text: str


def describe(name: str, settings: Settings) -> Facts:
    """What a preset is, where it lies, and which files it is made of; raises PresetMissing for an unknown name."""
    values: dict[str, Any] = {"name": name, "installed": None, "files": []}
    lines = [name]
    here = installed(settings)
    if name in here or (Path(name).expanduser() / CONFIG).is_file():
        folder = find(name, settings)
        parts = sections(folder)
        stored = [part for part in parts.values() if "weights" in part]
        sound = [_whole(folder / str(part["weights"]), str(part["sha256"])) for part in stored]
        sha256 = str(stored[0]["sha256"]) if stored else ""
        values |= {"installed": str(folder), "sha256": sha256, "whole": bool(stored) and all(sound)}
        lines.append(f"installed in {folder}")
        for part, good in zip(stored, sound, strict=True):
            lines.append(f"{part['weights']} {part['sha256'][:12]}, {'whole' if good else 'DAMAGED'}")
        if "dinotxt" in parts:
            known = dinotxt_settings(folder).vocabulary
            words = "any" if known is None else f"{len(known)} (others are tried and marked unfamiliar)"
            lines.append(f"words it was taught: {words}")
        prompt_kinds = [kind for kind, part in _WAYS if parts.keys() & set(part)]
        lines.append(f"segments by {' and by '.join(prompt_kinds)}")
        if "dinov3seg" in parts:
            trained = dinov3seg_settings(folder).trained
            lines.append(
                "words are answered by " + ("dinov3.seg" if trained else "dino.txt; dinov3.seg waits for training")
            )
        if "talk2dino" in parts:
            lines.append("Talk2DINO answers words, too (--method talk2dino), and finds images by a phrase")
        card = folder / "README.md"
        lines += [f"model card: {card}"] if card.is_file() else []
    if name in OFFICIAL:
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
    if len(lines) == 1:
        raise PresetMissing(name, settings.presets.expanduser(), [*here, *OFFICIAL])
    return Facts(values, "\n".join(lines))


def _whole(weights: Path, sha256: str) -> bool:
    return weights.is_file() and sha256_of(weights) == sha256


def fetch(name: str) -> Facts:
    """Download what the hub holds of an official preset into the hub's own cache.

    Raises:
        MaskwrightError: unknown preset, no network, or access refused (with the page to ask at).
    """
    if name not in OFFICIAL:
        raise UsageError(f"{name} is not an official preset. Known: {', '.join(OFFICIAL)}.")
    got, by_hand, lines = [], [], []
    for file in OFFICIAL[name].files:
        if file.hub is None:
            by_hand.append(asdict(file))
            lines.append(f"{file.name} must be downloaded by hand from {file.page} ({file.licence}).")
            continue
        path = _download(file.hub)
        got.append(path)
        lines.append(f"{file.what}: {path}")
    lines.append(f"Then run: maskwright models import {' '.join([*got, *(f['name'] for f in by_hand)])} --as {name}")
    return Facts({"name": name, "fetched": got, "by_hand": by_hand}, "\n".join(lines))


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
