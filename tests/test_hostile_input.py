"""Input that means harm: secrets stay secret, text is never code, mutations get clean errors."""

import copy
import json
import logging
import os
import random
import re
import sqlite3
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from commands import leaves
from jobs_for_tests import some_job
from source_records import SERIES, hints_for
from tuneledger import Archive, CheckpointOut, errors
from tuneledger.cli import exit_codes, run
from tuneledger.errors import (
    AmbiguousJob,
    CheckpointNotFound,
    InvalidArgument,
    InvalidPayload,
    JobNotFound,
    MetricNotFound,
    TuneledgerError,
)
from tuneledger.sources import Document, mistral, named, recognised

LONG = os.environ.get("TUNELEDGER_LONG") == "1"
TURNED = "\u202e"
SECRET = "hunter2-never-shown"  # noqa: S105 - what must not be found anywhere

# -- secrets --------------------------------------------------------------------------------------


def failing_urls(postgres_url: str) -> dict[str, str]:
    """URLs that carry a password and fail, each at another place."""
    url = make_url(postgres_url)
    plain = f"{url.host}:{url.port}/{url.database}"
    return {
        "wrong password": f"postgresql://postgres:{SECRET}@{plain}",
        "password as a parameter": f"postgresql://postgres@{plain}?password={SECRET}",
        "no such host": f"postgresql://u:{SECRET}@no-such-host.invalid/x",
        "nobody listens": f"postgresql://u:{SECRET}@127.0.0.1:1/x",
        "no such database": f"postgresql://postgres:{SECRET}@{url.host}:{url.port}/no_such_one",
        "unknown parameter": f"postgresql://postgres:{SECRET}@{plain}?no_such_parameter=1",
        "odd parameter": f"postgresql://postgres:{SECRET}@{plain}?connect_timeout=x{SECRET}",
        "no port": f"postgresql://u:{SECRET}@host:port/x",
        "another database's": f"mysql://u:{SECRET}@host/x",
        "no URL": f"postgresql:/u:{SECRET}@host/x",
        "odd schema": f"postgresql://u:{SECRET}@{plain}?schema=x;y",
        "a percent sign": f"postgresql://u:%{SECRET}%25@127.0.0.1:1/x",
    }


# Every command that opens an archive, with what it needs to come that far; "URL" where it stands elsewhere
# than in --db.
OPENING = (
    "archive FILE", "backup copy.db", "best x loss", "checkpoints x", "compare x --metric loss",
    "copy URL other.db", "copy FILE URL", "dashboard", "datasette", "db check", "db current", "db distribute",
    "db downgrade base", "db drop --yes", "db plan", "db upgrade", "delete x --yes", "demo", "export x",
    "jobs", "label x --add y", "latest x", "pin x", "plot x --metric loss", "prune --provider x --yes",
    "show x", "sync mistral", "verify",
)  # fmt: skip


def test_every_command_that_opens_an_archive_is_tried() -> None:
    """The list above lacks none but `grafana`, which writes files without connecting."""
    opening = {
        name.removeprefix("tuneledger ")
        for name, command in leaves()
        if any("--db" in parameter.opts for parameter in command.params)
    }
    tried = {name for name in opening if any(f"{line} ".startswith(f"{name} ") for line in OPENING)}
    assert opening - tried == {"grafana"}


@pytest.mark.parametrize("kind", failing_urls("postgresql://u@h:5432/d"))
def test_passwords_are_never_shown(
    postgres_url: str,
    tmp_path: Path,
    kind: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No command shows a URL's password, `--debug` included, nor does any error's traceback."""
    url = failing_urls(postgres_url)[kind]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MISTRAL_API_KEY", "x")
    with Archive("file.db"):
        pass
    for line in OPENING:
        words = [{"URL": url, "FILE": "file.db"}.get(word, word) for word in line.split()]
        given = [] if url in words else ["--db", url]
        assert run(["--debug", *words, *given]) != exit_codes.OK, line
    monkeypatch.setenv("TUNELEDGER_DATABASE_URL", url)
    assert run(["--debug", "jobs"]) != exit_codes.OK
    shown = "".join(capfd.readouterr())
    assert shown.count("Traceback") >= len(OPENING)
    assert SECRET not in shown
    with pytest.raises(TuneledgerError) as caught:
        Archive(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_open_archive_shows_no_password(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Archive, location and engine print without the password, wherever in the URL it stood."""
    caplog.set_level(logging.DEBUG)
    given = make_url(postgres_url)
    password = str(given.password)
    moved = given.set(password=None).update_query_dict({"password": password})
    for url in (given, moved):
        with Archive(url) as archive:
            archive.save(some_job())
            for shown in (archive, archive.location, archive.engine, archive.engine.url):
                assert password not in repr(shown) + str(shown)
    assert password not in caplog.text


def test_logs_show_no_rows(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever logs SQLAlchemy's statements sees the statements, and nothing of what is saved."""
    caplog.set_level(logging.INFO, "sqlalchemy.engine")
    with Archive(database_url) as archive:
        archive.save(some_job(f"job {SECRET}", 200, model=SECRET))
        with archive.read() as repository:
            assert repository.job(f"job {SECRET}").model == SECRET
    assert "INSERT INTO" in caplog.text
    assert SECRET not in caplog.text


# -- injection ------------------------------------------------------------------------------------

HOSTILE = (
    "x'; DROP TABLE jobs; --",
    'x"; DROP TABLE jobs; --',
    "' OR '1'='1",
    "1); DELETE FROM checkpoints; --",
    "%",
    "_",
    "a%b_c\\",
    "${jndi:ldap://x}",
    "{0}{job}%s%(x)s:name?",
    "=HYPERLINK(1)",
    "+1",
    "@SUM(A1)",
    "../../../etc/passwd",
    "/absolute",
    "a/../b",
    "-rf",
    "\u202etxt.exe",
)


def test_text_is_never_code(database_url: str) -> None:
    """As id, metric, field or filter, hostile text finds itself and nothing else."""
    with Archive(database_url, durable=False) as archive:
        archive.save(some_job("innocent"))
        for text in HOSTILE:
            metrics = {text: 1.5, "train_loss": 2.0}
            checkpoints = [{"metrics": metrics, "step_number": 1, "created_at": 5, text: text}]
            events = [{"name": text, "created_at": 5, "data": {text: text}}]
            job = some_job(text, model=text, status=text, events=events, checkpoints=checkpoints)
            archive.save(job)
            archive.append(text, some_job("x", 1, first=2).checkpoints)
            appended = appended_to(archive, text)
            with archive.read() as repository:
                assert repository.checkpoint(text, 3) == appended
                assert repository.job_without_checkpoints(text).events == job.events
                assert repository.checkpoint(text, 1) == job.checkpoints[0]
                assert repository.job_id(text) == text
                assert [found.job_id for found in repository.jobs(status=text).jobs] == [text]
                assert [found.job_id for found in repository.jobs(model=text).jobs] == [text]
                assert repository.jobs(input_name=text).jobs == []
                assert set(repository.best_checkpoints(text)) == {text}
                assert len(repository.checkpoints(text, metrics=[text], within={text: (1, 2)})) == 1
                asked: list[Callable[[], object]] = [
                    lambda: repository.jobs(page=text),  # noqa: B023 - called below, in the same round
                    lambda: repository.best_checkpoint("innocent", "train_loss", text),  # type: ignore[arg-type] # no goal, on purpose  # noqa: B023 - the same
                ]
                for ask in asked:
                    with pytest.raises(InvalidArgument):
                        ask()
        with archive.read() as repository:
            assert repository.count_jobs() == 1 + len(HOSTILE)
            assert repository.job("innocent") == some_job("innocent")
        assert list(archive.verify()) == []


def appended_to(archive: Archive, text: str) -> CheckpointOut:
    """What was appended to the job of that name, with that metric and field, and numbers at both ends."""
    metrics = {text: 5e-324, "train_loss": 1.7976931348623157e308}
    (fresh,) = some_job(
        checkpoints=[{"metrics": metrics, "step_number": 3, "created_at": 253_402_300_799, text: text}]
    ).checkpoints
    assert archive.append(text, [fresh]).added == 1
    return fresh


def test_appended_text_is_text_on_a_servers_own_terms(postgres_url: str) -> None:
    """Also where a backslash in a literal escapes, as servers of old took it."""
    url = make_url(postgres_url).update_query_dict({"options": "-c standard_conforming_strings=off"})
    with Archive(url) as archive:
        for text in (*HOSTILE, "\\", "\\'; DROP TABLE jobs; --"):
            checkpoints = [{"metrics": {text: 1.5, "train_loss": 2.0}, "step_number": 1, "created_at": 5}]
            archive.save(some_job(text, checkpoints=checkpoints))
            appended = appended_to(archive, text)
            with archive.read() as repository:
                assert repository.checkpoint(text, 3) == appended
        assert list(archive.verify()) == []


def test_no_hostile_text_leaves_as_a_formula_or_path(
    sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CSV cells don't begin as formulas, terminals are sent no control characters, ids make no files."""
    monkeypatch.chdir(tmp_path)
    before = set(Path("/").glob("etc/pass*"))
    with Archive(sqlite_url) as archive:
        for text in HOSTILE:
            archive.save(some_job(text, model=text, status=text))
    for arguments in (["jobs", "--csv"], ["jobs"], ["jobs", "--json"]):
        assert run(["-q", *arguments, "--db", sqlite_url]) == 0
        shown = capsys.readouterr().out
        assert "\u202e" not in shown or "--json" in arguments or "--csv" in arguments
        if "--csv" in arguments:
            assert not re.search(r'(^|,)"?[=+@\-\t\r]', shown, flags=re.MULTILINE)
    for text in HOSTILE:
        run(["-q", "export", "--db", sqlite_url, "--", text])
    assert [
        file for file in tmp_path.rglob("*") if file.is_file() and not file.name.startswith("ledger")
    ] == []
    assert set(Path("/").glob("etc/pass*")) == before


@pytest.mark.parametrize(
    "line",
    ["jobs", "show ID", "best ID loss", "best ID train_loss", "latest ID",
     "plot ID -m train_loss",
     "compare ID -m train_loss", "label ID --add LABEL", "delete ID --yes"],
)  # fmt: skip
@pytest.mark.parametrize("added", ["", "\x1b]0;"])
def test_a_terminal_is_sent_only_what_it_shows(
    sqlite_url: str, line: str, added: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither what turns the writing round, which an id may hold, nor escapes that others wrote there."""
    with Archive(sqlite_url) as archive:
        archive.save(some_job(f"{TURNED}x", provider="openai"))  # of whose steps `best` has more to say
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE jobs SET job_id = job_id || ? || 'taken'", (added,))
        connection.commit()
    words = {"ID": f"{TURNED}x{added}taken", "LABEL": f"{TURNED}l"}
    run([*(words.get(word, word) for word in line.split()), "--db", sqlite_url])
    printed = "".join(capsys.readouterr())
    assert "taken" in printed or "label" in line or added
    assert not {TURNED, "\x1b"} & set(printed)


LONG_TEXTS = ("x" * 10**6, "\U0001f600" * 10**6, "\ud800" * 10**6)


@pytest.mark.parametrize("text", LONG_TEXTS, ids=["ascii", "four bytes each", "half a pair"])
def test_messages_are_short(text: str) -> None:
    """Whatever an error has to tell of, its message takes less than 4 kB of UTF-8."""
    told = [
        InvalidPayload(source=text, position=text, field=text, reason=text),
        errors.UnknownFormat(source=text, reason=text),
        errors.LimitExceeded(source=text, reason=text),
        JobNotFound(text),
        CheckpointNotFound(text, 2**63),
        MetricNotFound(text, text, (text,) * 100),
        AmbiguousJob(text, (text,) * 100),
        errors.DataLoss(text, {text: 1}),
        errors.DependentObjects.of(text, (text,) * 100),
        errors.ExtraMissing(text),
    ]
    others = {getattr(errors, name) for name in errors.__all__} - set(map(type, told))
    told += [kind(text) for kind in others]
    for error in told:
        assert 20 < len(str(error).encode()) < 4_096, type(error)
    assert str(JobNotFound(text)).endswith("`tuneledger jobs` lists what it holds")


@pytest.mark.parametrize(
    "line",
    ["LONG", "archive LONG", "jobs --limit LONG", "jobs --db LONG", "copy LONG x.db",
     "best x loss --goal LONG", "grafana LONG", "plot x --metric LONG --db x.db", "archive x --map LONG",
     "db downgrade LONG --db x.db"],
)  # fmt: skip
def test_the_command_line_says_it_shortly_too(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the operating system or the reader of options quotes whole is cut like our own messages."""
    monkeypatch.chdir(tmp_path)
    with Archive("x.db"):
        pass
    assert run([word.replace("LONG", "\u20ac" * 100_000) for word in line.split()]) != exit_codes.OK
    (message,) = [told for told in capsys.readouterr().err.splitlines() if "error: " in told]
    assert len(message.encode()) < 4_096


# -- mutations ------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 2**64, 10**400, 1.5, -0.0, float("nan"), float("inf"), "", "x", "\0",
    "\ud800", "9" * 600, [], {}, [[]], {"": ""}, {"a": {"b": [1, None]}},
)  # fmt: skip


def mutated(job: Any, drawn: random.Random) -> Any:
    """The payload with one to four values somewhere replaced, removed, added, doubled or moved."""
    job = copy.deepcopy(job)
    for _ in range(drawn.randint(1, 4)):
        holders = [job]
        for holder in holders:
            items = holder.values() if isinstance(holder, dict) else holder
            holders += [item for item in items if isinstance(item, (dict, list)) and item]
        holder = drawn.choice(holders)
        key = drawn.choice(list(holder)) if isinstance(holder, dict) else drawn.randrange(len(holder))
        match drawn.randrange(5):
            case 0:
                holder[key] = copy.deepcopy(drawn.choice(ODD))
            case 1 if len(holder) > 1:
                del holder[key]
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 3:
                holder[key] = copy.deepcopy(drawn.choice(holders[-3:]))
            case _ if isinstance(holder, dict):
                holder[f"new {drawn.randrange(3)}"] = copy.deepcopy(drawn.choice(ODD))
    return job


def scratched(data: bytes, drawn: random.Random) -> bytes:
    """Bytes with one to four places replaced, removed or filled in."""
    scratches = [b",", b"\n", b'"', b"9" * 5_000, b"nan", b"1e999", b"\r", b"\0", b"=1", b"\xff", b"."]
    for _ in range(drawn.randint(1, 4)):
        at = drawn.randrange(len(data) + 1)
        kept = at + drawn.choice([0, 0, 1, 5])
        data = data[:at] + drawn.choice([b"", *scratches]) + data[kept:]
    return data


@pytest.mark.no_cover
@pytest.mark.parametrize("name", SERIES)
def test_mutations_of_every_source_s_records(name: str) -> None:
    """Each is read, or refused by a clean error, by its own reader and by the one that its content tells."""
    drawn = random.Random(name)  # noqa: S311 - the same mutations each time, no secret
    for number in range(20_000 if LONG else 300):
        given = SERIES[name][number % len(SERIES[name])]
        value = given.json_or_none
        if value is None:
            data = scratched(given.data, drawn)
        else:
            several = [mutated(value, drawn), mutated(value, drawn)]
            data = json.dumps(drawn.choice([several[0], several, {"data": several}])).encode()
        document = Document("x", data, "/runs/x")
        hints = hints_for(name, drawn.choice([None, "run"]))
        with suppress(InvalidPayload):
            list(named(name).read(document, hints))
        with suppress(InvalidPayload):
            list(recognised(document, hints).read(document, hints))


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.timeout(3_600 if LONG else 300)
def test_mutations(database_url: str) -> None:
    """Of 1,000 mutations of a valid payload each is stored and comes back, or is refused by a clean error."""
    corpus = json.loads(Path(__file__).with_name("data").joinpath("bad_input.json").read_text())
    drawn = random.Random(11)  # noqa: S311 - the same mutations each time, no secret
    taken, refused = 0, []
    with Archive(database_url, durable=False) as archive:
        for _ in range(100_000 if LONG else 1_000):
            payload = mutated(corpus["job"], drawn)
            try:
                (job,) = mistral.jobs(payload)
            except InvalidPayload as error:
                refused.append(str(error))
                continue
            taken += 1
            with archive.write() as repository:
                repository.save(job)
                assert repository.job(job.job_id) == job
                repository.delete_job(job.job_id)
    assert min(taken, len(refused)) > 100
    assert max(len(message.encode()) for message in refused) < 4_096
    assert all(message.isprintable() for message in refused)
