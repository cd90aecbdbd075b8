"""The trainer of the bundled preset, from random weights: words first, then pixels against the locked words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from maskwright.models.dinotxt import DinoTxt, global_half, local_half
from maskwright.models.tokenizer import Tokenizer, train_tokenizer
from maskwright.presets.weights import save_part, save_record, write_part
from maskwright.training.config import TrainConfig
from maskwright.training.data import Source, crops
from maskwright.training.loop import STATE, Trainer, TrainProgress, until
from maskwright.training.losses import TextObjective, Trained
from maskwright.training.prompts import PROMPTS, drawn_prompts, templates
from maskwright.training.vocabulary import Vocabulary

__all__ = ["train"]

log = logging.getLogger(__name__)

PROTOCOL = {"short_sides": [288, 512], "window": 288, "stride": 144}
"""How the trained model looks at an image: in the middle and at the end of the sizes it was trained at, because small
things need the larger one; and in larger windows."""
BY_EXAMPLE = {
    "part": "dinotxt",
    "stretch": True,
    "stem": 0.7,
    "position": 0.75,
    "method": {"size": 1024, "components": 16, "tau": 0.85, "merge": 0.2},
}
"""How it segments by example. Its last layer alone knows kinds of things but loses their look on the way, so the stem
speaks too; its black picture spans few directions, so few are taken out; and its cosines are high, so is tau."""


def train(
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    config: TrainConfig,
    out: Path,
    *,
    device: str = "cpu",
    workers: int = 0,
    minutes: float | None = None,
    on_step: Callable[[TrainProgress], None] = lambda step: None,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Train into the preset folder `out`; True when the last step was reached, False when `minutes` were over.

    Raises:
        MaskwrightError: `out` holds a run with other settings.
    """
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(vocabulary, config, out)
    model = DinoTxt(config.model).to(device)
    if not (out / STATE).exists():
        _teach_words(model, tokenizer, vocabulary.texts(), config, device)
    fit = Trainer(Trained(model), config, out, device)
    finished = fit.run(
        crops(config, sources), TextObjective(fit.trained, sources, vocabulary, tokenizer, config, device),
        workers=workers, on_step=on_step, stopped=until(minutes, stopped),
    )  # fmt: skip
    _export(out, fit.mean, config, vocabulary)
    return finished


def _teach_words(
    model: DinoTxt, tokenizer: Tokenizer, texts: Sequence[Sequence[str]], config: TrainConfig, device: str
) -> None:
    """Pull the prompts of one class together and those of different classes apart, in both halves; then lock them.

    An untrained text tower maps all prompts to nearly one direction (mean cosine 0.98), and when words and pixels
    learn together from few images the words fall back to it (0.84 after 700 steps): pixels then learn next to
    nothing. Against locked, well separated words they learn as a classifier does.
    """
    optimiser = torch.optim.AdamW(model.text_model.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    published, own = templates(), torch.arange(len(texts), device=device)
    for step in range(config.word_steps):
        rng = np.random.default_rng([config.seed, step, 2])
        views = [model.encode_text(tokenizer(list(drawn_prompts(texts, published, rng))).to(device)) for _ in range(2)]
        loss = torch.zeros((), device=device)
        for half in (global_half, local_half):
            logits = half(views[0]) @ half(views[1]).T / 0.1
            loss = loss + F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.text_model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 49:
            log.info("words %d/%d, loss %.3f", step + 1, config.word_steps, loss.item())


def _tokenizer(vocabulary: Vocabulary, config: TrainConfig, out: Path) -> Tokenizer:
    file = out / "tokenizer.json"
    if not file.exists():
        corpus = [text for texts in vocabulary.texts() for text in texts] * 4 + templates()
        train_tokenizer(corpus, vocabulary=config.model.text.vocabulary).save(str(file), pretty=False)
    return Tokenizer.load(file, context=config.model.text.context)


def _export(out: Path, mean: Trained, config: TrainConfig, vocabulary: Vocabulary) -> None:
    """Write the preset: averaged weights in half precision, sizes, prompts, threshold and the words it was taught."""
    scale = mean.model.logit_scale.exp().item()
    save_part(
        out,
        "dinotxt",
        mean.model.state_dict(),
        {
            "model": config.to_dict()["model"],
            "tokenizer": "tokenizer.json",
            "prompts": list(PROMPTS),
            "protocol": PROTOCOL,
            "stretch": True,
            "high_resolution": {"visits": [1, 2, 4]},
            "sharpness": scale,
            "scale": scale,
            "threshold": -10 * mean.offset.item() / scale,
            # its threshold was learned without
            "cleaning": 0.0,
            "familiar": sorted({text for texts in vocabulary.texts() for text in texts}),
        },
        dtype=torch.float16,
    )
    write_part(out, "insid3", BY_EXAMPLE)
    save_record(out / "training.json", {k: v for k, v in config.to_dict().items() if k != "model"})
