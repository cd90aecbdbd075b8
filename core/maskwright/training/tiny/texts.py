"""Texts that the text tower learns: nouns, phrases and class names, each with MiniLM's embedding."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.files.atomic import atomic_save
from maskwright.models.tokenizer import train_tokenizer
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training.prompts import PROMPTS, templates
from maskwright.training.tiny.pretrained import MiniLm, wordnet_nouns

__all__ = ["Texts", "WordEmbeddings", "read_texts"]

_NOUNS = 26_000
_COMMON = 5
"""Rank of a noun from which it occurs in phrases."""
_ADJECTIVES = (
    "red", "green", "blue", "white", "black", "yellow", "brown", "grey", "orange", "pink", "old", "new", "big", "small",
    "wooden", "metal", "plastic", "glass", "stone", "leather", "wet", "dry", "broken", "open", "closed", "empty",
    "full", "young", "tall", "short", "long", "round", "striped", "dark", "bright", "dirty", "clean", "parked",
    "running", "standing", "sitting", "sleeping", "flying",
)  # fmt: skip
_RELATIONS = ("on", "in", "next to", "behind", "in front of", "with", "under", "near", "and")


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Texts with their embeddings."""

    texts: tuple[str, ...]
    embeddings: Tensor
    """(N, 384) unit vectors, centred on the mean noun"""
    weight: Tensor
    """(N,) how often each is drawn"""

    def rows(self) -> dict[str, int]:
        """Row of each text."""
        return {text: row for row, text in enumerate(self.texts)}


def read_texts(
    classes: Iterable[str],
    listed: Iterable[str],
    sources: tuple[Path, Path],
    out: Path,
    *,
    vocabulary: int,
    progress: Progress = NO_PROGRESS,
) -> Texts:
    """Collect and encode the texts into `out/texts.pt`, and train `out/tokenizer.json` on them, or read both.

    Args:
        classes: Names and synonyms of the training classes, and ImageNet's names.
        listed: Names of further class lists.
        sources: MiniLM's zip, and the folder with WordNet's `index.noun` and `data.noun`.
        out: Folder of the run.
        vocabulary: Number of tokens.
        progress: Reports texts; cancels between batches.
    """
    file = out / "texts.pt"
    if not file.exists():
        known, core, texts = _collect(classes, listed, wordnet_nouns(sources[1]))
        embeddings = MiniLm(sources[0])(texts, progress=progress)
        # without the mean noun, whose norm is 0.44, any two words would be alike
        nouns = len(core) + sum(text not in core for text in texts[len(core) : len(core) + _NOUNS])
        embeddings = F.normalize(embeddings - embeddings[:nouns].mean(dim=0), dim=1)
        weight = torch.tensor([8.0 if text in known else 3.0 if text in core else 1.0 for text in texts])
        corpus = [text for text in texts for _ in range(6 if text in core else 1)]
        corpus += [template.format("") for template in templates()] * 20 + [p.format("") for p in PROMPTS] * 400
        train_tokenizer(corpus, vocabulary=vocabulary).save(str(out / "tokenizer.json"))
        state = {"texts": list(texts), "embeddings": embeddings, "weight": weight}
        atomic_save(file, lambda temporary: torch.save(state, temporary))
    state = torch.load(file, map_location="cpu", weights_only=True)
    return Texts(tuple(state["texts"]), state["embeddings"], state["weight"])


def _collect(
    classes: Iterable[str], listed: Iterable[str], ranks: Mapping[str, int]
) -> tuple[set[str], dict[str, None], tuple[str, ...]]:
    """Class names; these and listed names in order; and all texts: those, nouns and phrases."""
    draw = random.Random(0)
    known = dict.fromkeys(name.lower() for name in classes if name.strip())
    core = known | dict.fromkeys(name.lower() for name in listed if name.strip() and len(name) < 40)
    nouns = sorted(ranks, key=lambda word: (-ranks[word], draw.random()))[:_NOUNS]
    common = [word for word in nouns if ranks[word] >= _COMMON]
    return set(known), core, tuple(dict.fromkeys([*core, *nouns, *_phrases(list(core), common, draw)]))


def _phrases(core: Sequence[str], common: Sequence[str], draw: random.Random) -> Iterator[str]:
    """Plurals, nouns with an adjective, and two nouns in a relation."""

    def noun() -> str:
        return draw.choice(core if draw.random() < 0.6 or not common else common)

    yield from (_plural(draw.choice([*common, *core])) for _ in range(2500))
    yield from (f"{draw.choice(_ADJECTIVES)} {noun()}" for _ in range(3000))
    yield from (f"{noun()} {draw.choice(_RELATIONS)} {noun()}" for _ in range(2000))


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"


class WordEmbeddings:
    """MiniLM's embeddings of classes under random synonyms, the first name half of the time."""

    def __init__(self, texts: Texts, names: Sequence[Sequence[str]], *, noise: float, seed: tuple[int, int]) -> None:
        """Prepare the draws.

        Args:
            texts: All texts.
            names: Names of each class; those that are no text are left out.
            noise: Length of a random vector that is added, because the text tower will not meet the embeddings exactly.
            seed: Seed of the run, and a number of these embeddings.
        """
        rows = texts.rows()
        self._rows = [[rows[name.lower()] for name in synonyms if name.lower() in rows] for synonyms in names]
        self._embeddings, self._noise, self._seed = texts.embeddings, noise, seed

    def at(self, step: int) -> Tensor:
        """(T, 384) unit vectors of a step."""
        rng = np.random.default_rng([self._seed[0], step, self._seed[1]])
        drawn = [rows[0] if rng.random() < 0.5 else rows[int(rng.integers(len(rows)))] for rows in self._rows]
        vectors = self._embeddings[drawn]
        spread = rng.standard_normal(vectors.shape, np.float32) / vectors.shape[1] ** 0.5
        return F.normalize(vectors + self._noise * torch.from_numpy(spread), dim=1)
