"""Official presets: the files they are made from, where their authors publish them, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OFFICIAL", "OfficialFile", "OfficialPreset", "Task"]

Task = Literal["text", "example", "click"]
"""A kind of prompt; "everything" is answered by the model of clicks."""


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """A file as its authors publish it, and where `models fetch` finds it or the same weights."""

    name: str
    what: str
    page: str
    licence: str
    hub: str | None = None
    """Repository on the Hugging Face hub with the same weights."""
    part: str = ""
    """backbone, head, text, projection, vocabulary, sam or anyup."""
    hub_names: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    """Names of the file in that repository; the first that it has is used."""
    gated: bool = False
    """Whether the hub's repository asks for acceptance of the licence first."""
    addresses: tuple[str, ...] = ()
    """Addresses at which the authors publish the file; the first that answers is used."""
    within: str | None = None
    """Repository on the hub with a larger model that contains these tensors."""
    sha256: str = ""
    """Hash of the file, where it is published or known."""
    values_sha256: str = ""
    """Hash of its tensors or merges, see `fetching.values_sha256`, where they are known and the file may differ."""
    size: int = 0
    """Bytes that a download takes, about; 0 where it is not known."""

    @property
    def fetchable(self) -> bool:
        """Whether `models fetch` can get it; otherwise a person must download it."""
        return bool(self.hub or self.addresses or self.within)


@dataclass(frozen=True, slots=True)
class OfficialPreset:
    """A preset that `maskwright models import` makes from its authors' files."""

    title: str
    description: str
    files: tuple[OfficialFile, ...]
    tasks: tuple[Task, ...]
    """Kinds of prompts that it answers: text, example, click."""
    improves: str
    """What improves, in one sentence of published or measured facts, with their source."""

    @property
    def size(self) -> int:
        """Bytes to download, about."""
        return sum(file.size for file in self.files)

    @property
    def licence(self) -> str:
        """The licences of its files."""
        return "; ".join(
            dict.fromkeys(f"{f.what}: {f.licence}" if f.part == "projection" else f.licence for f in self.files)
        )

    @property
    def page(self) -> str:
        """Page where access is asked for, or else of the strictest licence."""
        gated = [f"https://huggingface.co/{file.hub}" for file in self.files if file.gated]
        unstated = [file.page for file in self.files if file.part == "projection"]
        return (gated or unstated or [self.files[0].page])[0]

    @property
    def gated(self) -> bool:
        """Whether a licence must be accepted at `page` first."""
        return any(file.gated for file in self.files)

    @property
    def fetchable(self) -> bool:
        """Whether `models fetch` ends with a working preset."""
        return all(file.fetchable for file in self.files)


_DINOV3_LICENCE = "DINOv3 License (accept it at the page first)"
_DINOV3_PAGE = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"

_SAM_PAGE = "https://github.com/facebookresearch/segment-anything#model-checkpoints"

_SINGLE = 4
"""Bytes of a number in single precision."""

_BACKBONES = {
    size: OfficialFile(
        f"dinov3_vit{size}16_pretrain_lvd1689m.pth", f"DINOv3 ViT-{size.upper()}/16 backbone", _DINOV3_PAGE,
        _DINOV3_LICENCE, hub=f"facebook/dinov3-vit{size}16-pretrain-lvd1689m", part="backbone", gated=True,
        size=_SINGLE * parameters,
    )
    for size, parameters in (("s", 21_601_152), ("b", 85_669_632), ("l", 303_154_176))
}  # fmt: skip

_CLIP_HUB = "openai/clip-vit-base-patch16"

_VOCABULARY = OfficialFile(
    "bpe_simple_vocab_16e6.txt.gz", "CLIP byte-pair vocabulary", "https://github.com/openai/CLIP/tree/main/clip",
    "MIT", hub=_CLIP_HUB, part="vocabulary", hub_names=("merges.txt",), size=524_619,
    values_sha256="f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a",
)  # fmt: skip

_DINOTXT = (
    _BACKBONES["l"],
    OfficialFile(
        "dinov3_vitl16_dinotxt_vision_head_and_text_encoder.pth", "dino.txt vision head and text encoder",
        _DINOV3_PAGE, _DINOV3_LICENCE, part="head",
    ),
    _VOCABULARY,
)  # fmt: skip

_DINOV2TXT = "dinov2_vitl14_reg4_dinotxt_tet1280d20h24l"

_CLIP = OfficialFile(
    "ViT-B-16.pt", "CLIP ViT-B/16, of which the text tower is used", "https://github.com/openai/CLIP", "MIT",
    hub=_CLIP_HUB, part="text", size=_SINGLE * 149_620_737,
)  # fmt: skip


def _talk2dino(
    backbone: OfficialFile, *projections: str, within: str, values_sha256: str = "", width: int = 768
) -> tuple[OfficialFile, ...]:
    home = "https://raw.githubusercontent.com/lorebianchi98/Talk2DINO/main/weights/"
    projection = OfficialFile(
        projections[0], "Talk2DINO's projection", "https://github.com/lorebianchi98/Talk2DINO/tree/main/weights",
        "none stated by its authors; ask them before you pass it on", part="projection",
        addresses=tuple(home + name for name in projections), within=within, values_sha256=values_sha256,
        size=_SINGLE * (512 * width + width + width * width + width),
    )  # fmt: skip
    return (backbone, _CLIP, projection, _VOCABULARY)


def _dinov2(size: str, hub: str, parameters: int, *, registers: bool = True) -> OfficialFile:
    suffix, what = ("_reg4", "with registers") if registers else ("", "without registers")
    return OfficialFile(
        f"dinov2_vit{size}14{suffix}_pretrain.pth", f"DINOv2 ViT-{size.upper()}/14 {what}",
        "https://github.com/facebookresearch/dinov2#pretrained-models", "Apache-2.0", hub=hub, part="backbone",
        size=_SINGLE * parameters,
    )  # fmt: skip


_SAMS = {
    size: OfficialFile(
        name, f"SAM ViT-{size.upper()}", _SAM_PAGE, "Apache-2.0", hub=hub, part="sam", size=_SINGLE * parameters
    )
    for size, name, hub, parameters in (
        ("b", "sam_vit_b_01ec64.pth", "facebook/sam-vit-base", 93_735_728),
        ("l", "sam_vit_l_0b3195.pth", "facebook/sam-vit-large", 312_343_088),
    )
}

_MOBILE_SAM = OfficialFile(
    "mobile_sam.pt", "MobileSAM", "https://github.com/ChaoningZhang/MobileSAM", "Apache-2.0", part="sam",
    addresses=(
        "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
        "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
    ),
    sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f", size=40_728_226,
)  # fmt: skip

_ON_DINOV3 = "The authors publish no figures for it; on DINOv2 see talk2dino-"

OFFICIAL = {
    "talk2dino-b": OfficialPreset(
        "Talk2DINO ViT-B",
        "Talk2DINO on DINOv2 ViT-B/14 with registers: zero-shot text prompts with background cleaning, 151.0 M "
        "parameters",
        _talk2dino(
            _dinov2("b", "facebook/dinov2-with-registers-base", 86_583_552), "vitb_mlp_infonce.pth",
            within="lorebianchi98/Talk2DINO-ViTB",
            values_sha256="68acd0f506921146763b9119fa87fc7caed4b8b758a54ac2679f326ba73f10e5",
        ),
        ("text",),
        "Any English word, zero-shot: mIoU 85.3 on Pascal VOC (20 classes), 40.5 on Pascal Context, 38.2 on "
        "Cityscapes and 21.8 on ADE20K (Barsellotti et al., 2024).",
    ),
    "talk2dino-l": OfficialPreset(
        "Talk2DINO ViT-L",
        "Talk2DINO on DINOv2 ViT-L/14 with registers: zero-shot text prompts with background cleaning, 369.4 M "
        "parameters",
        _talk2dino(
            _dinov2("l", "facebook/dinov2-with-registers-large", 304_372_736), "vitl_mlp_infonce.pth",
            within="lorebianchi98/Talk2DINO-ViTL", width=1024,
        ),
        ("text",),
        "Any English word, zero-shot: mIoU 86.8 on Pascal VOC (20 classes), better than ViT-B's 85.3, but 39.3 on "
        "Pascal Context and 21.4 on ADE20K, slightly worse (Barsellotti et al., 2024).",
    ),
    "talk2dino-dinov3-b": OfficialPreset(
        "Talk2DINO DINOv3 ViT-B",
        "Talk2DINO on DINOv3 ViT-B/16: zero-shot text prompts with background cleaning, 150.1 M parameters",
        _talk2dino(
            _BACKBONES["b"], "dinov3_vitb_mlp_infonce.pth", "dinov3_vitb_mlp_infonce_448.pth",
            within="lorebianchi98/Talk2DINOv3-ViTB",
            values_sha256="5d68f7edb8c5005b72e2d132bf6a3a34319b15bcfd3b69928b941bf1dd0180d6",
        ),
        ("text",),
        f"Any English word, zero-shot, on the newer DINOv3 backbone. {_ON_DINOV3}b.",
    ),
    "talk2dino-dinov3-l": OfficialPreset(
        "Talk2DINO DINOv3 ViT-L",
        "Talk2DINO on DINOv3 ViT-L/16: zero-shot text prompts with background cleaning, 368.2 M parameters",
        _talk2dino(
            _BACKBONES["l"], "dinov3_vitl_mlp_infonce.pth", "dinov3_vitl_mlp_infonce_448.pth",
            within="lorebianchi98/Talk2DINOv3-ViTL", width=1024,
        ),
        ("text",),
        f"Any English word, zero-shot, on the newer DINOv3 backbone. {_ON_DINOV3}l.",
    ),
    "talk2dino-s": OfficialPreset(
        "Talk2DINO ViT-S, untrained",
        "Talk2DINO on DINOv2 ViT-S/14 with registers, 85.8 M parameters. No projection of this size was found "
        "published: these are the parts to train it from (maskwright train-projection)",
        (
            _dinov2("s", "facebook/dinov2-with-registers-small", 22_058_112), _CLIP, _VOCABULARY,
        ),
        (),
        "The parts of the smallest Talk2DINO of its paper; published, trained: mIoU 86.8 on Pascal VOC (20 classes), "
        "35.3 on Pascal Context and 17.0 on ADE20K (Barsellotti et al., 2024).",
    ),
    **{
        f"sam-{size}": OfficialPreset(
            f"SAM ViT-{size.upper()}", f"SAM ViT-{size.upper()}: clicks and boxes, {millions} M parameters",
            (file,), ("click",),
            f"Clicks and boxes by the original SAM, {millions} M parameters trained on 1.1 billion masks (Kirillov et "
            "al., 2023), instead of MobileSAM's 9.8 M parameters.",
        )
        for (size, file), millions in zip(_SAMS.items(), ("93.7", "312.3"), strict=True)
    },
    "sam-mobile": OfficialPreset(
        "MobileSAM", "MobileSAM: clicks and boxes, 9.8 M parameters", (_MOBILE_SAM,), ("click",),
        "Clicks and boxes by MobileSAM as its authors published it (Zhang et al., 2023), in single precision and "
        "without the further training of tiny.",
    ),
    **{
        f"insid3-{size}": OfficialPreset(
            f"INSID3 ViT-{size.upper()}", f"INSID3 on DINOv3 ViT-{size.upper()}/16: segmentation by example", (file,),
            ("example",),
            "Examples by the published method on its own DINOv3 backbone, of the kind that its authors used.",
        )
        for size, file in _BACKBONES.items()
    },
    "dinov3txt-l": OfficialPreset(
        "dino.txt ViT-L", "dino.txt on DINOv3 ViT-L/16: zero-shot text prompts, 866.6 M parameters", _DINOTXT,
        ("text", "example"),
        "Any English word, zero-shot, and examples on the same DINOv3 ViT-L/16 backbone.",
    ),
    "dinov2txt-l": OfficialPreset(
        "dino.txt ViT-L on DINOv2",
        "dino.txt as in its paper, on DINOv2 ViT-L/14 with registers: zero-shot text prompts, 867.8 M parameters",
        (
            _dinov2("l", "facebook/dinov2-with-registers-large", 304_372_736),
            *(
                OfficialFile(
                    f"{_DINOV2TXT}_{part}.pth", f"dino.txt {what} for DINOv2",
                    "https://github.com/facebookresearch/dinov2", "Apache-2.0", part=kind,
                    addresses=(f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/{_DINOV2TXT}_{part}.pth",),
                    size=_SINGLE * parameters,
                )
                for part, what, kind, parameters in (
                    ("vision_head", "vision head", "head", 25_326_336),
                    ("text_encoder", "text encoder", "text", 538_131_200),
                )
            ),
            _VOCABULARY,
        ),
        ("text", "example"),
        "Any English word, zero-shot: mIoU 62.1 on Pascal VOC (20 classes), 32.1 on Cityscapes, 30.9 on Pascal Context "
        "and 20.6 on ADE20K; 81.4 % of ImageNet's images named (Jose et al., 2024).",
    ),
    "dinov3seg-l": OfficialPreset(
        "dinov3.seg ViT-L, untrained",
        "dinov3.seg on dino.txt ViT-L/16 and SAM ViT-L, 1,178.2 M parameters. Its authors publish no weights: these "
        "are the parts to train it from (maskwright train); until then text prompts use dino.txt",
        (
            *_DINOTXT,
            _SAMS["l"],
            OfficialFile(
                "anyup_paper.pth", "AnyUp", "https://github.com/wimmerth/anyup", "CC BY 4.0", part="anyup"
            ),
        ),
        ("text", "example", "click"),
        "The parts to train dinov3.seg from; until then it answers text as dinov3txt-l and clicks as sam-l.",
    ),
    "ovs-dino-b": OfficialPreset(
        "OVS-DINO ViT-B, untrained",
        "OVS-DINO on DINOv2 ViT-B/14 without registers, 155.2 M parameters, taught by SAM ViT-B. Its authors publish "
        "no weights: these are the parts to train it from (maskwright train --task ovs); until then it waits for "
        "training and answers clicks alone",
        (
            _dinov2("b", "facebook/dinov2-base", 86_580_480, registers=False), _CLIP, _SAMS["b"], _VOCABULARY,
        ),
        ("click",),
        "The parts to train OVS-DINO from; until then it answers clicks as sam-b. Published, trained: mIoU 42.9 on "
        "Cityscapes and 34.2 on COCO-Stuff, where Talk2DINO has 36.6 and 28.1.",
    ),
}  # fmt: skip
"""Presets that can be imported, by name; the recommended first."""
