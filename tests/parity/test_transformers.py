"""Our networks beside those of the package transformers, with the same random weights: the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskwright.models.clip_text import ClipText, ClipTextConfig
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov3 import DinoV3, DinoV3Config
from maskwright.models.sam import Prompts, Sam, SamConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("transformers")


def _share_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Draw weights large enough that each of them matters, and give them to both."""
    generator = torch.Generator().manual_seed(1)
    state = {
        name: torch.randn(value.shape, generator=generator) * 0.2 + (0.7 if value.ndim == 1 else 0)
        for name, value in ours.state_dict().items()
    }
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    ours.eval()
    theirs.eval()


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def _assert_same(ours: Tensor, theirs: Tensor) -> None:
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("training", [False, True])
def test_dinov3(theirs: Any, training: bool) -> None:
    ours = DinoV3(DinoV3Config(width=48, depth=3, heads=3, drop_path=0.4))
    other = theirs.DINOv3ViTModel(
        theirs.DINOv3ViTConfig(
            hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=192, patch_size=16,
            num_register_tokens=4, drop_path_rate=0.4, layer_norm_eps=1e-5, key_bias=True,
        )
    )  # fmt: skip
    _share_weights(ours.vit, other)
    ours.train(training)
    other.train(training)
    pixels = _random(3, 3, 32, 96)
    # in training both scale the coordinates and leave out residuals at random
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        features = ours(pixels)
        torch.manual_seed(3)
        tokens = other(pixels).last_hidden_state
    _assert_same(torch.cat([features.cls[:, None], features.storage, features.patches], dim=1), tokens)


@pytest.mark.parametrize("size", [(70, 70), (42, 98)])
def test_dinov2_with_registers(theirs: Any, size: tuple[int, int]) -> None:
    ours = DinoV2(DinoV2Config(width=48, depth=2, heads=3, grid=5))
    other = theirs.Dinov2WithRegistersModel(
        theirs.Dinov2WithRegistersConfig(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=3, mlp_ratio=4, patch_size=14, image_size=70,
            num_register_tokens=4, layer_norm_eps=1e-6,
        )
    )  # fmt: skip
    _share_weights(ours.vit, other)
    pixels = _random(2, 3, *size)
    with torch.inference_mode():
        features, tokens = ours(pixels), other(pixels).last_hidden_state
    _assert_same(torch.cat([features.cls[:, None], features.storage, features.patches], dim=1), tokens)


def test_clip_text(theirs: Any) -> None:
    ours = ClipText(ClipTextConfig(vocabulary=100, context=12, width=32, depth=3, heads=4, out=24))
    other = theirs.CLIPTextModelWithProjection(
        theirs.CLIPTextConfig(
            vocab_size=100, max_position_embeddings=12, hidden_size=32, intermediate_size=128, num_hidden_layers=3,
            num_attention_heads=4, projection_dim=24, hidden_act="quick_gelu", bos_token_id=98, eos_token_id=99,
        )
    )  # fmt: skip
    _share_weights(ours.clip, other)
    ids = torch.tensor([[98, 5, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0], [98, 7, 1, 3, 44, 99, 0, 0, 0, 0, 0, 0]])
    with torch.inference_mode():
        _assert_same(ours(ids), other(input_ids=ids).text_embeds)


@pytest.mark.parametrize("training", [False, True])
def test_sam(theirs: Any, training: bool) -> None:
    config = SamConfig(
        size=128, longest=128, width=48, depth=3, heads=3, window=3, global_blocks=(1,), out=32, decoder_heads=4,
        decoder_mlp=48, iou_hidden=24, iou_depth=4,
    )  # fmt: skip
    ours = Sam(config)
    other = theirs.SamModel(
        theirs.SamConfig(
            vision_config={
                "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": 128,
                "window_size": 3, "global_attn_indexes": [1], "output_channels": 32, "num_pos_feats": 16,
                "mlp_dim": 192,
            },
            prompt_encoder_config={"hidden_size": 32, "image_size": 128},
            mask_decoder_config={
                "hidden_size": 32, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 24,
                "iou_head_depth": 4, "layer_norm_eps": 1e-5,
            },
        )
    )  # fmt: skip
    for part, name in (("image_encoder", "vision_encoder"), ("prompt_encoder",) * 2, ("mask_decoder",) * 2):
        _share_weights(getattr(ours, part), getattr(other, name))
    other.shared_image_embedding.load_state_dict(ours.prompt_encoder.shared_embedding.state_dict())
    ours.train(training)
    pixels = _random(1, 3, 128, 128)
    points, labels = torch.tensor([[[30.0, 40.0], [90.0, 8.0]]]), torch.tensor([[1, 0]])
    box, mask = torch.tensor([[10.0, 20.0, 100.0, 90.0]]), _random(1, 1, 32, 32)
    with torch.no_grad():
        embedding, _ = ours.image_encoder(pixels)
        _assert_same(embedding, other.get_image_embeddings(pixels))
        for prompts in (Prompts(points, labels), Prompts(boxes=box), Prompts(points, labels, box, mask)):
            masks, iou = ours.decode(embedding, prompts)
            for several, chosen in ((False, slice(0, 1)), (True, slice(1, None))):
                expected = other(
                    image_embeddings=embedding,
                    input_points=None if prompts.points is None else points[None],
                    input_labels=None if prompts.labels is None else labels[None],
                    input_boxes=None if prompts.boxes is None else box[None],
                    input_masks=prompts.masks,
                    multimask_output=several,
                )
                _assert_same(masks[:, chosen], expected.pred_masks[:, 0])
                _assert_same(iou[:, chosen], expected.iou_scores[:, 0])
