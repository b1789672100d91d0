import itertools
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from provider_server import Cut, Played, Sequence, provider_server
from source_records import mistral_job, openai_checkpoint, openai_event, openai_job, together_job
from tuneledger import Archive, Job
from tuneledger.cli import exit_codes, run
from tuneledger.errors import InvalidArgument, InvalidPayload, LimitExceeded, SourceRefused
from tuneledger.sync import Outcome, Service, live, provider_named, sync_jobs, watch_jobs
from tuneledger.sync import service as services

JOBS = "/fine_tuning/jobs"
MISTRAL_ID = mistral_job("QUEUED", 1, [])["id"]
OPENAI_ID = openai_job()["id"]
KEY = "sk-secret-0123456789"


def service(played: Played, pauses: list[float] | None = None) -> Service:
    """The service that is played, never waiting."""
    waited = pauses if pauses is not None else []
    return Service("Played", played.url, {"Authorization": f"Bearer {KEY}"}, pause=waited.append)


def synced(archive: Archive, name: str, played: Played, **options: Any) -> list[Outcome]:
    """The outcomes of one round."""
    return list(sync_jobs(archive, provider_named(name), service(played), **options))


def lean(job: dict[str, Any]) -> dict[str, Any]:
    """A job as a list shows it."""
    return {name: value for name, value in job.items() if name not in {"events", "checkpoints"}}


def openai_answers(job: dict[str, Any]) -> dict[str, Any]:
    """A service with this one job, two pages of events and one of checkpoints."""
    path = f"{JOBS}/{job['id']}"
    last = openai_event(1)
    return {
        JOBS: {"data": [job], "has_more": False},
        path: job,
        f"{path}/checkpoints": {"data": [openai_checkpoint(5, train_loss=0.5)], "has_more": False},
        f"{path}/events": {"data": [openai_event(2, 3, train_loss=0.9)], "has_more": True},
        f"{path}/events?after=ftevent-2": {"data": [last], "has_more": False},
    }


def test_openai_s_jobs_with_all_their_pages(database_url: str) -> None:
    """Job, checkpoints and every page of events are one job; archived as final it is not asked for again."""
    with provider_server(openai_answers(openai_job())) as played, Archive(database_url) as archive:
        (outcome,) = synced(archive, "openai", played)
        assert (outcome.reports[0].added, outcome.reports[0].events_added) == (2, 2)
        before = len(played.asked)
        assert synced(archive, "openai", played) == []
        assert [path for path, _ in played.asked[before:]] == [JOBS]
        with archive.read() as repository:
            job = repository.job(OPENAI_ID)
            (given,) = repository.inputs(OPENAI_ID)
    assert (job.provider, job.status, [c.step_number for c in job.checkpoints]) == (
        "openai",
        "succeeded",
        [3, 5],
    )
    assert given.name == f"{played.url}{JOBS}/{OPENAI_ID} (succeeded)"
    assert played.asked[0][1] == {"limit": "100"}
    assert {headers["authorization"] for headers in played.headers} == {f"Bearer {KEY}"}


def test_a_running_job_is_read_again(sqlite_url: str) -> None:
    """Providers add checkpoints without a sign of it, so a job is read until it is final."""
    running = openai_job("running", None)
    with provider_server(openai_answers(running)) as played, Archive(sqlite_url) as archive:
        played.answers = {f"/openai{path}": answer for path, answer in openai_answers(running).items()}
        (first,) = synced(archive, "azure", played)
        (second,) = synced(archive, "azure", played)
        assert (first.reports[0].wrote, second.reports[0].wrote) == (True, False)
        played.answers[f"/openai{JOBS}/{OPENAI_ID}"] = openai_job()
        (third,) = synced(archive, "azure", played)
        assert third.reports[0].wrote
        with archive.read() as repository:
            assert repository.job(OPENAI_ID).provider == "azure"
            assert [state.status for state in repository.states(OPENAI_ID)] == ["running", "succeeded"]


def test_mistral_s_jobs_page_by_page(sqlite_url: str) -> None:
    """Lists carry no checkpoints, so each job is asked for by itself; pages are counted from 0."""
    jobs = [mistral_job("SUCCESS", 1_700_000_020, [10]) | {"id": f"job-{n}"} for n in range(101)]
    answers: dict[str, Any] = {f"{JOBS}/{job['id']}": job for job in jobs}
    answers[f"{JOBS}?page=0"] = {"data": [lean(job) for job in jobs[:100]], "total": 101}
    answers[f"{JOBS}?page=1"] = {"data": [lean(job) for job in jobs[100:]], "total": 101}
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        assert len(synced(archive, "mistral", played)) == 101
        with archive.read() as repository:
            assert repository.count_jobs() == 101
            assert repository.count_checkpoints() == 101
        # What a list said of a job does not stand for the job: it is asked for though it is final.
        fresh = mistral_job("SUCCESS", 1_700_000_020, [10])
        with provider_server({f"{JOBS}/{MISTRAL_ID}": fresh}) as other:
            archive.save(next(iter(_jobs_of_list([lean(fresh)]))))
            (outcome,) = synced(archive, "mistral", other, job_ids=[MISTRAL_ID])
            assert outcome.reports[0].added == 1


def test_a_job_of_another_provider_stops_no_other(sqlite_url: str) -> None:
    """Of one whose id is another's already it is told, and the rest is archived."""
    jobs = [mistral_job("SUCCESS", 1_700_000_020, [10]) | {"id": f"job-{n}"} for n in range(2)]
    answers: dict[str, Any] = {f"{JOBS}/{job['id']}": job for job in jobs}
    answers[f"{JOBS}?page=0"] = {"data": [lean(job) for job in jobs], "total": 2}
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        archive.save(Job(job_id="job-0", provider="another"))
        refused, saved = synced(archive, "mistral", played)
    assert "is stored as one of another" in str(refused.error)
    assert [report.created for report in saved.reports] == [True]


def _jobs_of_list(items: list[Any]) -> list[Any]:
    from tuneledger.sources import mistral

    return list(mistral.jobs({"data": items}))


def test_together_s_jobs_with_their_metrics(sqlite_url: str) -> None:
    """Checkpoints and all metrics are joined; a sample of the metrics is never asked for."""
    job = together_job("completed", 20)
    path = "/fine-tunes/ft-1234"
    answers = {
        "/fine-tunes": {"data": [lean(job)]},
        path: job,
        f"{path}/checkpoints": {"data": [{"step": 10, "created_at": "2024-01-01T00:00:05Z", "path": "x"}]},
        f"{path}/metrics": Sequence(
            [{"metrics": [{"global_step": 10, "train/loss": 0.5}]}, {"metrics": None}]
        ),
    }
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        (outcome,) = synced(archive, "together", played)
        assert outcome.reports[0].added == 1
        with archive.read() as repository:
            (checkpoint,) = repository.checkpoints("ft-1234")
        assert checkpoint.metrics.named_values() == {"train/loss": 0.5}
        assert ("/fine-tunes/ft-1234/metrics", {}) in played.asked
        assert synced(archive, "together", played, since=2**40) == []


def test_since_leaves_older_jobs_alone(sqlite_url: str) -> None:
    """Jobs created earlier are not asked for; one whose time cannot be told is."""
    old = openai_job() | {"id": "old", "created_at": 5}
    with provider_server(openai_answers(openai_job())) as played, Archive(sqlite_url) as archive:
        played.answers[JOBS] = {"data": [openai_job(), old], "has_more": True}
        assert len(synced(archive, "openai", played, since=1_700_000_000)) == 1
    answers: dict[str, Any] = {
        f"{JOBS}?page=0": {"data": [lean(mistral_job("RUNNING", 5, [])) | {"created_at": "?"}, old]},
        f"{JOBS}/{MISTRAL_ID}": mistral_job("RUNNING", 5, []),
    }
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        assert len(synced(archive, "mistral", played, since=10)) == 1


def test_a_busy_service_is_asked_again(sqlite_url: str) -> None:
    """After the time it names, else after growing pauses; the first whole answer counts."""
    answers = openai_answers(openai_job())
    answers[JOBS] = Sequence(
        [
            (429, {"Retry-After": "7"}),
            (429, {"Retry-After": "soon"}),
            503,
            500,
            Cut(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"data": []}'),
            answers[JOBS],
        ]
    )
    pauses: list[float] = []
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        asked = service(played, pauses)
        assert len(list(sync_jobs(archive, provider_named("openai"), asked))) == 1
    assert pauses[0] == 7.0
    assert 1.0 <= pauses[1] <= 2.0
    assert 4.0 <= pauses[3] <= 8.0


def test_a_service_that_stays_away_is_given_up(sqlite_url: str) -> None:
    """After six tries, keeping what was archived, and the next call goes on from there."""
    jobs = [openai_job() | {"id": f"ftjob-{n}"} for n in range(2)]
    answers = openai_answers(jobs[0]) | openai_answers(jobs[1])
    answers[JOBS] = {"data": jobs, "has_more": False}
    answers[f"{JOBS}/ftjob-1"] = Sequence([*[503] * 6, jobs[1]])
    pauses: list[float] = []
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        outcomes = sync_jobs(archive, provider_named("openai"), service(played, pauses))
        assert next(outcomes).reports[0].created
        with pytest.raises(SourceRefused, match=r"6 times \(HTTP 503\); what was archived stays"):
            next(outcomes)
        assert len(pauses) == 5
        (rest,) = synced(archive, "openai", played)
        assert rest.reports[0].job_id == "ftjob-1"
    gone = Service("Played", played.url, {}, pause=pauses.append)
    with pytest.raises(SourceRefused, match="refused"):
        gone.get("x")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (410, "tuneledger archive FILE"),
        (401, "does not accept the key"),
        (403, "may not read"),
        (418, "does not fit"),
        ((302, {"Location": "http://127.0.0.1:1/"}), "HTTP 302"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(status: object, says: str, sqlite_url: str) -> None:
    """Once, without asking again, without following anywhere, and without the key."""
    with provider_server({JOBS: status}) as played, Archive(sqlite_url) as archive:
        with pytest.raises(SourceRefused, match=says) as refused:
            synced(archive, "openai", played)
        assert len(played.asked) == 1
    assert KEY not in str(refused.value)
    assert KEY not in repr(service(played))


def test_one_job_that_is_not_given_stops_nobody(sqlite_url: str) -> None:
    """A job that vanished, or that is none, is an outcome with the error, and the others are archived."""
    with provider_server(openai_answers(openai_job())) as played, Archive(sqlite_url) as archive:
        played.answers[f"{JOBS}/list"] = [1]
        played.answers[f"{JOBS}/other"] = {"id": "other"}
        played.answers[f"{JOBS}/other/checkpoints"] = {"data": []}
        played.answers[f"{JOBS}/other/events"] = {"data": []}
        gone, listed, other, fine = synced(
            archive, "openai", played, job_ids=["gone", "list", "other", OPENAI_ID]
        )
        assert isinstance(gone.error, SourceRefused)
        assert isinstance(listed.error, InvalidPayload)
        assert isinstance(other.error, InvalidPayload)
        assert fine.reports[0].created
        played.answers[f"{JOBS}/denied"] = 403
        with pytest.raises(SourceRefused):
            synced(archive, "openai", played, job_ids=["denied"])
        played.answers |= {"/fine-tunes/x": [1], "/fine-tunes/x/metrics": [1]}
        (outcome,) = synced(archive, "together", played, job_ids=["x"])
        assert isinstance(outcome.error, InvalidPayload)
        job = together_job("running", 5)
        played.answers |= {"/fine-tunes/x": job, "/fine-tunes/x/checkpoints": {"data": []}}
        (outcome,) = synced(archive, "together", played, job_ids=["x"])
        assert isinstance(outcome.error, InvalidPayload)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": 5},
        [],
        {"data": [5]},
        {"data": [{"name": "x"}], "has_more": True},
        b"not JSON",
    ],
)
def test_a_list_that_is_none_is_refused(answer: object, sqlite_url: str) -> None:
    """Whatever it is instead."""
    with (
        provider_server({JOBS: answer}) as played,
        Archive(sqlite_url) as archive,
        pytest.raises(InvalidPayload),
    ):
        synced(archive, "openai", played)


def test_a_page_that_leads_to_itself_is_refused(sqlite_url: str) -> None:
    """A service that repeats its cursor is not asked for ever."""
    answers = openai_answers(openai_job())
    answers[JOBS] = {"data": [openai_job()], "has_more": True}
    with (
        provider_server(answers) as played,
        Archive(sqlite_url) as archive,
        pytest.raises(InvalidPayload, match="its next page cannot be asked for"),
    ):
        synced(archive, "openai", played)
    # Nor is one whose pages lead in a circle, or that does not count pages at all.
    one, other = (openai_job() | {"id": name} for name in ("one", "other"))
    answers[f"{JOBS}?after=one"] = {"data": [other], "has_more": True}
    answers[JOBS] = answers[f"{JOBS}?after=other"] = {"data": [one], "has_more": True}
    with provider_server(answers) as played, pytest.raises(InvalidPayload, match="cannot be asked for"):
        list(live._pages(service(played), JOBS.strip("/").split("/")))
    listed = [lean(mistral_job("RUNNING", 1, [])) | {"id": f"job-{n}"} for n in range(100)]
    with (
        provider_server({JOBS: {"data": listed}}) as played,
        pytest.raises(InvalidPayload, match="its pages repeat themselves"),
    ):
        list(provider_named("mistral").listed(service(played), JOBS.strip("/"), 0))
    answers[JOBS] = {"data": [5], "has_more": True}
    with (
        provider_server(answers) as played,
        Archive(sqlite_url) as archive,
        pytest.raises(InvalidPayload),
    ):
        synced(archive, "openai", played)


def test_an_endless_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has a limit like a file."""
    monkeypatch.setattr(services, "_MAX_ANSWER_BYTES", 10)
    with provider_server({"/x": b"[" + b"1," * 100 + b"1]"}) as played, pytest.raises(LimitExceeded):
        service(played).get("x")


@pytest.mark.parametrize("url", ["http://example.com", "ftp://x", "https://u:p@x", "https://x?y=1", ""])
def test_a_key_is_never_sent_in_the_open(url: str) -> None:
    """Only https carries it off this machine."""
    with pytest.raises(InvalidArgument):
        Service("Played", url, {})


def followed(
    archive: Archive, played: Played, *job_ids: str, pauses: list[float] | None = None
) -> list[Outcome]:
    """What a watch of jobs gives until it ends by itself, which it does within twenty rounds."""
    waited = [] if pauses is None else pauses

    def pause(seconds: float) -> None:
        waited.append(seconds)
        assert len(waited) < 20, "the watch does not end"

    return list(
        watch_jobs(
            archive, provider_named("openai"), service(played), every_seconds=30, pause=pause, job_ids=job_ids
        )
    )


def test_watching_ends_with_the_jobs(sqlite_url: str) -> None:
    """Running jobs are asked for again until they end; rounds without news say nothing."""
    answers = openai_answers(openai_job())
    answers[f"{JOBS}/{OPENAI_ID}"] = Sequence(
        [openai_job("running", None), openai_job("running", None), openai_job()]
    )
    pauses: list[float] = []
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        outcomes = followed(archive, played, OPENAI_ID, pauses=pauses)
    assert [outcome.reports[0].wrote for outcome in outcomes] == [True, True]
    assert pauses == [30, 30]


def test_watching_a_service_finds_new_jobs(sqlite_url: str) -> None:
    """Without ids it goes on until it is stopped."""
    answers = openai_answers(openai_job())
    answers[JOBS] = Sequence([{"data": []}, answers[JOBS]])
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        outcomes = watch_jobs(
            archive, provider_named("openai"), service(played), every_seconds=1, pause=lambda _: None
        )
        assert next(outcomes).reports[0].created


def test_watching_outlives_an_archive_that_is_away(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """What the service has meanwhile is asked for again when the archive is there."""
    answers = openai_answers(openai_job())
    answers[f"{JOBS}/{OPENAI_ID}"] = Sequence([openai_job("running", None), openai_job()])
    rounds = ["BEGIN IMMEDIATE", "SELECT 1", "ROLLBACK"]

    def pause(_: float) -> None:
        other.execute(rounds.pop(0))

    with (
        closing(sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)) as other,
        provider_server(answers) as played,
        Archive(sqlite_url, wait_seconds=0) as archive,
    ):
        outcomes = watch_jobs(
            archive,
            provider_named("openai"),
            service(played),
            every_seconds=1,
            pause=pause,
            job_ids=[OPENAI_ID],
        )
        assert [outcome.reports[0].wrote for outcome in outcomes] == [True, True]
    assert rounds == []
    assert [record.message.endswith("; it is waited for") for record in caplog.records] == [True]


def test_watching_outlives_a_service_that_is_away(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, and the watch goes on where it was; what the service refuses for good ends it."""
    running = openai_job("running", None)
    answers = openai_answers(running)
    path = f"{JOBS}/{OPENAI_ID}"
    answers[path] = Sequence([running, *[503] * 18, running, *[429] * 6, openai_job()])
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        outcomes = followed(archive, played, OPENAI_ID)
    assert [outcome.reports[0].wrote for outcome in outcomes] == [True, True]
    told = [record.message.partition(f"{played.url}{path}") for record in caplog.records]
    assert [(before, after.rpartition(";")[2]) for before, _, after in told] == [
        ("Played does not answer ", " it is asked again"),
        ("Played did not answer ", " it is waited for"),
        ("Played does not answer ", " it is asked again"),
        ("Played did not answer ", " it is waited for"),
    ]
    assert ["HTTP 503" in after for _, _, after in told] == [True, True, False, False]
    with provider_server(answers) as played, Archive("sqlite://") as archive:
        played.answers[path] = Sequence([running, 401])
        with pytest.raises(SourceRefused, match="does not accept the key"):
            followed(archive, played, OPENAI_ID)
        played.answers[path] = 503
        with pytest.raises(SourceRefused, match="did not answer"):
            followed(archive, played, OPENAI_ID)
    assert KEY not in caplog.text


def test_watching_waits_for_no_job_that_is_not_there(sqlite_url: str) -> None:
    """It is told once; the watch ends when the others do. One that is refused is told again only for more."""
    answers = openai_answers(openai_job())
    path = f"{JOBS}/{OPENAI_ID}"
    wrong, otherwise = openai_job() | {"created_at": "?"}, openai_job() | {"status": 5}
    answers[path] = Sequence([wrong, wrong, otherwise, openai_job()])
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        outcomes = followed(archive, played, "ftjob-gone", OPENAI_ID)
    assert ["no such job" in str(outcome.error) for outcome in outcomes] == [True, False, False, False]
    assert ["field" in str(outcome.error) for outcome in outcomes] == [False, True, True, False]
    assert [path for path, _ in played.asked].count(f"{JOBS}/ftjob-gone") == 4


def test_a_service_that_keeps_one_waiting_is_told_of(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at the first failure, but before people wonder."""
    answers = openai_answers(openai_job())
    answers[JOBS] = Sequence([503, 503, answers[JOBS]])
    with provider_server(answers) as played, Archive(sqlite_url) as archive:
        synced(archive, "openai", played)
        assert not caplog.records
        answers[JOBS] = Sequence([*[503] * 5, answers[JOBS][0]])
        synced(archive, "openai", played)
    assert [record.message for record in caplog.records] == [
        f"Played does not answer {played.url}{JOBS} (HTTP 503); it is asked again"
    ]


@pytest.fixture
def openai_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Played], None]:
    """Points the command at a played service."""

    def point(played: Played) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", played.url)

    return point


def test_the_command(
    database_url: str, openai_at: Callable[[Played], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs are told one by one; a refused one gives its code; nothing shows the key."""
    with provider_server(openai_answers(openai_job())) as played:
        openai_at(played)
        assert run(["sync", "openai", "--db", database_url]) == 0
        assert f"job {OPENAI_ID}, new" in capsys.readouterr().out
        assert run(["sync", "openai", "--job", "gone", "--json", "--db", database_url]) == exit_codes.REFUSED
        captured = capsys.readouterr()
        (told,) = json.loads(captured.out)["jobs"]
        assert "no such job" in told["error"]
        assert run(["sync", "openai", "--since", "2030-01-01", "--db", database_url]) == 0
        watched = ["sync", "openai", "--job", OPENAI_ID, "--watch", "1", "--db", database_url]
        assert run(watched) == 0
        played.answers[JOBS] = 410
        assert run(["sync", "openai", "--db", database_url]) == exit_codes.SERVICE
        assert KEY not in "".join(capsys.readouterr())


def test_the_command_wants_a_key(
    sqlite_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment alone; Azure has an address for each customer."""
    for variable in ("MISTRAL_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    for arguments, wanted in (
        (["sync", "mistral"], "MISTRAL_API_KEY"),
        (["sync", "azure"], "AZURE_OPENAI_API_KEY"),
        (["sync", "nobody"], "there are: openai, azure, together, mistral"),
    ):
        assert run([*arguments, "--db", sqlite_url]) == exit_codes.USAGE
        assert wanted in capsys.readouterr().err
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    assert run(["sync", "azure", "--db", sqlite_url]) == exit_codes.USAGE
    assert "AZURE_OPENAI_ENDPOINT" in capsys.readouterr().err
    with provider_server({f"/openai{JOBS}": {"data": []}}) as played:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", played.url)
        assert run(["sync", "azure", "--db", sqlite_url]) == 0
    assert played.asked[0][1] == {"api-version": "2024-10-21", "limit": "100"}
    assert played.headers[0]["api-key"] == KEY


def test_the_command_stops_cleanly(
    sqlite_url: str, openai_at: Callable[[Played], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two jobs leaves the first archived and gives its own code."""
    jobs = [openai_job() | {"id": f"ftjob-{n}"} for n in range(2)]
    answers = openai_answers(jobs[0]) | openai_answers(jobs[1])
    answers[JOBS] = {"data": jobs, "has_more": False}
    calls = itertools.count()
    get = Service.get

    def interrupted(self: Service, *path: str, **query: str | int) -> Any:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return get(self, *path, **query)

    monkeypatch.setattr(Service, "get", interrupted)
    with provider_server(answers) as played:
        openai_at(played)
        assert run(["sync", "openai", "--db", sqlite_url]) == exit_codes.INTERRUPTED
    with Archive(sqlite_url, read_only=True) as archive, archive.read() as repository:
        (job,) = repository.jobs().jobs
        assert (job.job_id, repository.count_checkpoints("ftjob-0")) == ("ftjob-0", 2)
