"""Routes of files in and out: export as one file, import with a report."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, JSONResponse

from maskwright.session import ImportReport, Progress, UsageError
from maskwright_app.ui.bodies import ExportBody
from maskwright_app.ui.site import Site, answer

__all__ = ["ExchangeRoutes"]

_TYPES = {".json": "application/json", ".csv": "text/csv; charset=utf-8", ".zip": "application/zip"}


class ExchangeRoutes:
    """Exports are built in a temporary folder, which is removed once the file is sent."""

    def __init__(self, site: Site) -> None:
        self._site, self._session = site, site.session
        self.router = APIRouter()
        self.router.add_api_route("/export", self.export, methods=["POST"])
        self.router.add_api_route("/import", self.import_coco, methods=["POST"])

    async def export(self, request: Request, body: ExportBody) -> FileResponse:
        """The accepted masks as one file."""
        folder = Path(await run_in_threadpool(tempfile.mkdtemp, prefix="maskwright-export-"))
        remove = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)

        def write(progress: Progress) -> Path:
            return self._session.exchange.export(body.format, folder, images=body.images, progress=progress)

        try:
            file = await self._site.run(request, body.request, write)
        except BaseException:
            await remove()
            raise
        # RFC 6266: the name is UTF-8, with a plain one for old clients
        headers = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(file.name)}"}
        return FileResponse(file, media_type=_TYPES[file.suffix], headers=headers, background=remove)

    async def import_coco(self, request: Request) -> JSONResponse:
        """Import a file or a zip archive of annotations, or only say what that would do (`dry_run` true)."""
        async with request.form(max_files=1, max_fields=10) as form:
            file, dry_run, update = form.get("file"), form.get("dry_run"), form.get("update", "false")
            flags = {dry_run, update} <= {"true", "false"}
            if not isinstance(file, UploadFile) or not file.filename or not flags:
                raise UsageError("An import needs a file, and whether it is a dry run: true or false.")
            with tempfile.TemporaryDirectory(prefix="maskwright-import-") as folder:
                # the project notes the name in the provenance of the masks
                target = Path(folder) / (Path(file.filename.replace("\\", "/")).name or "coco.json")
                await run_in_threadpool(_write, file, target)

                def read(progress: Progress) -> ImportReport:
                    return self._session.exchange.import_file(
                        target, dry_run=dry_run == "true", update=update == "true", progress=progress
                    )

                report = await self._site.run(request, str(form.get("request") or "")[:64], read)
        result = report.result
        return answer(
            change=self._session.change_number(), dry_run=result.dry_run, lines=report.lines, masks=result.masks,
            proposals=result.proposals, images=result.images, changed=result.changed,
        )  # fmt: skip


def _write(file: UploadFile, target: Path) -> None:
    with target.open("wb") as output:
        shutil.copyfileobj(file.file, output)
