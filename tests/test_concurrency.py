"""Eight writers and a reader at once: no error reaches anybody, nothing is lost, nothing is read half."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from jobs_for_tests import some_job
from processes import context
from tuneledger import Archive, schema
from tuneledger.engine import open_engine

WRITERS = 8


def write_different(url: str, writer: int) -> None:
    """Jobs of its own."""
    with Archive(url) as archive:
        for number in range(6):
            archive.save(some_job(f"job {writer} {number}", 70 * number + 1))


def write_same(url: str, writer: int) -> None:
    """The same job as all the others, in states of their own order; new metric names come up by the way."""
    states = list(range(1, 13))
    random.Random(writer).shuffle(states)  # noqa: S311 - an order, no secret
    with Archive(url) as archive:
        for steps in states:
            archive.save(some_job("the same", 10 * steps))
            archive.save(some_job(f"names of {writer}", steps, extra_field=writer))


def write_growing(url: str, writer: int) -> None:
    """Two jobs that grow by appends, shared by two writers each."""
    with Archive(url) as archive:
        job_id = f"growing {writer % 4}"
        archive.save(some_job(job_id, 1))
        for step in range(2, 16):
            archive.append(job_id, some_job(job_id, 1, first=step).checkpoints)


def open_first(url: str, writer: int) -> None:
    """Opens what nobody has opened yet."""
    if url.startswith("postgresql"):
        engine = open_engine(url)
        schema.upgrade(engine)
        engine.dispose()
    with Archive(url) as archive:
        archive.save(some_job(f"job {writer}"))


def read_on(url: str, ready: str, stop: str) -> int:
    """Reads every job again and again until told to stop; gives how many it saw whole."""
    count = 0
    with Archive(url, read_only=True) as archive:
        Path(ready).touch()
        while not Path(stop).exists():
            with archive.read() as repository:
                for summary in repository.jobs().jobs:
                    job = repository.job(summary.job_id)
                    steps = [checkpoint.step_number for checkpoint in job.checkpoints]
                    assert steps == list(range(1, len(steps) + 1))
                    if not job.job_id.startswith("growing"):
                        assert len(steps) == len(job.events) == job.document["steps"] == job.revision
                    assert job.checkpoints == some_job(job.job_id, len(steps)).checkpoints
                    count += 1
    return count


@pytest.mark.parametrize("write", [write_different, write_same, write_growing])
def test_writers_and_a_reader(database_url: str, tmp_path: Path, write: Callable[[str, int], None]) -> None:
    """Whatever eight writers do to different jobs, to one, or to growing ones, ends as if done one by one."""
    ready, stop = tmp_path / "ready", tmp_path / "stop"
    with ProcessPoolExecutor(WRITERS + 1, mp_context=context()) as pool:
        reader = pool.submit(read_on, database_url, str(ready), str(stop))
        while not ready.exists():
            assert not reader.done()
            time.sleep(0.01)  # the reader's process takes a while to start
        writers = [pool.submit(write, database_url, number) for number in range(WRITERS)]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.touch()
        assert reader.result() > 0
    with Archive(database_url) as archive:
        assert list(archive.verify()) == []
        with archive.read() as repository:
            if write is write_different:
                for number in range(WRITERS):
                    assert len(repository.checkpoints(f"job {number} 5")) == 351
                assert repository.count_jobs() == 6 * WRITERS
            elif write is write_same:
                assert repository.job("the same") == some_job("the same", 120)
            else:
                for number in range(4):
                    assert repository.checkpoints(f"growing {number}") == some_job(steps=15).checkpoints


def test_first_open(empty_database_url: str) -> None:
    """Of eight that open a new archive at once all succeed, and each one's job is there."""
    with ProcessPoolExecutor(WRITERS, mp_context=context()) as pool:
        for done in [pool.submit(open_first, empty_database_url, number) for number in range(WRITERS)]:
            done.result()
    with Archive(empty_database_url) as archive, archive.read() as repository:
        assert repository.count_jobs() == WRITERS
