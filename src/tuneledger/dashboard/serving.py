"""The server: one archive, one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneledger.errors import ExtraMissing

if TYPE_CHECKING:
    from tuneledger.archive import Archive

__all__ = ["serve"]


def serve(archive: Archive, *, host: str, port: int) -> None:
    """Serve the dashboard until told to stop. ``archive`` is best opened read-only.

    ``/?jobs=A,B&metric=M`` shows these at first. Raises `ExtraMissing` without the extra ``dashboard``.
    """
    try:
        from nicegui import ui

        from tuneledger.dashboard.page import Page
    except ModuleNotFoundError:
        raise ExtraMissing("dashboard") from None

    @ui.page("/")
    async def show(jobs: str = "", metric: str = "") -> None:
        await Page(archive, [job for job in jobs.split(",") if job], metric or None).build()

    ui.run(
        host=host,
        port=port,
        title="tuneledger",
        favicon="📈",
        show=False,
        reload=False,
        show_welcome_message=False,
    )
