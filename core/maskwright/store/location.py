"""Where a project lies: its folder, and the database in it or on a server."""

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
    """The folder of a project that is named by its folder or by a database URL, and its database.

    Pictures lie beside a SQLite file; for a database server in a folder of the database's name, beside the project that
    the settings name.

    Raises:
        BadProject: the folder holds no project and `create` is false.
        ProjectUnwritable: a file is in the way, or the folder belongs to another user.
    """
    if "://" in str(where):
        return _folder_for(str(where)), str(where)
    folder = Path(where).expanduser().absolute()
    database = folder / "project.db"
    _require_project(folder, database, create)
    return folder, database


def database_file(where: str | Path) -> Path:
    """The SQLite file of a project that may be too damaged to open; raises BadProject when it is on a server."""
    file = sqlite_file(_database(where))
    if file is None:
        raise BadProject("A project on a database server is backed up with the server's own tools, such as pg_dump.")
    return file


def exists(where: str | Path) -> bool:
    """Whether a project is there, as far as can be told without opening it: a server may have one."""
    file = sqlite_file(_database(where))
    return file is None or file.is_file()


def _database(where: str | Path) -> URL:
    return database_url(where if "://" in str(where) else Path(where).expanduser().absolute() / "project.db")


def _folder_for(address: str) -> Path:
    """Where a project that is named by a database URL keeps its files."""
    url = database_url(address)
    file = sqlite_file(url)
    home = Settings.load().project.expanduser()
    return file.parent if file else home.with_name(f"{home.name}-{url.database}")


def _require_project(folder: Path, database: Path, create: bool) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(errno.EEXIST, "", str(folder))
        there = database.is_file()
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not there and not create:
        raise BadProject(f"There is no project in {folder}. Create one with `maskwright project new {folder}`.")


def make_folders(folder: Path) -> None:
    """Make a project's folders, or none of them; raises ProjectUnwritable."""
    inside = [folder / name for name in _FOLDERS]
    try:
        for one in inside:
            if one.exists() and not one.is_dir():
                raise FileExistsError(errno.EEXIST, "", str(one))
        if folder.exists() and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "", str(folder))
        for one in inside:
            one.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(Path(error.filename or folder), error) from error
