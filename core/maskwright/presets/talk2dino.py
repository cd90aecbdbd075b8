"""Talk2DINO in a preset: whole, or as a projection between the encoders that the preset has."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from maskwright.domain import ModelRef
from maskwright.errors import BadWeights
from maskwright.models.state_dict import load_exactly
from maskwright.models.talk2dino import (
    Projection,
    ProjectionConfig,
    Talk2Dino,
)
from maskwright.models.tokenizer import Tokenizer, clip_tokenizer
from maskwright.presets.config_io import damaged, section, sections
from maskwright.presets.weights import read_weights, save_part

if TYPE_CHECKING:
    from maskwright.presets.loading import LoadedDinoTxt
from maskwright.presets.config import PART, Talk2DinoSettings

__all__ = ["LoadedTalk2Dino", "load_talk2dino", "save_projection"]


@dataclass(frozen=True, slots=True)
class LoadedTalk2Dino:
    """A loaded Talk2DINO with its settings."""

    ref: ModelRef
    config: Talk2DinoSettings
    model: Talk2Dino
    tokenizer: Tokenizer

    @property
    def encoders_sha256(self) -> str:
        """Of the weights of both encoders: with another projection they see the same."""
        return self.config.built_on or self.config.sha256


def load_talk2dino(folder: Path, text: LoadedDinoTxt | None) -> LoadedTalk2Dino:
    """Build the Talk2DINO of a preset and load its weights; raises BadWeights.

    `text` is the preset's dino.txt, whose encoders a projection that stands alone was trained for.
    """
    config = section(folder, sections(folder), PART, Talk2DinoSettings)
    state = read_weights(folder / config.weights, config.sha256)
    if config.model is not None and config.tokenizer is not None:
        try:
            model = Talk2Dino.build(config.model)
        except ValueError as error:
            raise damaged(folder, error) from error
        load_exactly(model, state, what=folder.name)
        tokenizer = clip_tokenizer(folder / config.tokenizer, context=config.model.text.context)
    elif text is not None and config.projection is not None:
        if config.built_on != text.config.sha256:
            raise BadWeights(
                f"The Talk2DINO of {folder.name} was made for other weights of its words. Train it again "
                "(maskwright train-projection), or get the preset again."
            )
        projection, tokenizer = Projection(config.projection), text.tokenizer
        load_exactly(projection, state, what=folder.name)
        model = Talk2Dino(text.model.visual_model, text.model.text_model, projection)
    else:
        raise damaged(folder, KeyError("model"))
    model.eval().requires_grad_(False)
    return LoadedTalk2Dino(ModelRef(folder.name, config.sha256), config, model, tokenizer)


def save_projection(
    folder: Path, projection: Projection, config: ProjectionConfig, text: LoadedDinoTxt | None, *, size: int
) -> None:
    """Write a projection that was learned, at pictures of `size`, between the encoders of the preset in `folder`.

    Where Talk2DINO is whole its projection is replaced; else it stands alone, on the preset's dino.txt, `text`.
    """
    told = sections(folder).get(PART)
    if told is not None and told.get("model") is not None:
        kept = read_weights(folder / told["weights"], told["sha256"])
        kept |= {f"projection.{name}": value for name, value in projection.state_dict().items()}
        told = {
            **told,
            "model": {**told["model"], "projection": asdict(config)},
            "built_on": told.get("built_on") or told["sha256"],
            "matched_at": size,
        }
        save_part(folder, PART, kept, told, dtype=torch.float32)
        return
    assert text is not None
    settings = {
        "projection": asdict(config),
        "built_on": text.config.sha256,
        "prompts": text.config.prompts,
        "matched_at": size,
        "stretch": text.config.stretch,
    }
    save_part(folder, PART, projection.state_dict(), settings, dtype=torch.float16)
