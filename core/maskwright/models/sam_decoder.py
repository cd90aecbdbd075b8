"""SAM's prompt encoder and mask decoder (Kirillov et al., 2023, appendix A).

Points, boxes and masks become tokens and a map; a two-way transformer lets tokens and image attend to each other; then
each mask token weighs the channels of the upsampled image, which gives a mask, and another token predicts the IoUs.

Module names are those of the preset files. Shapes: B prompts, T tokens, C channels, h x w cells of the embedding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.channel_norm import ChannelNorm
from maskwright.models.sam_config import SamConfig

__all__ = ["Attended", "MaskDecoder", "PromptEncoder", "Prompts"]

_MASKS = 4
"""Outputs of the decoder: one for unambiguous prompts, three for a single click."""


class Prompts(NamedTuple):
    """B prompts, in pixels of the encoder's input; (0, 0) is the centre of its first pixel."""

    points: Tensor | None = None
    """(B, N, 2) x and y"""
    labels: Tensor | None = None
    """(B, N) 1 positive, 0 negative, -1 padding"""
    boxes: Tensor | None = None
    """(B, 4) left, top, right, bottom"""
    masks: Tensor | None = None
    """(B, 1, 4h, 4w) logits of a mask prompt"""


class PromptEncoder(nn.Module):
    """Prompts to tokens (points, corners of boxes) and to a map that is added to the image (masks)."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.size = config.size
        self.shared_embedding = _PositionEncoding(config.out)
        self.mask_embed = _MaskEmbedding(config.mask_channels, config.out)
        self.no_mask_embed = nn.Embedding(1, config.out)
        # negative point, positive point, left top corner, right bottom corner
        self.point_embed = nn.ModuleList(nn.Embedding(1, config.out) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, config.out)

    def forward(self, prompts: Prompts) -> tuple[Tensor | None, Tensor]:
        """Embeddings of prompts.

        Returns:
            (B, T, C) sparse tokens, None without points and boxes; and the dense embedding, (B, C, h, w) with masks and
            (1, C, 1, 1) without.
        """
        tokens = []
        if prompts.points is not None and prompts.labels is not None:
            tokens.append(self._points(prompts.points, prompts.labels, padded=prompts.boxes is None))
        if prompts.boxes is not None:
            tokens.append(self._corners(prompts.boxes))
        sparse = torch.cat(tokens, dim=1) if tokens else None
        if prompts.masks is None:
            return sparse, self.no_mask_embed.weight[:, :, None, None]
        return sparse, self.mask_embed(prompts.masks)

    def _kind(self, index: int) -> Tensor:
        weight: Tensor = self.point_embed[index].weight  # type: ignore[assignment]
        return weight

    def _points(self, points: Tensor, labels: Tensor, *, padded: bool) -> Tensor:
        """(B, N, C) of points; `padded` adds one that is no point, as in prompts without a box."""
        points = points + 0.5
        if padded:
            points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=-1)
        label = labels[..., None]
        tokens = torch.where(label == -1, self.not_a_point_embed.weight, self.shared_embedding(points / self.size))
        for index in (0, 1):
            tokens = torch.where(label == index, tokens + self._kind(index), tokens)
        return tokens

    def _corners(self, boxes: Tensor) -> Tensor:
        """(B, 2, C) of boxes."""
        corners = (boxes + 0.5).unflatten(1, (2, 2)) / self.size
        return self.shared_embedding(corners) + torch.cat([self._kind(2), self._kind(3)])  # type: ignore[no-any-return]


class _PositionEncoding(nn.Module):
    """Random Fourier features (Tancik et al., 2020); the matrix is drawn once and not trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(2, width // 2), requires_grad=False)

    def forward(self, points: Tensor) -> Tensor:
        """(..., C) from (..., 2) x and y, from 0 to 1 inside the frame."""
        points = (2 * points - 1).to(self.positional_embedding.dtype)
        angles = 2 * math.pi * (points @ self.positional_embedding)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _MaskEmbedding(nn.Module):
    """A mask prompt to the size and width of the image embedding."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels // 4, 2, 2)
        self.conv2 = nn.Conv2d(channels // 4, channels, 2, 2)
        self.conv3 = nn.Conv2d(channels, out, 1)
        self.layer_norm1 = ChannelNorm(channels // 4)
        self.layer_norm2 = ChannelNorm(channels)

    def forward(self, masks: Tensor) -> Tensor:
        """(B, C, h, w) from (B, 1, 4h, 4w) logits."""
        half = F.gelu(self.layer_norm1(self.conv1(masks)))
        quarter = F.gelu(self.layer_norm2(self.conv2(half)))
        return self.conv3(quarter)  # type: ignore[no-any-return]


class Attended(NamedTuple):
    """Tokens and image after the transformer: what the masks are made of."""

    tokens: Tensor
    """(B, 5 + T, C): the token of the IoU, four of the masks, those of the prompt"""
    image: Tensor
    """(B, C, h, w)"""
    iou: Tensor
    """(B, 4) predicted IoU of the masks"""


class MaskDecoder(nn.Module):
    """Masks and their predicted IoU from an image and prompts."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        width = config.out
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(_MASKS, width)
        self.transformer = _TwoWayTransformer(width, config.decoder_heads, config.decoder_mlp)
        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, 2, 2)
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, 2, 2)
        self.upscale_layer_norm = ChannelNorm(width // 4)
        self.output_hypernetworks_mlps = nn.ModuleList(_Head(width, width, width // 8, 3) for _ in range(_MASKS))
        self.iou_prediction_head = _Head(width, config.iou_hidden, _MASKS, config.iou_depth)

    def forward(self, image: Tensor, positions: Tensor, sparse: Tensor) -> Attended:
        """Let prompts and image attend to each other, and predict the IoU of the masks to come.

        Args:
            image: (B, C, h, w) image embedding plus dense prompt embedding; (1, C, h, w) when all prompts share it.
            positions: (1, C, h, w) position encoding of the cells.
            sparse: (B, T, C) prompt tokens; T may be 0.
        """
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(len(sparse), -1, -1)
        cells, positions = (map_.flatten(2).transpose(1, 2) for map_ in (image, positions))
        tokens, cells = self.transformer(torch.cat([outputs, sparse], dim=1), cells, positions)
        grid = cells.transpose(1, 2).unflatten(2, image.shape[-2:])
        return Attended(tokens, grid, self.iou_prediction_head(tokens[:, 0]))

    def masks(self, attended: Attended) -> Tensor:
        """(B, 4, 4h, 4w) logits of the masks."""
        large = self.upscale_conv1(attended.image)
        large = F.gelu(self.upscale_conv2(F.gelu(self.upscale_layer_norm(large))))
        heads = enumerate(self.output_hypernetworks_mlps, start=1)
        weights = [head(attended.tokens[:, index]) for index, head in heads]
        return torch.einsum("bnc,bchw->bnhw", torch.stack(weights, dim=1), large)


class _TwoWayTransformer(nn.Module):
    """Two layers in which tokens and image attend to each other, and a last look of the tokens at the image."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_TwoWayLayer(width, heads, hidden), _TwoWayLayer(width, heads, hidden)])
        self.final_attn_token_to_image = _Attention(width, heads, width // 2)
        self.layer_norm_final_attn = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, cells: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) tokens and (B, h * w, C) cells, each informed by the other.

        Cells that all prompts share go in once, (1, h * w, C); (1, h * w, C) are the positions of the cells.
        The initial tokens are the positions of the tokens: with them they keep what the prompt was.
        """
        prompt = tokens
        for index, layer in enumerate(self.layers):
            tokens, cells = layer(tokens, cells, prompt if index else None, (prompt, positions))
        mixed = self.final_attn_token_to_image(tokens + prompt, cells + positions, cells)
        return self.layer_norm_final_attn(tokens + mixed), cells


class _TwoWayLayer(nn.Module):
    """Self-attention of the tokens, tokens to image, perceptron, image to tokens; a norm after each."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = _Attention(width, heads, width)
        self.layer_norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = _Attention(width, heads, width // 2)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, hidden)
        self.layer_norm3 = nn.LayerNorm(width)
        self.layer_norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = _Attention(width, heads, width // 2)

    def forward(
        self, tokens: Tensor, cells: Tensor, own: Tensor | None, positions: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Tokens and cells after the layer.

        Args:
            tokens: (B, T, C)
            cells: (B, h * w, C), or (1, h * w, C)
            own: (B, T, C) positions in the self-attention. None in the first layer, where the tokens are their own
                positions still; its self-attention then replaces the tokens instead of being added to them.
            positions: (B, T, C) of the tokens and (1, h * w, C) of the cells, in the attention between the two.
        """
        of_tokens, of_cells = positions
        if own is None:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            tokens = tokens + self.self_attn(tokens + own, tokens + own, tokens)
        tokens = self.layer_norm1(tokens)
        mixed = self.cross_attn_token_to_image(tokens + of_tokens, cells + of_cells, cells)
        tokens = self.layer_norm2(tokens + mixed)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        mixed = self.cross_attn_image_to_token(cells + of_cells, tokens + of_tokens, tokens)
        return tokens, self.layer_norm4(cells + mixed)


class _Attention(nn.Module):
    """Multi-head attention, `inner` wide between the projections."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, N, C) from (B, N, C) queries and (B, M, C) keys and values; B of one side may be 1."""
        count = max(len(query), len(key))
        query, key, value = (
            projected.expand(count, -1, -1).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        )
        if self.training:
            # with gradients the fused kernel is slower for so few tokens
            logits = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
            mixed = logits.softmax(dim=-1, dtype=torch.float32).to(value.dtype) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    """The perceptron of a layer, ReLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lin2(F.relu(self.lin1(tokens)))  # type: ignore[no-any-return]


class _Head(nn.Module):
    """A perceptron of `depth` layers on one token, ReLU between them."""

    def __init__(self, width: int, hidden: int, out: int, depth: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(width, hidden)
        self.proj_out = nn.Linear(hidden, out)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 2))

    def forward(self, token: Tensor) -> Tensor:
        """(B, out) from (B, width)."""
        token = F.relu(self.proj_in(token))
        for layer in self.layers:
            token = F.relu(layer(token))
        return self.proj_out(token)  # type: ignore[no-any-return]
