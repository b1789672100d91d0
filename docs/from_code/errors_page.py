"""The page of errors and exit codes, from the tree of errors itself."""

import inspect
from collections.abc import Iterator

from tuneledger import errors
from tuneledger.cli import exit_codes
from tuneledger.errors import TuneledgerError

__all__ = ["errors_page"]


def errors_page() -> str:
    """Give the page as Markdown."""
    lines = [
        "# Errors",
        "",
        f"{inspect.getdoc(errors)}".replace("::\n", "", 1),
        "",
        "The command line prints the message, on standard error, and exits with the code.",
        "[The other codes](command-line.md#exit-codes) are no errors of the library.",
        "",
        "| error | exit code | retryable | when |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{kind.__name__}` | {exit_codes.of_error(kind.__new__(kind))} | "
        f"{'yes' if kind.retryable else ''} | {(inspect.getdoc(kind) or '').partition(chr(10))[0]} |"
        for kind in _kinds(TuneledgerError)
    ]
    return "\n".join([*lines, ""])


def _kinds(kind: type[TuneledgerError]) -> Iterator[type[TuneledgerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
