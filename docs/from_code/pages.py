"""What mkdocs asks while it builds the site: pages that the program says, and links that lead there."""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from commands import with_help
from errors_page import errors_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
BROUGHT = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
}
"""Pages outside ``docs/``, by their path in the repository, with their place in the site."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")
_CODE = re.compile(r"`[^`\n]+`")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages that stand elsewhere, and those that no file holds."""
    for origin, place in BROUGHT.items():
        files.append(File.generated(config, place, content=(ROOT / origin).read_text(encoding="utf-8")))
    files.append(File.generated(config, "errors.md", content=errors_page()))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Give a page with its links as the site has them, and the command line with what ``--help`` says."""
    del config, files
    if page.file.src_uri == "command-line.md":
        markdown = with_help(markdown)
    origins = {place: origin for origin, place in BROUGHT.items()}
    origin = origins.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = _FENCED.split(markdown)
    parts[::2] = [
        _LINK.sub(lambda link: _moved(link, origin, page.file.src_uri), part) for part in parts[::2]
    ]
    # GitHub wants a bar in a table's code escaped, Python-Markdown shows the escape.
    parts[::2] = [_CODE.sub(lambda code: code[0].replace(r"\|", "|"), part) for part in parts[::2]]
    return "".join(parts)


def _moved(link: re.Match[str], origin: str, page: str) -> str:
    mark, text, target, heading = link.groups()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    place = BROUGHT.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
    if place is None:
        return str(text)  # it leads to a part of the repository that is no part of the site
    return f"{mark}[{text}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{heading or ''})"
