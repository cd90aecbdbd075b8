"""Devices: which of them this machine has, and which one a model runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from maskwright.errors import DeviceMissing

__all__ = ["choose_device", "devices", "mixed_precision", "single_precision"]


def devices() -> list[str]:
    """Names of this machine's devices, the fastest first, such as cuda:0, cuda:1, cpu."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is the fastest one.

    Raises:
        DeviceMissing: this machine has no such device.
    """
    present = devices()
    if name == "auto":
        return torch.device(present[0])
    if name not in present and not (name == "cuda" and present[0].startswith("cuda")):
        raise DeviceMissing(name, present)
    return torch.device(name)


def mixed_precision(device: torch.device, *, enabled: bool = True) -> AbstractContextManager[object]:
    """Autocast to bfloat16 where the device is fast at it: on CUDA.

    A CPU without instructions for bfloat16, as most have none, takes several times as long as in single precision.
    """
    # the meta device, on which operations are counted, has no autocast
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled and device.type == "cuda")


def single_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast leaves matrix products alone, for sums that half precision would spoil."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
