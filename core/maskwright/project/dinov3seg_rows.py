"""Rows of dinov3.seg's ablations (its Tables 3 to 5, 11, 12, 14, 15) as data: what each changes of the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.training.config import SegConfig

__all__ = ["TABLES", "Row", "training_of"]

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One variant."""

    name: str
    model: Changes = field(default_factory=dict)
    """Fields of `Dinov3SegConfig`; "aggregator.views" is one of its `aggregator`."""
    training: Changes = field(default_factory=dict)
    """Fields of `SegConfig`."""
    protocol: Changes = field(default_factory=dict)
    """Fields of `Dinov3SegProtocol`, after the training."""
    zero_shot: bool = False
    """The base's dino.txt without any training."""

    def config(self, whole: SegConfig) -> SegConfig:
        """Settings of the training, from those of the whole model."""
        model = whole.model
        for name, value in self.model.items():
            part, _, inner = name.rpartition(".")
            model = replace(
                model, **({part: replace(getattr(model, part), **{inner: value})} if part else {name: value})
            )
        return replace(whole, model=_guided_by_itself(model) if model.prior == "vlm" else model, **self.training)


def _guided_by_itself(model: Dinov3SegConfig) -> Dinov3SegConfig:
    """Sizes where dino.txt's blocks guide, those at a third and at two thirds of its depth (of ViT-L 7 and 15)."""
    width, depth = model.vlm.backbone.width, model.vlm.backbone.depth
    aggregator = replace(model.aggregator, appearance=width, taps=(width, width))
    return replace(model, taps=(max(0, depth // 3 - 1), max(0, 2 * depth // 3 - 1)), aggregator=aggregator)


_ONE_VIEW = {"text_ensemble": False, "aggregator.views": 1}
_ONE = {**_ONE_VIEW, "anyup": None}
_BCE, _CATSEG = {"loss": "bce"}, {"aggregation": "catseg"}
_LEARN = {**_BCE, "frozen_encoders": False}
_ZERO_SHOT, _WHOLE = Row("dino.txt, zero-shot", zero_shot=True), Row("dinov3.seg")
_V = Row("V", protocol={"aggregation": "lga"})


def _row_of_14(dice: float, gamma: float) -> Row:
    changed = {} if (dice, gamma) == (0.05, 2.0) else {"dice": dice, "gamma": gamma}
    return Row(f"dice {dice}, gamma {gamma:.0f}", training=changed)


TABLES: Mapping[str, tuple[Row, ...]] = {
    "parts": (
        _ZERO_SHOT, _WHOLE,
        Row("without text ensemble", _ONE_VIEW),
        Row("without early refinement", {"anyup": None}),
        Row("without focal and dice", training=_BCE),
        Row("without aggregation", protocol=_CATSEG),
    ),
    "3": (
        _ZERO_SHOT,
        Row("dino.txt, fine-tuned", {**_ONE, "decoder": False, "prior": "vlm"}, _LEARN, _CATSEG),
        Row("I", _ONE, _BCE, _CATSEG),
        Row("II", {"anyup": None}, _BCE, _CATSEG),
        Row("III", {}, _BCE, _CATSEG),
        Row("IV", {}, {}, _CATSEG),
        _V,
    ),
    "4": tuple(
        Row(name, _ONE, {**_LEARN, "tuned": tuned}, _CATSEG)
        for name, tuned in (("QV", "qv"), ("QK", "qk"), ("full", "full"))
    ),
    "5": (
        Row("LGA of neither", protocol={"aggregation": "global", "prior": "global"}),
        Row("LGA of SAM", protocol={"aggregation": "global", "prior": "lga"}),
        Row("LGA of dino.txt", protocol={"aggregation": "lga", "prior": "global"}),
        Row("LGA of both", protocol={"aggregation": "lga", "prior": "lga"}),
    ),
    "11": tuple(
        Row(f"{layers} late refinement blocks", {**_ONE, "aggregator.layers": layers}, _BCE, _CATSEG)
        for layers in (1, 2, 3)
    ),
    "12": (Row("no prior encoder", {**_ONE, "prior": "vlm"}, _BCE, _CATSEG), Row("I", _ONE, _BCE, _CATSEG)),
    "14": tuple(_row_of_14(*pair) for pair in ((0.01, 2.0), (0.1, 2.0), (0.05, 2.0), (0.05, 1.0), (0.05, 3.0))),
    "15": (Row("CAT-Seg on dino.txt", {**_ONE, "prior": "vlm"}, {**_LEARN, "tuned": "qv"}, _CATSEG), _V),
}  # fmt: skip
"""By the number of the table; "parts" leaves one part out at a time."""


def training_of(row: Row) -> str:
    """Name of the first row with the same training, whose weights all of them share."""
    every = (other for rows in TABLES.values() for other in rows if not other.zero_shot)
    same = (other.name for other in every if (other.model, other.training) == (row.model, row.training))
    return next(same, row.name)
