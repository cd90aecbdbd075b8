"""Tokenizers: CLIP's byte-pair encoding, and small ones that are trained, both on the `tokenizers` library.

The end token has the largest id, by which the text towers find it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from torch import Tensor

from maskwright.errors import BadWeights
from maskwright.models.text_cleaning import clean_text

__all__ = ["Tokenizer", "clip_tokenizer", "read_merges", "train_tokenizer"]

_CLIP_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_CLIP_MERGES = 48894


class Tokenizer:
    """Texts to token ids of a fixed length; longer texts are truncated before the end token."""

    def __init__(self, backend: Backend, *, context: int, start: str, end: str) -> None:
        self.backend = backend
        self.context = context
        self.start, self.end = (self._special(token) for token in (start, end))
        if self.end != backend.get_vocab_size() - 1:
            raise BadWeights("The tokenizer's end token must have the largest id.")

    def _special(self, token: str) -> int:
        token_id = self.backend.token_to_id(token)
        if token_id is None:
            raise BadWeights(f"The tokenizer file lacks the token {token}.")
        return int(token_id)

    @classmethod
    def load(cls, file: Path, *, context: int) -> Tokenizer:
        """Read a `tokenizer.json` that `train_tokenizer` made; raises BadWeights when it cannot be read."""
        try:
            backend = Backend.from_file(str(file))
        except Exception as error:  # the library raises bare Exception for anything it cannot read
            raise BadWeights(f"Cannot read the tokenizer {file}: {error}. Get the file again.") from error
        return cls(backend, context=context, start="<start>", end="<end>")

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, context) int64 token ids of N texts, padded with 0."""
        ids = torch.zeros(len(texts), self.context, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            words = self.backend.encode(clean_text(text), add_special_tokens=False).ids[: self.context - 2]
            row[: len(words) + 2] = torch.tensor([self.start, *words, self.end])
        return ids


def clip_tokenizer(merges: Path, *, context: int = 77) -> Tokenizer:
    """CLIP's tokenizer.

    Args:
        merges: the published list of merges, `bpe_simple_vocab_16e6.txt.gz`, or the hub's `merges.txt`, which has
            the same.
        context: length of the token ids.

    Raises:
        BadWeights: the file is not that list.
    """
    pairs = [tuple(line.split()) for line in read_merges(merges)]
    if any(len(pair) != 2 for pair in pairs):
        raise BadWeights(f"{merges.name} is not the CLIP vocabulary: it needs {_CLIP_MERGES} merges of two.")
    symbols = list(_byte_symbols())
    symbols += [f"{symbol}</w>" for symbol in symbols]
    symbols += ["".join(pair) for pair in pairs] + ["<|startoftext|>", "<|endoftext|>"]
    backend = Backend(
        models.BPE(
            vocab={symbol: index for index, symbol in enumerate(symbols)},
            merges=[(pair[0], pair[1]) for pair in pairs],
            end_of_word_suffix="</w>",
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return Tokenizer(backend, context=context, start="<|startoftext|>", end="<|endoftext|>")


def read_merges(file: Path) -> list[str]:
    """The merges of a CLIP vocabulary file in order, one line each; raises BadWeights when it is none."""
    try:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
            # CLIP's own file has many more, which it does not use
            merges = lines.read().split("\n")[1 : _CLIP_MERGES + 1]
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise BadWeights(f"Cannot read the CLIP vocabulary {file.name}: {error}. Get the file again.") from error
    if len(merges) != _CLIP_MERGES:
        raise BadWeights(f"{file.name} is not the CLIP vocabulary: it needs {_CLIP_MERGES} merges of two.")
    return merges


def _byte_symbols() -> Iterable[str]:
    """The 256 printable symbols of bytes in the order of CLIP's vocabulary: printable bytes first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    yield from map(chr, printable)
    yield from (chr(256 + n) for n in range(256 - len(printable)))


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Backend:
    """Train a small byte-pair encoding on `texts`; other words fall back to their bytes."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token=None))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    reserved = ["<pad>", "<start>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary - 1, special_tokens=reserved, show_progress=False)
    backend.train_from_iterator([clean_text(text) for text in texts], trainer)
    backend.add_special_tokens(["<end>"])
    return backend
