"""Which device a model runs on."""

from __future__ import annotations

import torch

from maskwright.errors import DeviceMissing

__all__ = ["choose_device", "devices"]


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
