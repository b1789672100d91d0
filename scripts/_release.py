"""What `scripts/release` cannot say in bash: links that PyPI can follow, and what packages may hold.

``readme FILE [URL]`` rewrites a README in place. ``contents WHEEL SDIST`` looks into both, and takes the
files of the repository, a line each, on standard input.
"""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGES = {
    "src/tuneledger/": "tuneledger/",
    "dashboards/": "tuneledger/dashboards/",
    "migrations/": "tuneledger/migrations/",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)]+)\)")


def readme(text: str, url: str | None) -> str:
    """Give README with its relative links below the repository's ``url``; without one, as text without links.

    PyPI shows README and nothing beside it: a relative link would lead nowhere, and a picture be broken.
    """

    def absolute(link: re.Match[str]) -> str:
        mark, words, target = link.groups()
        if url:
            return f"{mark}[{words}]({url}/{'raw' if mark else 'blob'}/HEAD/{target})"
        return "" if mark else str(words)

    return _LINK.sub(absolute, text)


def strays(names: set[str], wanted: set[str], allowed: str) -> list[str]:
    """Give what should not be there, and what should be and is not."""
    extra = sorted(name for name in names - wanted if not re.fullmatch(allowed, name))
    return [f"stray: {name}" for name in extra] + [f"missing: {name}" for name in sorted(wanted - names)]


def contents(wheel: Path, sdist: Path, tracked: set[str]) -> list[str]:
    """Print what both hold; give what is wrong with it."""
    with zipfile.ZipFile(wheel) as packed:
        in_wheel = {name for name in packed.namelist() if not name.endswith("/")}
    with tarfile.open(sdist) as unpacked:
        in_sdist = {member.name.partition("/")[2] for member in unpacked.getmembers() if member.isfile()}
    for path, names in ((wheel, in_wheel), (sdist, in_sdist)):
        print(f"{path.name}: {len(names)} files, {path.stat().st_size:,} bytes")
        print(*(f"  {name}" for name in sorted(names)), sep="\n")
    installed = {
        place + name.removeprefix(folder)
        for folder, place in PACKAGES.items()
        for name in tracked
        if name.startswith(folder)
    }
    metadata = r"[^/]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|top_level\.txt|licenses/LICENSE)"
    made = r"PKG-INFO|setup\.cfg|src/tuneledger\.egg-info/[\w.-]+|tuneledger\.egg-info/[\w.-]+"
    sources = {name for name in tracked if not name.startswith(".")}
    return [
        *(f"{wheel.name}: {wrong}" for wrong in strays(in_wheel, installed, metadata)),
        *(f"{sdist.name}: {wrong}" for wrong in strays(in_sdist, sources, made)),
    ]


def main(arguments: list[str]) -> int:
    """Do what the arguments say; give the exit code."""
    match arguments:
        case ["readme", file, *url]:
            path = Path(file)
            text = readme(path.read_text(encoding="utf-8"), url[0] if url else None)
            path.write_text(text, encoding="utf-8")
            return 0
        case ["contents", wheel, sdist]:
            wrong = contents(Path(wheel), Path(sdist), set(sys.stdin.read().split("\n")) - {""})
            print(*wrong, sep="\n", file=sys.stderr)
            return int(bool(wrong))
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
