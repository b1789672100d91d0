"""README.md and the pages in docs/ are true: their examples run, every command and option is in them."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import sql
from sqlalchemy.engine import make_url

from commands import leaves
from documents import ROOT, Reader, blocks
from postgres_server import libpq_url
from provider_server import provider_server
from source_records import (
    log_rows,
    mistral_job,
    openai_checkpoint,
    openai_event,
    openai_job,
    page,
    trainer_state,
)
from test_sync_databases import mlflow_database
from tuneledger.cli import exit_codes
from tuneledger.engine.roles import ROLES

README, COMMANDS = (ROOT / "README.md").read_text(), (ROOT / "docs/command-line.md").read_text()
PAGES = sorted(ROOT.glob("docs/**/*.md"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the bundled records in it, as the examples have it."""
    for record in (ROOT / "src/tuneledger/examples").glob("*.json"):
        shutil.copy(record, tmp_path)
    return tmp_path


# -- README -------------------------------------------------------------------------------------


def test_readme_first_screen(folder: Path) -> None:
    """The session on README's first screen prints what it shows."""
    (session,) = blocks(README, "console")
    with Reader(folder) as reader:
        reader.follow(f"\n```console\n{session.content}```")
        assert reader.count == 2


def test_readme_two_commands() -> None:
    """The two commands are there and can be run; `scripts/test` is what CI runs, so this test need not."""
    (block,) = blocks(README, "sh")
    named = [line.split()[0] for line in block.content.splitlines()]
    assert named == ["scripts/demo", "scripts/test"]  # test_cli_demo.py runs the first
    assert all(os.access(ROOT / script, os.X_OK) for script in named)
    assert "scripts/test" in (ROOT / ".ci/run").read_text().splitlines()


def test_readme_python(folder: Path) -> None:
    """The ten lines of Python run, are ten, and print the range that they ask for."""
    (block,) = blocks(README, "python")
    program = block.content
    assert len([line for line in program.splitlines() if line]) == 10
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    report, *steps, best = ended.stdout.splitlines()
    assert "created=True, added=20" in report
    assert steps == ["65 0.801003", "70 0.798789", "75 0.858012", "80 0.764192"]
    assert "step_number=75" in best


@pytest.mark.parametrize(
    "document", [*ROOT.glob("*.md"), *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link names a file that is there, and a heading that is in it."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text()):
        path, _, heading = target.partition("#")
        found = document.parent / path if path else document
        made_by_the_site = ROOT / "docs/errors.md"
        assert found.exists() or found.resolve() == made_by_the_site, target
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


# -- docs/command-line.md -----------------------------------------------------------------------


@pytest.mark.slow
def test_examples_of_the_command_line(folder: Path) -> None:
    """Every example of docs/command-line.md runs and prints what it shows."""
    with Reader(folder) as reader:
        reader.follow(COMMANDS)
        assert reader.count >= 12


ALL = dict(leaves())
ROOT_COMMAND = ALL["tuneledger"]
SHARED = COMMANDS.partition("## Options of every command")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", [name for name in ALL if name != "tuneledger"])
def test_each_command_is_documented(name: str) -> None:
    """Each command has a heading, and under it every option and argument that is not every command's."""
    heading = re.search(rf"^##+ `{name}`\n(.*?)(?=^##|\Z)", COMMANDS, re.MULTILINE | re.DOTALL)
    assert heading, f"docs/command-line.md has no heading `{name}`"
    assert ALL[name].help or ALL[name].short_help
    for parameter in ALL[name].params:
        words = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
        for word in words:
            assert word in heading[1] or f"`{word}" in SHARED, f"{word} of {name} is not documented"
        if parameter.param_type_name == "option":
            assert parameter.help, f"{words[0]} of {name} has no help"


def test_nothing_else_is_documented() -> None:
    """No heading is about a command that there is not, and no option of all commands is missing."""
    assert set(re.findall(r"^##+ `(.*)`$", COMMANDS, re.MULTILINE)) == set(ALL) - {"tuneledger"}
    for parameter in ROOT_COMMAND.params:
        assert all(f"`{option}`" in SHARED for option in parameter.opts), parameter.opts


def test_exit_codes_are_documented() -> None:
    """The table of exit codes is the program's."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", COMMANDS, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == exit_codes.MEANINGS


# -- the tutorial and the how-to pages ----------------------------------------------------------


@pytest.fixture
def records(folder: Path) -> Path:
    """The same folder, with what the how-to pages take to be there."""

    def put(name: str, content: object) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))

    for record in folder.glob("*.json"):
        put(f"dumps/{record.name}", json.loads(record.read_text()))
    put("outputs/lora-64/trainer_state.json", trainer_state(log_rows(2)))
    put("outputs/lora-8/checkpoint-4/trainer_state.json", trainer_state(log_rows(4)))
    put("outputs/lora-8/checkpoint-6/trainer_state.json", trainer_state(log_rows(6)))
    put("saved/job.json", openai_job())
    put("saved/checkpoints.json", page([openai_checkpoint(5, train_loss=0.5)]))
    put("saved/events.json", page([openai_event(2, 3, train_loss=0.9), openai_event(1)]))
    mlflow_database(f"sqlite:///{folder / 'mlflow.db'}")
    return folder


def followed(name: str, folder: Path, stand_ins: dict[str, str] | None = None) -> None:
    """Follow a page of docs/."""
    with Reader(folder, stand_ins) as reader:
        reader.follow((ROOT / "docs" / name).read_text())
        assert reader.count >= 3


@pytest.mark.parametrize("name", ["tutorial.md", "how-to/huggingface.md", "how-to/mlflow.md"])
def test_pages_that_need_files_alone(name: str, records: Path) -> None:
    """Who follows the page comes to its end, and sees what it shows."""
    followed(name, records)


def test_page_of_a_provider(tmp_path: Path) -> None:
    """The example is a package that installs, passes the suite, and is known to every command."""
    followed("how-to/provider.md", tmp_path)


def test_what_a_source_of_ours_imports() -> None:
    """The modules that CONTRIBUTING.md names have the parts that it names, when nothing else is imported."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (indented,) = re.findall(r"^   ```python\n(.*?)^   ```$", text, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", textwrap.dedent(indented)], check=True)


JOBS = "/fine_tuning/jobs"


def test_page_of_mistral(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dumps are archived, proved and given back; the service is asked for what it still has."""
    job = mistral_job("SUCCESS", 1_700_000_020, [10])
    lean = {name: value for name, value in job.items() if name not in {"checkpoints", "events"}}
    answers = {JOBS: {"data": [lean], "total": 1}, f"{JOBS}/{job['id']}": job}
    with provider_server(answers) as played:
        monkeypatch.setenv("MISTRAL_BASE_URL", played.url)
        monkeypatch.setenv("MISTRAL_API_KEY", "a key")
        followed("how-to/mistral.md", records)
        assert any(path.endswith(job["id"]) for path, _ in played.asked)


def test_page_of_openai(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is read whole, and saved answers give the same."""
    path = f"{JOBS}/{openai_job()['id']}"
    answers = {
        JOBS: {"data": [openai_job()], "has_more": False},
        path: openai_job(),
        f"{path}/checkpoints": {"data": [openai_checkpoint(5, train_loss=0.5)], "has_more": False},
        f"{path}/events": {"data": [openai_event(2, 3, train_loss=0.9), openai_event(1)], "has_more": False},
    }
    with provider_server(answers) as played:
        monkeypatch.setenv("OPENAI_BASE_URL", played.url)
        monkeypatch.setenv("OPENAI_API_KEY", "a key")
        followed("how-to/openai.md", records, {"https://api.openai.com/v1": played.url})


def test_page_of_fastapi(records: Path) -> None:
    """The service starts as shown and answers what is shown."""
    followed("how-to/fastapi.md", records)


@pytest.fixture
def team(empty_postgres_url: str) -> Iterator[dict[str, str]]:
    """What stands in for the page's hosts and its schema: roles belong to the whole server."""
    schema = f"team_{(make_url(empty_postgres_url).database or '')[-16:]}"
    stand_ins = {"postgresql://admin@db.example/runs": libpq_url(empty_postgres_url)}
    with psycopg.connect(libpq_url(empty_postgres_url), autocommit=True) as administrator:
        for role in ROLES:
            named = sql.Identifier(f"{schema}_{role}"), role
            administrator.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(*named))
            url = make_url(libpq_url(empty_postgres_url)).set(username=f"{schema}_{role}", password=role)
            said = f"postgresql://finetuning_{role}@db.example/runs?schema=finetuning"
            stand_ins[said] = f"{url.render_as_string(hide_password=False)}?schema={schema}"
        yield {**stand_ins, "--schema finetuning": f"--schema {schema}"}
        for role in ROLES:
            place = sql.Identifier(f"{schema}_{role}")
            administrator.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(place))
            administrator.execute(sql.SQL("DROP ROLE {}").format(place))


def test_page_of_a_team(records: Path, team: dict[str, str]) -> None:
    """An administrator makes the roles and the tables, others archive and read, and no more than that."""
    followed("how-to/team.md", records, team)


def test_page_of_ci(records: Path) -> None:
    """The steps run as CI runs them; the last one fails a run that is worse than the model in use."""
    (block,) = blocks((ROOT / "docs/how-to/ci.md").read_text(), "yaml")
    (job,) = yaml.safe_load(block.content)["jobs"].values()
    assert set(job["env"]) == {"TUNELEDGER_DATABASE_URL", "RUN"}
    (records / "train.py").write_text("import pathlib; assert pathlib.Path('outputs').is_dir()")
    steps = [step["run"] for step in job["steps"] if "run" in step]
    with Reader(records) as reader:
        reader.run("export TUNELEDGER_DATABASE_URL=runs.db")
        reader.run("tuneledger archive outputs/lora-64 --job-id in-use")
        reader.run("export RUN=better")
        (records / "outputs/lora-64").rename(records / "aside")
        for step in steps:
            reader.run(step)
        assert (records / "curves.html").stat().st_size > 10_000
        worse = trainer_state([{"eval_loss": 9.0, "step": 4}])
        (records / "aside/trainer_state.json").write_text(json.dumps(worse))
        reader.run("tuneledger archive aside --job-id worse")
        reader.run("export RUN=worse")
        with pytest.raises(AssertionError, match="grep"):
            reader.run(steps[-1])


# -- docs/reliability.md ------------------------------------------------------------------------


def test_each_promise_names_its_tests() -> None:
    """Each of the ten promises ends with its proof, and every file and test named there exists."""
    text = (ROOT / "docs/reliability.md").read_text()
    promises = re.findall(r"^### (\d+)\. .*?^Proof: (.*?)\n\n?(?=###|\Z)", text, re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in promises] == list(range(1, 11))
    functions = {
        found.name
        for file in (ROOT / "tests").glob("test_*.py")
        for found in ast.walk(ast.parse(file.read_text()))
        if isinstance(found, ast.FunctionDef)
    }
    for _, proof in promises:
        named = re.findall(r"`(\w+)`", proof)
        files = re.findall(r"tests/\w+\.py", proof)
        assert named
        assert set(named) <= functions
        assert all((ROOT / file).is_file() for file in files)
