"""The small tokenizer: any word is legal, and the end is where the towers look for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskwright.errors import BadWeights
from maskwright.models.text_cleaning import clean_text
from maskwright.models.tokenizer import Tokenizer, clip_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    train_tokenizer(["a photo of a cow", "grass", "sky"] * 5, vocabulary=400).save(str(file))
    return Tokenizer.load(file, context=16)


@pytest.mark.parametrize("text", ["cow", "Zürich", "雪", "🐄", "", " a  b ", "x" * 500])
def test_every_text_has_one_end_and_its_own_ids(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer([text, "grass"])
    assert ids.shape == (2, 16)
    assert (ids == tokenizer.end).sum(dim=1).tolist() == [1, 1]
    assert ids.max() == tokenizer.end
    assert ids[0, 0] == tokenizer.start


def test_different_words_have_different_ids_also_when_unknown(tokenizer: Tokenizer) -> None:
    ids = tokenizer(["雪", "雨", "🐄", "🐑"])
    assert len({tuple(row.tolist()) for row in ids}) == 4


def test_case_and_spaces_do_not_matter(tokenizer: Tokenizer) -> None:
    first, second = tokenizer(["Cow  grass", "cow grass"])
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    ("raw", "cleaned"), [("&amp;amp; Cow", "& cow"), ("sch\u00c3\u00b6n", "schön"), (" a\n b ", "a b")]
)
def test_clean(raw: str, cleaned: str) -> None:
    assert clean_text(raw) == cleaned


def test_a_wrong_vocabulary_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    file.write_bytes(b"not gzip")
    with pytest.raises(BadWeights, match="CLIP vocabulary"):
        clip_tokenizer(file)
