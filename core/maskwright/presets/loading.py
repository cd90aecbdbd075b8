"""Preset folders: find one by name, build its models and load their weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from torch import Tensor, nn

from maskwright.domain import ModelRef
from maskwright.errors import BadWeights, MaskwrightError
from maskwright.models.clip_text import ClipText
from maskwright.models.dinotxt import DinoTxt
from maskwright.models.dinov2 import DinoV2
from maskwright.models.dinov3 import DinoV3
from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.models.efficientnet_lite import LiteTrunk
from maskwright.models.insid3 import Insid3Config, components_for
from maskwright.models.ovs_dino import Heads, HeadsConfig, OvsDino
from maskwright.models.sam import Sam
from maskwright.models.state_dict import load_exactly, without_initialization
from maskwright.models.talk2dino import Projection, Talk2Dino
from maskwright.models.tiny_vit import TinyVit
from maskwright.models.tokenizer import Tokenizer, clip_tokenizer
from maskwright.presets.config import (
    OVS_DINO,
    OVS_ENCODERS,
    TALK2DINO,
    TEXT,
    BackboneSettings,
    DinoTxtSettings,
    Dinov3SegSettings,
    Insid3Settings,
    OvsDinoSettings,
    OvsEncodersSettings,
    SamSettings,
    Talk2DinoSettings,
)
from maskwright.presets.config_io import damaged, section, sections
from maskwright.presets.weights import read_weights

__all__ = [
    "Loaded",
    "LoadedDinoTxt",
    "LoadedDinov3Seg",
    "LoadedInsid3",
    "LoadedOvsDino",
    "LoadedSam",
    "LoadedTalk2Dino",
    "Preset",
    "dinotxt_settings",
    "dinov3seg_settings",
    "load",
    "load_dinotxt",
    "load_dinov3seg",
    "load_ovs_dino",
    "load_ovs_encoders",
    "load_sam",
    "load_talk2dino",
    "needs_single_precision",
    "no_method",
    "sam_settings",
    "shared_weights",
]

SettingsT = TypeVar("SettingsT")
ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[SettingsT, ModelT]):
    """A model of a preset with its weights and settings."""

    ref: ModelRef
    folder: Path
    """Of the preset."""
    settings: SettingsT
    model: ModelT
    text_tokenizer: Tokenizer | None = None
    """None for a model that reads no text."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of a model that reads text."""
        assert self.text_tokenizer is not None
        return self.text_tokenizer


LoadedDinoTxt: TypeAlias = Loaded[DinoTxtSettings, DinoTxt]
LoadedInsid3: TypeAlias = Loaded[Insid3Settings, DinoV2 | DinoV3]
LoadedSam: TypeAlias = Loaded[SamSettings, Sam]
LoadedDinov3Seg: TypeAlias = Loaded[Dinov3SegSettings, Dinov3Seg]
LoadedTalk2Dino: TypeAlias = Loaded[Talk2DinoSettings, Talk2Dino]
LoadedOvsDino: TypeAlias = Loaded[OvsDinoSettings, OvsDino]


@dataclass(frozen=True, slots=True)
class Preset:
    """The models of a preset's folder."""

    ref: ModelRef
    dinotxt: LoadedDinoTxt | None = None
    insid3: LoadedInsid3 | None = None
    sam: LoadedSam | None = None
    dinov3seg: LoadedDinov3Seg | None = None
    talk2dino: LoadedTalk2Dino | None = None
    ovs_dino: LoadedOvsDino | None = None
    untrained: bool = False
    """It holds the parts of a dinov3.seg that is yet to be trained."""
    ovs_dino_waits: bool = False
    """It holds the encoders of an OVS-DINO that is yet to be trained."""
    waiting_talk2dino: LoadedTalk2Dino | None = None
    """A Talk2DINO whose projection is yet to be trained."""
    text_method: str | None = None
    """The method that answers text prompts which name none; None is the first that the preset has."""

    @property
    def models(self) -> list[nn.Module]:
        """The networks, each once."""
        loaded = (self.dinotxt, self.sam, self.dinov3seg, self.talk2dino, self.ovs_dino)
        models: list[nn.Module] = [part.model for part in loaded if part is not None]
        return models if self.dinotxt or not self.insid3 else [*models, self.insid3.model]

    @property
    def encoders(self) -> list[nn.Module]:
        """The parts of `models` that can be held in half precision: not SAM's decoder, not what refines correlations.

        Nor INSID3's backbone, alone or in dino.txt: in bfloat16 its positional subspace is mostly rounding noise. Nor
        networks on MobileSAM's encoder or on an EfficientNet-Lite trunk: in bfloat16 they moved the probability of a
        class by up to 0.47, and they are small.
        """
        encoders: list[nn.Module] = []
        for model in self.models:
            if needs_single_precision(model):
                continue
            if isinstance(model, Sam):
                encoders.append(model.image_encoder)
            elif isinstance(model, Dinov3Seg):
                encoders += [model.vlm, model.spe]
            elif isinstance(model, DinoTxt):
                encoders.append(model.text_model)
            elif isinstance(model, Talk2Dino | OvsDino) and isinstance(model.visual, DinoV2 | DinoV3):
                encoders.append(model.visual)
        return encoders


def needs_single_precision(model: nn.Module) -> bool:
    """Whether a network stands on MobileSAM's encoder or an EfficientNet-Lite trunk; see `Preset.encoders`."""
    return any(isinstance(part, TinyVit | LiteTrunk) for part in model.modules())


# Settings alone, without weights


def dinotxt_settings(folder: Path) -> DinoTxtSettings:
    """Settings of a preset's dino.txt; raises BadWeights when they are missing or damaged."""
    return section(folder, sections(folder), "dinotxt", DinoTxtSettings)


def sam_settings(folder: Path) -> SamSettings:
    """Settings of a preset's SAM; raises BadWeights when they are missing or damaged."""
    return section(folder, sections(folder), "sam", SamSettings)


def dinov3seg_settings(folder: Path) -> Dinov3SegSettings:
    """Settings of a preset's dinov3.seg.

    Raises:
        MaskwrightError: the preset has none.
        BadWeights: they are damaged or have unknown keys.
    """
    if "dinov3seg" not in sections(folder):
        raise MaskwrightError(no_method(folder.name, "dinov3.seg"))
    return section(folder, sections(folder), "dinov3seg", Dinov3SegSettings)


def no_method(name: str, method: str) -> str:
    """The message for a text method that a preset does not have."""
    return f"The preset {name} has no {method}. Use another method, or the preset tiny."


# Models


def load(folder: Path) -> Preset:
    """Build every model of a preset and load its weights; raises BadWeights."""
    data = sections(folder)
    dinotxt = load_dinotxt(folder) if "dinotxt" in data else None
    insid3 = _load_insid3(folder, data, dinotxt) if dinotxt is not None or "insid3" in data else None
    sam = load_sam(folder) if "sam" in data else None
    settings = dinov3seg_settings(folder) if "dinov3seg" in data else None
    dinov3seg = load_dinov3seg(folder, dinotxt, sam) if settings is not None and settings.trained else None
    if settings is not None and dinov3seg is None:
        # nothing uses these weights before their training, but a damaged file should be noticed
        read_weights(folder / settings.weights, settings.sha256)
    talk2dino, waiting = load_talk2dino(folder, dinotxt) if TALK2DINO in data else None, None
    if talk2dino is not None and not talk2dino.settings.trained:
        talk2dino, waiting = None, talk2dino
    ovs_dino = load_ovs_dino(folder, dinotxt) if OVS_DINO in data else None
    if ovs_dino is not None and ovs_dino.settings.middle == "sam" and sam is None:
        raise damaged(folder, KeyError("sam"))
    waits = OVS_ENCODERS in data and ovs_dino is None
    if waits:
        # as for dinov3.seg
        read_weights(folder / data[OVS_ENCODERS]["weights"], data[OVS_ENCODERS]["sha256"])
    first = dinotxt or insid3 or sam or talk2dino or ovs_dino or waiting
    if first is None:
        raise damaged(folder, KeyError("dinotxt"))
    untrained = settings is not None and dinov3seg is None
    chosen = data.get(TEXT, {}).get("method")
    return Preset(
        first.ref, dinotxt, insid3, sam, dinov3seg, talk2dino, ovs_dino, untrained, waits, waiting, chosen
    )  # fmt: skip


def load_dinotxt(folder: Path) -> LoadedDinoTxt:
    """Build the dino.txt of a preset and load its weights.

    Raises:
        BadWeights: settings or weights are missing or damaged.
        MaskwrightError: the preset is one without a text model.
    """
    data = sections(folder)
    if "dinotxt" not in data and data.keys() & {"insid3", "sam", TALK2DINO, OVS_DINO}:
        raise MaskwrightError(f"The preset {folder.name} has no text model. For words use tiny or dinov3txt-l.")
    settings = section(folder, data, "dinotxt", DinoTxtSettings)
    with without_initialization():
        model = DinoTxt(settings.model)
    _load_weights(model, folder, settings)
    file, context = folder / settings.tokenizer, settings.model.text.context
    tokenizer = clip_tokenizer(file, context=context) if file.suffix == ".gz" else Tokenizer.load(file, context=context)
    return Loaded(ModelRef(folder.name, settings.sha256), folder, settings, model, tokenizer)


def _load_insid3(folder: Path, data: Mapping[str, Any], dinotxt: LoadedDinoTxt | None) -> LoadedInsid3:
    if dinotxt is not None:
        backbone = dinotxt.model.visual_model.backbone
        # presets older than INSID3 have no entry for it
        settings = Insid3Settings(method=Insid3Config(components=components_for(backbone.config.width)))
        if "insid3" in data:
            settings = section(folder, data, "insid3", Insid3Settings)
        return Loaded(dinotxt.ref, folder, settings, backbone)
    settings = section(folder, data, "insid3", Insid3Settings)
    stored = section(folder, data, settings.part, BackboneSettings)
    with without_initialization():
        backbone = DinoV3(stored.model)
    _load_weights(backbone, folder, stored)
    return Loaded(ModelRef(folder.name, stored.sha256), folder, settings, backbone)


def load_sam(folder: Path) -> LoadedSam:
    """Build the SAM of a preset and load its weights; raises BadWeights."""
    settings = sam_settings(folder)
    with without_initialization():
        model = Sam(settings.model)
    _load_weights(model, folder, settings)
    return Loaded(ModelRef(folder.name, settings.sha256), folder, settings, model)


def load_dinov3seg(folder: Path, dinotxt: LoadedDinoTxt | None = None, sam: LoadedSam | None = None) -> LoadedDinov3Seg:
    """Build the dinov3.seg of a preset and load its weights.

    Tensors that its training left unchanged are not stored again: they come from the preset's dino.txt and SAM.

    Args:
        folder: of the preset.
        dinotxt: the preset's dino.txt, where it is loaded already.
        sam: the preset's SAM, where it is loaded already.

    Raises:
        MaskwrightError: the preset has no dinov3.seg.
        BadWeights: settings or weights are damaged, or made for other weights of dino.txt or SAM.
    """
    settings = dinov3seg_settings(folder)
    dinotxt, sam = dinotxt or load_dinotxt(folder), sam or load_sam(folder)
    if settings.built_on is not None and settings.built_on != (dinotxt.settings.sha256, sam.settings.sha256):
        raise BadWeights(
            f"The dinov3.seg of {folder.name} was made for other weights of its words or clicks. Train it again "
            "(maskwright train), or get the preset again."
        )
    with without_initialization():
        model = Dinov3Seg(settings.model)
    stored = read_weights(folder / settings.weights, settings.sha256)
    load_exactly(model, shared_weights(model, dinotxt, sam) | stored, what=folder.name)
    if not any(name.startswith("vlm.text_model.") for name in stored):
        model.vlm.text_model = dinotxt.model.text_model
    model.eval().requires_grad_(requires_grad=False)
    return Loaded(ModelRef(folder.name, settings.sha256), folder, settings, model, dinotxt.tokenizer)


def shared_weights(model: Dinov3Seg, dinotxt: LoadedDinoTxt, sam: LoadedSam) -> dict[str, Tensor]:
    """Tensors of a preset's dino.txt and SAM under the names they have in its dinov3.seg."""
    known = {f"vlm.{name}": value for name, value in dinotxt.model.state_dict().items()}
    known |= {f"spe.encoder.{name}": value for name, value in sam.model.image_encoder.state_dict().items()}
    own = model.state_dict()
    return {name: value for name, value in known.items() if name in own}


def load_talk2dino(folder: Path, dinotxt: LoadedDinoTxt | None) -> LoadedTalk2Dino:
    """Build the Talk2DINO of a preset and load its weights.

    Args:
        folder: of the preset.
        dinotxt: the preset's dino.txt, whose encoders a projection that is stored alone was trained for.

    Raises:
        BadWeights: settings or weights are damaged, or made for other weights of dino.txt.
    """
    settings = section(folder, sections(folder), TALK2DINO, Talk2DinoSettings)
    state = read_weights(folder / settings.weights, settings.sha256)
    if settings.model is not None and settings.tokenizer is not None:
        try:
            with without_initialization():
                model = Talk2Dino.build(settings.model)
        except ValueError as error:
            raise damaged(folder, error) from error
        load_exactly(model, state, what=folder.name)
        tokenizer = clip_tokenizer(folder / settings.tokenizer, context=settings.model.text.context)
    elif dinotxt is not None and settings.projection is not None:
        if settings.built_on != dinotxt.settings.sha256:
            raise BadWeights(
                f"The Talk2DINO of {folder.name} was made for other weights of its words. Train it again "
                "(maskwright train-projection), or get the preset again."
            )
        tokenizer = dinotxt.tokenizer
        with without_initialization():
            projection = Projection(settings.projection)
        load_exactly(projection, state, what=folder.name)
        model = Talk2Dino(dinotxt.model.visual_model, dinotxt.model.text_model, projection)
    else:
        raise damaged(folder, KeyError("model"))
    model.eval().requires_grad_(requires_grad=False)
    return Loaded(ModelRef(folder.name, settings.sha256), folder, settings, model, tokenizer)


def load_ovs_dino(folder: Path, dinotxt: LoadedDinoTxt | None) -> LoadedOvsDino:
    """Build the OVS-DINO of a preset and load its weights.

    Args:
        folder: of the preset.
        dinotxt: the preset's dino.txt, whose encoders it may have been trained on.

    Raises:
        BadWeights: settings or weights are damaged, or made for other weights of the encoders.
    """
    settings = section(folder, sections(folder), OVS_DINO, OvsDinoSettings)
    state = read_weights(folder / settings.weights, settings.sha256)
    model, tokenizer, sha256 = load_ovs_encoders(folder, settings.heads, dinotxt)
    if settings.built_on != sha256:
        raise BadWeights(
            f"The OVS-DINO of {folder.name} was made for other weights of its encoders.",
            "Train it again (maskwright train --task ovs), or get the preset again.",
        )
    if settings.trained_blocks:
        model.visual = copy.deepcopy(model.visual)  # dino.txt keeps its own blocks
    load_exactly(model.trained_parts(settings.trained_blocks), state, what=folder.name)
    model.eval().requires_grad_(requires_grad=False)
    return Loaded(ModelRef(folder.name, settings.sha256), folder, settings, model, tokenizer)


def load_ovs_encoders(
    folder: Path, heads: HeadsConfig, dinotxt: LoadedDinoTxt | None
) -> tuple[OvsDino, Tokenizer, str]:
    """An OVS-DINO with a preset's encoders and new heads, its tokenizer, and the hash of the encoders' weights.

    The encoders are those imported for it, else those of dino.txt.

    Raises:
        MaskwrightError: the preset has neither.
        BadWeights: they are damaged.
    """
    data = sections(folder)
    if OVS_ENCODERS in data:
        stored = section(folder, data, OVS_ENCODERS, OvsEncodersSettings)
        with without_initialization():
            visual, text = DinoV2(stored.model.dinov2), ClipText(stored.model.text)
        model = OvsDino(visual, text, Heads(heads))
        encoders = nn.ModuleDict({"visual": model.visual, "text": model.text})
        load_exactly(encoders, read_weights(folder / stored.weights, stored.sha256), what=folder.name)
        tokenizer = clip_tokenizer(folder / stored.tokenizer, context=stored.model.text.context)
        return model, tokenizer, stored.sha256
    if dinotxt is None:
        raise MaskwrightError(f"The preset {folder.name} has no text and image encoders.", "Use tiny or ovs-dino-b.")
    model = OvsDino(dinotxt.model.visual_model, dinotxt.model.text_model, Heads(heads))
    return model, dinotxt.tokenizer, dinotxt.settings.sha256


def _load_weights(model: nn.Module, folder: Path, stored: BackboneSettings | SamSettings | DinoTxtSettings) -> None:
    load_exactly(model, read_weights(folder / stored.weights, stored.sha256), what=folder.name)
    model.eval().requires_grad_(requires_grad=False)
