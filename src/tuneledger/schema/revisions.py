"""The revisions this release knows, numbered from 0001."""

from __future__ import annotations

from functools import cache
from importlib import resources

from tuneledger.errors import InvalidArgument

__all__ = ["head", "known", "revisions"]


@cache
def revisions() -> tuple[str, ...]:
    """Give every revision this release knows, oldest first."""
    versions = resources.files("tuneledger.migrations") / "versions"
    numbers = {entry.name.partition("_")[0] for entry in versions.iterdir()}
    return tuple(sorted(number for number in numbers if number.isdigit()))


def head() -> str:
    """Give the newest revision this release knows."""
    return revisions()[-1]


def known(revision: str) -> str:
    """Give ``revision`` back, with ``head`` as its number. Raises `InvalidArgument` for one there is not."""
    if revision == "head":
        return head()
    if revision not in revisions():
        raise InvalidArgument(f"no revision {revision!r}; there are: {', '.join(revisions())}")
    return revision
