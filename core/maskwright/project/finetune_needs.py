"""Memory and time that a fine-tuning run will need, told before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskwright.domain import FinetunePlan

__all__ = ["Needs", "needs"]


@dataclass(frozen=True, slots=True)
class Needs:
    """An estimate, counted from the sizes of the model's tensors."""

    gigabytes: float
    """Peak of the memory."""
    minutes: float
    """On this machine while it does nothing else."""
    device: str

    @property
    def sentence(self) -> str:
        """For people."""
        minutes = max(1, round(self.minutes))
        return f"Needs about {self.gigabytes:.1f} GB of memory and {minutes} min on {self.device}."


def needs(base: Path, plan: FinetunePlan, recipe: str, device: str = "auto") -> Needs | None:
    """The estimate of a run.

    Args:
        base: Folder of the preset to start from.
        plan: Of the run.
        recipe: Of RECIPES.
        device: As for `Engine.load`.

    Returns:
        None where nothing is counted: for clicks, and for another method than dinov3.seg.
    """
    from maskwright.models.devices import choose_device
    from maskwright.presets.config_io import sections
    from maskwright.presets.loading import dinotxt_settings, dinov3seg_settings
    from maskwright.training.finetune.dinov3seg import tune_config
    from maskwright.training.finetune.estimate import estimate, smaller_batch

    parts = sections(base)
    chosen = plan.method or parts.get("text", {}).get("method") or "dinov3seg"
    if plan.task != "text" or chosen != "dinov3seg" or "dinov3seg" not in parts:
        return None
    settings = dinov3seg_settings(base)
    images = len(plan.train)
    config = tune_config(
        settings, dinotxt_settings(base), images, recipe=recipe, epochs=plan.epochs, seed=plan.seed
    )  # fmt: skip
    place = choose_device(device)
    need = estimate(settings.model, config, classes=len(plan.categories), images=images, device=place.type)
    if place.type == "cuda":
        import torch

        need = smaller_batch(need, torch.cuda.get_device_properties(place).total_memory)
    # of a cross-validation every part trains as long as the result
    runs = 1 + len(plan.folds)
    return Needs(need.memory / 2**30, need.minutes(place.type) * runs, str(place))
