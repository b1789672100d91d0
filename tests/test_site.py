"""The documentation's site, and what is recorded of the code in files."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from commands import leaves
from recorded import recorded
from tuneledger import errors

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `scripts/docs` does, without a network."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(
        [mkdocs, "build", "--strict", "--site-dir", folder],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr
    return folder


def test_the_site_builds_without_a_warning(site: Path) -> None:
    """Every page is in it and in the navigation, and every link leads somewhere."""
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in ROOT.glob("docs/**/*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    added = {"404.html", "index.html", "errors.html", "CHANGELOG.html", "CONTRIBUTING.html", "SECURITY.html"}
    assert built == pages | {Path(name) for name in added}
    assert "mkdocs build --strict" in (ROOT / "scripts/docs").read_text()


def test_the_site_asks_nobody(site: Path) -> None:
    """No page loads a script, a style, a font or a picture from elsewhere."""
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text()
        loads = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(https?:)?//", text)
        loads += re.findall(
            r"<link[^>]*rel=[\"']?(?:stylesheet|preconnect|icon)[^>]*href=[\"']?(https?:)?//", text
        )
        loads += re.findall(r"url\([\"']?(https?:)?//", text)
        assert not loads, path


def test_the_site_has_what_the_program_says(site: Path) -> None:
    """Help of each command stands with the command line, each error with its exit code on another."""
    page = " ".join(unescape(re.sub(r"<[^>]+>", "", (site / "command-line.html").read_text())).split())
    for name, command in leaves():
        if name != "tuneledger":
            assert f"{name} --help" in page
            for parameter in command.params:
                assert " ".join((parameter.help or "").replace("`", "").split()) in page, (
                    name,
                    parameter.name,
                )
    assert "--db URL|PATH" in page
    table = (site / "errors.html").read_text()
    for name in errors.__all__:
        assert f"<code>{name}</code></td>" in table
    assert re.search(r"<code>DatabaseBusy</code></td>\s*<td>4</td>\s*<td>yes</td>", table)
    api = (site / "api.html").read_text()
    for said in ("CheckpointRepository.best_checkpoint", "Selection.newest_first", "JobFilters.input_sha256"):
        assert f'id="tuneledger.repository.{said}"' in api
    assert "reply_seconds" in api.partition('id="tuneledger.archive.Archive.close"')[0]  # how one is opened


@pytest.mark.parametrize("path", recorded())
def test_recorded(path: str) -> None:
    """The file is what the code says; `scripts/record` writes it anew, and CHANGELOG.md says what changed."""
    was, found = (ROOT / path).read_text().splitlines(), recorded()[path].splitlines()
    gone, new = sorted(set(was) - set(found)), sorted(set(found) - set(was))
    assert was == found, (
        f"{path} is not what the code says (gone: {gone[:5]}, new: {new[:5]}). If that is meant, run "
        "scripts/record, and where it is the public API add a line to CHANGELOG.md: docs/versions.md tells "
        "what may change when"
    )
