"""Preset folders as loaded models."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskwright.domain import ModelRef
from maskwright.errors import BadWeights, MaskwrightError, PresetMissing
from maskwright.models.dense import DenseConfig
from maskwright.models.dinotxt import DinoTxt
from maskwright.models.dinov3 import DinoV3
from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.models.insid3 import Insid3Config, components_for
from maskwright.models.sam import Sam
from maskwright.models.state_dict import load_exactly
from maskwright.models.talk2dino import Talk2Dino
from maskwright.models.tokenizer import Tokenizer, clip_tokenizer
from maskwright.presets.config import PART as TALK2DINO
from maskwright.presets.config import BackboneSettings, DinoTxtSettings, Dinov3SegSettings, SamSettings
from maskwright.presets.config_io import damaged, section, sections
from maskwright.presets.official import OFFICIAL
from maskwright.presets.talk2dino import LoadedTalk2Dino, load_talk2dino
from maskwright.presets.weights import CONFIG, read_weights, save_part
from maskwright.settings import Settings

__all__ = [
    "LoadedDinoTxt",
    "LoadedDinov3Seg",
    "LoadedInsid3",
    "LoadedSam",
    "Preset",
    "bundled",
    "find",
    "inherited",
    "installed",
    "load",
    "load_click",
    "load_seg",
    "load_text",
    "no_method",
    "prompt_settings",
    "read_config",
    "save_seg",
    "seg_settings",
]


@dataclass(frozen=True, slots=True)
class LoadedDinoTxt:
    """A loaded text model with its settings."""

    ref: ModelRef
    folder: Path
    config: DinoTxtSettings
    model: DinoTxt
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class LoadedInsid3:
    """A loaded backbone for segmentation by example."""

    ref: ModelRef
    config: DenseConfig
    backbone: DinoV3


@dataclass(frozen=True, slots=True)
class LoadedSam:
    """A loaded promptable model with its settings."""

    ref: ModelRef
    config: SamSettings
    model: Sam


@dataclass(frozen=True, slots=True)
class LoadedDinov3Seg:
    """A loaded dinov3.seg with its settings."""

    ref: ModelRef
    config: Dinov3SegSettings
    model: Dinov3Seg
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class Preset:
    """All that a preset's folder holds, loaded."""

    ref: ModelRef
    text: LoadedDinoTxt | None = None
    dense: LoadedInsid3 | None = None
    click: LoadedSam | None = None
    seg: LoadedDinov3Seg | None = None
    talk2dino: LoadedTalk2Dino | None = None
    untrained: bool = False
    """It has the parts of a dinov3.seg that is yet to be trained."""

    @property
    def models(self) -> list[nn.Module]:
        """The networks, each once."""
        parts = (self.text, self.click, self.seg, self.talk2dino)
        found: list[nn.Module] = [part.model for part in parts if part is not None]
        return found if self.text or not self.dense else [*found, self.dense.backbone]

    @property
    def encoders(self) -> list[nn.Module]:
        """Those parts of `models` that do with half precision: all but what places clicks or refines correlations."""
        found: list[nn.Module] = []
        for model in self.models:
            if isinstance(model, Sam):
                found.append(model.image_encoder)
            elif isinstance(model, Dinov3Seg):
                found += [model.vlm, model.spe]
            elif isinstance(model, Talk2Dino):
                found.append(model.visual)
            else:
                found.append(model)
        return found


def bundled() -> Path:
    """Folder of the presets that come with the package."""
    with as_file(files("maskwright_assets") / "presets") as folder:
        return folder


def installed(settings: Settings) -> dict[str, Path]:
    """Every preset on this computer by name, bundled first."""
    found: dict[str, Path] = {}
    for place in (bundled(), settings.presets.expanduser()):
        if place.is_dir():
            found |= {child.name: child for child in sorted(place.iterdir()) if (child / CONFIG).is_file()}
    return found


def find(name: str, settings: Settings) -> Path:
    """Folder of a preset by name, or of a checkpoint by path; raises PresetMissing."""
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return folder.resolve()
    here = installed(settings)
    if name not in here:
        raise PresetMissing(name, settings.presets.expanduser(), [*here, *(n for n in OFFICIAL if n not in here)])
    return here[name]


def read_config(folder: Path) -> DinoTxtSettings:
    """The text part of a preset's `config.json`; raises BadWeights when it is damaged or has unknown keys."""
    return section(folder, sections(folder), "dinotxt", DinoTxtSettings)


def load(folder: Path) -> Preset:
    """Build every model of a preset and load its weights; raises BadWeights."""
    data = sections(folder)
    text = load_text(folder) if "dinotxt" in data else None
    dense = _load_dense(folder, data, text) if text is not None or "insid3" in data else None
    click = load_click(folder) if "sam" in data else None
    told = seg_settings(folder) if "dinov3seg" in data else None
    seg = load_seg(folder, text, click) if told is not None and told.trained else None
    if told is not None and seg is None:
        # nothing uses them yet, but a damaged file should be known
        read_weights(folder / told.weights, told.sha256)
    talk2dino = load_talk2dino(folder, text) if TALK2DINO in data else None
    first = text or dense or click or talk2dino
    if first is None:
        raise damaged(folder, KeyError("dinotxt"))
    return Preset(first.ref, text, dense, click, seg, talk2dino, untrained=told is not None and seg is None)


def _load_dense(folder: Path, data: Mapping[str, Any], text: LoadedDinoTxt | None) -> LoadedInsid3:
    if text is not None:
        backbone = text.model.visual_model.backbone
        # a preset that was made before examples were known does without a section
        config = DenseConfig(method=Insid3Config(components=components_for(backbone.config.width)))
        if "insid3" in data:
            config = section(folder, data, "insid3", DenseConfig)
        return LoadedInsid3(text.ref, config, backbone)
    config = section(folder, data, "insid3", DenseConfig)
    stored = section(folder, data, config.part, BackboneSettings)
    backbone = DinoV3(stored.model)
    _load_weights(backbone, folder, stored)
    return LoadedInsid3(ModelRef(folder.name, stored.sha256), config, backbone)


def prompt_settings(folder: Path) -> SamSettings:
    """The promptable part of a preset's `config.json`; raises BadWeights when it is damaged or has unknown keys."""
    return section(folder, sections(folder), "sam", SamSettings)


def load_click(folder: Path) -> LoadedSam:
    """Build the promptable model of a preset and load its weights; raises BadWeights."""
    config = prompt_settings(folder)
    model = Sam(config.model)
    _load_weights(model, folder, config)
    return LoadedSam(ModelRef(folder.name, config.sha256), config, model)


def no_method(name: str, method: str) -> str:
    """What to say when a preset is asked for a text method that it has not."""
    return f"The preset {name} has no {method}. Use another method, or the preset tiny."


def seg_settings(folder: Path) -> Dinov3SegSettings:
    """The dinov3.seg part of a preset's `config.json`.

    Raises:
        MaskwrightError: there is none.
        BadWeights: it is damaged or has unknown keys.
    """
    if "dinov3seg" not in sections(folder):
        raise MaskwrightError(no_method(folder.name, "dinov3.seg"))
    return section(folder, sections(folder), "dinov3seg", Dinov3SegSettings)


def load_seg(folder: Path, text: LoadedDinoTxt | None = None, click: LoadedSam | None = None) -> LoadedDinov3Seg:
    """Build the dinov3.seg of a preset and load its weights; raises BadWeights.

    What its training left as it was is not stored again: it comes from the preset's text model and promptable model,
    which may be given when they are loaded already.
    """
    config = seg_settings(folder)
    text, click = text or load_text(folder), click or load_click(folder)
    if config.built_on is not None and config.built_on != (text.config.sha256, click.config.sha256):
        raise BadWeights(
            f"The dinov3.seg of {folder.name} was made for other weights of its words or clicks. Train it again "
            "(maskwright train --task seg), or get the preset again."
        )
    model = Dinov3Seg(config.model)
    stored = read_weights(folder / config.weights, config.sha256)
    load_exactly(model, inherited(model, text, click) | stored, what=folder.name)
    if not any(name.startswith("vlm.text_model.") for name in stored):
        model.vlm.text_model = text.model.text_model
    model.eval().requires_grad_(False)
    return LoadedDinov3Seg(ModelRef(folder.name, config.sha256), config, model, text.tokenizer)


def inherited(model: Dinov3Seg, text: LoadedDinoTxt, click: LoadedSam) -> dict[str, Tensor]:
    """What `model` takes over from the other models of a preset, by its names."""
    known = {f"vlm.{name}": value for name, value in text.model.state_dict().items()}
    known |= {f"spe.encoder.{name}": value for name, value in click.model.image_encoder.state_dict().items()}
    own = model.state_dict()
    return {name: value for name, value in known.items() if name in own}


def save_seg(folder: Path, model: Dinov3Seg, settings: Mapping[str, Any], *, dtype: torch.dtype) -> None:
    """Write the dinov3.seg of a preset: its settings, and those weights that the preset does not have already."""
    text, click = load_text(folder), load_click(folder)
    known = inherited(model, text, click)
    state = {
        name: value
        for name, value in model.state_dict().items()
        if name not in known or not torch.equal(known[name], value.cpu())
    }
    told = {
        "model": dataclasses.asdict(model.config),
        **settings,
        "built_on": (text.config.sha256, click.config.sha256),
    }
    save_part(folder, "dinov3seg", state, json.loads(json.dumps(told)), dtype=dtype)


def _load_weights(model: nn.Module, folder: Path, stored: BackboneSettings | SamSettings | DinoTxtSettings) -> None:
    load_exactly(model, read_weights(folder / stored.weights, stored.sha256), what=folder.name)
    model.eval().requires_grad_(False)


def load_text(folder: Path) -> LoadedDinoTxt:
    """Build the text model of a preset and load its weights; raises BadWeights, or MaskwrightError without one."""
    data = sections(folder)
    if "dinotxt" not in data and data.keys() & {"insid3", "sam", TALK2DINO}:
        raise MaskwrightError(f"The preset {folder.name} has no text model. For words use tiny or dinov3txt-l.")
    config = section(folder, data, "dinotxt", DinoTxtSettings)
    model = DinoTxt(config.model)
    _load_weights(model, folder, config)
    file = folder / config.tokenizer
    context = config.model.text.context
    tokenizer = clip_tokenizer(file, context=context) if file.suffix == ".gz" else Tokenizer.load(file, context=context)
    return LoadedDinoTxt(ModelRef(folder.name, config.sha256), folder, config, model, tokenizer)
