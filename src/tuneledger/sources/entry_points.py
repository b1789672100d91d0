"""Sources that other packages add, by entry points of the group ``tuneledger.sources``."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Final

from tuneledger.errors import InvalidArgument, shortened
from tuneledger.sources.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "added_to"]

GROUP: Final = "tuneledger.sources"

_log = logging.getLogger("tuneledger")


@cache
def added_to(ours: tuple[Source, ...]) -> tuple[tuple[Source, ...], tuple[InvalidArgument, ...]]:
    """Give the sources of other packages, and what is wrong with the entry points that give none.

    Those are told by a warning, once: a package that is broken must not keep the others from being used.
    """
    from importlib.metadata import entry_points

    found: list[Source] = []
    broken: list[InvalidArgument] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            found.append(_loaded(entry, (*ours, *found)))
        except InvalidArgument as error:
            _log.warning("%s; it is left out", error)
            broken.append(error)
    return tuple(found), tuple(broken)


def _loaded(entry: EntryPoint, others: Sequence[Source]) -> Source:
    package = "" if entry.dist is None else f" of {entry.dist.name} {entry.dist.version}"
    named = f"the entry point {entry.name!r} ({entry.value}){package}"
    try:
        source = entry.load()
    except Exception as error:  # it runs what others wrote, which may raise anything
        reason = f"cannot be loaded: {type(error).__name__}: {shortened(error)}"
        raise InvalidArgument(f"{named} {reason}") from error
    if not isinstance(source, Source):
        raise InvalidArgument(f"{named} is no tuneledger Source")
    taken = {name for other in others for name in (other.name, *other.also)}
    if not taken.isdisjoint((source.name, *source.also)):
        raise InvalidArgument(f"{named} takes the name of another source")
    return source
