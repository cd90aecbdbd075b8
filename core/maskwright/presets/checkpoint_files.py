"""Weights as other people's tools write them: one file, shards with an index, or a table inside a checkpoint."""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright.errors import BadWeights
from maskwright.presets.torchscript import is_archive, read_archive
from maskwright.presets.weights import read_weights

__all__ = ["Weights", "read_checkpoint", "weight_files"]

_INDEX = ".index.json"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.safetensors|\.bin)")
_IN_FOLDERS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_TABLES = (
    "model", "state_dict", "model_state", "model_state_dict", "teacher", "ema", "model_ema", "ema_model", "net",
    "network", "module", "params", "weights", "student", "backbone", "encoder",
)  # fmt: skip
"""Keys under which training tools keep weights, the best first."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "teacher.", "ema_model.", "backbone.", "encoder.")
"""What wrappers put before every key."""
_TEXT_HEAD = "head.linear_projection.weight"
"""A key of dino.txt's text tower for DINOv2, whose `backbone.` and `head.` are its own."""
_HEADS = ("dino_head.", "ibot_head.", "head.")
"""Parts of a pretraining checkpoint beside the backbone, which no preset needs."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|Unsupported \w+:? ([a-z_]\w*\.[\w.]+)")
"""How torch names a class that it does not read."""
_DEPTH = 3
_NAMED = 3


class Weights(dict[str, Tensor]):
    """A table of weights, with what the file holds beside it."""

    def __init__(self, table: Mapping[str, Tensor], left_out: Sequence[str] = (), taken: str = "") -> None:
        super().__init__(table)
        self.left_out, self.taken = tuple(left_out), taken

    @property
    def note(self) -> str:
        """What to say of a file that holds more than the table, or several; empty for others."""
        taken = f"the weights of {self.taken} were taken" if self.taken not in ("", "model") else ""
        left = f"{', '.join(self.left_out)} beside them was left out" if self.left_out else ""
        return "; ".join(filter(None, (taken, left)))


def weight_files(paths: Sequence[Path]) -> list[Path]:
    """The files that were named, where a folder stands for the weights in it, and a set of shards for its first.

    Raises:
        BadWeights: a folder without weights.
    """
    files: list[Path] = []
    sets = set[tuple[Path, str, str]]()
    for path in paths:
        file = _in_folder(path) if path.is_dir() else path
        shard = _SHARD.fullmatch(file.name)
        if shard:
            key = (file.parent, shard[1], shard[3])
            if key in sets:
                continue
            sets.add(key)
        files.append(file)
    return files


def _in_folder(folder: Path) -> Path:
    found = [folder / name for name in _IN_FOLDERS if (folder / name).is_file()]
    others = [
        file for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
    ]
    shards = [file for file in others if _SHARD.fullmatch(file.name)]
    if found or shards[:1] or len(others) == 1:
        return (found or shards or others)[0]
    what = "several files of weights" if others else "no file of weights"
    raise BadWeights(f"The folder {folder} holds {what}. Name the file itself.")


def read_checkpoint(file: Path) -> Weights:
    """The table of weights in a file of any kind; pickles are read in weights-only mode.

    Args:
        file: safetensors under any name, an index of shards or one of the shards, a TorchScript archive, or a pickle
            with the table at the top or inside a checkpoint.

    Raises:
        BadWeights: the file holds no weights, or more than can be read safely; the message says what it is.
    """
    if file.name.endswith(_INDEX):
        return Weights(_shards(file))
    shard = _SHARD.fullmatch(file.name)
    if shard:
        return Weights(_all_shards(file, shard))
    return _table(file, _content(file))


def _content(file: Path) -> Any:
    """What a file holds, chosen by its first bytes and not by its name."""
    start = _start(file)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return read_weights(file)
    _refuse_other_kinds(file, start)
    if is_archive(file):
        try:
            return read_archive(file)
        except Exception as error:  # torch and pickle raise a dozen kinds for a damaged archive
            raise BadWeights(f"Cannot read {file.name} as a TorchScript archive: {_first_line(error)}") from error
    try:
        # training options are plain values, which training tools keep beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is not a plain state dict
        raise BadWeights(_reason(file, error)) from error


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(512)
    except OSError as error:
        raise BadWeights(f"Cannot read the weights {file}: {error.strerror or error}. Get the file again.") from error


def _refuse_other_kinds(file: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    again = "Download the file itself"
    if text.startswith(b"version https://git-lfs"):
        raise BadWeights(f"{file.name} is a pointer of Git LFS, not the weights. {again}, or run `git lfs pull`.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise BadWeights(
            f"{file.name} is a web page, not weights: the server wanted a login or an accepted licence. {again}."
        )
    if text.startswith((b"{", b"[")):
        raise BadWeights(f"{file.name} is JSON, not weights. {again}.")
    if start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ", b"BZh")) or start[257:262] == b"ustar":
        raise BadWeights(f"{file.name} is a packed archive. Unpack it, and name the file of weights in it.")
    if start.startswith((b"\x89HDF", b"GGUF", b"\x93NUMPY")) or b"onnx" in start[:64]:
        raise BadWeights(f"{file.name} holds the weights of another framework. Name the file for PyTorch.")
    if start.startswith(b"PK") and not zipfile.is_zipfile(file):
        raise BadWeights(f"{file.name} is cut short: its end is missing. Download it again.")
    if start.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            if not any(name.rpartition("/")[2] in ("data.pkl", "constants.pkl") for name in archive.namelist()):
                raise BadWeights(f"{file.name} is a zip archive. Unpack it, and name the file of weights in it.")


def _reason(file: Path, error: Exception) -> str:
    """A sentence of ours for an error of torch."""
    text = str(error)
    found = _GLOBAL.search(text)
    name = (found[1] or found[2]) if found else ""
    if name.startswith("torch.nn.modules.") or ".nn." in name:
        return (
            f"{file.name} holds a whole module ({name}), not its weights, and reading it could run code. Save "
            "module.state_dict() instead."
        )
    if name and "." in name:
        return (
            f"{file.name} holds {name} beside the weights, and reading that could run code. Save the state dict alone, "
            "with torch.save(model.state_dict(), ...)."
        )
    return f"Cannot read {file.name}: it is damaged, or no file of weights. Download it again."


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]


def _shards(index: Path) -> dict[str, Tensor]:
    try:
        data = json.loads(index.read_text(encoding="utf-8"))
        names = sorted({str(name) for name in data["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadWeights(f"{index.name} is no index of weights. Download it again.") from error
    table: dict[str, Tensor] = {}
    for name in names:
        file = index.parent / name
        if Path(name).name != name or not file.is_file():
            raise BadWeights(
                f"{index.name} is an index of {len(names)} files of weights, of which {name} is not beside it. "
                "Download all of them into one folder."
            )
        table |= _table(file, _content(file))
    return table


def _all_shards(file: Path, shard: re.Match[str]) -> dict[str, Tensor]:
    table: dict[str, Tensor] = {}
    for number in range(1, int(shard[3]) + 1):
        part = file.with_name(f"{shard[1]}-{number:05}-of-{shard[3]}{shard[4]}")
        if not part.is_file():
            raise BadWeights(f"{file.name} is one of {int(shard[3])} files, of which {part.name} is not beside it.")
        table |= _table(part, _content(part))
    return table


def _table(file: Path, content: Any) -> Weights:
    """The table in what a file holds."""
    # an empty table lacks every key, which is said by name
    found = {"": content} if content == {} or _is_table(content) else dict(_tables(content))
    if not found:
        raise BadWeights(f"{file.name} holds no table of weights, but {_described(content)}.")
    name, chosen = next(iter(found.items()))
    table = {key: value for key, value in chosen.items() if isinstance(value, Tensor)}
    beside = [key for key, value in chosen.items() if not isinstance(value, Tensor)]
    beside += [other for other in found if other != name]
    return _unwrapped(table, beside, name)


def _is_table(value: Any) -> bool:
    """Whether a mapping's tensors are weights: by name, and none of them a single number among options."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
        return False
    tensors = sum(isinstance(one, Tensor) and one.ndim > 0 for one in value.values())
    return bool(tensors) and not any(_is_table(value.get(name)) for name in _TABLES)


def _tables(content: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tables below the top with their paths, those under a usual key first."""
    if not isinstance(content, Mapping) or path.count(".") == _DEPTH:
        return
    usual = [key for key in _TABLES if key in content]
    others = [key for key in content if isinstance(key, str) and key not in usual and "optim" not in key.lower()]
    for key in [*usual, *others]:
        if _is_table(content[key]):
            yield f"{path}{key}", content[key]
    for key in [*usual, *others]:
        yield from _tables(content[key], f"{path}{key}.")


def _unwrapped(table: dict[str, Tensor], beside: list[str], taken: str) -> Weights:
    """The table without what wrappers put before its keys, and without the heads of pretraining."""
    while True:
        heads = [key for key in table if key.startswith(_HEADS)]
        body = {key: value for key, value in table.items() if key not in heads}
        prefix = next((prefix for prefix in _PREFIXES if body and all(key.startswith(prefix) for key in body)), None)
        if prefix is None or _TEXT_HEAD in table:
            return Weights(table, beside, taken)
        if heads:
            beside = [*beside, *sorted({key.partition(".")[0] for key in heads})]
        table = {key.removeprefix(prefix): value for key, value in body.items()}


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        names = [str(key) for key in list(content)[:_NAMED]]
        return f"{', '.join(names) or 'nothing'}{', ...' if len(content) > _NAMED else ''}"
    return (
        "a list"
        if isinstance(content, list | tuple)
        else "a single tensor"
        if isinstance(content, Tensor)
        else "a single value"
    )
