"""Which class names get one mask per object."""

from __future__ import annotations

import pytest

from maskwright.domain import TextPrompt
from maskwright.session import countable_names, divide_countable


@pytest.mark.parametrize(
    ("names", "countable"),
    [
        ("person, grass, dog", ("person", "dog")),
        ("Sky, brick wall, clouds, trees, roads", ()),
        ("nucleus, wine glass bottle, grasshopper", ("nucleus", "wine glass bottle", "grasshopper")),
        ("lorry|truck, lawn|meadow", ("lorry",)),
    ],
)
def test_things_are_countable_and_stuff_is_not(names: str, countable: tuple[str, ...]) -> None:
    prompt = TextPrompt.parse(names)
    assert countable_names(prompt) == countable
    assert divide_countable(prompt).divided == countable
