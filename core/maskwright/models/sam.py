"""SAM (Kirillov et al., 2023, "Segment Anything"): image encoder, prompt encoder and mask decoder together.

`convert_official` renames the keys of the authors' `sam_vit_*.pth` files, which then load exactly. A small SAM may have
another image encoder, `HybridEncoder`: a DINOv3 with a convolutional stem and an embedding at stride 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.channel_norm import ChannelNorm
from maskwright.models.devices import single_precision
from maskwright.models.dinov3 import ConvStem, DinoV3, DinoV3Config
from maskwright.models.normalization import normalize
from maskwright.models.sam_config import SPECS, SamConfig
from maskwright.models.sam_decoder import Attended, MaskDecoder, PromptEncoder, Prompts
from maskwright.models.sam_encoder import VitEncoder
from maskwright.models.state_dict import check_exactly
from maskwright.models.tiny_vit import TinyVit, fold_batch_norms

__all__ = [
    "SPECS",
    "Attended",
    "HybridEncoder",
    "MobileEncoder",
    "Prompts",
    "Sam",
    "SamConfig",
    "VitEncoder",
    "convert_hub",
    "convert_official",
    "official_name",
    "postprocess",
    "preprocess",
]


def preprocess(pixels: Tensor, config: SamConfig) -> Tensor:
    """Normalise and pad a resized image on the right and at the bottom.

    Args:
        pixels: (B, 3, h, w) in 0..255.
        config: for the padded size: the square frame, or with a `HybridEncoder` the next multiples of its patch.

    Returns:
        (B, 3, H, W); the padding is 0.
    """
    sides = (pixels.shape[-2], pixels.shape[-1])
    if config.backbone is None:
        down, across = (config.size - side for side in sides)
    else:
        down, across = (-side % config.backbone.patch for side in sides)
    return F.pad(normalize(pixels, maximum=255.0), (0, across, 0, down))


class HybridEncoder(nn.Module):
    """An image encoder at stride 8: the last layer of a DINOv3, upsampled, plus its convolutional stem's map."""

    def __init__(self, config: DinoV3Config, out: int) -> None:
        super().__init__()
        self.backbone = DinoV3(config)
        self.wide = nn.Conv2d(config.width, out, 1)
        self.fine = nn.Conv2d(config.stem[2][0], out, 1)
        self.norm1 = ChannelNorm(out)
        self.conv = nn.Sequential(nn.Conv2d(out, out, 3, padding=1), nn.GELU(), nn.Conv2d(out, out, 3, padding=1))
        self.norm2 = ChannelNorm(out)

    def forward(self, pixels: Tensor, blocks: tuple[int, ...] = ()) -> tuple[Tensor, list[Tensor]]:
        """As `VitEncoder.forward`; the embedding has stride 8, the outputs of `blocks` have stride 16."""
        with self._stem(3) as (fine,):
            *outputs, last = self.backbone.intermediate(
                pixels, sorted({*blocks, self.backbone.config.depth - 1}), norm=True
            )
        return self._joined(last.patch_map(), fine[0]), [output.patch_map().permute(0, 2, 3, 1) for output in outputs]

    def pyramid(self, pixels: Tensor, halvings: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """The embedding, and two maps of the stem: after n halvings, at stride 2^n."""
        with self._stem(3, *halvings) as (fine, first, second):
            last = self.backbone(pixels)
        return self._joined(last.patch_map(), fine[0]), first[0], second[0]

    def _joined(self, wide: Tensor, fine: Tensor) -> Tensor:
        wide = F.interpolate(self.wide(wide), scale_factor=2, mode="bilinear")
        joined = self.norm1(wide + self.fine(fine))
        return self.norm2(joined + self.conv(joined))  # type: ignore[no-any-return]

    @contextmanager
    def _stem(self, *halvings: int) -> Iterator[list[list[Tensor]]]:
        """Context in which the stem's maps after the given halvings are recorded, one list each."""
        stem = self.backbone.vit.embeddings.patch_embeddings
        if not isinstance(stem, ConvStem):
            raise TypeError("a hybrid encoder needs a convolutional stem")
        recorded: list[list[Tensor]] = [[] for _ in halvings]
        hooks = []
        for halving, into in zip(halvings, recorded, strict=True):
            # each halving has 1 + n modules
            layer = stem.body[sum(1 + extra for _, extra in self.backbone.config.stem[:halving]) - 1]
            hooks.append(layer.register_forward_hook(lambda module, inputs, output, into=into: into.append(output)))
        try:
            yield recorded
        finally:
            for hook in hooks:
                hook.remove()


class MobileEncoder(TinyVit):
    """MobileSAM's image encoder with the interface of the others."""

    def forward(self, pixels: Tensor, blocks: tuple[int, ...] = ()) -> tuple[Tensor, list[Tensor]]:  # type: ignore[override]
        """As `VitEncoder.forward`, without outputs of blocks: `pyramid` returns intermediate maps."""
        if blocks:
            raise ValueError("TinyViT returns intermediate maps by stride: use pyramid")
        return self.maps(pixels).embedding, []

    def pyramid(self, pixels: Tensor, halvings: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """The embedding, and two maps of the stages: after n halvings (2 to 4), at stride 2^n."""
        maps = self.maps(pixels)
        by_halving = {2: maps.quarter, 3: maps.eighth, 4: maps.sixteenth}
        return maps.embedding, by_halving[halvings[0]], by_halving[halvings[1]]


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder: VitEncoder | HybridEncoder | MobileEncoder
        if config.tiny_vit is not None:
            self.image_encoder = MobileEncoder(config.tiny_vit)
        elif config.backbone is None:
            self.image_encoder = VitEncoder(config)
        else:
            self.image_encoder = HybridEncoder(config.backbone, config.out)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def positions(self, grid_hw: tuple[int, int], offset: tuple[int, int] = (0, 0)) -> Tensor:
        """(1, C, h, w) position encoding of cells; `offset` (rows, columns) is the place of the grid in the frame."""
        side = self.config.size // self.config.stride
        matrix = self.prompt_encoder.shared_embedding.positional_embedding
        down, across = (
            (torch.arange(n, device=matrix.device, dtype=torch.float32) + start + 0.5) / side
            for n, start in zip(grid_hw, offset, strict=True)
        )
        ys, xs = torch.meshgrid(down, across, indexing="ij")
        with single_precision(matrix.device):
            encoded: Tensor = self.prompt_encoder.shared_embedding(torch.stack([xs, ys], dim=-1))
        return encoded.permute(2, 0, 1)[None]

    def decode(self, embedding: Tensor, prompts: Prompts, *, offset: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
        """Masks of B prompts: the first of the four is for unambiguous prompts, the others are for a single click.

        Args:
            embedding: (1, C, h, w) of one image, or (B, C, h, w).
            prompts: B prompts.
            offset: row and column of the embedding in the frame, in cells.

        Returns:
            (B, 4, 4h, 4w) logits and (B, 4) predicted IoU.
        """
        attended = self.attend(embedding, prompts, offset=offset)
        return self.mask_decoder.masks(attended), attended.iou

    def attend(self, embedding: Tensor, prompts: Prompts, *, offset: tuple[int, int] = (0, 0)) -> Attended:
        """All of `decode` but the masks, which take a third of its time; `mask_decoder.masks` makes those of some."""
        # half precision would shift the points
        with single_precision(embedding.device):
            sparse, dense = self.prompt_encoder(prompts)
        image = embedding + dense
        positions = self.positions((image.shape[-2], image.shape[-1]), offset)
        if sparse is None:
            sparse = image.new_zeros(len(image), 0, image.shape[1])
        return self.mask_decoder(image, positions, sparse)  # type: ignore[no-any-return]


def postprocess(logits: Tensor, input_hw: tuple[int, int], size_hw: tuple[int, int], config: SamConfig) -> Tensor:
    """Resize the decoder's logits to the image.

    Args:
        logits: (B, N, 4h, 4w).
        input_hw: (height, width) of the resized image inside the padded input.
        size_hw: (height, width) of the image.
        config: for the size of the padded input.

    Returns:
        (B, N, H, W) logits.
    """
    factor = config.stride // 4
    padded = (logits.shape[-2] * factor, logits.shape[-1] * factor)
    large = F.interpolate(logits, padded, mode="bilinear", align_corners=False)
    return F.interpolate(large[..., : input_hw[0], : input_hw[1]], size_hw, mode="bilinear", align_corners=False)


_PAIRS = (
    # ours, the authors'; applied in this order
    ("image_encoder.patch_embed.projection.", "image_encoder.patch_embed.proj."),
    ("image_encoder.layers.", "image_encoder.blocks."),
    ("image_encoder.neck.conv1.", "image_encoder.neck.0."),
    ("image_encoder.neck.layer_norm1.", "image_encoder.neck.1."),
    ("image_encoder.neck.conv2.", "image_encoder.neck.2."),
    ("image_encoder.neck.layer_norm2.", "image_encoder.neck.3."),
    ("shared_embedding.positional_embedding", "pe_layer.positional_encoding_gaussian_matrix"),
    ("prompt_encoder.point_embed.", "prompt_encoder.point_embeddings."),
    ("mask_embed.conv1.", "mask_downscaling.0."),
    ("mask_embed.layer_norm1.", "mask_downscaling.1."),
    ("mask_embed.conv2.", "mask_downscaling.3."),
    ("mask_embed.layer_norm2.", "mask_downscaling.4."),
    ("mask_embed.conv3.", "mask_downscaling.6."),
    ("mask_decoder.upscale_conv1.", "mask_decoder.output_upscaling.0."),
    ("mask_decoder.upscale_layer_norm.", "mask_decoder.output_upscaling.1."),
    ("mask_decoder.upscale_conv2.", "mask_decoder.output_upscaling.3."),
    (".layer_norm", ".norm"),
)
_MLP = re.compile(
    r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.(proj_in|layers\.\d+|proj_out)\."
)


def official_name(name: str, depth: int) -> str:
    """Name of a weight of `Sam` in the authors' files; `depth` is that of its MLP, where it belongs to one."""
    if match := _MLP.match(name):
        place = {"proj_in": 0, "proj_out": depth - 1}.get(match[2])
        index = int(match[2].rpartition(".")[2]) + 1 if place is None else place
        return f"{match[1]}.layers.{index}.{name[match.end() :]}"
    for ours, theirs in _PAIRS:
        name = name.replace(ours, theirs)
    return name


def convert_official(state: Mapping[str, Tensor], model: Sam, *, what: str = "the file") -> dict[str, Tensor]:
    """Rename the keys of the authors' `sam_vit_*.pth` files to those of `model`.

    Raises:
        BadWeights: a key is missing, left over or misshapen; the message has the authors' names.
    """
    encoder = "image_encoder."
    keep_encoder = model.config.tiny_vit is not None
    if keep_encoder:
        # TinyViT has the authors' names; its batch norms are folded into the convolutions
        inner = {name.removeprefix(encoder): value for name, value in state.items() if name.startswith(encoder)}
        rest = {name: value for name, value in state.items() if not name.startswith(encoder)}
        state = rest | {encoder + name: value for name, value in fold_batch_norms(inner).items()}
    own = model.state_dict()
    # the IoU head may have another depth than the mask heads, which have 3
    depth = {name: model.config.iou_depth if "iou_prediction_head" in name else 3 for name in own}
    theirs = {
        name if keep_encoder and name.startswith(encoder) else official_name(name, depth[name]): name for name in own
    }
    check_exactly({name: own[ours] for name, ours in theirs.items()}, state, what=what)
    return {ours: state[name] for name, ours in theirs.items()}


def convert_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the Hugging Face file to those of `Sam`; it may hold the position matrix twice."""
    twin = "shared_image_embedding.positional_embedding"
    renamed = {
        re.sub(r"^vision_encoder\.", "image_encoder.", name): value for name, value in state.items() if name != twin
    }
    if twin in state:
        renamed["prompt_encoder.shared_embedding.positional_embedding"] = state[twin]
    return renamed
