"""Every command with its arguments and options, from the program itself."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from tuneledger import cli

__all__ = ["leaves", "taken", "with_help"]


def leaves(command: Any = None, name: str = "tuneledger") -> Iterator[tuple[str, Any]]:
    """Give each command with its whole name, groups included."""
    command = command or typer.main.get_command(cli.application())
    yield name, command
    for below, found in getattr(command, "commands", {}).items():
        yield from leaves(found, f"{name} {below}")


def with_help(page: str) -> str:
    """Give docs/command-line.md with what ``--help`` says, folded up, at the end of each section."""
    for name, command in leaves():
        section = re.search(rf"^##+ `{name}`\n.*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        if section:
            page = f"{page[: section.end()]}{_folded(name, command)}{page[section.end() :]}"
    return page


def _folded(name: str, command: Any) -> str:
    rows = [_row(command, parameter) for parameter in command.params]
    table = ["", "| | takes | meaning | default |", "|---|---|---|---|", *rows] if rows else []
    lines = [*(command.help or "").split("\n"), *table]
    indented = "\n".join(f"    {line}".rstrip() for line in lines)
    return f'??? note "`{name} --help`"\n\n{indented}\n\n'


def _row(command: Any, parameter: Any) -> str:
    kind = taken(command, parameter)
    if parameter.param_type_name == "argument":
        words, takes = [parameter.metavar], "" if kind == "text" else kind
    else:
        words = [*parameter.opts, *parameter.secondary_opts]
        takes = "" if kind == "flag" else parameter.metavar or kind
    default = "required" if parameter.required else parameter.default
    cells = (
        ", ".join(f"`{word}`" for word in words),
        f"`{takes}`" if takes else "",
        (parameter.help or "").replace("|", "\\|"),
        f"`{default}`" if isinstance(default, str) or (default and type(default) in {int, float}) else "",
    )
    return f"| {' | '.join(cells)} |"


def taken(command: Any, parameter: Any) -> str:
    """Say what a parameter takes: ``flag``, ``text``, ``int``, or the words it may be; ``...`` if several."""
    # Those of completion are typer's own, and flags.
    return _kind(get_type_hints(command.callback).get(parameter.name, bool))


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if get_origin(hint) is list:
        return f"{_kind(get_args(hint)[0])}..."
    options = [part for part in get_args(hint) if part is not type(None)]
    if options:
        return _kind(options[0])
    if issubclass(hint, Enum):
        return "|".join(member.value for member in hint)
    known = {bool: "flag", str: "text"}
    return known.get(hint) or str(hint.__name__)
