"""Routes of stored masks: decisions, drawing, correction, deletion, history, undo and redo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from maskwright.domain import UNNAMED, Annotation, Mask, rle
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import Conflict, UsageError
from maskwright_app.ui.answers import mask_json, masks_json, references_json
from maskwright_app.ui.bodies import (
    DecisionBody,
    DrawnMaskBody,
    KnownMasksBody,
    MaskChangeBody,
    PathId,
    ReferenceBody,
    RleBody,
    SplitBody,
    StepBody,
)
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["MaskRoutes"]


class MaskRoutes:
    """Every change is on disk when its route answers."""

    def __init__(self, site: Site) -> None:
        self._session = site.session
        self.router = APIRouter()
        for path, endpoint, method in (
            ("/images/{image_id}/masks", self.of_image, "POST"),
            ("/decisions", self.decide, "POST"),
            ("/masks", self.draw, "POST"),
            ("/masks/{mask_id}", self.correct, "PUT"),
            ("/masks/{mask_id}", self.reclassify, "PATCH"),
            ("/masks/{mask_id}", self.delete, "DELETE"),
            ("/masks/{mask_id}/history", self.history, "GET"),
            ("/masks/{mask_id}/reference", self.mark, "PUT"),
            ("/masks/{mask_id}/split", self.split, "POST"),
            ("/undo", self.undo, "POST"),
            ("/redo", self.redo, "POST"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method])

    def of_image(self, image_id: PathId, request: Request, body: KnownMasksBody) -> JSONResponse:
        """Accepted masks and proposals of an image; without the run lengths of those that the page knows."""
        change = self._session.change_number()
        masks = self._session.masks.of_image(image_id)
        # a page asks this for the image that it shows: the first click then finds it encoded
        client = request.client
        self._session.preparation.show(image_id, window=f"{client.host if client else ''} {user_of(request)}")
        return answer(image=image_id, change=change, masks=masks_json(masks, body.known))

    def decide(self, request: Request, body: DecisionBody) -> JSONResponse:
        """Accept or reject proposals in one step for undo."""
        if (body.accept is not None) + (body.reject is not None) + (body.above is not None) != 1:
            raise UsageError("Name the masks to accept, or those to reject, or a score.")
        user = user_of(request)
        if body.above is not None:
            keys = self._session.masks.above(body.image, body.above)
        else:
            keys = list(dict.fromkeys(ProposalId.parse(key) for key in body.accept or body.reject or []))
        if body.reject is None and body.category is None and self._unnamed(keys):
            raise UsageError("A mask without a name cannot be kept.", "Name its category.")
        act = self._session.reject if body.reject is not None else self._session.accept
        rows = act(keys, category=body.category, annotator=user)
        accepted = [row for row in rows if row.state == "accepted"]
        removed = [str(key) for key in keys if body.reject is not None or key.annotation_id is None]
        return self._changed(accepted, removed=removed, decided=len(rows))

    def _unnamed(self, keys: Sequence[ProposalId]) -> bool:
        """Whether nobody has named one of these proposals, which no model named either."""
        clicked = self._session.open_proposals(keys)
        return bool(self._session.masks.unnamed(keys)) or any(
            one.class_agnostic and one.corrects is None and one.mask.category in (None, UNNAMED) for one in clicked
        )

    def draw(self, request: Request, body: DrawnMaskBody) -> JSONResponse:
        """Accept a mask that was drawn by hand."""
        row = self._session.masks.draw(body.image, _mask(body.rle), body.category, annotator=user_of(request))
        return self._changed([row])

    def correct(self, mask_id: PathId, request: Request, body: MaskChangeBody) -> JSONResponse:
        """Replace the pixels of a mask; 409 with the newer mask when somebody else was faster."""
        if body.rle is None or body.revision is None:
            raise UsageError("A correction needs the mask and the revision that was seen.")
        try:
            row = self._session.masks.correct(mask_id, body.revision, _mask(body.rle), annotator=user_of(request))
        except Conflict as error:
            newer = mask_json(self._session.masks.get(mask_id))
            return JSONResponse({"error": str(error), "hint": error.hint, "mask": newer}, 409)
        return self._changed([row])

    def reclassify(self, mask_id: PathId, request: Request, body: MaskChangeBody) -> JSONResponse:
        """Change the category of a mask."""
        if body.category is None:
            raise UsageError("Name the category.")
        rows = self._session.masks.reclassify({mask_id: body.revision}, body.category, annotator=user_of(request))
        return self._changed(rows)

    def delete(
        self, mask_id: PathId, request: Request, revision: Annotated[int, Query(ge=1, le=2**31 - 1)] | None = None
    ) -> JSONResponse:
        """Delete a mask; undo restores it."""
        self._session.masks.delete({mask_id: revision}, annotator=user_of(request))
        return self._changed([], removed=[f"stored:{mask_id}"])

    def history(self, mask_id: PathId) -> JSONResponse:
        """What happened to a mask, a sentence each, the oldest first."""
        return answer(annotation=mask_id, history=self._session.history(mask_id))

    def split(self, mask_id: PathId, request: Request, body: SplitBody) -> JSONResponse:
        """Divide a mask into its parts, the largest first."""
        return self._changed(self._session.masks.split(mask_id, body.revision, annotator=user_of(request)))

    def mark(self, mask_id: PathId, request: Request, body: ReferenceBody) -> JSONResponse:
        """Make an accepted mask an example, or take that back; the answer lists all examples."""
        references = self._session.references
        references.mark(mask_id, body.category or "", shows=body.shows, user=user_of(request))
        return answer(
            change=self._session.change_number(),
            masks=[mask_json(self._session.masks.get(mask_id))],
            references=references_json(references.all()),
        )

    def undo(self, request: Request, body: StepBody) -> JSONResponse:
        """Undo the user's last step, on the image in view."""
        return self._stepped(body.image, self._session.undo(body.image, annotator=user_of(request)))

    def redo(self, request: Request, body: StepBody) -> JSONResponse:
        """Redo what the user has undone last, on the image in view."""
        return self._stepped(body.image, self._session.redo(body.image, annotator=user_of(request)))

    def _stepped(self, image_id: int, sentence: str) -> JSONResponse:
        return answer(image=image_id, change=self._session.change_number(), sentence=sentence)

    def _changed(self, rows: Sequence[Annotation], *, removed: Sequence[str] = (), decided: int = 0) -> JSONResponse:
        masks = masks_json(self._session.masks.describe(rows))
        return answer(
            change=self._session.change_number(), masks=masks, removed=list(removed), decided=decided or len(rows)
        )


def _mask(body: RleBody) -> Mask:
    """The mask of a body; raises InvalidMask when its runs do not fill its size."""
    return Mask(None, rle.compressed({"size": body.size, "counts": body.counts}))
