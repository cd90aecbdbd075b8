"""Routes of images: list, pixels, thumbnails, upload, review, deletion."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from maskwright.session import AddResult, ImageFilter, ImageSummary, Progress, Upload, UsageError
from maskwright_app.samples import samples
from maskwright_app.ui.bodies import ImageBody, PathId
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["ImageRoutes"]

_FOR_GOOD = "private, max-age=31536000, immutable"
_MOST_FILES = 10_000
_PIECE = 1 << 20
_NEXT = "next"
"""In place of a status: images without masks, in the order in which to label them."""


class ImageRoutes:
    """The images of the project; addresses of pixels name the content, so that browsers keep them."""

    def __init__(self, site: Site) -> None:
        self._site, self._session = site, site.session
        self.router = APIRouter()
        for path, endpoint, method in (
            ("/images", self.all, "GET"),
            ("/images", self.upload, "POST"),
            ("/images/next", self.next, "GET"),
            ("/images/samples", self.add_samples, "POST"),
            ("/images/samples", self.remove_samples, "DELETE"),
            ("/images/{image_id}", self.one, "GET"),
            ("/images/{image_id}", self.review, "POST"),
            ("/images/{image_id}", self.delete, "DELETE"),
            ("/images/{image_id}/pixels", self.pixels, "GET"),
            ("/images/{image_id}/thumbnail", self.thumbnail, "GET"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method])

    async def all(
        self,
        request: Request,
        status: Annotated[str, Query(max_length=20)] = "",
        category: Annotated[str, Query(alias="class", max_length=200)] = "",
        phrase: Annotated[str, Query(max_length=1000)] = "",
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> JSONResponse:
        """A page of the list of images: in id order, for a phrase the best first, or those to label next."""
        following = status == _NEXT
        chosen = ImageFilter("none" if following else status or None, category or None)

        def read(progress: Progress) -> JSONResponse:
            if not phrase.strip() and not following:
                total, page = self._session.images.find(chosen, offset, limit)
                return answer(total=total, items=[image_json(summary) for summary in page])
            ranking = (
                self._session.search.rank(phrase, progress=progress)
                if phrase.strip()
                else self._session.search.rank_unlabelled(progress=progress)
            )
            present = set(self._session.images.ids(chosen))
            ranked = [
                (key, s) for key, s in zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True) if key in present
            ]
            scores = dict(ranked[offset : offset + limit])
            page = self._session.images.find(ImageFilter(ids=[*scores]))[1]
            by_id = {summary.record.id: image_json(summary) for summary in page}
            items = [by_id[key] | {"score": round(score, 4)} for key, score in scores.items() if key in by_id]
            return answer(total=len(ranked), items=items)

        return await self._site.run(request, request.query_params.get("request", "")[:64], read)

    def one(self, image_id: PathId) -> JSONResponse:
        """One image as in the list."""
        return answer(**image_json(self._session.images.summary(image_id)))

    def next(self, after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0) -> JSONResponse:
        """The next image without accepted masks or with open proposals, as in the list, or null."""
        following = self._session.images.next_unreviewed(after)
        item = None if following is None else image_json(self._session.images.summary(following))
        return answer(id=following, item=item)

    async def upload(self, request: Request) -> JSONResponse:
        """Add image files and zip archives; a line for each, and the images, the first added first."""
        async with request.form(max_files=_MOST_FILES, max_fields=100) as form:
            files = [value for value in form.getlist("files") if isinstance(value, UploadFile) and value.filename]
            if not files:
                raise UsageError("No file arrived.", "Choose image files, or a zip archive of them.")
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maskwright-upload-")))
                uploads = []
                for number, file in enumerate(files):
                    target = folder / str(number)
                    await run_in_threadpool(_write, file, target)
                    uploads.append(Upload(str(file.filename), target))

                all_pages = form.get("pages") == "all"

                def add(progress: Progress) -> list[AddResult]:
                    return self._session.images.add_uploads(uploads, all_pages=all_pages, progress=progress)

                return self._added(await self._site.run(request, str(form.get("request") or "")[:64], add))

    async def add_samples(self, request: Request) -> JSONResponse:
        """Add the sample images of the package."""

        def add(_: Progress) -> list[AddResult]:
            return [AddResult(sample.path, self._session.images.add(sample.path), new=True) for sample in samples()]

        return self._added(await self._site.run(request, "", add), words=samples()[0].class_names)

    async def remove_samples(self, request: Request) -> JSONResponse:
        """Delete the sample images of the package, and answer how many there were."""
        user, files = user_of(request), [sample.path for sample in samples()]
        removed = await self._site.run(request, "", lambda _: self._session.images.remove(files, user=user))
        return answer(change=self._session.change_number(), removed=removed)

    def _added(self, results: Sequence[AddResult], **values: str) -> JSONResponse:
        lines = [
            {
                "name": Path(result.path).name,
                "error": result.problem or None,
                "notice": result.notice or None,
                "new": result.new,
                "pages": result.pages,
            }
            for result in results
        ]
        ids = list(dict.fromkeys(result.record.id for result in results if result.record))
        items = [image_json(self._session.images.summary(key)) for key in ids[:200]]
        return answer(change=self._session.change_number(), ids=ids, images=items, lines=lines, **values)

    def review(self, image_id: PathId, request: Request, body: ImageBody) -> JSONResponse:
        """Say that an image is complete, or excluded, or take that back."""
        if (body.complete is None) == (body.excluded is None):
            raise UsageError("Say either whether the image is complete, or whether it is excluded.")
        review = ("complete" if body.complete else "") if body.excluded is None else "excluded" * body.excluded
        summary = self._session.images.review(image_id, review, user=user_of(request))
        return answer(change=self._session.change_number(), **image_json(summary))

    def delete(self, image_id: PathId, request: Request) -> JSONResponse:
        """Delete an image with its masks; undo takes that back."""
        masks = self._session.images.delete(image_id, user=user_of(request))
        return answer(change=self._session.change_number(), deleted=image_id, masks=masks)

    def pixels(self, image_id: PathId, request: Request) -> Response:
        """The image upright at its full size, in a format that browsers decode."""
        tag = f'"{self._session.images.record(image_id).sha256}"'
        headers = {"ETag": tag, "Cache-Control": _FOR_GOOD}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        encoded = self._session.images.encoded(image_id)
        return Response(encoded.data, media_type=encoded.media_type, headers=headers)

    def thumbnail(self, image_id: PathId) -> Response:
        """A small JPEG of the image."""
        data = self._session.images.thumbnail(image_id)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": _FOR_GOOD})


def image_json(summary: ImageSummary) -> dict[str, Any]:
    """An image as in the list."""
    record = summary.record
    version = record.sha256[:16]
    return {
        "id": record.id,
        "title": record.file_name.rpartition("/")[2],
        "width": record.width,
        "height": record.height,
        "status": summary.status,
        "masks": summary.accepted,
        "proposals": summary.proposed,
        "pixels": f"/ui/images/{record.id}/pixels?v={version}",
        "thumbnail": f"/ui/images/{record.id}/thumbnail?v={version}",
    }


def _write(file: UploadFile, target: Path) -> None:
    with target.open("wb") as output:
        while piece := file.file.read(_PIECE):
            output.write(piece)
