"""Batch predictions and fine-tuning as JSON, for routes and for the event stream."""

from __future__ import annotations

from typing import Any

from maskwright.domain import Run
from maskwright.session import RECIPES, TUNABLE, AnnotationSession, MaskwrightError

__all__ = ["finetune_json", "jobs_json"]


def jobs_json(session: AnnotationSession) -> list[dict[str, Any]]:
    """The batch predictions, the latest first."""
    return [
        {
            "id": job.id,
            "kind": "predict",
            "title": job.title,
            "state": job.state,
            "done": job.done,
            "total": job.total,
            "message": job.message,
            "notes": list(job.notes),
            "seconds_left": job.seconds_left,
            "user": job.user,
        }
        for job in session.batches.all()
    ]


def finetune_json(session: AnnotationSession) -> dict[str, Any]:
    """What fine-tuning would learn from now, and its runs, the latest first."""
    finetuning = session.finetuning
    facts: dict[str, Any] = {"base": finetuning.base(), "reason": None}
    try:
        plan = finetuning.plan()
    except MaskwrightError as error:
        facts["reason"] = str(error)
    else:
        accepted, learners = session.project.status().accepted, finetuning.learners()
        facts |= {
            "classes": [{"name": name, "masks": accepted.get(name, 0)} for name in plan.categories],
            "left_out": list(plan.left_out),
            "images": len(plan.train),
            "validation": plan.measured,
            "parts": len(plan.folds),
            "judged_by": len(plan.judged_by or ()),
            "complete": len(plan.complete),
            "rejected": len(plan.rejected),
            "notes": list(plan.notes),
            "recipes": [{"name": name, "learns": learns} for name, learns in RECIPES.items()],
            "learners": [{"task": task, "method": method, "title": TUNABLE[task, method]} for task, method in learners],
            "licence": "that of the model, and of your images",
        }
    active = finetuning.active()
    return {"plan": facts, "runs": [_run_json(session, run, active) for run in finetuning.runs()]}


def _run_json(session: AnnotationSession, run: Run, active: str | None) -> dict[str, Any]:
    judged = session.finetuning.is_judged(run)
    before, after = (run.before, run.after) if judged else (None, None)
    rows = [
        {"name": name, "before": before.per_class.get(name) if before else None, "after": value}
        | {
            measure: [(getattr(scores, measure) or {}).get(name) for scores in (before, after) if scores]
            for measure in ("boundary", "precision", "recall")
        }
        for name, value in (after.per_class if after else {}).items()
    ]
    progress = run.progress
    return {
        "id": run.name,
        "state": run.state,
        "phase": progress.phase,
        "step": progress.step or 0,
        "total": progress.steps or 0,
        "seconds_left": progress.seconds_left,
        "curve": [list(point) for point in progress.curve or ()],
        "metrics": [list(point) for point in progress.metrics or ()],
        "message": run.message,
        "recipe": run.recipe,
        "task": run.plan.task,
        "created": run.created_at,
        "notes": [*run.plan.notes, *(progress.notes or ())],
        "default": session.finetuning.recommends(run) if run.state == "done" else None,
        "judged": run.plan.measured if run.state == "done" and not run.plan.measure_on else 0,
        "done": progress.done or 0,
        "of": progress.total or 0,
        "before": before.miou if before else None,
        "after": after.miou if after else None,
        "judgement": session.finetuning.judgement(run),
        "rows": rows,
        "active": run.name == active,
        "can": list(session.finetuning.actions_of(run)),
    }
