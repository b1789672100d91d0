"""Every error that tuneledger raises, as one tree.

::

    TuneledgerError
    ├── NotFound (LookupError)
    │   ├── JobNotFound
    │   ├── CheckpointNotFound
    │   └── MetricNotFound
    ├── AmbiguousJob (LookupError)       a prefix that several jobs share
    ├── Conflict (ValueError)            a stored value differs and may not change
    ├── InvalidPayload (ValueError)      source, position, field, reason
    │   ├── UnknownFormat                no reader recognises the input
    │   └── LimitExceeded                larger, deeper or longer than allowed
    ├── InvalidArgument (ValueError)     a call or an option that cannot be answered
    ├── ExtraMissing                     an optional part is not installed
    ├── DataLoss                         a downgrade would lose rows that nobody agreed to lose
    ├── DependentObjects                 others built on what a change would drop
    ├── SourceRefused                    a provider's service said no
    ├── SchemaError                      the database is not ready; each names the mending command
    │   ├── SchemaEmpty
    │   ├── SchemaBehind
    │   ├── SchemaAhead
    │   ├── SchemaForeign
    │   └── SchemaBroken
    └── DatabaseError
        ├── UnsuitableConnection         a caller's engine lacks what the archive rests on
        ├── DriverMissing                the extra with the driver is not installed
        ├── NotDistributable             the database cannot be spread over nodes as asked
        ├── DatabaseUnavailable          cannot be reached, or the connection was lost   (retryable)
        ├── DatabaseBusy                 a lock, a deadlock or a serialisation failure   (retryable)
        ├── DatabaseFull
        ├── DatabaseReadOnly
        ├── PermissionDenied
        └── DatabaseDamaged

``retryable`` tells whether repeating the whole transaction can succeed. Saves are
idempotent, so repeating one is always right, also when it is unknown whether it committed.
"""

from __future__ import annotations

from typing import ClassVar, Self

__all__ = [
    "AmbiguousJob",
    "CheckpointNotFound",
    "Conflict",
    "DataLoss",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseError",
    "DatabaseFull",
    "DatabaseReadOnly",
    "DatabaseUnavailable",
    "DependentObjects",
    "DriverMissing",
    "ExtraMissing",
    "InvalidArgument",
    "InvalidPayload",
    "JobNotFound",
    "LimitExceeded",
    "MetricNotFound",
    "NotDistributable",
    "NotFound",
    "PermissionDenied",
    "SchemaAhead",
    "SchemaBehind",
    "SchemaBroken",
    "SchemaEmpty",
    "SchemaError",
    "SchemaForeign",
    "SourceRefused",
    "TuneledgerError",
    "UnknownFormat",
    "UnsuitableConnection",
]

_LONGEST_MESSAGE_BYTES = 4_000
_LONGEST_QUOTE = 120
_MOST_LISTED = 20
_MOST_CANDIDATES = 5
_MOST_METRICS = 12


def printable(text: str) -> str:
    """Replace what a terminal might obey rather than show."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def shortened(text: object, limit: int = _LONGEST_QUOTE) -> str:
    """Give ``text`` as one printable line of at most ``limit`` characters, for quoting in a message."""
    line = printable(str(text)[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _bounded(message: str) -> str:
    """Give a message of at most `_LONGEST_MESSAGE_BYTES` in UTF-8: a character may take four of them."""
    encoded = message.encode(errors="backslashreplace")
    if len(encoded) <= _LONGEST_MESSAGE_BYTES:
        return encoded.decode()
    return encoded[: _LONGEST_MESSAGE_BYTES - 3].decode(errors="ignore") + "…"


class TuneledgerError(Exception):
    """Something tuneledger cannot do; the message says what happened and what to do next."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(_bounded(message or (type(self).__doc__ or "").strip()))

    def __reduce__(self) -> tuple[object, ...]:
        """Let it pass to another process, where calling the class would want what it was made of."""
        return _made_again, (type(self), *self.args), self.__dict__


def _made_again(kind: type[TuneledgerError], *args: object) -> TuneledgerError:
    return kind.__new__(kind, *args)


class NotFound(TuneledgerError, LookupError):
    """The archive holds no such thing."""


class JobNotFound(NotFound):
    """The archive holds no job of that id."""

    def __init__(self, job_id: str, similar: tuple[str, ...] = ()) -> None:
        self.job_id = job_id
        self.similar = similar
        meant = " or ".join(shortened(other, 200) for other in similar)
        super().__init__(
            f"no job {shortened(job_id)!r} in this archive; "
            f"{f'is {meant} meant? ' if meant else ''}`tuneledger jobs` lists what it holds"
        )


class CheckpointNotFound(NotFound):
    """The job has no checkpoint at that step."""

    def __init__(self, job_id: str, step_number: int) -> None:
        self.job_id = job_id
        self.step_number = step_number
        super().__init__(
            f"job {shortened(job_id)!r} has no checkpoint at step {step_number}; "
            f"`tuneledger checkpoints` lists its steps"
        )


class MetricNotFound(NotFound):
    """The job never reported that metric."""

    def __init__(self, job_id: str, metric: str, known: tuple[str, ...] = ()) -> None:
        self.job_id = job_id
        self.metric = metric
        shown = [shortened(name, 60) for name in known[:_MOST_METRICS]]
        if len(known) > _MOST_METRICS:
            shown.append(f"and {len(known) - _MOST_METRICS} more that `tuneledger show` lists")
        listed = ", ".join(shown) or "none at all"
        super().__init__(f"job {shortened(job_id)!r} has no metric {shortened(metric)!r}; it has: {listed}")


class AmbiguousJob(TuneledgerError, LookupError):
    """Several jobs begin with that prefix."""

    def __init__(self, prefix: str, candidates: tuple[str, ...]) -> None:
        self.prefix = prefix
        self.candidates = candidates
        shown = [shortened(candidate, 80) for candidate in candidates[:_MOST_CANDIDATES]]
        listed = ", ".join([*shown, *["…"][: len(candidates) - _MOST_CANDIDATES]])
        super().__init__(f"{shortened(prefix)!r} begins several job ids ({listed}); give more of it")


class Conflict(TuneledgerError, ValueError):
    """A stored value differs from the new one, and the caller asked for an error in that case."""


class InvalidPayload(TuneledgerError, ValueError):
    """Input that is refused, whole: nothing of that job is written.

    ``source`` names the input (a path, ``<stdin>``, a provider), ``position`` the place in it
    (``line 3 column 9``, ``checkpoints[4]``; empty when the whole input is meant), ``field`` the
    field (empty when none is to blame), ``reason`` what is wrong with it.
    """

    def __init__(self, *, source: str, reason: str, position: str = "", field: str = "") -> None:
        self.source = source
        self.position = position
        self.field = field
        self.reason = reason
        place = ", ".join(
            part for part in (shortened(position), f"field {shortened(field)!r}" if field else "") if part
        )
        super().__init__(
            f"{shortened(source, 400)}: {place + ': ' if place else ''}{shortened(reason, 1_500)}"
        )

    def at(self, position: str) -> Self:
        """Give the same error of another place: who raised it saw but a part of the input."""
        return type(self)(source=self.source, position=position, field=self.field, reason=self.reason)


class UnknownFormat(InvalidPayload):
    """No reader recognises the input by its content."""


class LimitExceeded(InvalidPayload):
    """The input is larger, deeper or longer than the limits allow."""


class InvalidArgument(TuneledgerError, ValueError):
    """A call or an option that cannot be answered."""


class ExtraMissing(TuneledgerError):
    """An optional part is not installed."""

    def __init__(self, extra: str) -> None:
        """Name the ``extra`` that brings it."""
        super().__init__(f"this needs more than the core; `pip install 'tuneledger[{extra}]'` brings it")


class DataLoss(TuneledgerError):
    """A downgrade would lose rows, and the caller did not accept that; ``rows`` counts them by table."""

    def __init__(self, place: str, rows: dict[str, int]) -> None:
        self.rows = rows
        listed = ", ".join(f"{count} of {table}" for table, count in rows.items())
        super().__init__(
            f"downgrading {place} would lose rows: {listed}; nothing was changed "
            f"(back it up with `tuneledger backup`, then --accept-data-loss does it)"
        )


class DependentObjects(TuneledgerError):
    """Views or tables of others depend on what would be dropped; ``objects`` names them."""

    objects: tuple[str, ...] = ()

    @classmethod
    def of(cls, place: str, objects: tuple[str, ...]) -> DependentObjects:
        """Name ``objects``, which depend on the archive at ``place``."""
        listed = ", ".join(objects[:_MOST_LISTED])
        more = f" and {len(objects) - _MOST_LISTED} more" if len(objects) > _MOST_LISTED else ""
        error = cls(
            f"others depend on the archive in {place}: {listed}{more}; nothing was changed "
            f"(drop those yourself, then try again; after an upgrade they can be made anew)"
        )
        error.objects = objects
        return error


class SourceRefused(TuneledgerError):
    """A provider's service refused the request, or did not answer; ``http_status`` is what it answered."""

    def __init__(self, message: str | None = None, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status


class SchemaError(TuneledgerError):
    """The database's schema is not the one this release works with."""


class SchemaEmpty(SchemaError):
    """The database holds no archive yet; `tuneledger db upgrade` makes one."""


class SchemaBehind(SchemaError):
    """The archive is of an older release; `tuneledger db upgrade` brings it up."""


class SchemaAhead(SchemaError):
    """The archive is of a newer release; `pip install --upgrade tuneledger` brings that."""


class SchemaForeign(SchemaError):
    """The place belongs to another application; choose another file or another `--schema`."""


class SchemaBroken(SchemaError):
    """The schema is not what its revision says; `tuneledger db check` lists what differs."""


class DatabaseError(TuneledgerError):
    """The database refused or failed."""


class UnsuitableConnection(DatabaseError):
    """A connection of the caller's own lacks what the archive rests on."""


class DriverMissing(DatabaseError):
    """The database driver is not installed; `pip install 'tuneledger[postgres]'` brings it."""


class NotDistributable(DatabaseError):
    """The archive cannot be spread over the nodes of Citus as it was asked for."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or the connection to it was lost; try again."""

    retryable = True


class DatabaseBusy(DatabaseError):
    """Others hold a lock that this needs; try again."""

    retryable = True


class DatabaseFull(DatabaseError):
    """No space is left for the database; nothing of the transaction was written."""


class DatabaseReadOnly(DatabaseError):
    """The database can be read but not written."""


class PermissionDenied(DatabaseError):
    """The database role may not do that."""


class DatabaseDamaged(DatabaseError):
    """The file is not a database, or is damaged; `tuneledger verify` tells what is still whole."""
