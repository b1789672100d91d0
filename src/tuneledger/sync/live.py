"""From providers' services to the archive: every job they list, with its checkpoints, metrics and events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tuneledger import json_text
from tuneledger.errors import (
    Conflict,
    InvalidArgument,
    InvalidPayload,
    JobNotFound,
    SourceRefused,
)
from tuneledger.models import Job, is_final
from tuneledger.repository import Input
from tuneledger.sources import mistral, openai, together
from tuneledger.sources.times import unix_seconds
from tuneledger.sync.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuneledger.archive import Archive
    from tuneledger.sync.service import Service

__all__ = ["PROVIDERS", "Provider", "provider_named", "stored_status", "sync_jobs"]

_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Provider:
    """How one provider's service is read."""

    name: str
    title: str
    path: str
    """Where its jobs are, below the base address."""
    base_url: str
    """Its public address; empty where each customer has one."""
    listed: Callable[[Service, str, int], Iterator[Any]]
    """Gives the jobs of a path that were created at or after a time, as lists show them."""
    whole: Callable[[Service, str, str], tuple[Any, Job]]
    """Gives a job with all that belongs to it, by its id: what was answered, and the model of it."""

    def steps(self) -> tuple[str, ...]:
        """Give the parts of the path."""
        return tuple(self.path.split("/"))


def sync_jobs(
    archive: Archive,
    provider: Provider,
    service: Service,
    *,
    since: int = 0,
    job_ids: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Archive the jobs that a service has: those asked for, else all created at or after ``since``.

    Gives an outcome a job, as it is done. A job that was archived from here in a final state is not read
    again; any other is, for providers add checkpoints without a sign of it. Stopped at any moment, what is
    archived is whole, and the next call goes on from there. Raises `SourceRefused` when the service as a
    whole says no; a single job that it does not give is an outcome with the error.
    """
    found = iter(job_ids) if job_ids else _ids(provider, service, since)
    for job_id in found:
        name = service.url(*provider.steps(), job_id)
        if _is_done(archive, job_id, name):
            continue
        outcome = Outcome(name, provider.name)
        try:
            answer, job = provider.whole(service, provider.path, job_id)
            text = json_text.canonical(answer).encode()
            given = Input(
                _of_state(name, job.status), provider.name, len(text), hashlib.sha256(text).hexdigest()
            )
            outcome.reports.append(archive.save(job, inputs=[given]))
        except (Conflict, InvalidPayload) as error:
            outcome.error = error
        except SourceRefused as error:
            if error.http_status != _NOT_FOUND:
                raise
            outcome.error = error
        yield outcome


_NOT_FOUND: Final = 404


def _ids(provider: Provider, service: Service, since: int) -> Iterator[str]:
    for item in provider.listed(service, provider.path, since):
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise InvalidPayload(
                source=service.url(*provider.steps()), reason="it lists something that is no job"
            )
        yield item["id"]


def _is_done(archive: Archive, job_id: str, name: str) -> bool:
    """Tell whether a job was archived from the service in the final state that is stored."""
    status = stored_status(archive, job_id)
    if not is_final(status):
        return False
    with archive.read() as repository:
        return any(given.name == _of_state(name, status) for given in repository.inputs(job_id))


def stored_status(archive: Archive, job_id: str) -> str | None:
    """Give the status that a job is stored with; None where there is none, or no such job."""
    with archive.read() as repository:
        try:
            return repository.job_without_checkpoints(job_id).status
        except JobNotFound:
            return None


def _of_state(name: str, status: str | None) -> str:
    return f"{name} ({status})"


def provider_named(name: str) -> Provider:
    """Give the provider of that name. Raises `InvalidArgument` naming those there are."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    raise InvalidArgument(
        f"no service {name!r}; there are: {', '.join(provider.name for provider in PROVIDERS)}"
    )


# -- each provider ------------------------------------------------------------------------------


def _data(answer: Any, service: Service, path: str) -> list[Any]:
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise InvalidPayload(source=service.url(*path.split("/")), field="data", reason="must be a list")
    return items


def _mistral_listed(service: Service, path: str, since: int) -> Iterator[Any]:
    page = 0
    before = None
    while True:
        items = _data(service.get(*path.split("/"), page=page, page_size=_PAGE), service, path)
        if items and items == before:  # a service that does not count pages would be asked for ever
            raise InvalidPayload(source=service.url(*path.split("/")), reason="its pages repeat themselves")
        before = items
        for item in items:
            if _created(item) >= since:
                yield item
        if len(items) < _PAGE:
            return
        page += 1


def _mistral_whole(service: Service, path: str, job_id: str) -> tuple[Any, Job]:
    answer = service.get(*path.split("/"), job_id)
    (job,) = mistral.jobs(answer, source=service.url(*path.split("/"), job_id), job_id=job_id)
    return answer, job


def _pages(service: Service, path: Sequence[str]) -> Iterator[Any]:
    """Give the items of all pages of a list of OpenAI's."""
    after: dict[str, str] = {}
    seen: set[str] = set()
    while True:
        answer = service.get(*path, limit=_PAGE, **after)
        items = _data(answer, service, "/".join(path))
        yield from items
        if not answer.get("has_more") or not items:
            return
        last = items[-1].get("id") if isinstance(items[-1], dict) else None
        if not isinstance(last, str) or last in seen:
            raise InvalidPayload(source=service.url(*path), reason="its next page cannot be asked for")
        seen.add(last)
        after = {"after": last}


def _openai_listed(service: Service, path: str, since: int) -> Iterator[Any]:
    for item in _pages(service, path.split("/")):
        if _created(item) < since:
            return  # the newest come first
        yield item


def _openai_whole(name: str) -> Callable[[Service, str, str], tuple[Any, Job]]:
    def whole(service: Service, path: str, job_id: str) -> tuple[Any, Job]:
        steps = (*path.split("/"), job_id)
        answer = service.get(*steps)
        if not isinstance(answer, dict):
            raise InvalidPayload(source=service.url(*steps), reason="a job must be an object")
        joined = {
            **answer,
            "checkpoints": list(_pages(service, (*steps, "checkpoints"))),
            "events": list(_pages(service, (*steps, "events"))),
        }
        return joined, openai.joined_job(joined, provider=name, source=service.url(*steps))

    return whole


def _together_listed(service: Service, path: str, since: int) -> Iterator[Any]:
    for item in _data(service.get(*path.split("/")), service, path):
        if _created(item) >= since:
            yield item


def _together_whole(service: Service, path: str, job_id: str) -> tuple[Any, Job]:
    steps = (*path.split("/"), job_id)
    answer = service.get(*steps)
    # Without `resolution`: with it the service gives samples of the metrics, not all of them.
    metrics = service.get(*steps, "metrics")
    joined = answer
    if isinstance(answer, dict):
        joined = {
            **answer,
            "checkpoints": _data(service.get(*steps, "checkpoints"), service, path),
            "metrics": (metrics.get("metrics") or []) if isinstance(metrics, dict) else metrics,
        }
    return joined, together.job(joined, source=service.url(*steps))


def _created(item: Any) -> int:
    """Give the time of a listed job; one that cannot be told counts as new."""
    try:
        created_at = unix_seconds(item.get("created_at")) if isinstance(item, dict) else None
    except ValueError:
        created_at = None
    return 2**63 if created_at is None else created_at


PROVIDERS: Final = (
    Provider(
        openai.OPENAI, "OpenAI", "fine_tuning/jobs", "https://api.openai.com/v1", _openai_listed,
        _openai_whole(openai.OPENAI),
    ),
    Provider(
        openai.AZURE, "Azure OpenAI", "openai/fine_tuning/jobs", "", _openai_listed,
        _openai_whole(openai.AZURE),
    ),
    Provider(
        "together", "Together", "fine-tunes", "https://api.together.xyz/v1", _together_listed,
        _together_whole,
    ),
    Provider(
        "mistral", "Mistral", "fine_tuning/jobs", "https://api.mistral.ai/v1", _mistral_listed,
        _mistral_whole,
    ),
)  # fmt: skip
