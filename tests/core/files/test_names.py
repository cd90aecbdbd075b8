"""Names that do not collide."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import PurePosixPath

from maskwright.files.names import DistinctNames, numbered, plain_name, stem_key


def test_numbers_are_added_before_the_suffix() -> None:
    assert list(islice(numbered("cow.jpg"), 3)) == ["cow.jpg", "cow-2.jpg", "cow-3.jpg"]
    assert all(len(os.fsencode(name)) <= 255 for name in islice(numbered("草" * 200 + ".png"), 12))


def test_stems_differ_also_where_case_and_unicode_form_are_ignored() -> None:
    names = DistinctNames()
    wanted = ["a/cow.jpg", "a/cow.png", "a/COW.jpg", "b/cow.jpg", "é.png", "e\u0301.png"]
    given = [names.free(name) for name in wanted]
    assert given == ["a/cow.jpg", "a/cow-2.png", "a/COW-3.jpg", "b/cow.jpg", "é.png", "e\u0301-2.png"]
    assert len({stem_key(PurePosixPath(name)) for name in given}) == len(given)


def test_a_backslash_is_no_folder() -> None:
    assert plain_name("a\\b/c.png") == "a_b/c.png"
