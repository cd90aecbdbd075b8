"""Fine-tuning runs: plan, progress and outcome as a project stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from maskwright.domain.scores import Scores

__all__ = ["FinetunePlan", "Run", "RunProgress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetunePlan:
    """Classes, masks, split and settings of one run, frozen when it starts."""

    categories: tuple[str, ...]
    """Classes to learn, in the order of their category ids."""
    left_out: tuple[str, ...] = ()
    """Classes with too few masks."""
    train: tuple[int, ...]
    """Ids of the training images."""
    validation: tuple[int, ...] = ()
    """Ids of the validation images; empty when the result is measured on a labelled folder."""
    masks: tuple[tuple[str, int], ...]
    """(uid, revision) of every mask in use."""
    judged_by: tuple[str, ...] | None = None
    """Uids of the validation masks that people drew, clicked or corrected: only these judge the result. Masks that a
    model proposed would judge it by its own answers. None in runs from before version 0.8."""
    background: bool = False
    """Unlabelled pixels belong to none of the classes: with a single class they are its only negatives."""
    seed: int = 0
    epochs: int | None = None
    """Passes over the training images; None is the default length."""
    measure_on: str | None = None
    """Labelled folder to measure on; None is the validation images."""
    device: str = "auto"
    task: str = "text"
    """"text" or "click"."""
    method: str | None = None
    """Text method that learns; None is the one that answers with the base."""
    folds: tuple[tuple[int, ...], ...] = ()
    """Cross-validation of few images: each part is measured with a model that learned from the others alone, and the
    result learns from all."""
    complete: tuple[int, ...] = ()
    """Ids of images whose unlabelled pixels show none of the classes."""
    rejected: tuple[tuple[str, int], ...] = ()
    """(uid, revision) of rejected masks: where each was, its class is not."""
    notes: tuple[str, ...] = ()
    """Sentences on the split."""
    log_dir: str | None = None
    """Folder for TensorBoard's event files; None writes none."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FinetunePlan:
        """A plan from the form that `to_dict` returns, which projects store; unknown keys are ignored."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        for name in ("categories", "left_out", "train", "validation", "complete", "notes"):
            known[name] = tuple(known.get(name, ()))
        known["folds"] = tuple(tuple(fold) for fold in known.get("folds", ()))
        known["rejected"] = tuple((str(uid), int(revision)) for uid, revision in known.get("rejected", ()))
        if known.get("judged_by") is not None:
            known["judged_by"] = tuple(known["judged_by"])
        known["masks"] = tuple((str(uid), int(revision)) for uid, revision in known.get("masks", ()))
        return cls(**known)

    @property
    def measured(self) -> int:
        """Number of images that the result is measured on; 0 for those of a labelled folder."""
        return sum(map(len, self.folds)) or len(self.validation)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far the process of a run has come; None where it has not reported yet."""

    phase: str | None = None
    """"measuring the base", "encoding images", "training" or "measuring the result"; in cross-validation with the
    number of the part."""
    step: int | None = None
    """Training steps done."""
    steps: int | None = None
    """Training steps in all."""
    loss: float | None = None
    """Loss of the last reported step."""
    curve: tuple[tuple[int, float], ...] | None = None
    """(step, loss) so far, thinned to a few hundred points."""
    metrics: tuple[tuple[int, float], ...] | None = None
    """(step, mIoU) on a few held-out images; of clicks the IoU after five."""
    part: str | None = None
    """Of a cross-validation, in whose part the curves are; empty for the result."""
    seconds_left: int | None = None
    """Estimated training time left."""
    done: int | None = None
    """Images measured."""
    total: int | None = None
    """Images to measure."""
    notes: tuple[str, ...] | None = None
    """What went in another way than planned, in sentences."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunProgress:
        """Progress from the form that `to_dict` returns, which projects store; unknown keys are ignored."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        for name in ("curve", "metrics"):
            if known.get(name) is not None:
                known[name] = tuple((int(step), float(value)) for step, value in known[name])
        if known.get("notes") is not None:
            known["notes"] = tuple(known["notes"])
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is not known yet."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tuning run of a project."""

    id: int
    name: str
    """Name of the run and of its folder in `checkpoints/`."""
    state: str
    """running, pausing, paused, done, cancelled, failed, or interrupted: its process is gone, and it can be resumed."""
    recipe: str
    base: str
    """Model that it started from: a preset's name, a folder, or another run's `checkpoints/NAME`."""
    plan: FinetunePlan
    progress: RunProgress
    before: Scores | None
    """Scores of the base on the validation images; None until they are measured."""
    after: Scores | None
    """Scores of the result on the same images."""
    message: str
    """Why it failed, in one sentence."""
    created_at: str
    updated_at: str
    """When its process reported last."""

    @property
    def going(self) -> bool:
        """Whether a process works on it."""
        return self.state in ("running", "pausing")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.to_dict() if isinstance(value, FinetunePlan | RunProgress | Scores) else value
            for name, value in values.items()
        }
