"""The status of fine-tuning in words, and the actions that are possible."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from maskwright.domain import Run
from maskwright.domain.finetune_run import FinetunePlan, RunProgress
from maskwright.domain.scores import Scores
from maskwright.errors import MaskwrightError
from maskwright.session.finetuning import FINETUNE_ACTIONS, Finetuning


def scores(miou: float, **per_class: float | None) -> Scores:
    return Scores(
        method="dinotxt", preset="tiny", images=2, classes=2, miou=miou, pixel_accuracy=0.5, per_class=per_class
    )


BEFORE, AFTER = scores(0.5, cow=0.5, sky=None), scores(0.7, cow=0.7, sky=0.7)
PLAN = FinetunePlan(
    categories=("cow", "sky"), left_out=("tree",), train=(1, 2, 3), validation=(4,), masks=(), judged_by=("u",)
)
OWN_ANSWERS = replace(PLAN, judged_by=())


def run(state: str = "done", **fields: Any) -> Run:
    values: dict[str, Any] = {
        "id": 1, "name": "run-1", "state": state, "recipe": "full", "base": "tiny", "plan": PLAN,
        "progress": RunProgress(), "before": BEFORE, "after": AFTER, "message": "", "created_at": "", "updated_at": "",
    }  # fmt: skip
    return Run(**values | fields)


class Runs:
    """Stands in for the runs of a project."""

    def __init__(self, last: Run | None = None, active: str | None = None) -> None:
        self._last, self._active = last, active
        self.calls: list[tuple[Any, ...]] = []
        self.reads = 0

    def last(self) -> Run | None:
        self.reads += 1
        return self._last

    def all(self) -> list[Run]:
        return [self._last] if self._last else []

    def active(self) -> str | None:
        return self._active

    def get(self, name: str) -> Run:
        assert self._last is not None
        return self._last

    def plan(self) -> FinetunePlan:
        return PLAN

    def cancel(self, name: str) -> None:
        self.calls.append(("cancel", name))

    def pause(self, name: str) -> None:
        self.calls.append(("pause", name))

    def resume(self, name: str, **_: str) -> None:
        self.calls.append(("resume", name))

    def activate(self, name: str | None, **_: str) -> None:
        self.calls.append(("activate", name))


def finetuning(runs: Runs, number: list[int] | None = None) -> Finetuning:
    counter = number or [1]
    store = SimpleNamespace(change_number=lambda: counter[0])
    project = SimpleNamespace(
        store=store,
        runs=runs,
        finetune=lambda **options: runs.calls.append(("start", options["base"])) or SimpleNamespace(name="run-2"),
    )
    return Finetuning(project, lambda: "tiny")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "active", "actions"),
    [
        pytest.param(None, None, ("start",), id="no run yet"),
        pytest.param(run("running"), None, ("pause", "cancel"), id="running"),
        pytest.param(run("pausing"), None, ("cancel",), id="pausing"),
        pytest.param(run("paused"), None, ("resume", "start"), id="paused"),
        pytest.param(run("cancelled"), None, ("resume", "start"), id="cancelled"),
        pytest.param(run("failed"), "run-0", ("resume", "start", "back"), id="failed, another model in use"),
        pytest.param(run(), None, ("use", "start"), id="better"),
        pytest.param(run(), "run-1", ("start", "back"), id="in use"),
        pytest.param(run(plan=OWN_ANSWERS), None, ("start", "use"), id="judged by its own answers"),
        pytest.param(run(plan=OWN_ANSWERS), "run-1", ("start", "back"), id="in use, not judged"),
        pytest.param(run(after=scores(0.49, cow=0.5, sky=None)), None, ("start", "use"), id="worse"),
        pytest.param(
            run(after=scores(0.6, cow=0.44, sky=0.9)), None, ("start", "use"),
            id="one class much worse",
        ),
        pytest.param(
            run(after=scores(0.6, cow=0.46, sky=0.9)), None, ("use", "start"),
            id="one class slightly worse",
        ),
    ],
)  # fmt: skip
def test_actions(last: Run | None, active: str | None, actions: tuple[str, ...]) -> None:
    status = finetuning(Runs(last, active)).status()
    assert status.actions == actions
    assert set(actions) <= set(FINETUNE_ACTIONS)
    assert status.run == (last and last.name)


@pytest.mark.parametrize("after", [AFTER, scores(0.1, cow=0.1, sky=0.1)])
def test_a_model_is_not_judged_by_masks_that_a_model_proposed(after: Scores) -> None:
    """0.998 before, 0.415 after, keep the old one: the base's own answers were the truth."""
    for plan in (OWN_ANSWERS, replace(PLAN, judged_by=None)):
        message = finetuning(Runs(run(plan=plan, after=after))).status().message
        assert "No judgement is possible" in message
        assert "mIoU" not in message
        assert "keep it" not in message
    measured = replace(OWN_ANSWERS, measure_on="folder")
    assert "mIoU" in finetuning(Runs(run(plan=measured))).status().message


def test_the_invitation_counts_classes_and_images() -> None:
    message = finetuning(Runs()).status().message
    for fact in ("2 classes (cow, sky)", "3 images", "1 more", "tree"):
        assert fact in message


def test_without_enough_masks_the_reason_is_shown_and_nothing_is_possible() -> None:
    runs = Runs()

    def plan() -> FinetunePlan:
        raise MaskwrightError("Too few.")

    runs.plan = plan  # type: ignore[method-assign]
    status = finetuning(runs).status()
    assert (status.message, status.actions, status.run) == ("Too few.", (), None)


def test_a_running_run_reports_step_loss_time_and_curve() -> None:
    progress = RunProgress(
        phase="training", step=3, steps=12, loss=1.234, seconds_left=150, curve=((1, 2.0), (3, 1.5)),
        metrics=((0, 0.4), (2, 0.51)),
    )  # fmt: skip
    status = finetuning(Runs(run("running", progress=progress))).status()
    assert status.metrics == ((0, 0.4), (2, 0.51))
    for fact in ("step 3 of 12", "1.23", "mIoU 0.51", "2 min"):
        assert fact in status.message
    assert status.share == 0.25
    assert status.curve == ((1, 2.0), (3, 1.5))
    other = finetuning(Runs(run("running", progress=RunProgress(phase="measuring", done=1, total=4)))).status()
    assert "1 of 4" in other.message
    assert other.share == 0.0


def test_the_reason_of_a_failure_and_the_scores_are_shown() -> None:
    assert "Out of memory" in finetuning(Runs(run("failed", message="Out of memory."))).status().message
    message = finetuning(Runs(run())).status().message
    for fact in ("0.500", "0.700", "2 held-out images"):
        assert fact in message


@pytest.mark.parametrize(
    ("last", "active", "action", "call"),
    [
        (None, None, "start", ("start", "tiny")),
        (run(), "run-1", "start", ("start", None)),
        (run("running"), None, "cancel", ("cancel", "run-1")),
        (run("running"), None, "pause", ("pause", "run-1")),
        (run("paused"), None, "resume", ("resume", "run-1")),
        (run("interrupted"), None, "resume", ("resume", "run-1")),
        (run(), None, "use", ("activate", "run-1")),
        (run(), "run-1", "back", ("activate", None)),
        (run(base="checkpoints/run-0"), "run-1", "back", ("activate", "run-0")),
    ],
)
def test_acting(last: Run | None, active: str | None, action: str, call: tuple[Any, ...]) -> None:
    runs = Runs(last, active)
    finetuning(runs).act(action)
    assert runs.calls == [call]


def test_an_action_that_is_not_offered_is_refused() -> None:
    runs = Runs(run("running"))
    with pytest.raises(MaskwrightError):
        finetuning(runs).act("use")
    assert runs.calls == []


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_the_status_is_read_again_while_a_run_may_report_progress(state: str) -> None:
    runs = Runs(run(state))
    status = finetuning(runs)
    status.status()
    status.status()
    assert runs.reads == 2, "progress comes without a change number"


def test_the_status_is_read_again_after_a_change() -> None:
    number, runs = [1], Runs(run())
    state = finetuning(runs, number)
    assert state.status() == state.status()
    assert runs.reads == 1
    number[0] = 2
    state.status()
    assert runs.reads == 2
