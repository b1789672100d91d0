"""What becomes of a job when payloads of it arrive again, later, older, shorter or contradicting."""

import math
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stored_content import content, recomputed_digest, rows_written, stored_digest
from strategies import checkpoint_payloads, event_payloads, job_payloads
from tuneledger import Archive, CheckpointOut, CheckpointRepository, Job, OnConflict, SaveReport
from tuneledger.errors import Conflict, InvalidArgument, InvalidPayload, JobNotFound
from tuneledger.models import NOT_EVALUATED, validated
from tuneledger.repository import ABSENT, Change, Input, StateRecord


@pytest.fixture
def archive(database_url: str) -> Iterator[Archive]:
    """An archive, empty at first; examples of a property take ids of their own."""
    with Archive(database_url, durable=False) as opened:  # what is stored is the question, not for how long
        yield opened


def step(number: int, created_at: int = 5, **metrics: Any) -> CheckpointOut:
    """A checkpoint."""
    return CheckpointOut.model_validate({"metrics": metrics, "step_number": number, "created_at": created_at})


def poll(revision: int = 1, *checkpoints: CheckpointOut, **fields: Any) -> Job:
    """A payload of the job "j"."""
    return validated(
        Job,
        {"job_id": "j", "provider": "p", "revision": revision, "checkpoints": list(checkpoints), **fields},
    )


def loaded(archive: Archive, job_id: str = "j") -> Job:
    """The job as it is stored, whose digest must be that of its content."""
    assert stored_digest(archive, job_id) == recomputed_digest(archive, job_id)
    with archive.read() as repository:
        return repository.job(job_id)


def fresh(payload: dict[str, Any]) -> Job:
    """A job of that content under an id nobody had."""
    return validated(Job, payload | {"job_id": secrets.token_hex(8)})


# -- properties -----------------------------------------------------------------------------------


@given(payload=job_payloads())
def test_what_was_saved_is_loaded(archive: Archive, payload: dict[str, Any]) -> None:
    """load(save(job)) == job, and the stored digest is that of the stored content."""
    job = fresh(payload)
    report = archive.save(job)
    assert report == SaveReport(
        job.job_id,
        created=True,
        added=len(job.checkpoints),
        events_added=len(job.events),
        states_added=int(job.status is not None),
        wrote=True,
    )
    assert loaded(archive, job.job_id) == job


HISTORY = st.lists(
    st.tuples(job_payloads(), st.sampled_from([*OnConflict, "append"])), min_size=1, max_size=4
)


def saved(archive: Archive, job: Job, mode: str) -> tuple[SaveReport, int]:
    """Save or append, and count the rows that this wrote."""
    reports: list[SaveReport] = []

    def save(repository: CheckpointRepository) -> None:
        if mode == "append":
            reports.append(repository.append(job.job_id, job.checkpoints))
        else:
            reports.append(repository.save(job, on_conflict=mode))

    written = rows_written(archive, save)
    return reports[0], written


@given(history=HISTORY)
def test_saving_twice_is_saving_once(archive: Archive, history: list[tuple[dict[str, Any], str]]) -> None:
    """After any history: the same save again writes no row and reports none; every digest is right."""
    job_id = secrets.token_hex(8)
    archive.save(Job(job_id=job_id, provider="p"))
    for payload, mode in history:
        job = validated(Job, payload | {"job_id": job_id, "provider": "p"})
        before = content(archive, job_id)
        try:
            report, written = saved(archive, job, mode)
        except Conflict:
            assert mode == "error"
            assert content(archive, job_id) == before
            continue
        assert bool(written) == report.wrote == (content(archive, job_id) != before)
        assert stored_digest(archive, job_id) == recomputed_digest(archive, job_id)
        if mode == "replace":
            assert loaded(archive, job_id) == job
        again, written = saved(archive, job, mode)
        assert (written, again.wrote) == (0, False)
        assert (again.changed, again.added, again.removed) == ((), 0, 0)


@st.composite
def partial_polls(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Polls that agree on the steps they share, each with its own part of them and its own fields."""
    whole = draw(
        st.lists(checkpoint_payloads(st.integers(0, 6)), max_size=5, unique_by=lambda c: c["step_number"])
    )
    events = draw(st.lists(event_payloads(), max_size=3))
    count = draw(st.integers(2, 4))
    equal_fields = draw(st.booleans())
    fields = [draw(job_payloads()) for _ in range(count)]
    revisions = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count, unique=True))
    polls = []
    for index in range(count):
        poll = dict(fields[0] if equal_fields else fields[index])
        if not equal_fields:
            poll["revision"] = revisions[index]
        poll["checkpoints"] = [
            checkpoint | {"metrics": {name: checkpoint["metrics"][name] for name in shown}}
            for checkpoint in whole
            if draw(st.booleans())
            for shown in [
                draw(st.lists(st.sampled_from([*checkpoint["metrics"]]), unique=True))
                if checkpoint["metrics"]
                else []
            ]
        ]
        poll["events"] = [event for event in events for _ in range(draw(st.integers(0, 2)))]
        polls.append(poll)
    return polls


@given(polls=partial_polls(), data=st.data())
def test_polls_converge_in_any_order(
    archive: Archive, polls: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Partial polls that agree on the steps they share end in the same rows, whichever comes first."""
    ends = []
    job_ids = [secrets.token_hex(8) for _ in range(2)]
    for job_id, order in zip(job_ids, [polls, data.draw(st.permutations(polls))], strict=True):
        for payload in order:
            archive.save(validated(Job, payload | {"job_id": job_id, "provider": "p"}))
        assert stored_digest(archive, job_id) == recomputed_digest(archive, job_id)
        rows = content(archive, job_id)
        rows["jobs"] = [row[1:] for row in rows["jobs"]]
        del rows["job_digests"]  # they cover the id
        ends.append(rows)
    assert ends[0] == ends[1]


# -- by example -----------------------------------------------------------------------------------


def test_a_newer_payload_adds_and_changes(archive: Archive) -> None:
    """New steps and values are added, changed values updated, each reported with old and new."""
    archive.save(poll(1, step(1, loss=0.5), step(2, loss=0.4), status="RUNNING", suffix="a"))
    report = archive.save(
        poll(2, step(2, loss=0.3, grad=None), step(3, loss=0.2), status="SUCCESS", seed=None)
    )
    assert (report.added, report.unchanged, report.removed) == (1, 0, 0)
    assert report.kept == ()
    assert set(report.changed) == {
        Change(None, "status", "RUNNING", "SUCCESS"),
        Change(None, "document.seed", ABSENT, None),
        Change(None, "revision", 1, 2),
        Change(2, "metrics.loss", 0.4, 0.3),
        Change(2, "metrics.grad", ABSENT, None),
    }
    assert loaded(archive) == poll(
        2,
        step(1, loss=0.5),
        step(2, loss=0.3, grad=None),
        step(3, loss=0.2),
        status="SUCCESS",
        suffix="a",
        seed=None,
    )


def test_an_older_payload_adds_what_is_missing_and_changes_nothing(archive: Archive) -> None:
    """Arrival decides nothing: what an early poll brings late stays below what is stored."""
    archive.save(poll(5, step(1, loss=0.5), status="SUCCESS", suffix="b"))
    report = archive.save(poll(3, step(1, loss=0.9, grad=1.0), step(0, loss=1.0), status="RUNNING", n=1))
    assert report.added == 1
    assert set(report.changed) == {
        Change(1, "metrics.grad", ABSENT, 1.0),
        Change(None, "document.n", ABSENT, 1),
    }
    assert set(report.kept) == {
        Change(None, "status", "SUCCESS", "RUNNING"),
        Change(1, "metrics.loss", 0.5, 0.9),
    }
    assert loaded(archive) == poll(
        5, step(0, loss=1.0), step(1, loss=0.5, grad=1.0), status="SUCCESS", suffix="b", n=1
    )
    with archive.read() as repository:
        assert repository.states("j") == [StateRecord(3, "RUNNING"), StateRecord(5, "SUCCESS")]


def test_each_field_is_of_the_newest_payload_that_had_it(archive: Archive) -> None:
    """A field the newest payload lacks keeps its own revision, so a payload between the two wins there."""
    for revision, suffix in ((1, "one"), (9, None), (4, "four"), (3, "three")):
        fields = {} if suffix is None else {"suffix": suffix}
        archive.save(poll(revision, **fields))
    assert loaded(archive) == poll(9, suffix="four")
    assert content(archive, "j")["jobs"][0][-1] == '{"document.suffix":4}'
    report = archive.save(poll(6, suffix="four"))
    assert report.wrote
    assert content(archive, "j")["jobs"][0][-1] == '{"document.suffix":6}'
    assert not archive.save(poll(6, suffix="four")).wrote


@pytest.mark.parametrize("fields", [{}, {"finished_at": None}])
def test_a_job_that_goes_on_keeps_its_last_end(archive: Archive, fields: dict[str, None]) -> None:
    """Absent or null in a newer payload, the known end stays until another; `replace` takes it away."""
    ended = poll(1, status="FAILED", finished_at=10)
    again = poll(2, status="RUNNING", **fields)
    for order in ((ended, again), (again, ended)):
        for payload in order:
            archive.save(payload)
        assert loaded(archive) == poll(2, status="RUNNING", finished_at=10)
        with archive.write() as repository:
            repository.delete_job("j")
    archive.save(ended)
    archive.save(again)
    archive.save(poll(3, status="SUCCESS", finished_at=30))
    assert loaded(archive) == poll(3, status="SUCCESS", finished_at=30)
    archive.save(again, on_conflict="replace")
    assert loaded(archive).finished_at is None


def test_a_final_status_wins_at_equal_revisions(archive: Archive) -> None:
    """Mistral's modified_at stands still while the status changes: SUCCESS is later than RUNNING."""
    archive.save(poll(1, step(1, loss=0.1), status="SUCCESS"))
    report = archive.save(poll(1, step(1, loss=0.2), status="RUNNING"))
    assert [change.field for change in report.kept] == ["status", "metrics.loss"]
    archive.save(poll(1, step(1, loss=0.3), status="FAILED"))
    assert loaded(archive) == poll(1, step(1, loss=0.3), status="FAILED")


def test_at_equal_revisions_the_later_arrival_stands(archive: Archive) -> None:
    """Neither is final: the payload that came last is taken for the newer one."""
    archive.save(poll(1, step(1, loss=0.1), status="QUEUED"))
    archive.save(poll(1, step(1, loss=0.2), status="RUNNING"))
    assert loaded(archive) == poll(1, step(1, loss=0.2), status="RUNNING")


def test_a_newer_revision_alone_is_a_change(archive: Archive) -> None:
    """Nothing else moved: the report still says what was written."""
    archive.save(poll(1))
    for mode in ("merge", "replace", "error"):
        revision = {"merge": 2, "replace": 3, "error": 4}[mode]
        report = archive.save(poll(revision), on_conflict=mode)
        assert report.changed == (Change(None, "revision", revision - 1, revision),)
        assert report.wrote


def test_an_unknown_time_never_replaces_a_known_one(archive: Archive) -> None:
    """0 says that the source gave no time, for a job as for a checkpoint."""
    archive.save(poll(1, step(1, 0, loss=0.1), step(2, 7, loss=0.1), created_at=0))
    archive.save(poll(2, step(1, 6, loss=0.1), step(2, 0, loss=0.1), created_at=5))
    archive.save(poll(3, step(1, 0, loss=0.1), step(2, 0, loss=0.1), created_at=0))
    assert loaded(archive) == poll(3, step(1, 6, loss=0.1), step(2, 7, loss=0.1), created_at=5)
    archive.save(poll(3, step(1, 0, loss=0.1), created_at=0), on_conflict="replace")
    assert loaded(archive) == poll(3, step(1, 0, loss=0.1), created_at=0)


def test_keep_adds_and_leaves_what_is_stored(archive: Archive) -> None:
    """New steps, values and fields come, stored values stay and are reported as kept."""
    archive.save(poll(1, step(1, loss=0.5), status="RUNNING"))
    newer = poll(2, step(1, loss=0.4, grad=1.0), step(2, loss=0.3), status="SUCCESS", seed=1)
    report = archive.save(newer, on_conflict="keep")
    assert (report.added, [change.field for change in report.kept]) == (1, ["status", "metrics.loss"])
    assert loaded(archive) == poll(
        1, step(1, loss=0.5, grad=1.0), step(2, loss=0.3), status="RUNNING", seed=1
    )
    # What was kept is still of the old revision: the same payload, merged, is newer.
    archive.save(newer)
    assert loaded(archive) == newer


def test_error_refuses_a_changed_value_and_writes_nothing(archive: Archive) -> None:
    """A value that would change raises, naming job, step, old and new; nothing of the payload is stored."""
    archive.save(poll(1, step(1, loss=0.5), status="RUNNING"))
    before = content(archive, "j")
    for changed in (
        poll(2, step(0, loss=1.0), step(1, loss=0.4), status="RUNNING"),
        poll(1, step(1, loss=0.4), events=[{"name": "e", "created_at": 1}], status="RUNNING"),
    ):
        with pytest.raises(
            Conflict, match=r"'j' at step 1: metrics.loss is stored as 0.5 and would become 0.4"
        ):
            archive.save(changed, on_conflict=OnConflict.ERROR)
    with pytest.raises(Conflict, match="'j': status is stored as RUNNING and would become SUCCESS"):
        archive.save(poll(2, status="SUCCESS"), on_conflict="error")
    assert content(archive, "j") == before
    assert archive.save(poll(2, step(2, loss=0.4), status="RUNNING"), on_conflict="error").added == 1
    older = archive.save(poll(1, step(2, loss=0.9), status="QUEUED"), on_conflict="error")
    assert [change.field for change in older.kept] == ["status", "metrics.loss"]


def test_a_conflict_leaves_nothing_even_when_the_caller_commits(archive: Archive) -> None:
    """Every decision is made before the first row is written, so a swallowed Conflict loses nothing."""
    archive.save(poll(1, step(1, loss=0.5)))
    before = content(archive, "j")
    with archive.write() as repository, pytest.raises(Conflict):
        repository.save(poll(2, step(0, loss=1.0), step(1, loss=0.4)), on_conflict="error")
    assert content(archive, "j") == before


def test_replace_makes_the_job_the_payload(archive: Archive) -> None:
    """Steps, values, fields, events and statuses that the payload lacks are gone, and only then."""
    event = {"name": "e", "created_at": 1}
    archive.save(
        poll(5, step(1, loss=0.5, grad=1.0), step(2, loss=0.4), events=[event, event], status="SUCCESS", n=1)
    )
    payload = poll(2, step(1, loss=0.6), events=[event], status="RUNNING", m=2)
    report = archive.save(payload, on_conflict="replace")
    assert (report.added, report.removed, report.events_removed) == (0, 1, 1)
    assert report.changed == (
        Change(None, "document.m", ABSENT, 2),
        Change(None, "document.n", 1, ABSENT),
        Change(None, "status", "SUCCESS", "RUNNING"),
        Change(None, "revision", 5, 2),
        Change(1, "metrics.loss", 0.5, 0.6),
        Change(1, "metrics.grad", 1.0, ABSENT),
    )
    assert loaded(archive) == payload
    with archive.read() as repository:
        assert repository.states("j") == [StateRecord(2, "RUNNING")]
        assert repository.metric_names("j") == ["loss"]


def test_replacing_drops_thousands_of_steps(archive: Archive) -> None:
    """More steps than one statement takes parameters are dropped, and their series with them."""
    many = [step(number, 5, loss=1.0, **{f"m{number % 3}": 0.5}) for number in range(12_000)]
    archive.save(poll(1, *many))
    report = archive.save(poll(1, many[7]), on_conflict="replace")
    assert report.removed == 11_999
    assert loaded(archive) == poll(1, many[7])
    with archive.read() as repository:
        assert repository.metric_names("j") == ["loss", "m1"]


@pytest.mark.parametrize("mode", OnConflict)
def test_another_providers_job_is_a_conflict(archive: Archive, mode: OnConflict) -> None:
    """An id belongs to one provider, in every mode."""
    archive.save(poll(1, status="RUNNING"))
    with pytest.raises(Conflict, match="'j' is stored as one of p, not of q; give this one another id"):
        archive.save(Job(job_id="j", provider="q", revision=9), on_conflict=mode)


def test_equal_events_merge_to_the_greater_count(archive: Archive) -> None:
    """Real polls repeat equal events and reverse their order; none is lost, none is doubled."""
    one, other = {"name": "a", "created_at": 1}, {"name": "a", "created_at": 1, "data": None}
    for revision, events in enumerate([[one, other], [other, one, one], [one], []]):
        archive.save(poll(revision, events=events))
    assert loaded(archive) == poll(3, events=[one, one, other])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (0.5, None),
        (None, math.nan),
        (math.nan, math.inf),
        (0.0, -0.0),
        (0.0, NOT_EVALUATED),
        (1.0, "text"),
        ("text", 2**60 + 1),
        (2**60 + 1, 0.25),
        (16777217.0, 16777216.0),
    ],
)
def test_every_kind_of_value_can_become_another(archive: Archive, before: Any, after: Any) -> None:
    """A value changes between number, null, no finite number, placeholder and what is kept aside."""
    for old, new, revision in ((before, after, 2), (after, before, 4)):
        archive.save(poll(revision - 1, step(1, x=old, y=1.0)))
        report = archive.save(poll(revision, step(1, x=new, y=1.0)))
        assert [change.field for change in report.changed if change.step_number] == ["metrics.x"]
        assert loaded(archive) == poll(revision, step(1, x=new, y=1.0))


def test_a_number_of_another_class_is_that_number(archive: Archive) -> None:
    """NumPy's doubles are floats: an equal one is no change, and comes back as Python's."""
    archive.save(poll(1, step(1, x=2.0, y=1.0)))
    report = archive.save(poll(2, step(1, x=np.float64(2.0), y=np.float64(3.0))))
    assert [change.field for change in report.changed if change.step_number] == ["metrics.y"]
    assert type(loaded(archive).checkpoints[0].metrics.named_values()["x"]) is float


@pytest.mark.parametrize("second", [{"x": 1.0}, {"x": 2.0}, {"z": 1.0}], ids=["same", "other", "another"])
def test_a_step_that_stands_twice_is_refused(archive: Archive, second: dict[str, Any]) -> None:
    """What `Job` would not let through comes past it by `model_copy`; nothing is written, new or stored."""
    payload = poll(1, step(1, x=1.0), step(2, x=1.0))
    twice = payload.model_copy(update={"checkpoints": [*payload.checkpoints, step(1, **second)]})
    for _ in range(2):
        with pytest.raises(InvalidPayload, match=f"job {payload.job_id}: step 1: stands twice"):
            archive.save(twice)
        archive.save(poll(1, step(1, y=1.0)))
    assert loaded(archive) == poll(1, step(1, y=1.0))


def test_appending_is_the_newest_word_on_its_steps(archive: Archive) -> None:
    """Appended checkpoints are added and change stored steps as the mode says; the rest stays."""
    archive.save(poll(9, step(1, loss=0.5, a=1.0), step(2, loss=0.4), status="SUCCESS"))
    with archive.write() as repository:
        report = repository.append("j", [step(3, loss=0.3), step(1, loss=0.6), step(3, loss=0.3)])
        assert (report.added, report.changed) == (1, (Change(1, "metrics.loss", 0.5, 0.6),))
        kept = repository.append("j", [step(1, loss=0.7)], on_conflict="keep")
        assert [change.new for change in kept.kept] == [0.7]
        replaced = repository.append("j", [step(1, loss=0.8)], on_conflict="replace")
        assert {change.field for change in replaced.changed} == {"metrics.loss", "metrics.a"}
        assert not repository.append("j", []).wrote
    assert loaded(archive) == poll(
        9, step(1, loss=0.8), step(2, loss=0.4), step(3, loss=0.3), status="SUCCESS"
    )
    with pytest.raises(Conflict), archive.write() as repository:
        repository.append("j", [step(4, loss=0.1), step(1, loss=0.9)], on_conflict="error")
    with pytest.raises(InvalidPayload, match="step 5 stands twice"), archive.write() as repository:
        repository.append("j", [step(5, loss=0.1), step(5, loss=0.9)])
    with pytest.raises(JobNotFound), archive.write() as repository:
        repository.append("nobody", [])
    assert loaded(archive).checkpoints[-1].step_number == 3


def test_a_mode_that_does_not_exist_is_named(archive: Archive) -> None:
    """The message lists those there are."""
    with pytest.raises(InvalidArgument, match="merge, keep, error, replace, not 'overwrite'"):
        archive.save(poll(), on_conflict="overwrite")


def test_provenance_is_kept_where_something_was_written(archive: Archive) -> None:
    """Each input that added something is listed once; one that changed nothing is not."""
    first, second, odd = (
        Input(name, "mistral", 10, digest * 64)
        for name, digest in (("a.json", "a"), ("b.json", "b"), ("bad\udc80.json", "c"))
    )
    archive.save(poll(1, step(1, loss=0.5)), inputs=[first])
    archive.save(poll(1, step(1, loss=0.5)), inputs=[second])
    archive.save(poll(2), inputs=[second, second])
    archive.save(poll(3), inputs=[odd])
    with archive.read() as repository:
        records = repository.inputs("j")
        assert {(record.name, record.sha256) for record in records} == {
            ("a.json", "a" * 64),
            ("b.json", "b" * 64),
            ("bad\\udc80.json", "c" * 64),
        }
        assert {record.format for record in records} == {"mistral"}
        assert {record.size_bytes for record in records} == {10}


def test_inputs_come_in_one_order(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """By second, then by name as both engines sort it, then by size: a file that is read again has grown."""
    later = [Input("a", "p", 1, "1")]
    in_one_second = [
        Input("é", "p", 1, "0"),
        Input("b", "p", 100, "0"),
        Input("a", "p", 100, "2"),
        Input("a", "p", 20, "9"),
        Input("a", "p", 20, "8"),
        Input("Z", "p", 500, "0"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 1_000_000_007.9)
        archive.save(poll(1), inputs=later)
        patch.setattr("time.time", lambda: 1_000_000_006.9)
        archive.save(poll(2), inputs=in_one_second)
    with archive.read() as repository:
        found = [(given.name, given.size_bytes, given.sha256) for given in repository.inputs("j")]
    assert found == [
        ("Z", 500, "0"), ("a", 20, "8"), ("a", 20, "9"), ("a", 100, "2"), ("b", 100, "0"), ("é", 1, "0"),
        ("a", 1, "1"),
    ]  # fmt: skip


def test_what_was_absent_says_so() -> None:
    """A report that is printed tells what was not there from what was null."""
    assert repr(Change(2, "metrics.grad", ABSENT, None).old) == "ABSENT"
