"""Official presets: the files they are made from, where their authors publish them, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OFFICIAL", "OfficialFile", "OfficialPreset"]


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """A file as its authors publish it."""

    name: str
    what: str
    page: str
    licence: str
    hub: str | None = None
    """Repository on the Hugging Face hub with the same weights; None: to be downloaded by hand."""
    part: str = ""
    """backbone, head, text, projection, vocabulary, sam or anyup."""


@dataclass(frozen=True, slots=True)
class OfficialPreset:
    """A preset that `maskwright models import` makes from its authors' files."""

    description: str
    files: tuple[OfficialFile, ...]


_DINOV3_LICENCE = "DINOv3 License (accept it at the page first)"
_DINOV3_PAGE = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"

_SAM_PAGE = "https://github.com/facebookresearch/segment-anything#model-checkpoints"

_BACKBONES = {
    size: OfficialFile(
        f"dinov3_vit{size}16_pretrain_lvd1689m.pth", f"DINOv3 ViT-{size.upper()}/16 backbone", _DINOV3_PAGE,
        _DINOV3_LICENCE, hub=f"facebook/dinov3-vit{size}16-pretrain-lvd1689m", part="backbone",
    )
    for size in "sbl"
}  # fmt: skip

_VOCABULARY = OfficialFile(
    "bpe_simple_vocab_16e6.txt.gz", "CLIP byte-pair vocabulary", "https://github.com/openai/CLIP/tree/main/clip",
    "MIT", part="vocabulary",
)  # fmt: skip

_DINOTXT = (
    _BACKBONES["l"],
    OfficialFile(
        "dinov3_vitl16_dinotxt_vision_head_and_text_encoder.pth", "dino.txt vision head and text encoder",
        _DINOV3_PAGE, _DINOV3_LICENCE, part="head",
    ),
    _VOCABULARY,
)  # fmt: skip

_CLIP = OfficialFile(
    "ViT-B-16.pt", "CLIP ViT-B/16, of which the text tower is used", "https://github.com/openai/CLIP", "MIT",
    hub="openai/clip-vit-base-patch16", part="text",
)  # fmt: skip


def _talk2dino(backbone: OfficialFile, projection: str) -> tuple[OfficialFile, ...]:
    page = "https://github.com/lorebianchi98/Talk2DINO/tree/main/weights"
    licence = "none stated by its authors; ask them before you pass it on"
    return (
        backbone,
        _CLIP,
        OfficialFile(projection, "Talk2DINO's projection", page, licence, part="projection"),
        _VOCABULARY,
    )


_SAMS = {
    size: OfficialFile(name, f"SAM ViT-{size.upper()}", _SAM_PAGE, "Apache-2.0", hub=hub, part="sam")
    for size, name, hub in (
        ("b", "sam_vit_b_01ec64.pth", "facebook/sam-vit-base"),
        ("l", "sam_vit_l_0b3195.pth", "facebook/sam-vit-large"),
    )
}

OFFICIAL = {
    "dinov3seg-l": OfficialPreset(
        "dinov3.seg on dino.txt ViT-L/16 and SAM ViT-L, 1,178.2 M parameters. Its authors publish no weights: these "
        "are the parts to train it from (maskwright train --task seg); until then text prompts use dino.txt",
        (
            *_DINOTXT,
            _SAMS["l"],
            OfficialFile(
                "anyup_paper.pth", "AnyUp", "https://github.com/wimmerth/anyup", "CC BY 4.0", part="anyup"
            ),
        ),
    ),
    "dinov3txt-l": OfficialPreset(
        "dino.txt on DINOv3 ViT-L/16: zero-shot text prompts, 866.6 M parameters", _DINOTXT
    ),
    "talk2dino-b": OfficialPreset(
        "Talk2DINO on DINOv2 ViT-B/14 with registers: zero-shot text prompts with background cleaning, 151.0 M "
        "parameters",
        _talk2dino(
            OfficialFile(
                "dinov2_vitb14_reg4_pretrain.pth", "DINOv2 ViT-B/14 with registers",
                "https://github.com/facebookresearch/dinov2#pretrained-models", "Apache-2.0",
                hub="facebook/dinov2-with-registers-base", part="backbone",
            ),
            "vitb_mlp_infonce.pth",
        ),
    ),
    "talk2dino-dinov3-b": OfficialPreset(
        "Talk2DINO on DINOv3 ViT-B/16: zero-shot text prompts with background cleaning, 150.1 M parameters",
        _talk2dino(_BACKBONES["b"], "dinov3_vitb_mlp_infonce.pth"),
    ),
    **{
        f"insid3-{size}": OfficialPreset(f"INSID3 on DINOv3 ViT-{size.upper()}/16: segmentation by example", (file,))
        for size, file in _BACKBONES.items()
    },
    **{
        f"sam-{size}": OfficialPreset(f"SAM ViT-{size.upper()}: clicks and boxes, {millions} M parameters", (file,))
        for (size, file), millions in zip(_SAMS.items(), ("93.7", "312.3"), strict=True)
    },
}  # fmt: skip
"""Presets that can be imported, by name."""
