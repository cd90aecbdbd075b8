"""Routes of prompts: words, examples, everything, clicks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from maskwright.domain import TextPrompt, rle
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import Progress, Proposals, divide_countable
from maskwright_app.ui.answers import click_json, masks_json, missing_json
from maskwright_app.ui.bodies import ClickBody, EverythingBody, LikeBody, NamesBody, PromptBody, TextBody
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["PromptRoutes"]


class PromptRoutes:
    """Each request is held until the answer is there; a client that disconnects cancels it."""

    def __init__(self, site: Site) -> None:
        self._site, self._session = site, site.session
        self.router = APIRouter()
        for name, endpoint in (
            ("text", self.text), ("like", self.like), ("everything", self.everything), ("click", self.click),
            ("names", self.names),
        ):  # fmt: skip
            self.router.add_api_route(f"/prompts/{name}", endpoint, methods=["POST"])

    async def text(self, request: Request, body: TextBody) -> JSONResponse:
        """Find the objects of class names; they are stored as proposals."""

        def propose(progress: Progress) -> Proposals:
            prompt = TextPrompt.parse(
                body.words, method=body.method, background=body.background, threshold=body.threshold,
                refine=body.refine, cleaning=body.cleaning, high_resolution=body.high_resolution,
            )  # fmt: skip
            prompt = divide_countable(prompt) if body.instances else prompt
            return self._session.propose_text(body.image, prompt, progress=progress)

        return await self._stored(request, body, propose)

    async def like(self, request: Request, body: LikeBody) -> JSONResponse:
        """Find what accepted masks show; they are stored as proposals."""

        def propose(progress: Progress) -> Proposals:
            if body.references or body.category is None:
                return self._session.propose_reference(
                    body.image, body.references, negative_references=body.negative_references, progress=progress
                )
            return self._session.propose_like(body.image, body.category, progress=progress)

        return await self._stored(request, body, propose)

    async def everything(self, request: Request, body: EverythingBody) -> JSONResponse:
        """Find all objects of the image; they are stored as proposals."""
        return await self._stored(
            request, body, lambda progress: self._session.propose_everything(body.image, progress=progress)
        )

    async def click(self, request: Request, body: ClickBody) -> JSONResponse:
        """Up to three masks for points and a box; they stay in memory until one is accepted."""
        previous = ProposalId.parse(body.previous) if body.previous else None

        def propose(_: Progress) -> JSONResponse:
            proposals = self._session.propose_click(
                body.image, body.points, body.box, previous=previous, corrects=body.corrects, category=body.category
            )
            colors = self._session.classes.colors([str(p.mask.category or "object") for p in proposals.all])
            masks = [click_json(p, colors[str(p.mask.category or "object")]) for p in proposals.all]
            return answer(image=body.image, notice=proposals.notice, masks=masks, missing=[])

        return await self._site.run(request, body.request, propose)

    async def names(self, request: Request, body: NamesBody) -> JSONResponse:
        """Classes of the project that a proposal may show, each with its probability, the best first."""
        proposal = ProposalId.parse(body.proposal)
        ranked = await self._site.run(request, body.request, lambda _: self._session.suggest_names(proposal))
        names = [{"name": name, "probability": round(float(probability), 4)} for name, probability in ranked]
        return answer(image=body.image, names=names)

    async def _stored(
        self, request: Request, body: PromptBody, propose: Callable[[Progress], Proposals]
    ) -> JSONResponse:
        user = user_of(request)

        def work(progress: Progress) -> JSONResponse:
            proposals = propose(progress)
            # the client left while the model worked: nothing is stored for nobody
            progress.check()
            masks = self._session.masks.propose(proposals, annotator=user)
            removed = proposals.prediction.unlabelled_by_cleaning
            values: dict[str, Any] = {
                "image": body.image,
                "change": self._session.change_number(),
                "notice": proposals.answer_notice,
                "masks": masks_json(masks),
                "missing": missing_json(proposals),
                "out_of_vocabulary": list(proposals.prediction.out_of_vocabulary),
            }
            if removed is not None and removed.any():
                values["unlabelled"] = dict(rle.encode(removed))
            return answer(**values)

        return await self._site.run(request, body.request, work)
