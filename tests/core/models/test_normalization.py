"""ImageNet statistics are the authors', bit for bit."""

from __future__ import annotations

import torch

from maskwright.models.normalization import normalize


def test_sam_s_constants_are_255_times_imagenet_s() -> None:
    pixels = torch.randint(0, 256, (2, 3, 5, 7)).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    theirs = (pixels - mean[:, None, None]) / std[:, None, None]
    assert torch.equal(normalize(pixels, maximum=255.0), theirs)
    assert torch.allclose(normalize(pixels / 255), theirs, atol=1e-5)
