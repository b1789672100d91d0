"""The server: one archive, one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneledger.errors import ExtraMissing
from tuneledger.loopback import AnsweringOwnNames

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuneledger.archive import Archive

__all__ = ["serve"]


def serve(archive: Archive, *, host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve the dashboard until told to stop; ``ready`` is called when nothing is missing for it.

    ``archive`` is best opened read-only.

    ``/?jobs=A,B&metric=M`` shows these at first. On an address of this machine alone it answers by the
    machine's own names alone, see `tuneledger.loopback`. Raises `ExtraMissing` without the extra
    ``dashboard``.
    """
    try:
        from nicegui import app, ui

        from tuneledger.dashboard.page import Page
    except ModuleNotFoundError:
        raise ExtraMissing("dashboard") from None

    @ui.page("/")
    async def show(jobs: str = "", metric: str = "") -> None:
        await Page(archive, [job for job in jobs.split(",") if job], metric or None).build()

    app.add_middleware(AnsweringOwnNames, host=host)
    ready()
    ui.run(
        host=host,
        port=port,
        title="tuneledger",
        favicon="📈",
        show=False,
        reload=False,
        show_welcome_message=False,
    )
