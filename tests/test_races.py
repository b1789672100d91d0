"""Writers that meet: threads and processes on one job, with the database's own locks between them."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from processes import context
from stored_content import recomputed_digest, stored_digest
from tuneledger import Archive, CheckpointOut, CheckpointRepository, Job
from tuneledger.errors import DatabaseBusy, JobNotFound

WRITERS = 6


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An empty archive."""
    with Archive(database_url, durable=False) as opened:
        yield opened


def step(number: int, **metrics: Any) -> CheckpointOut:
    """A checkpoint."""
    return CheckpointOut.model_validate({"metrics": metrics, "step_number": number, "created_at": 5})


def job(*checkpoints: CheckpointOut, **fields: Any) -> Job:
    """A payload of the job "j"."""
    given: dict[str, Any] = {"job_id": "j", "provider": "p", "checkpoints": list(checkpoints)}
    return Job.model_validate(given | fields)


def at_once(actions: list[Callable[[], Any]]) -> list[Any]:
    """Do all at the same moment, each in a thread of its own; give what they gave."""
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        start.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def test_one_new_job_saved_by_all(archive: Archive) -> None:
    """One of them creates it, the others find it there; every step and event is stored once."""
    event_of_all = {"name": "e", "created_at": 1}
    payloads = [
        job(step(0, loss=1.0), step(number, **{f"m{number}": 0.5}), events=[event_of_all])
        for number in range(1, WRITERS + 1)
    ]
    reports = at_once([lambda payload=payload: archive.save(payload) for payload in payloads])  # type: ignore[misc] # bound now
    assert sum(report.created for report in reports) == 1
    assert sum(report.added for report in reports) == WRITERS + 1
    assert sum(report.events_added for report in reports) == 1
    assert stored_digest(archive, "j") == recomputed_digest(archive, "j")
    with archive.read() as repository:
        assert [found.step_number for found in repository.checkpoints("j")] == list(range(WRITERS + 1))


def test_one_step_changed_by_all(archive: Archive) -> None:
    """Newer payloads of one step race: the newest stands, and the digest is that of what stands."""
    archive.save(job(step(1, loss=1.0)))
    payloads = [job(step(1, loss=float(number)), revision=number) for number in range(1, 3 * WRITERS)]
    random.Random(5).shuffle(payloads)  # noqa: S311 - no secret
    at_once([lambda payload=payload: archive.save(payload) for payload in payloads])  # type: ignore[misc] # bound now
    assert stored_digest(archive, "j") == recomputed_digest(archive, "j")
    with archive.read() as repository:
        assert repository.checkpoint("j", 1).metrics.named_values() == {"loss": 3.0 * WRITERS - 1}
        assert repository.job("j").revision == 3 * WRITERS - 1


def test_saving_against_deleting(archive: Archive) -> None:
    """A job is whole or gone, whoever is first; a save that meets its deletion archives it anew."""
    payload = job(*(step(number, loss=0.5) for number in range(50)), status="RUNNING")

    def delete() -> int:
        try:
            with archive.write() as repository:
                return repository.delete_job("j")
        except JobNotFound:
            return 0

    def append() -> int:
        try:
            return archive.append("j", [step(99, loss=0.1)]).added
        except JobNotFound:
            return 0

    for _ in range(8):
        at_once([lambda: archive.save(payload), delete, lambda: archive.save(payload), delete, append])
        with archive.read() as repository:
            found = repository.count_jobs()
        if found:
            assert stored_digest(archive, "j") == recomputed_digest(archive, "j")
            with archive.read() as repository:
                assert repository.count_checkpoints("j") in (50, 51)
        place = "tuneledger." if archive.location.schema else ""
        with archive.engine.connect() as connection:
            orphans = (
                f"SELECT count(*) FROM {place}metrics AS m WHERE NOT EXISTS "
                f"(SELECT 1 FROM {place}checkpoints AS c "
                "WHERE c.job_key = m.job_key AND c.step_number = m.step_number)"
            )
            assert connection.exec_driver_sql(orphans).scalar() == 0


class Meeting:
    """Lets another writer act, once, just before a statement of ours reaches the database."""

    def __init__(self, repository: CheckpointRepository, before: str, action: Callable[[], object]) -> None:
        self.waiting: list[Callable[[], object]] = [action]
        self.before = before
        event.listen(repository._connection, "before_cursor_execute", self.meet)

    def meet(self, _connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        """Act."""
        if self.waiting and self.before in statement:
            self.waiting.pop()()


def test_deleted_between_looking_and_locking(postgres_url: str) -> None:
    """What was there a moment ago is gone: a save creates it, an append and a deletion say so."""
    with Archive(postgres_url) as archive:

        def delete() -> None:
            with archive.write() as other:
                other.delete_job("j")

        archive.save(job(step(1, loss=0.5)))
        with archive.write() as repository:
            Meeting(repository, "FOR UPDATE", delete)
            assert repository.save(job(step(2, loss=0.4))).created
        writes: list[Callable[[CheckpointRepository], object]] = [
            lambda repository: repository.append("j", [step(3, loss=0.1)]),
            lambda repository: repository.append("j", [step(3, loss=0.1), step(4, loss=0.1)]),
            lambda repository: repository.delete_job("j"),
        ]
        for write in writes:
            archive.save(job(step(2, loss=0.4)))
            with archive.write() as repository:
                Meeting(repository, "FOR UPDATE", delete)
                with pytest.raises(JobNotFound):
                    write(repository)
        archive.save(job(step(2, loss=0.4)))
        assert stored_digest(archive, "j") == recomputed_digest(archive, "j")


def test_inserted_between_looking_and_inserting(postgres_url: str) -> None:
    """Another writer was first: what it stored is merged with, not overwritten."""
    with Archive(postgres_url) as archive, archive.write() as repository:
        Meeting(repository, "INSERT INTO tuneledger.jobs", lambda: archive.save(job(step(1, loss=0.5))))
        report = repository.save(job(step(2, loss=0.4)))
        assert (report.created, report.added) == (False, 1)
        assert repository.count_checkpoints("j") == 2


def test_a_step_that_shows_up_between_two_queries(postgres_url: str) -> None:
    """Under READ COMMITTED another's step can appear among ours: it is left out, not an error."""
    with Archive(postgres_url) as archive:
        archive.save(job(step(1, loss=0.5), step(3, loss=0.3)))
        with archive.write() as repository:
            Meeting(repository, "unnest", lambda: archive.append("j", [step(2, loss=0.4)]))
            assert [found.step_number for found in repository.checkpoints("j")] == [1, 3]
        with archive.write() as repository:
            Meeting(repository, "value", lambda: archive.append("j", [step(9, loss=0.2)]))
            columns = repository.columns("j")
        assert columns.steps.tolist() == [1, 2, 3]
        assert columns.values["loss"].tolist() == [0.5, 0.4, 0.3]


def test_a_reader_sees_one_moment(archive: Archive) -> None:
    """Whatever is written meanwhile, a read transaction answers as of its first question."""
    archive.save(job(*(step(number, loss=0.5) for number in range(200))))
    with archive.read() as repository:
        stream = repository.stream_checkpoints("j")
        first = next(stream)
        archive.append("j", [step(1000, loss=0.1)])
        archive.save(job(step(0, loss=9.0), revision=5))
        assert [first, *stream] == [step(number, loss=0.5) for number in range(200)]
        assert repository.count_checkpoints("j") == 200


def test_a_deferred_writer_that_lost_is_told(sqlite_url: str) -> None:
    """SQLite: our writers take the lock when they begin, so none of them reads first and fails after."""
    with Archive(sqlite_url, wait_seconds=0.2) as archive:
        archive.save(job(step(1, loss=0.5)))
        began = []

        @event.listens_for(archive.engine, "before_cursor_execute")
        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            began.append(statement)

        with archive.read() as repository:
            repository.count_jobs()
        with archive.write() as repository:
            repository.count_jobs()
            with pytest.raises(DatabaseBusy):
                archive.append("j", [step(2, loss=0.4)])
        assert {statement for statement in began if statement.startswith("BEGIN")} == {
            "BEGIN",
            "BEGIN IMMEDIATE",
        }


def _save_in_a_process(url: str, first: int, queue: Any) -> None:
    """Append some steps from a process of its own, over an archive that the parent had open."""
    with Archive(url, durable=False) as archive:
        for number in range(first, first + 20):
            archive.append("j", [step(number, loss=float(number))])
    queue.put(first)


def test_processes_append_to_one_job(archive: Archive, database_url: str) -> None:
    """Processes that append to one job lose nothing, and leave the digest of what is there."""
    archive.save(job())
    beside = context()
    queue = beside.Queue()
    processes = [
        beside.Process(target=_save_in_a_process, args=(database_url, first, queue))
        for first in (0, 100, 200)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert {queue.get(timeout=10) for _ in processes} == {0, 100, 200}
    assert stored_digest(archive, "j") == recomputed_digest(archive, "j")
    with archive.read() as repository:
        assert repository.count_checkpoints("j") == 60
