"""Several processes that train one model, as torchrun starts them; alone, every function is trivial."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["add_up", "any_of", "rank", "total", "world"]


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world() > 1 else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def add_up(gradients: Sequence[Tensor]) -> None:
    """Replace each gradient by its sum over the processes."""
    for gradient in gradients:
        dist.all_reduce(gradient)


def total(value: float) -> float:
    """Sum of a number over the processes."""
    if world() == 1:
        return value
    number = torch.tensor(value, dtype=torch.float64, device=_device())
    dist.all_reduce(number)
    return float(number)


def any_of(flag: bool) -> bool:  # noqa: FBT001 - one value
    """Whether it is true in any process."""
    return total(float(flag)) > 0


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
