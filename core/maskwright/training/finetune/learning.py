"""Which tensors of dinov3.seg a recipe trains, and at which rate."""

from __future__ import annotations

import re
from collections.abc import Callable

from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.models.efficientnet_lite import LiteTrunk
from maskwright.models.tiny_vit import TinyVit
from maskwright.training.config import RELEASED_LR

__all__ = ["learning_tensors", "rate_factor"]

_DECODER = ("anyup.", "aggregator.")
_OWN_SHARE = 0.1
"""Learning rate of encoders that were trained here, as a share of the decoder side's."""


def learning_tensors(model: Dinov3Seg, recipe: str) -> dict[str, tuple[int, ...]]:
    """Names of the parameters that learn; of a fused projection, which of its three parts (0 query, 1 key, 2 value).

    An empty tuple means the whole parameter.

    Args:
        model: To be tuned.
        recipe: One of RECIPES.
    """
    parts = {"qv": (0, 2), "qk": (0, 1)}.get(recipe)
    chosen: dict[str, tuple[int, ...]] = {}
    for name, _ in model.named_parameters():
        if name.startswith(_DECODER):
            chosen[name] = ()
        elif name == "vlm.logit_scale":
            # not used by the segmentation
            continue
        elif recipe == "full" or (recipe == "vision" and not name.startswith("vlm.text_model.")):
            chosen[name] = ()
        elif parts is not None and name.startswith("vlm.visual_model."):
            split = re.search(r"\.([qkv])_proj\.", name)
            if split is not None and "qkv".index(split[1]) in parts:
                chosen[name] = ()
            elif ".attn.qkv." in name:
                chosen[name] = parts
    return chosen


def rate_factor(model: Dinov3Seg, lr: float, *, released: bool) -> Callable[[str], float]:
    """Share of `lr` at which each parameter learns, by name, after the origin of its weights.

    What its authors published learns at RELEASED_LR at most, encoders trained here at a tenth.

    Args:
        model: To be tuned.
        lr: Learning rate of the decoder side.
        released: dino.txt, AnyUp and SAM are their authors' or tuned from these.
    """
    published = tuple(
        f"{name}." for name, module in model.named_modules() if name and isinstance(module, LiteTrunk | TinyVit)
    )
    careful = ("vlm.", "spe.", "anyup.") if released else published
    slow = min(1.0, RELEASED_LR / lr)

    def factor(name: str) -> float:
        if name.startswith(careful):
            return slow
        return 1.0 if name.startswith(_DECODER) else _OWN_SHARE

    return factor
