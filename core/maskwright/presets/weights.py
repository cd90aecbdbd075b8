"""Weights on disk: safetensors files and their entries in `config.json`, and the authors' files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.errors import BadWeights
from maskwright.files.atomic import atomic_save
from maskwright.files.hashing import sha256_of
from maskwright.presets.folders import CONFIG

__all__ = [
    "read_weights",
    "save_part",
    "save_record",
    "write_part",
]


def save_part(
    folder: Path, part: str, state: Mapping[str, Tensor], config: Mapping[str, Any], *, dtype: torch.dtype
) -> None:
    """Write one model of a preset: `PART.safetensors` and its entry in `config.json`.

    Args:
        folder: of the preset.
        part: name of the entry.
        state: the weights.
        config: the entry; file name and SHA-256 of the weights are added.
        dtype: of stored floating point tensors.
    """
    weights = folder / f"{part}.safetensors"
    stored = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in state.items()
    }
    atomic_save(weights, lambda file: save_file(stored, file))
    write_part(folder, part, {**config, "weights": weights.name, "sha256": sha256_of(weights)})


def write_part(folder: Path, part: str, config: Mapping[str, Any]) -> None:
    """Write one entry of a preset's `config.json`, and keep the others."""
    file = folder / CONFIG
    whole = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    whole[part] = dict(config)
    save_record(file, whole)


def save_record(file: Path, record: Mapping[str, Any]) -> None:
    """Write JSON values to an indented file, atomically."""
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    atomic_save(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_weights(file: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """State dict of a safetensors file, in single precision.

    Args:
        file: to read.
        sha256: expected hash; None skips the check.

    Raises:
        BadWeights: the file is missing or damaged, or has another hash.
    """
    try:
        if sha256 is not None and sha256_of(file) != sha256:
            raise BadWeights(
                f"The file {file.name} in {file.parent} is not the expected one (SHA-256 differs). "
                "Delete it and get it again."
            )
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise BadWeights(f"Cannot read the weights {file}: {cause}. Get the file again.") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
