"""Trained models written into a preset's folder, without the tensors that the preset has already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.models.talk2dino import Projection, ProjectionConfig
from maskwright.presets.config import OVS_DINO, TALK2DINO, OvsDinoSettings
from maskwright.presets.config_io import sections, to_plain
from maskwright.presets.loading import LoadedDinoTxt, load_dinotxt, load_sam, shared_weights
from maskwright.presets.weights import read_weights, save_part

__all__ = ["save_dinov3seg", "save_ovs_dino", "save_projection"]


def save_dinov3seg(folder: Path, model: Dinov3Seg, settings: Mapping[str, Any], *, dtype: torch.dtype) -> None:
    """Write the dinov3.seg of a preset.

    Args:
        folder: of the preset, which has dino.txt and SAM.
        model: trained on their weights; only the tensors that differ from theirs are stored.
        settings: entries of `config.json` beside the model's sizes.
        dtype: of the stored tensors.
    """
    dinotxt, sam = load_dinotxt(folder), load_sam(folder)
    known = shared_weights(model, dinotxt, sam)
    state = {
        name: value
        for name, value in model.state_dict().items()
        if name not in known or not torch.equal(known[name], value.cpu())
    }
    built_on = [dinotxt.settings.sha256, sam.settings.sha256]
    save_part(
        folder, "dinov3seg", state, {"model": to_plain(model.config), **settings, "built_on": built_on}, dtype=dtype
    )


def save_projection(
    folder: Path, projection: Projection, config: ProjectionConfig, dinotxt: LoadedDinoTxt | None, *, size: int
) -> None:
    """Write a projection that was trained between the encoders of a preset.

    The projection of a whole Talk2DINO is replaced; otherwise it is stored alone, for the encoders of dino.txt.

    Args:
        folder: of the preset.
        projection: trained.
        config: its sizes.
        dinotxt: the preset's dino.txt; may be None where the preset has a whole Talk2DINO.
        size: side in pixels of the square images it was trained on.
    """
    entry = sections(folder).get(TALK2DINO)
    if entry is not None and entry.get("model") is not None:
        state = read_weights(folder / entry["weights"], entry["sha256"])
        state |= {f"projection.{name}": value for name, value in projection.state_dict().items()}
        entry = {
            **{key: value for key, value in entry.items() if key != "trained"},
            "model": {**entry["model"], "projection": to_plain(config)},
            "built_on": entry.get("built_on") or entry["sha256"],
            "matched_at": size,
        }
        save_part(folder, TALK2DINO, state, entry, dtype=torch.float32)
        return
    assert dinotxt is not None
    entry = {
        "projection": to_plain(config),
        "built_on": dinotxt.settings.sha256,
        "prompts": list(dinotxt.settings.prompts),
        "matched_at": size,
        "stretch": dinotxt.settings.stretch,
    }
    save_part(folder, TALK2DINO, projection.state_dict(), entry, dtype=torch.float16)


def save_ovs_dino(folder: Path, parts: nn.Module, settings: OvsDinoSettings, *, dtype: torch.dtype) -> None:
    """Write the trained parts of an OVS-DINO beside the encoders that the preset has.

    Args:
        folder: of the preset.
        parts: as `OvsDino.trained_parts` returns them.
        settings: entry of `config.json`; file and hash of the weights are filled in.
        dtype: of the stored tensors.
    """
    save_part(folder, OVS_DINO, parts.state_dict(), to_plain(settings), dtype=dtype)
