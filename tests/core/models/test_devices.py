"""Which arithmetic a device gets."""

from __future__ import annotations

import torch

from maskwright.models.devices import mixed_precision


def test_a_cpu_computes_in_single_precision_also_where_a_gpu_would_not() -> None:
    # a CPU without bfloat16 is many times slower at it
    with mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with mixed_precision(torch.device("meta")):
        assert not torch.is_autocast_enabled("cpu")
