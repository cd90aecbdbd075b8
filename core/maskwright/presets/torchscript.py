"""Tensors of a TorchScript archive, such as CLIP's, read without executing anything in it."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["is_archive", "read_archive"]

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class _Module:
    """Stand-in for any class of the archive; only its attributes matter."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = state


class _Reader(pickle.Unpickler):
    """An unpickler for tensors, lists and attributes that refuses to look up anything else."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no table of weights needs")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        return torch.frombuffer(bytearray(self._archive.read(f"{self._root}/data/{key}")), dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def is_archive(file: Path) -> bool:
    """Whether a file is a TorchScript archive, which is the only kind with a table of constants."""
    return _root(file) is not None


def _root(file: Path) -> str | None:
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        constants = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/constants.pkl")]
    return constants[0].partition("/")[0] if constants else None


def read_archive(file: Path) -> dict[str, Tensor]:
    """Parameters and buffers of an archive by name.

    Raises:
        pickle.UnpicklingError, KeyError, ValueError, RuntimeError: it is damaged, or holds more than tensors.
    """
    root = _root(file)
    assert root is not None
    with zipfile.ZipFile(file) as archive:
        return dict(_named(_Reader(archive, root).load(), ""))


def _named(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Module):
        for key, part in value.attributes.items():
            yield from _named(part, f"{name}.{key}" if name else key)
