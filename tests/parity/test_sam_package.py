"""SAM beside the authors' package, with random weights: their file in, and the same masks from the same clicks out."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import maskwright as mw
from maskwright.engine import Engine
from maskwright.models.sam import SamConfig
from maskwright.presets.convert import import_sam

CONFIG = SamConfig(
    size=128, longest=128, width=48, depth=4, heads=3, window=3, global_blocks=(1, 3), out=32, decoder_heads=4,
    decoder_mlp=48, iou_hidden=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def theirs() -> Iterator[Any]:
    """The authors' predictor on a small model; torchvision, which it resizes with, is not for the CPU: Pillow is."""
    functional = types.ModuleType("torchvision.transforms.functional")
    functional.to_pil_image = Pillow.fromarray  # type: ignore[attr-defined]
    functional.resize = lambda image, hw: image.resize(hw[::-1], Pillow.Resampling.BILINEAR)  # type: ignore[attr-defined]
    stubs = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.transforms", "torchvision.ops")}
    stubs["torchvision.ops.boxes"] = types.ModuleType("torchvision.ops.boxes")
    stubs["torchvision.ops.boxes"].batched_nms = stubs["torchvision.ops.boxes"].box_area = None  # type: ignore[attr-defined]
    absent = [name for name in [*stubs, functional.__name__] if name not in sys.modules]
    sys.modules |= {
        name: module for name, module in {**stubs, functional.__name__: functional}.items() if name in absent
    }
    try:
        package = pytest.importorskip("segment_anything", reason="the authors' package is not installed")
        parts = pytest.importorskip("segment_anything.modeling")
        norm = lambda width: torch.nn.LayerNorm(width, eps=1e-6)  # noqa: E731
        model = parts.Sam(
            image_encoder=parts.ImageEncoderViT(
                img_size=128, patch_size=16, embed_dim=48, depth=4, num_heads=3, out_chans=32, norm_layer=norm,
                use_rel_pos=True, window_size=3, global_attn_indexes=(1, 3),
            ),
            prompt_encoder=parts.PromptEncoder(
                embed_dim=32, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=16
            ),
            mask_decoder=parts.MaskDecoder(
                num_multimask_outputs=3, transformer_dim=32, iou_head_depth=3, iou_head_hidden_dim=32,
                transformer=parts.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=48, num_heads=4),
            ),
        )  # fmt: skip
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(3)
            for value in model.parameters():
                value.normal_(std=0.3) if value.ndim > 1 else value.uniform_(0.3, 1.1)
        yield package.SamPredictor(model.eval())
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def ours(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("sam")
    torch.save(theirs.model.state_dict(), folder / "sam_vit_small.pth")
    return Engine.load(import_sam([folder / "sam_vit_small.pth"], folder / "small", CONFIG), "cpu")


@pytest.mark.parametrize("size_hw", [(90, 141), (160, 60), (128, 128)])
def test_the_same_masks_from_the_same_prompts(
    theirs: Any, ours: Engine, size_hw: tuple[int, int], rng: np.random.Generator
) -> None:
    coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    pixels = np.asarray(Pillow.fromarray(coarse).resize(size_hw[::-1], Pillow.Resampling.BICUBIC))
    image = mw.Image(pixels)
    theirs.set_image(pixels)
    height, width = size_hw
    spot = (0.4 * width, 0.6 * height)
    # the authors count pixels from their centres
    point = np.array([spot]) - 0.5
    box = (0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height)

    masks, scores, _ = theirs.predict(point, np.array([1]), multimask_output=True)
    found = ours.segment_click(image, [spot]).masks()
    # the best first; the same pixels are offered once
    order = list({masks[n].tobytes(): n for n in np.argsort(scores) if masks[n].any()}.values())[::-1]
    order.sort(key=lambda n: -scores[n])
    assert len(found) == len(order)
    for mask, number in zip(found, order, strict=True):
        assert (mask.to_array() == masks[number]).mean() > 0.999
        assert mask.score == pytest.approx(np.clip(scores[number], 0, 1), abs=1e-3)

    masks, _, _ = theirs.predict(box=np.array(box) - 0.5, multimask_output=False)
    (mask,) = ours.segment_click(image, box=box).masks()
    assert (mask.to_array() == masks[0]).mean() > 0.999

    _, _, logits = theirs.predict(point, np.array([1]), multimask_output=True)
    points = np.array([spot, (0.8 * width, 0.3 * height)])
    masks, _, _ = theirs.predict(
        points - 0.5, np.array([1, 0]), mask_input=logits[order[0]][None], multimask_output=False
    )
    again = ours.segment_click(image, points, [1, 0], start=found[0]).masks()
    assert (again[0].to_array() == masks[0]).mean() > 0.999 if again else not masks.any()
