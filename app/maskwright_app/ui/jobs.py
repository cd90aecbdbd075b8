"""Routes of long work: batch predictions, fine-tuning, comparison of two models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from maskwright.domain import Mask, TextPrompt
from maskwright.session import BatchJob, BatchPrompt, ImageFilter, Progress, Side, UsageError
from maskwright_app.ui.bodies import BatchBody, CompareBody, FinetuneBody
from maskwright_app.ui.job_answers import finetune_json, jobs_json
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["JobRoutes"]


class JobRoutes:
    """Jobs go on without a client; their progress comes as events."""

    def __init__(self, site: Site) -> None:
        self._site, self._session = site, site.session
        self.router = APIRouter()
        for path, endpoint, method in (
            ("/jobs", self.all, "GET"),
            ("/jobs/predict", self.predict, "POST"),
            ("/jobs/{job}/{act}", self.act, "POST"),
            ("/finetune", self.finetuning, "GET"),
            ("/finetune", self.finetune, "POST"),
            ("/finetune/needs/{recipe}", self.needs, "GET"),
            ("/finetune/{run}/images", self.judged, "GET"),
            ("/finetune/{run}/images/{image}", self.judged_image, "GET"),
            ("/compare", self.compare, "POST"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method])

    def all(self) -> JSONResponse:
        """The batch predictions, the latest first."""
        return answer(jobs=jobs_json(self._session))

    async def predict(self, request: Request, body: BatchBody) -> JSONResponse:
        """Start a batch prediction; answers at once with its id."""
        user = user_of(request)
        prompt = BatchPrompt(
            words=body.words, method=body.method, background=body.background, threshold=body.threshold,
            refine=body.refine, instances=body.instances, references=tuple(body.references), category=body.category,
        )  # fmt: skip

        def start(progress: Progress) -> BatchJob:
            chosen = ImageFilter(body.filter.status or None, body.filter.class_ or None)
            wanted = None if body.images is None else set(body.images)
            found = [summary.record.id for summary in self._session.images.find(chosen)[1]]
            ids = [key for key in found if wanted is None or key in wanted]
            if body.filter.phrase.strip():
                ranked = self._session.find(body.filter.phrase, limit=10**9, progress=progress).hits
                among = set(ids)
                ids = [hit.record.id for hit in ranked if hit.record.id in among]
            return self._session.batches.start(prompt, ids, accept_above=body.accept_above, user=user)

        job = await self._site.run(request, "", start)
        return answer(job=job.id, jobs=jobs_json(self._session))

    def act(self, job: str, act: str) -> JSONResponse:
        """Pause, resume or cancel a batch prediction."""
        acts = {"pause": self._session.batches.pause, "resume": self._session.batches.resume}
        acts["cancel"] = self._session.batches.cancel
        if act not in acts:
            raise UsageError(f"A job cannot {act[:40]}.", "Use pause, resume or cancel.")
        acts[act](job)
        return self.all()

    def finetuning(self) -> JSONResponse:
        """What fine-tuning would learn from now, and its runs."""
        return answer(**finetune_json(self._session))

    def finetune(self, request: Request, body: FinetuneBody) -> JSONResponse:
        """Start a run, or pause, cancel, resume, use or delete one."""
        if body.act == "start":
            self._session.finetuning.start(recipe=body.recipe, task=body.task, method=body.method)
        elif body.run is None:
            raise UsageError("Name the run.")
        else:
            self._session.finetuning.act_on(body.act, body.run, user=user_of(request))
        return self.finetuning()

    def needs(self, recipe: str, task: str = "text", method: str | None = None) -> JSONResponse:
        """Memory and time of a run that is started now."""
        return answer(needs=self._session.finetuning.needs(recipe, task, method))

    def judged(self, run: str) -> JSONResponse:
        """The held-out images of a run, the one that got worst first."""
        rows = self._session.finetuning.images(run)
        return answer(
            images=[{"id": r.image_id, "name": r.file_name, "before": r.before, "after": r.after} for r in rows]
        )

    def judged_image(self, run: str, image: int) -> JSONResponse:
        """What people, base and tuned model say of a held-out image."""
        found = self._session.finetuning.masks(run, image)
        sides = {"person": found.person, "before": found.before, "after": found.after}
        colors = self._session.classes.colors([str(mask.category) for masks in sides.values() for mask in masks])
        size = self._session.images.record(image)
        return answer(
            width=size.width, height=size.height,
            **{side: [_mask_json(mask, colors) for mask in masks] for side, masks in sides.items()},
        )  # fmt: skip

    async def compare(self, request: Request, body: CompareBody) -> JSONResponse:
        """The answers of several presets to the same words; nothing is stored."""

        def work(progress: Progress) -> JSONResponse:
            prompt = TextPrompt.parse(body.words, background=True)
            sides = self._session.compare(body.image, prompt, body.presets, progress=progress)
            colors = self._session.classes.colors([str(mask.category) for side in sides for mask in side.masks])
            titles = {info.name: info.title for info in self._session.presets.all()}
            return answer(image=body.image, sides=[_side_json(side, colors, titles) for side in sides])

        return await self._site.run(request, body.request, work)


def _side_json(side: Side, colors: dict[str, str], titles: dict[str, str]) -> dict[str, Any]:
    return {
        "preset": side.preset,
        "title": titles.get(side.preset, side.preset),
        "seconds": round(side.seconds, 3),
        "notice": side.notice,
        "masks": [_mask_json(mask, colors) for mask in side.masks],
    }


def _mask_json(mask: Mask, colors: dict[str, str]) -> dict[str, Any]:
    return {
        "category": mask.category,
        "color": colors[str(mask.category)],
        "score": mask.score,
        "area": mask.area,
        "bbox": list(mask.bbox),
        "rle": dict(mask.rle),
    }
