"""Which device a model runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from maskwright.errors import DeviceMissing

__all__ = ["choose_device", "devices", "single_precision"]


def devices() -> list[str]:
    """Names of the devices this machine has, the fastest first."""
    found = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(name: str) -> torch.device:
    """`auto` takes the fastest; a device that is not there raises DeviceMissing."""
    present = devices()
    if name == "auto":
        return torch.device(present[0])
    if name not in present and not (name == "cuda" and present[0].startswith("cuda")):
        raise DeviceMissing(name, present)
    return torch.device(name)


def single_precision(device: torch.device) -> AbstractContextManager[object]:
    """Inside, autocast leaves matrix products alone; for sums that half precision would spoil."""
    # the meta device, on which operations are counted, knows no autocast
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
