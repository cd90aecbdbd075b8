"""Which masks a fine-tuning run learns from, and which images it is measured on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.domain import AnnotationKey
from maskwright.errors import MaskwrightError
from maskwright.training.split import make_plan


def _masks(*rows: tuple[int, str]) -> list[AnnotationKey]:
    names = list(dict.fromkeys(name for _, name in rows))
    return [
        AnnotationKey(f"u{number}", 1, image, names.index(name) + 1, name)
        for number, (image, name) in enumerate(rows, start=1)
    ]


def test_a_fifth_of_the_images_is_kept_out_and_every_class_is_on_both_sides() -> None:
    masks = _masks(*((image, "cow") for image in range(1, 16)), *((image, "sky") for image in range(10, 21)))
    plan = make_plan(masks, hold_out=True, seed=3)
    assert len(plan.validation) == 4
    assert not set(plan.validation) & set(plan.train)
    assert set(plan.validation) | set(plan.train) == set(range(1, 21))
    for side in (plan.train, plan.validation):
        assert {one.category for one in masks if one.image_id in side} == {"cow", "sky"}
    assert plan == make_plan(masks, hold_out=True, seed=3)
    assert len(plan.masks) == len(masks)
    assert not plan.background


def test_an_image_that_was_measured_on_is_never_learnt_from_later() -> None:
    masks = _masks(*((image, "cow") for image in range(1, 21)), *((image, "sky") for image in range(1, 21)))
    first = make_plan(masks, hold_out=True, seed=0)
    later = make_plan(masks, hold_out=True, former=first.validation, seed=99)
    assert set(first.validation) <= set(later.validation)


def test_classes_with_few_masks_are_left_out_by_name() -> None:
    masks = _masks((1, "cow"), (2, "cow"), (3, "cow"), (1, "sky"), (2, "sky"))
    plan = make_plan(masks, hold_out=True)
    assert plan.categories == ("cow",)
    assert plan.left_out == ("sky",)
    assert plan.background, "a single class has the rest of the image against it"


def test_all_images_teach_when_a_folder_is_measured() -> None:
    plan = make_plan(_masks((1, "cow"), (2, "cow"), (3, "cow")), hold_out=False)
    assert plan.validation == ()
    assert plan.train == (1, 2, 3)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "Training needs at least 2 annotated images; you have 0."),
        ([(1, "cow")] * 5, "Training needs at least 2 annotated images; you have 1."),
        ([(1, "cow"), (2, "cow"), (3, "sky")], "Training needs at least 3 masks of a class"),
        ([(1, "cow"), (1, "cow"), (1, "cow"), (2, "sky")], "Training needs at least 3 masks of a class"),
    ],
)
def test_too_little_is_one_sentence(rows: list[tuple[int, str]], sentence: str) -> None:
    with pytest.raises(MaskwrightError, match=sentence):
        make_plan(_masks(*rows), hold_out=True)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 12), st.sampled_from("abcd")), min_size=6, max_size=60),
    former=st.sets(st.integers(1, 12)),
    seed=st.integers(0, 5),
)
def test_both_sides_always_have_an_image(rows: list[tuple[int, str]], former: set[int], seed: int) -> None:
    try:
        plan = make_plan(_masks(*rows), hold_out=True, former=former, seed=seed)
    except MaskwrightError:
        return
    assert plan.train
    assert plan.measured
    assert not set(plan.train) & set(plan.validation)
    # of few images each is held out once, and a part's model learns from the others
    assert {image for fold in plan.folds for image in fold} in (set(), set(plan.train))
    assert all(set(plan.train) - set(fold) for fold in plan.folds)


def test_few_images_are_all_held_out_once() -> None:
    plan = make_plan(_masks(*((image, "cow") for image in range(1, 11))), hold_out=True)
    assert (plan.validation, plan.train, plan.measured) == ((), tuple(range(1, 11)), 10)
    assert sorted(map(len, plan.folds)) == [3, 3, 4]


def test_images_that_are_alike_stay_on_one_side() -> None:
    masks = _masks(*((image, "cow") for image in range(1, 31)))
    groups = [{1, 2, 3, 4}, {11, 12}]
    for seed in range(5):
        plan = make_plan(masks, hold_out=True, groups=groups, seed=seed)
        assert len(plan.validation) >= 6
        for group in groups:
            assert group <= set(plan.validation) or group <= set(plan.train)


def test_one_long_sequence_is_held_out_in_a_stretch() -> None:
    plan = make_plan(_masks(*((image, "cow") for image in range(1, 41))), hold_out=True, groups=[range(1, 41)])
    first = plan.validation[0]
    assert plan.validation == tuple(range(first, first + 8))
