"""Where fine-tuning stands, and what can be done about it now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskwright.domain import FinetunePlan, Run
from maskwright.domain.scores import Scores
from maskwright.errors import MaskwrightError, UsageError
from maskwright.presets.config_io import sections
from maskwright.presets.folders import find
from maskwright.project import Project, user_name
from maskwright.project.finetune_needs import needs
from maskwright.session.finetune_answers import (
    JudgedImage,
    JudgedMasks,
    JudgedOverlays,
    judged_images,
    judged_masks,
    judged_overlays,
)
from maskwright.session.messages import plural
from maskwright.settings import Settings
from maskwright.training.finetune.recipes import DEFAULT_RECIPE, recipe_name

__all__ = ["FINETUNE_ACTIONS", "RUN_ACTIONS", "TUNABLE", "FinetuneStatus", "Finetuning", "RunCard"]

FINETUNE_ACTIONS = {
    "start": "Fine-tune",
    "pause": "Pause",
    "cancel": "Cancel",
    "resume": "Continue",
    "use": "Use the new model",
    "back": "Use the previous model",
}
"""Button labels of the actions in `FinetuneStatus.actions`."""
RUN_ACTIONS = {
    "pause": "Pause",
    "cancel": "Cancel",
    "resume": "Continue",
    "use": "Use this model",
    "original": "Go back to the model before",
    "delete": "Delete",
}
"""Button labels of the actions that `Finetuning.actions_of` names."""
TUNABLE = {
    ("text", None): "words",
    ("text", "dinov3seg"): "words, by dinov3.seg",
    ("text", "dinotxt"): "words, by dino.txt",
    ("text", "talk2dino"): "words, by Talk2DINO's projection",
    ("click", None): "clicks",
}
"""What can learn, by task and text method."""
_NOTABLE_DROP = 0.05
"""Loss of IoU in one class that makes the old model the better choice."""


@dataclass(frozen=True, slots=True)
class RunCard:
    """A run in a list of models."""

    name: str
    title: str
    """Name, state, date and scores."""
    judgement: str
    """What its scores say, and what went in another way than planned."""
    actions: tuple[str, ...]
    """Of RUN_ACTIONS."""
    recommended: str | None
    """The action that the scores speak for."""
    judged: int
    """Number of held-out images to look at."""


@dataclass(frozen=True, slots=True)
class FinetuneStatus:
    """The state of fine-tuning as the user reads it."""

    message: str
    """One or two sentences."""
    run: str | None = None
    """The run that the message is about."""
    share: float | None = None
    """How much of a running run is done, 0 to 1."""
    curve: tuple[tuple[int, float], ...] = ()
    """(step, loss) so far."""
    metrics: tuple[tuple[int, float], ...] = ()
    """(step, mIoU on a few held-out images) so far; of clicks the IoU after five."""
    actions: tuple[str, ...] = ()
    """Of start, pause, cancel, resume, use, back: what makes sense now, the recommended one first."""
    runs: tuple[RunCard, ...] = ()
    """All runs, the latest first."""


class Finetuning:
    """Fine-tuning runs of a project as both front ends show and steer them; safe to share between threads."""

    def __init__(self, project: Project, preset: Callable[[], str]) -> None:
        """Take the project, and a function that names the preset to start from while no run is active."""
        self._project, self._preset = project, preset
        self._lock = threading.Lock()
        self._cached: tuple[int, FinetuneStatus] | None = None
        self._cards: tuple[tuple[int, str], tuple[RunCard, ...]] | None = None
        self._needs: dict[tuple[str | int, ...], str] = {}

    def start(self, *, recipe: str = DEFAULT_RECIPE, task: str = "text", method: str | None = None) -> str:
        """Start a run on the accepted masks; returns its name at once."""
        base = None if self._project.runs.active() else self._preset()
        return self._project.finetune(recipe=recipe, task=task, method=method, base=base).name

    def learners(self) -> list[tuple[str, str | None]]:
        """The keys of TUNABLE that the model can be tuned for, the default first, alone where it is not there."""
        try:
            parts = sections(self._folder_of(self.base()))
        except MaskwrightError:
            return [("text", None)]
        has = {"click": "sam" in parts, "text": bool({"dinotxt", "talk2dino"} & parts.keys())}
        return [key for key in TUNABLE if has[key[0]] and (key[1] is None or key[1] in parts)]

    def run(self, name: str) -> Run:
        """A run by its name; raises MaskwrightError when there is none."""
        return self._project.runs.get(name)

    def cancel(self, name: str) -> None:
        """Stop a run, which can be resumed; one that is not running stays as it is."""
        self._project.runs.cancel(name)

    def act(self, action: str, *, recipe: str = DEFAULT_RECIPE, task: str = "text", method: str | None = None) -> None:
        """Do one of the actions that `status` offers.

        Args:
            action: Of `FINETUNE_ACTIONS`.
            recipe: Of a run that is started.
            task: The same; with `method` one of `learners`.
            method: The same.

        Raises:
            MaskwrightError: the action is no longer possible, or it failed.
        """
        status = self.status()
        if action not in status.actions:
            raise MaskwrightError("That is no longer possible.", "See what the run says now.")
        match action:
            case "start":
                self.start(recipe=recipe, task=task, method=method)
            case "back":
                self._project.runs.activate(self._previous_model(), user=user_name())
            case _:
                self.act_on(action, str(status.run))

    def runs(self) -> list[Run]:
        """All runs, the latest first."""
        return self._project.runs.all()[::-1]

    def active(self) -> str | None:
        """Name of the run whose model is in use; None for a preset."""
        return self._project.runs.active()

    def base(self) -> str:
        """The model that a run started now would start from."""
        return self._project.runs.active() or self._preset()

    def plan(self) -> FinetunePlan:
        """What a run started now would learn from; raises MaskwrightError with what is missing."""
        return self._project.runs.plan()

    def judgement(self, run: Run) -> str:
        """What the scores of a run say, or why they say nothing; empty for one that is not done."""
        if run.state != "done" or run.before is None or run.after is None:
            return ""
        if not self.is_judged(run):
            return _no_judgement(run)
        worse = " The old model is the better one; keep it." if _is_worse(run.before, run.after) else ""
        return f"{_scores(run, run.before, run.after)}{worse}"

    def needs(self, recipe: str = DEFAULT_RECIPE, task: str = "text", method: str | None = None) -> str:
        """What a run started now would need, in a sentence; empty where that is not counted. Takes seconds."""
        base, plan = self.base(), replace(self.plan(), task=task, method=method)
        key = (base, recipe, task, method or "", len(plan.train), len(plan.categories), len(plan.folds))
        with self._lock:
            if key not in self._needs:
                found = needs(self._folder_of(base), plan, recipe_name(recipe))
                self._needs[key] = found.sentence if found else ""
            return self._needs[key]

    def _folder_of(self, base: str) -> Path:
        folder = self._project.runs.folder_of(base)
        return folder if folder.is_dir() else find(base, Settings.load())

    def images(self, name: str) -> list[JudgedImage]:
        """The held-out images of a run that is done, the one that got worst first."""
        return judged_images(self._project, self._project.runs.get(name).name)

    def masks(self, name: str, image_id: int) -> JudgedMasks:
        """What people, base and tuned model say of a held-out image; raises MaskwrightError for another image."""
        return judged_masks(self._project, self._project.runs.get(name).name, image_id)

    def overlays(
        self, name: str, image_id: int, colors: Callable[[Sequence[str]], Mapping[str, str]]
    ) -> JudgedOverlays:
        """A held-out image with the masks of each side drawn over it; raises MaskwrightError for another image."""
        masks = self.masks(name, image_id)
        names = [str(mask.category) for side in (masks.person, masks.before, masks.after) for mask in side]
        return judged_overlays(self._project.images.open(image_id), masks, colors(names))

    def recommends(self, run: Run) -> str:
        """The action that the scores of a run that is done speak for: "use", or "keep" the model before."""
        if not self.is_judged(run) or run.before is None or run.after is None:
            return "keep"
        return "keep" if _is_worse(run.before, run.after) else "use"

    def is_judged(self, run: Run) -> bool:
        """Whether the scores of a run say something."""
        return bool(run.plan.measure_on or run.plan.judged_by)

    def actions_of(self, run: Run) -> tuple[str, ...]:
        """Those of RUN_ACTIONS that a run can do now."""
        if run.going:
            return ("pause", "cancel") if run.state == "running" else ("cancel",)
        if run.state != "done":
            return ("resume", "delete")
        return ("original",) if run.name == self.active() else ("use", "delete")

    def act_on(self, action: str, name: str, *, user: str = "") -> None:
        """Pause, cancel, resume, use or delete a run; "original" returns to the model that it started from.

        Raises:
            UsageError: no such action.
            MaskwrightError: the run cannot do that now.
        """
        runs, user = self._project.runs, user or user_name()
        match action:
            case "pause":
                runs.pause(name)
            case "cancel":
                self.cancel(name)
            case "resume":
                runs.resume(name, user=user)
            case "use":
                runs.activate(name, user=user)
            case "delete":
                runs.delete(name, user=user)
            case "original":
                base = runs.get(name).base
                runs.activate(base.removeprefix("checkpoints/") if base.startswith("checkpoints/") else None, user=user)
            case _:
                raise UsageError(f"A run cannot {action}.", f"Use {', '.join(RUN_ACTIONS)}.")

    def cards(self, change: int, last: Run | None) -> tuple[RunCard, ...]:
        """All runs as a list shows them; read again after a change, or when the last run is in another state."""
        key = change, last.state if last else ""
        with self._lock:
            if self._cards and self._cards[0] == key:
                return self._cards[1]
        active = self.active()
        cards = tuple(self._card(run, active) for run in self.runs())
        with self._lock:
            self._cards = key, cards
        return cards

    def _card(self, run: Run, active: str | None) -> RunCard:
        title = f"{run.name}, {'in use' if run.name == active else run.state}, {run.created_at[:10]}"
        if run.state == "done" and run.before and run.after and self.is_judged(run):
            clicks = run.before.clicks and run.after.clicks
            first, second = (s.clicks["noc85"] if s.clicks else s.miou for s in (run.before, run.after))
            title += f", {first:.1f} -> {second:.1f} clicks" if clicks else f", mIoU {first:.3f} -> {second:.3f}"
        notes = (run.message, self.judgement(run), *run.plan.notes, *(run.progress.notes or ()))
        done = run.state == "done"
        return RunCard(
            run.name, title, " ".join(note for note in notes if note), self.actions_of(run),
            self.recommends(run) if done else None, 0 if not done or run.plan.measure_on else run.plan.measured,
        )  # fmt: skip

    def status(self) -> FinetuneStatus:
        """Where fine-tuning stands."""
        change = self._project.store.change_number()
        with self._lock:
            if self._cached and self._cached[0] == change:
                return self._cached[1]
        last = self._project.runs.last()
        status = replace(self._status(last), runs=self.cards(change, last))
        # a run reports progress without a change number, also one that was silent for so long that it seemed over
        if last is None or not (last.going or last.state == "interrupted"):
            with self._lock:
                self._cached = change, status
        return status

    def _status(self, last: Run | None) -> FinetuneStatus:
        active = self._project.runs.active()
        back = ("back",) if active else ()
        if last is None:
            return self._invitation()
        if last.going:
            return _running(last, self.actions_of(last))
        if last.state != "done" or last.before is None or last.after is None:
            return _stopped(last, back)
        if not (last.plan.measure_on or last.plan.judged_by):
            return self._without_judgement(last, active, back)
        scores = _scores(last, last.before, last.after)
        if last.name == active:
            return FinetuneStatus(f"In use: {scores}", last.name, actions=("start", *back))
        if _is_worse(last.before, last.after):
            message = f"{scores} The old model is the better one; keep it."
            return FinetuneStatus(message, last.name, actions=("start", "use", *back))
        return FinetuneStatus(scores, last.name, actions=("use", "start", *back))

    def _without_judgement(self, last: Run, active: str | None, back: tuple[str, ...]) -> FinetuneStatus:
        """A result that only the base's own answers could judge."""
        reason = _no_judgement(last)
        if last.name == active:
            return FinetuneStatus(f"In use: {last.name}. {reason}", last.name, actions=("start", *back))
        advice = "Correct masks there and fine-tune again, or try the new model and compare."
        return FinetuneStatus(f"{last.name} is done. {reason} {advice}", last.name, actions=("start", "use", *back))

    def _invitation(self) -> FinetuneStatus:
        try:
            plan = self._project.runs.plan()
        except MaskwrightError as error:
            return FinetuneStatus(str(error))
        left_out = f" Left out, with fewer than 3 masks: {', '.join(plan.left_out)}." if plan.left_out else ""
        classes = f"{len(plan.categories)} class{'es' * (len(plan.categories) != 1)} ({', '.join(plan.categories)})"
        judged = "" if plan.judged_by else " Nobody has drawn or corrected a mask yet by which it could be judged."
        measured = f"measured on {len(plan.validation)} more"
        if plan.folds:
            measured = f"each of them is held out once, in {len(plan.folds)} parts"
        notes = "".join(f" {note}" for note in plan.notes)
        message = f"Learns {classes} from {plural(len(plan.train), 'image')}, and {measured}.{left_out}{judged}{notes}"
        return FinetuneStatus(message, actions=("start",))

    def _previous_model(self) -> str | None:
        """The run that the active one started from; None for the preset."""
        base = self._project.runs.get(str(self._project.runs.active())).base
        return base.removeprefix("checkpoints/") if base.startswith("checkpoints/") else None


def _no_judgement(run: Run) -> str:
    images = plural(run.plan.measured, "held-out image")
    return f"No judgement is possible yet: nobody has drawn or corrected a mask on its {images}."


def _stopped(run: Run, back: tuple[str, ...]) -> FinetuneStatus:
    progress, reason = run.progress, f": {run.message}" if run.message else "."
    message = f"{run.name} was {run.state}{reason}"
    if run.state == "paused":
        done = f" after step {progress.step} of {progress.steps}" if progress.step and progress.steps else ""
        message = f"{run.name} is paused{done}. It continues where it stopped, with the same result."
    return FinetuneStatus(
        message, run.name, curve=progress.curve or (), metrics=progress.metrics or (),
        actions=("resume", "start", *back),
    )  # fmt: skip


def _running(run: Run, actions: tuple[str, ...]) -> FinetuneStatus:
    progress = run.progress
    share, message = 0.0, f"{run.name}: {progress.phase or 'starting'}"
    if run.state == "pausing":
        message = f"{run.name} pauses after this step: {progress.phase or 'starting'}"
    if (progress.phase or "").endswith("training") and progress.step is not None and progress.steps:
        share = progress.step / progress.steps
        message += f", step {progress.step} of {progress.steps}"
        message += f", loss {progress.loss:.2f}" if progress.loss is not None else ""
        metric = progress.metrics[-1][1] if progress.metrics else None
        message += f", {'IoU' if run.plan.task == 'click' else 'mIoU'} {metric:.2f}" if metric is not None else ""
        minutes = None if progress.seconds_left is None else max(1, round(progress.seconds_left / 60))
        message += f", about {minutes} min left" if minutes is not None else ""
    elif progress.total is not None:
        message += f", image {progress.done} of {progress.total}"
    return FinetuneStatus(f"{message}.", run.name, share, progress.curve or (), progress.metrics or (), actions)


def _scores(run: Run, before: Scores, after: Scores) -> str:
    images = plural(after.images, "held-out image")
    if before.clicks and after.clicks:
        clicks = f"{before.clicks['noc85']:.1f} clicks to a good mask before, {after.clicks['noc85']:.1f} after"
        return f"{run.name}: {clicks}, on {images}."
    alike = after.agreement
    others = "" if alike is None else f" Other photographs: as before on {100 * alike:.0f} % of the pixels."
    return f"{run.name}: mIoU {before.miou:.3f} before, {after.miou:.3f} after, on {images}.{others}"


def _is_worse(before: Scores, after: Scores) -> bool:
    if before.clicks and after.clicks:
        return after.clicks["noc85"] > before.clicks["noc85"]
    pairs = [(before.per_class.get(name), value) for name, value in after.per_class.items()]
    dropped = any(old is not None and new is not None and old - new > _NOTABLE_DROP for old, new in pairs)
    return dropped or after.miou < before.miou
