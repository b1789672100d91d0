"""The repository against a plain dict, in whatever order its methods are called, on both engines."""

import itertools
import math
import os
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tuneledger import Archive, Job
from tuneledger.errors import Conflict, JobNotFound
from tuneledger.models import is_final

LONG = os.environ.get("TUNELEDGER_LONG") == "1"
RUNS = 2_000 if LONG else 200
STEPS = 30

NAMES = st.sampled_from(["a", "b", "B", "a%", "é"])
STEP = st.integers(0, 6)
METRIC = st.sampled_from(["train_loss", "valid_loss", "own"])
VALUE = st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e300, math.nan, math.inf, -math.inf, None])
CHECKPOINTS = st.dictionaries(STEP, st.dictionaries(METRIC, VALUE, max_size=3), max_size=4)
PAYLOAD = st.fixed_dictionaries(
    {
        "revision": st.integers(0, 3),
        "status": st.sampled_from(["RUNNING", "SUCCESS"]),
        "note": st.integers(0, 2),
        "events": st.lists(st.sampled_from(["x", "y"]), max_size=3),
        "checkpoints": CHECKPOINTS,
    }
)
MODE = st.sampled_from(["merge", "merge", "error", "replace"])

_runs = itertools.count()

Steps = dict[int, dict[str, float | None]]


class Model:
    """One job as a plain dict would keep it."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self.revision: int = payload["revision"]
        self.fields = {name: payload[name] for name in ("status", "note")}
        self.revisions = dict.fromkeys(self.fields, self.revision)
        self.steps: Steps = {step: dict(metrics) for step, metrics in payload["checkpoints"].items()}
        self.events = sorted(payload["events"])
        self.states = {(self.revision, payload["status"])}

    def is_older_than(self, payload: dict[str, Any]) -> bool:
        """Whether the payload's values stand where both differ."""
        if payload["revision"] != self.revision:
            return bool(payload["revision"] > self.revision)
        return is_final(payload["status"]) or not is_final(self.fields["status"])

    def merged(self, payload: dict[str, Any], mode: str) -> bool:
        """Take a payload in; False where mode `error` refuses it."""
        newer = self.is_older_than(payload)
        changes = self._field_changes(payload, newer=newer)
        differing = {
            (step, name)
            for step, metrics in payload["checkpoints"].items()
            for name, value in metrics.items()
            if name in self.steps.get(step, {}) and repr(self.steps[step][name]) != repr(value)
        }
        if mode == "error" and (changes or (newer and differing)):
            return False
        for name in self.fields:
            if name in changes:
                self.fields[name] = payload[name]
            if name in changes or self.fields[name] == payload[name]:
                self.revisions[name] = max(self.revisions[name], payload["revision"])
        self.revision = max(self.revision, payload["revision"])
        self.append(payload["checkpoints"], newer=newer)
        for event in ("x", "y"):
            more = payload["events"].count(event) - self.events.count(event)
            self.events += [event] * more
        self.events.sort()
        self.states.add((payload["revision"], payload["status"]))
        return True

    def _field_changes(self, payload: dict[str, Any], *, newer: bool) -> set[str]:
        theirs = payload["revision"]
        return {
            name
            for name, value in self.fields.items()
            if value != payload[name]
            and (theirs > self.revisions[name] or (theirs == self.revisions[name] and newer))
        }

    def append(self, steps: Steps, *, newer: bool) -> None:
        """Take steps in, value by value."""
        for step, metrics in steps.items():
            stored = self.steps.setdefault(step, {})
            for name, value in metrics.items():
                if newer or name not in stored:
                    stored[name] = value


class Machine(RuleBasedStateMachine):
    """Every rule does the same to the archive and to the dict, and compares the answers."""

    archive: Archive

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Model] = {}
        self.archive_open = ExitStack()

    @initialize()
    def begin(self) -> None:
        """Every run has jobs of its own, in one transaction that is undone at its end."""
        self.run = f"run {next(_runs)}"
        self.touched: str | None = None
        self.repository = self.archive_open.enter_context(self.archive.write())

    def teardown(self) -> None:
        """The run's jobs are compared once more, all of them, and then never were."""
        if hasattr(self, "repository"):
            for name in self.jobs:
                self.compare(name)
            self.repository._session.rollback()
        self.archive_open.close()

    def id_of(self, name: str) -> str:
        """The whole id of a job of this run."""
        return f"{self.run} {name}"

    @rule(name=NAMES, payload=PAYLOAD, mode=MODE)
    def save(self, name: str, payload: dict[str, Any], mode: str) -> None:
        """A job, in any mode."""
        job = job_of(self.id_of(name), self.run, payload)
        model = self.jobs.get(name)
        self.touched = name
        savepoint = self.repository._session.begin_nested()
        try:
            report = self.repository.save(job, on_conflict=mode)
        except Conflict:
            savepoint.rollback()
            assert mode == "error"
            assert model is not None
            assert not model.merged(payload, mode)
            return
        if model is None or mode == "replace":
            self.jobs[name] = Model(payload)
        else:
            assert model.merged(payload, mode)
        assert report.created == (model is None)
        assert not self.repository.save(job, on_conflict=mode).wrote
        savepoint.commit()

    @rule(name=NAMES, steps=CHECKPOINTS)
    def append(self, name: str, steps: Steps) -> None:
        """Steps to a job, which may not be there."""
        checkpoints = job_of("x", "x", {**BARE, "checkpoints": steps}).checkpoints
        if name not in self.jobs:
            with pytest.raises(JobNotFound):
                self.repository.append(self.id_of(name), checkpoints)
            return
        self.touched = name
        self.repository.append(self.id_of(name), checkpoints)
        self.jobs[name].append(steps, newer=True)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        """A job, which may not be there."""
        if name in self.jobs:
            assert self.repository.delete_job(self.id_of(name)) == len(self.jobs.pop(name).steps)
        else:
            with pytest.raises(JobNotFound):
                self.repository.delete_job(self.id_of(name))

    @rule(name=NAMES, first=st.none() | STEP, last=st.none() | STEP, metric=METRIC)
    def ask(self, name: str, first: int | None, last: int | None, metric: str) -> None:
        """Everything that can be asked of one job."""
        repository = self.repository
        if name not in self.jobs:
            with pytest.raises(JobNotFound):
                repository.job(self.id_of(name))
            return
        job_id, model = self.id_of(name), self.jobs[name]
        steps = sorted(model.steps)
        wanted = [
            step for step in steps if (first is None or step >= first) and (last is None or step <= last)
        ]
        found = repository.checkpoints(job_id, first_step=first, last_step=last)
        assert [checkpoint.step_number for checkpoint in found] == wanted
        assert repository.count_checkpoints(job_id, first_step=first, last_step=last) == len(wanted)
        latest = repository.latest_checkpoint(job_id)
        assert (latest and latest.step_number) == (steps[-1] if steps else None)
        numbers = {
            step: model.steps[step][metric]
            for step in steps
            if metric in model.steps[step] and is_number(model.steps[step][metric])
        }
        best = repository.best_checkpoint(job_id, metric)
        lowest = min(numbers, key=lambda step: (numbers[step], step), default=None)
        assert (best and best.step_number) == lowest
        series = repository.series([job_id], metric)
        values = [model.steps[step][metric] for step in steps if metric in model.steps[step]]
        assert repr(series[job_id].values if series else []) == repr(values)
        states = {(state.revision, state.status) for state in repository.states(job_id)}
        assert states == model.states

    @invariant()
    def same(self) -> None:
        """The archive lists the jobs that the dict has, and holds the touched one as the dict does."""
        if not hasattr(self, "repository"):
            return
        page = self.repository.jobs(provider=self.run)
        assert {job.job_id for job in page.jobs} == {self.id_of(name) for name in self.jobs}
        if self.touched in self.jobs:
            self.compare(self.touched)
        self.touched = None  # nothing can differ before it is touched again

    def compare(self, name: str) -> None:
        """One job, whole."""
        model = self.jobs[name]
        job = self.repository.job(self.id_of(name))
        note = {"note": model.fields["note"]}
        assert (job.revision, job.status, job.document) == (model.revision, model.fields["status"], note)
        assert sorted(event.name for event in job.events) == model.events
        held = {checkpoint.step_number: checkpoint.metrics.named_values() for checkpoint in job.checkpoints}
        assert {step: texts(metrics) for step, metrics in held.items()} == {
            step: texts(metrics) for step, metrics in model.steps.items()
        }
        key = self.repository._job_key(job.job_id)
        assert list(self.repository.verify_job(key)) == []


BARE = {"revision": 0, "status": "RUNNING", "note": 0, "events": []}


def texts(metrics: dict[str, Any]) -> dict[str, str]:
    """Metrics as they compare: NaN is NaN, -0.0 is not 0.0."""
    return {name: repr(value) for name, value in metrics.items()}


def is_number(value: float | None) -> bool:
    """Whether a value can win."""
    return value is not None and math.isfinite(value)


def job_of(job_id: str, provider: str, payload: dict[str, Any]) -> Job:
    """The payload as a model."""
    return Job.model_validate(
        {
            "job_id": job_id,
            "provider": provider,
            "created_at": 5,
            "revision": payload["revision"],
            "status": payload["status"],
            "note": payload["note"],
            "events": [{"name": name, "created_at": 5} for name in payload["events"]],
            "checkpoints": [
                {"step_number": step, "created_at": 5 + step, "metrics": metrics}
                for step, metrics in payload["checkpoints"].items()
            ],
        }
    )


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.timeout(7_200 if LONG else 600)
def test_repository_is_a_dict(database_url: str) -> None:
    """200 runs of 30 calls each find no difference, and each job verifies after every change."""
    with Archive(database_url, durable=False) as archive:

        class Bound(Machine):
            pass

        Bound.archive = archive
        run_state_machine_as_test(
            Bound,
            settings=settings(
                max_examples=RUNS,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                derandomize=not LONG,
            ),
        )
