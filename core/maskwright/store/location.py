"""Where a project is: its folder, and the database in it or on a server."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from sqlalchemy import URL

from maskwright.errors import BadProject
from maskwright.settings import Settings
from maskwright.store.connection import database_url, sqlite_file
from maskwright.store.db_errors import cannot_write

__all__ = ["database_file", "exists", "locate", "make_folders"]

_FOLDERS = ("images", "exports", "checkpoints")


def locate(where: str | Path, *, create: bool) -> tuple[Path, str | Path]:
    """The folder and the database of a project, which is named by its folder or by a database URL.

    The folder is that of a SQLite file; for a server it has the database's name and is beside the default project of
    the settings.

    Raises:
        BadProject: the folder holds no project and `create` is false.
        ProjectUnwritable: a file has the folder's name, or the folder belongs to another user.
    """
    if "://" in str(where):
        return _folder_for(str(where)), str(where)
    folder = Path(where).expanduser().absolute()
    database = folder / "project.db"
    _require_project(folder, database, create=create)
    return folder, database


def database_file(where: str | Path) -> Path:
    """The SQLite file of a project that may be too damaged to open; raises BadProject when it is on a server."""
    file = sqlite_file(_database(where))
    if file is None:
        raise BadProject("A project on a database server is backed up with the server's own tools, such as pg_dump.")
    return file


def exists(where: str | Path) -> bool:
    """Whether there is a project, as far as can be known without opening it: a server may have one."""
    file = sqlite_file(_database(where))
    return file is None or file.is_file()


def _database(where: str | Path) -> URL:
    return database_url(where if "://" in str(where) else Path(where).expanduser().absolute() / "project.db")


def _folder_for(address: str) -> Path:
    """The folder of a project that is named by a database URL."""
    url = database_url(address)
    file = sqlite_file(url)
    home = Settings.load().project.expanduser()
    return file.parent if file else home.with_name(f"{home.name}-{url.database}")


def _require_project(folder: Path, database: Path, *, create: bool) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(errno.EEXIST, "", str(folder))
        exists = database.is_file()
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not exists and not create:
        raise BadProject(f"There is no project in {folder}.", f"Create one with `maskwright project new {folder}`.")


def make_folders(folder: Path) -> None:
    """Make a project's folders, or none of them; raises ProjectUnwritable."""
    subfolders = [folder / name for name in _FOLDERS]
    try:
        for subfolder in subfolders:
            if subfolder.exists() and not subfolder.is_dir():
                raise FileExistsError(errno.EEXIST, "", str(subfolder))
        if folder.exists() and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "", str(folder))
        for subfolder in subfolders:
            subfolder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(Path(error.filename or folder), error) from error
