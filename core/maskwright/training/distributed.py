"""Several processes that train one model, as torchrun starts them; alone, every function is trivial."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["add_up", "any_of", "begin", "end", "rank", "total", "wait", "world"]


def begin(device: str) -> str | None:
    """Join the processes that torchrun started; returns this one's device, or None where there are no others.

    Args:
        device: As for `Engine.load`; each process of a machine takes the GPU of its number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    on_gpu = device != "cpu" and torch.cuda.is_available()
    place = f"cuda:{os.environ['LOCAL_RANK']}" if on_gpu else "cpu"
    if on_gpu:
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    return place


def end() -> None:
    """Leave them."""
    if world() > 1:
        dist.destroy_process_group()


def wait() -> None:
    """Return when every process has come here."""
    if world() > 1:
        dist.barrier()


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
