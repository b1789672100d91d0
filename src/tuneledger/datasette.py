"""Datasette over an archive's file, with our metadata: canned queries and dashboards.

Tables are canned queries: the dashboard plugin's own tables put what they show into the page as HTML.
"""

from __future__ import annotations

import json
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any, Final

from tuneledger.errors import ExtraMissing, InvalidArgument
from tuneledger.loopback import AnsweringOwnNames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuneledger.engine import Location

__all__ = ["application", "serve"]

_SETTINGS: Final = {
    "max_returned_rows": 5_000,  # eight curves of 502 points
    "sql_time_limit_ms": 5_000,
    "default_cache_ttl": 0,  # a job may be running
    "allow_download": False,
}


def application(location: Location) -> Any:
    """Make Datasette's ASGI application of the archive's file, which it opens read-only.

    The database is called ``archive``, whatever the file is: the metadata's links say so. Raises
    `InvalidArgument` where there is no file and `ExtraMissing` without the extra ``datasette``.
    """
    path, app, database = _needed(location)
    described = (resources.files("tuneledger.dashboards") / "datasette/metadata.json").read_text("utf-8")
    served = app.Datasette([], metadata=json.loads(described), settings=_SETTINGS)
    served.add_database(database.Database(served, path=str(path), is_mutable=True), name="archive")
    return served.app()


def _needed(location: Location) -> tuple[Path, Any, Any]:
    """Give the file and Datasette's modules, or raise what `application` says."""
    path = location.path
    if path is None or not path.is_file():
        raise InvalidArgument(
            f"Datasette serves SQLite files, and {location} is none; `tuneledger dashboard` serves "
            f"PostgreSQL, too"
        )
    try:
        app, database = import_module("datasette.app"), import_module("datasette.database")
        import_module("datasette_dashboards")
    except ModuleNotFoundError:
        raise ExtraMissing("datasette") from None
    return path, app, database


def serve(location: Location, *, host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve `application` until told to stop; on an address of this machine alone by its own names alone.

    ``ready`` is called when nothing is missing for it.
    """
    _needed(location)
    ready()  # before anything is opened, for it may raise
    made = AnsweringOwnNames(application(location), host=host)
    import_module("uvicorn").run(made, host=host, port=port, log_level="warning", lifespan="on")
