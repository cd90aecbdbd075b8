"""Routes of images: list, pixels, thumbnails."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from maskwright_app.ui.site import Site, answer

__all__ = ["ImageRoutes"]

_FOR_GOOD = "private, max-age=31536000, immutable"


class ImageRoutes:
    """The images of the project; addresses of pixels name the content, so that browsers keep them."""

    def __init__(self, site: Site) -> None:
        self._session = site.session
        self.router = APIRouter()
        for path, endpoint, method in (
            ("/images", self.all, "GET"),
            ("/images/{image_id}/pixels", self.pixels, "GET"),
            ("/images/{image_id}/thumbnail", self.thumbnail, "GET"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method])

    def all(
        self, offset: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200
    ) -> JSONResponse:
        """A page of the list of images."""
        summaries = self._session.project.images.page(0, None)
        items = [_item(summary) for summary in summaries[offset : offset + limit]]
        return answer(total=len(summaries), items=items)

    def pixels(self, image_id: int, request: Request) -> Response:
        """The image upright at its full size, in a format that browsers decode."""
        tag = f'"{self._session.images.record(image_id).sha256}"'
        headers = {"ETag": tag, "Cache-Control": _FOR_GOOD}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        encoded = self._session.images.encoded(image_id)
        return Response(encoded.data, media_type=encoded.media_type, headers=headers)

    def thumbnail(self, image_id: int) -> Response:
        """A small JPEG of the image."""
        data = self._session.images.thumbnail(image_id)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": _FOR_GOOD})


def _item(summary: Any) -> dict[str, Any]:
    record = summary.record
    version = record.sha256[:16]
    return {
        "id": record.id,
        "title": record.file_name.rpartition("/")[2],
        "width": record.width,
        "height": record.height,
        "status": "proposed" if summary.proposed else "done" if summary.accepted else "none",
        "masks": summary.accepted,
        "proposals": summary.proposed,
        "pixels": f"/ui/images/{record.id}/pixels?v={version}",
        "thumbnail": f"/ui/images/{record.id}/thumbnail?v={version}",
    }
