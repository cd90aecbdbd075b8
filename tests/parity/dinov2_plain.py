"""DINOv2's forward pass in plain torch, on the authors' keys: makes small golden cases without registers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

WIDTH, DEPTH, HEADS, PATCH, GRID = 24, 2, 3, 14, 5
IMAGE_HW = (84, 56)

State = dict[str, Tensor]


def write_case(folder: Path) -> Path:
    """A DINOv2 case without registers, and the outputs that such a case has; returns its JSON file."""
    torch.manual_seed(7)
    state, image = _random_state(), torch.randn(1, 3, *IMAGE_HW)
    outputs = _forward(state, image)
    tensors = {f"state.{name}": value for name, value in state.items()}
    tensors |= {f"out.{name}": value for name, value in outputs.items()} | {"in.image": image}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "dinov2_plain.safetensors")
    config = {
        "patch_size": PATCH, "pretrain_grid": [GRID, GRID], "mlp_ratio": 4, "embed_dim": WIDTH, "depth": DEPTH,
        "num_heads": HEADS, "num_register_tokens": 0,
    }  # fmt: skip
    file = folder / "dinov2_plain.json"
    case = {"case": "dinov2_vit", "config": config, "tolerance": {"rtol": 1e-4, "atol": 1e-5}}
    file.write_text(json.dumps(case), encoding="utf-8")
    return file


def _random_state() -> State:
    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape) * 0.2

    state = {
        "cls_token": drawn(1, 1, WIDTH), "pos_embed": drawn(1, 1 + GRID**2, WIDTH), "mask_token": drawn(1, WIDTH),
        "patch_embed.proj.weight": drawn(WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": drawn(WIDTH),
        "norm.weight": 1 + drawn(WIDTH), "norm.bias": drawn(WIDTH),
    }  # fmt: skip
    for index in range(DEPTH):
        block = f"blocks.{index}."
        for name, rows, columns in (
            ("attn.qkv", 3 * WIDTH, WIDTH), ("attn.proj", WIDTH, WIDTH), ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):  # fmt: skip
            state |= {f"{block}{name}.weight": drawn(rows, columns), f"{block}{name}.bias": drawn(rows)}
        for name in ("norm1", "norm2"):
            state |= {f"{block}{name}.weight": 1 + drawn(WIDTH), f"{block}{name}.bias": drawn(WIDTH)}
        state |= {f"{block}ls1.gamma": drawn(WIDTH), f"{block}ls2.gamma": drawn(WIDTH)}
    return state


def _forward(state: State, image: Tensor) -> State:
    grid = IMAGE_HW[0] // PATCH, IMAGE_HW[1] // PATCH
    # without registers the authors resize by a factor, with an offset of 0.1 and without antialiasing
    table = state["pos_embed"][:, 1:].reshape(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2)
    factors = [(side + 0.1) / GRID for side in grid]
    resized = F.interpolate(table, scale_factor=factors, mode="bicubic").flatten(2).transpose(1, 2)
    position = torch.cat([state["pos_embed"][:, :1], resized], dim=1)
    patches = F.conv2d(image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=PATCH)
    tokens = torch.cat([state["cls_token"], patches.flatten(2).transpose(1, 2)], dim=1) + position
    after = []
    for index in range(DEPTH):
        tokens, qkv = _block(state, f"blocks.{index}.", tokens)
        after.append(F.layer_norm(tokens, (WIDTH,), state["norm.weight"], state["norm.bias"], 1e-6))
    first, last = after[0], after[-1]
    query, key, _ = qkv.unflatten(2, (3, HEADS, -1)).unbind(2)
    logits = torch.einsum("bhc,bnhc->bhn", query[:, 0], key[:, 1:])
    return {
        "position_embedding_interpolated": position,
        "x_norm_clstoken": last[:, 0],
        "x_norm_patchtokens": last[:, 1:],
        "block0_norm_patch_nchw": first[:, 1:].transpose(1, 2).unflatten(2, grid),
        "block0_norm_cls": first[:, 0],
        "last_qkv": qkv,
        "cls_patch_logits": logits * (WIDTH // HEADS) ** -0.5,
        "cls_patch_logits_scale0125": logits * 0.125,
    }


def _block(state: State, block: str, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens after one block, and its queries, keys and values side by side."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{block}{name}.weight"], state[f"{block}{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,), state[f"{block}{name}.weight"], state[f"{block}{name}.bias"], 1e-6)

    qkv = linear("attn.qkv", norm("norm1", tokens))
    query, key, value = (part.transpose(1, 2) for part in qkv.unflatten(2, (3, HEADS, -1)).unbind(2))
    weights = (query @ key.transpose(2, 3) * (WIDTH // HEADS) ** -0.5).softmax(dim=-1)
    mixed = linear("attn.proj", (weights @ value).transpose(1, 2).flatten(2))
    tokens = tokens + state[f"{block}ls1.gamma"] * mixed
    hidden = linear("mlp.fc2", F.gelu(linear("mlp.fc1", norm("norm2", tokens))))
    return tokens + state[f"{block}ls2.gamma"] * hidden, qkv
