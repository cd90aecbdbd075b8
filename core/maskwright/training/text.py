"""Training of dino.txt from random weights: first the text tower, then the visual model against the frozen text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from maskwright.models.dinotxt import DinoTxt, global_half, local_half
from maskwright.models.tokenizer import Tokenizer, train_tokenizer
from maskwright.presets.weights import save_part, save_record, write_part
from maskwright.training.config import TrainConfig
from maskwright.training.data import Source, Steps
from maskwright.training.loop import CPU_RUN, STATE, RunOptions, Trainer
from maskwright.training.losses import TextObjective, TrainedDinoTxt
from maskwright.training.prompts import PROMPTS, drawn_prompts, templates
from maskwright.training.vocabulary import Vocabulary

__all__ = ["train"]

log = logging.getLogger(__name__)

PROTOCOL = {"short_sides": [288, 512], "window": 288, "stride": 144}
"""Sliding-window protocol of the trained model: a medium and the largest training size, because small objects need the
larger one, in windows larger than the training crops."""
INSID3 = {
    "part": "dinotxt",
    "stretch": True,
    "stem": 0.7,
    "position": 0.75,
    "method": {"size": 1024, "components": 16, "tau": 0.85, "merge": 0.2},
}
"""INSID3 settings of the trained model. Its last layer knows categories but loses appearance, so features of the stem
are added; its positional subspace has few components; and its cosines are high, so tau is as well."""


def train(
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    config: TrainConfig,
    out: Path,
    options: RunOptions = CPU_RUN,
) -> bool:
    """Train dino.txt into a preset folder, or resume the run that the folder holds.

    Args:
        sources: Labelled images.
        vocabulary: Their classes.
        config: Settings.
        out: Preset folder.
        options: Device and callbacks.

    Returns:
        Whether the last step was reached; the preset is written in either case.

    Raises:
        MaskwrightError: `out` holds a run with other settings.
    """
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(vocabulary, config, out)
    model = DinoTxt(config.model).to(options.device)
    if not (out / STATE).exists():
        _train_text_tower(model, tokenizer, vocabulary.texts(), config, options.device)
    trainer = Trainer(TrainedDinoTxt(model), config, out, options.device)
    objective = TextObjective(trainer.trained, sources, vocabulary, tokenizer, config, options.device)
    finished = trainer.run(Steps(sources, config), objective, options)
    _export(out, trainer.ema, config, vocabulary)
    return finished


def _train_text_tower(
    model: DinoTxt, tokenizer: Tokenizer, texts: Sequence[Sequence[str]], config: TrainConfig, device: str
) -> None:
    """Contrastive loss between prompts of the same class, in both halves of the embedding.

    An untrained text tower maps all prompts to nearly one direction (mean cosine 0.98). Trained together with the
    visual model on few images it collapses to it (0.84 after 700 steps), and the visual model learns next to nothing;
    against frozen, well separated embeddings it learns as a classifier does.
    """
    optimizer = torch.optim.AdamW(model.text_model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    published, own = templates(), torch.arange(len(texts), device=device)
    for step in range(config.text_steps):
        rng = np.random.default_rng([config.seed, step, 2])
        views = [model.encode_text(tokenizer(list(drawn_prompts(texts, published, rng))).to(device)) for _ in range(2)]
        loss = torch.zeros((), device=device)
        for half in (global_half, local_half):
            logits = half(views[0]) @ half(views[1]).T / 0.1
            loss = loss + F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.text_model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            log.info("text tower: step %d/%d, loss %.3f", step + 1, config.text_steps, loss.item())


def _tokenizer(vocabulary: Vocabulary, config: TrainConfig, out: Path) -> Tokenizer:
    file = out / "tokenizer.json"
    if not file.exists():
        corpus = [text for texts in vocabulary.texts() for text in texts] * 4 + templates()
        train_tokenizer(corpus, vocabulary=config.model.text.vocabulary).save(str(file), pretty=False)
    return Tokenizer.load(file, context=config.model.text.context)


def _export(out: Path, ema: TrainedDinoTxt, config: TrainConfig, vocabulary: Vocabulary) -> None:
    """Write the preset: averaged weights in half precision, sizes, prompts, threshold and training vocabulary."""
    scale = ema.model.logit_scale.exp().item()
    save_part(
        out,
        "dinotxt",
        ema.model.state_dict(),
        {
            "model": config.to_dict()["model"],
            "tokenizer": "tokenizer.json",
            "prompts": list(PROMPTS),
            "protocol": PROTOCOL,
            "stretch": True,
            "high_resolution": {"visits": [1, 2, 4]},
            "sharpness": scale,
            "scale": scale,
            "threshold": -10 * ema.offset.item() / scale,
            # the threshold was trained without background cleaning
            "cleaning": 0.0,
            "familiar": sorted({text for texts in vocabulary.texts() for text in texts}),
        },
        dtype=torch.float16,
    )
    write_part(out, "insid3", INSID3)
    save_record(out / "training.json", config.record())
