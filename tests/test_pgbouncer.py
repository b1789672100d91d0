"""A real PgBouncer in transaction mode, which gives each transaction to another server session."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
from sqlalchemy.engine import URL

from jobs_for_tests import some_job
from postgres_server import libpq_url
from tuneledger import Archive

WRITERS = 8


def test_many_writers_share_few_sessions(pooled_url: URL) -> None:
    """Saves, appends, streams and deletes of many over three sessions: none fails, nothing is lost."""

    def work(writer: int) -> None:
        with Archive(pooled_url) as archive:
            for number in range(6):
                job_id = f"job {writer} {number}"
                archive.save(some_job(job_id, 3 + 40 * number))
                archive.append(job_id, some_job(job_id, 1, first=900).checkpoints)
                archive.save(some_job("shared", 10 * (number + 1)))
                with archive.read() as repository:
                    assert len(list(repository.stream_checkpoints(job_id))) == 4 + 40 * number
            with archive.write() as repository:
                repository.delete_job(f"job {writer} 0")

    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(work, number) for number in range(WRITERS)]:
            done.result()
    with Archive(pooled_url) as archive:
        assert list(archive.verify()) == []
        with archive.read() as repository:
            assert repository.count_jobs() == 5 * WRITERS + 1
            assert repository.job("shared") == some_job("shared", 60)


def test_nothing_is_prepared(postgres_url: str) -> None:
    """However often a statement comes, no session remembers it: the next may go to another."""
    with Archive(postgres_url) as archive:
        for number in range(10):
            archive.save(some_job(f"job {number}"))
            archive.append(f"job {number}", some_job(steps=1, first=900).checkpoints)
        with archive.read() as repository:
            connection = repository._connection
            prepared = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements")
            assert prepared.scalar_one() == 0


def test_nothing_of_a_transaction_leaks(pooled_url: URL) -> None:
    """What a transaction sets, it sets for itself: the session goes to others as it was."""
    names = ("statement_timeout", "lock_timeout", "synchronous_commit", "search_path", "jit")
    with psycopg.connect(
        libpq_url(pooled_url.render_as_string(hide_password=False)), autocommit=True
    ) as other:

        def settings() -> list[object]:
            return [other.execute(f"SHOW {name}").fetchone() for name in names]

        before = settings()
        with Archive(pooled_url, wait_seconds=7, durable=False) as archive:
            for number in range(5):
                archive.save(some_job(f"job {number}"))
                assert settings() == before
                archive.append(f"job {number}", some_job(steps=1, first=900).checkpoints)
                assert settings() == before
                with archive.read() as repository:
                    assert repository.count_jobs() == number + 1
                assert settings() == before
