"""``sync``: a provider's service into the archive."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tuneledger.cli import exit_codes
from tuneledger.cli.archiving import outcome_value, print_outcome, tell_of_watch
from tuneledger.cli.choosing import open_archive
from tuneledger.cli.options import AsJson, Db, Schema, unix_seconds
from tuneledger.errors import InvalidArgument

if TYPE_CHECKING:
    from tuneledger.sync import Provider, Service

app = typer.Typer()

_KEYS: Final = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "together": "TOGETHER_API_KEY",
    "mistral": "MISTRAL_API_KEY",
}
_ADDRESSES: Final = {
    "openai": "OPENAI_BASE_URL",
    "azure": "AZURE_OPENAI_ENDPOINT",
    "together": "TOGETHER_BASE_URL",
    "mistral": "MISTRAL_BASE_URL",
}
_AZURE_VERSION: Final = "2024-10-21"


@app.command()
def sync(
    provider: Annotated[
        str, typer.Argument(metavar="openai|azure|together|mistral", help="The service to ask.")
    ],
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only jobs created then or later.")
    ] = None,
    jobs: Annotated[
        list[str] | None, typer.Option("--job", metavar="ID", help="Only this job; again for more.")
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Ask again that often, until Ctrl-C or the jobs end."),
    ] = None,
    db: Db = None,
    schema: Schema = None,
    as_json: AsJson = False,
) -> None:
    """Archive the jobs of a provider's service, with their checkpoints, metrics and events.

    The key comes from the environment alone: OPENAI_API_KEY, AZURE_OPENAI_API_KEY with
    AZURE_OPENAI_ENDPOINT, TOGETHER_API_KEY, MISTRAL_API_KEY. Jobs archived in a final state are not asked
    for again; stopped at any moment, what was archived stays and the same command goes on from there.
    """
    from tuneledger.cli import presenting
    from tuneledger.sync import provider_named, sync_jobs, watch_jobs

    known = provider_named(provider)
    service = _service(known)
    first = unix_seconds(since) or 0
    counts: Counter[str] = Counter()
    with open_archive(db, schema, note=not as_json, write=True) as archive:
        tell_of_watch(watch)
        if watch is None:
            outcomes = sync_jobs(archive, known, service, since=first, job_ids=jobs or ())
        else:
            outcomes = watch_jobs(
                archive, known, service, every_seconds=watch, since=first, job_ids=jobs or ()
            )
        if as_json:
            with presenting.printing_json_list("jobs", endless=watch is not None) as (add, _):
                for outcome in outcomes:
                    counts["refused"] += outcome.error is not None
                    add(outcome_value(outcome))
        else:
            for outcome in outcomes:
                counts["refused"] += outcome.error is not None
                print_outcome(outcome)
                sys.stdout.flush()  # the next may take minutes
    if counts["refused"]:
        raise typer.Exit(exit_codes.REFUSED)


def _service(provider: Provider) -> Service:
    """Make the service of a provider, with the key that the environment has."""
    from tuneledger.sync import Service

    variable = _KEYS[provider.name]
    key = os.environ.get(variable, "")
    if not key:
        raise InvalidArgument(f"{provider.title} needs a key; set the environment variable {variable}")
    address = os.environ.get(_ADDRESSES[provider.name]) or provider.base_url
    if not address:
        raise InvalidArgument(
            f"{provider.title} has an address for each customer; "
            f"set the environment variable {_ADDRESSES[provider.name]}"
        )
    if provider.name == "azure":
        version = os.environ.get("OPENAI_API_VERSION") or _AZURE_VERSION
        return Service(provider.title, address, {"api-key": key}, {"api-version": version})
    return Service(provider.title, address, {"Authorization": f"Bearer {key}"})
