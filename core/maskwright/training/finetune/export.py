"""The result of a fine-tuning run as a preset: what changed is written, all other parts are those of the base."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from maskwright.presets.config import OVS_DINO, OVS_ENCODERS, TALK2DINO, TEXT
from maskwright.presets.config_io import sections
from maskwright.presets.loading import LoadedDinov3Seg, load_dinov3seg
from maskwright.presets.saving import save_dinov3seg
from maskwright.presets.weights import read_weights, save_part, write_part

__all__ = ["TITLES", "answer_with", "keep_dinov3seg", "keep_parts", "link", "save_tuned_dinov3seg", "tied_parts"]


TITLES = {TALK2DINO: "Talk2DINO", OVS_DINO: "OVS-DINO"}
"""Entries of a preset as people know them."""


def keep_parts(base: Path, out: Path, *, changed: Collection[str]) -> None:
    """Give the result every part of the base that did not change.

    Files are hard links where the file system has them: they take no space, and nothing writes into them.

    Args:
        base: Folder of the base.
        out: Folder of the result.
        changed: Entries that the run writes itself.
    """
    for part, entry in sections(base).items():
        if part not in changed:
            for key in ("weights", "tokenizer"):
                if entry.get(key) is not None:
                    link(base / entry[key], out / entry[key])
            write_part(out, part, entry)


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where there can be none; a file that is there is replaced."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def save_tuned_dinov3seg(
    base: LoadedDinov3Seg, tensors: Mapping[str, Tensor], out: Path, names: Sequence[str], *, released: bool
) -> None:
    """Write a preset whose dinov3.seg has other tensors than the base's.

    Args:
        base: The base's dinov3.seg.
        tensors: What the run trained, by name.
        out: Folder of the result.
        names: Classes of the run, which become known words.
        released: Steps of RELEASED_LR are smaller than the resolution of half precision.
    """
    keep_parts(base.folder, out, changed=("dinov3seg",))
    stored = {**read_weights(base.folder / base.settings.weights, base.settings.sha256), **tensors}
    entry = {
        key: value for key, value in sections(base.folder)["dinov3seg"].items() if key not in ("weights", "sha256")
    }
    save_part(out, "dinov3seg", stored, entry, dtype=torch.float32 if released else torch.float16)
    answer_with(out, "dinov3seg", names)


def keep_dinov3seg(base: Path, out: Path) -> None:
    """Give a result whose dino.txt changed the dinov3.seg of its base, if any, with the tensors that it shared."""
    entry = sections(base).get("dinov3seg")
    if entry is None:
        return
    if not entry.get("trained", True):
        link(base / entry["weights"], out / entry["weights"])
        write_part(out, "dinov3seg", entry)
        return
    settings = {key: v for key, v in entry.items() if key not in ("model", "weights", "sha256", "built_on")}
    save_dinov3seg(out, load_dinov3seg(base).model, settings, dtype=torch.float16)


def tied_parts(base: Path) -> list[str]:
    """Entries of the base that stand on the features of its dino.txt, and no longer fit when those change."""
    parts = sections(base)
    tied = [TALK2DINO] if parts.get(TALK2DINO, {"model": True}).get("model") is None else []
    return [*tied, *([OVS_DINO] if OVS_DINO in parts and OVS_ENCODERS not in parts else [])]


def answer_with(out: Path, method: str, names: Sequence[str]) -> None:
    """Make a method the one that answers, and its classes known words."""
    write_part(out, TEXT, {"method": method})
    dinotxt = sections(out).get("dinotxt", {})
    if dinotxt.get("familiar") is not None:
        write_part(out, "dinotxt", {**dinotxt, "familiar": sorted({*dinotxt["familiar"], *names})})
