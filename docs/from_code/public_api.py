"""Every public name with its signature, and every command with what it takes, a line each."""

import enum
import importlib
import inspect
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ForwardRef, Literal, get_origin

from commands import leaves, taken

__all__ = ["public_api"]

MODULES = (
    "tuneledger",
    "tuneledger.models",
    "tuneledger.repository",
    "tuneledger.errors",
    "tuneledger.sources",
    "tuneledger.aio",
    "tuneledger.frames",
    "tuneledger.testing",
)


def public_api() -> str:
    """Give it as text that is the same on every Python and with every release of what we depend on."""
    lines = [line for module in MODULES for line in _of_module(module)]
    for name, command in leaves():
        lines.append(f"$ {name}")
        lines += [f"$ {name} {_parameter(command, parameter)}" for parameter in command.params]
    return "\n".join([*lines, ""])


def _of_module(module: str) -> Iterator[str]:
    for name in sorted(importlib.import_module(module).__all__):
        value = getattr(importlib.import_module(module), name)
        whole = f"{module}.{name}"
        if module != "tuneledger" and value is getattr(importlib.import_module("tuneledger"), name, None):
            yield f"{whole} = tuneledger.{name}"
        elif inspect.isclass(value):
            yield from _of_class(whole, value)
        elif inspect.isfunction(inspect.unwrap(value)):
            yield f"{whole}{_signature(value)}"
        elif get_origin(value) is Literal:
            yield f"{whole} = {_text(value)}"
        else:
            yield f"{whole}: {type(value).__name__}"


def _of_class(whole: str, kind: type) -> Iterator[str]:
    ours = [above for above in kind.__mro__ if above.__module__.startswith("tuneledger")]
    bases = ", ".join(above.__name__ for above in kind.__bases__ if above is not object)
    yield f"class {whole}({bases})"
    if issubclass(kind, enum.Enum):
        yield from (f"{whole}.{member.name} = {member.value!r}" for member in kind)
    elif any("__init__" in vars(above) for above in ours) and not (
        hasattr(kind, "model_fields") or getattr(kind, "_is_protocol", False)
    ):
        yield f"{whole}{_signature(kind.__init__)}"
    yield from _fields(whole, kind, ours)
    attributes = {name: value for above in reversed(ours) for name, value in vars(above).items()}
    for name, value in sorted(attributes.items()):
        if not name.startswith("_"):
            yield from _attribute(f"{whole}.{name}", value)


def _fields(whole: str, kind: type, ours: list[type]) -> Iterator[str]:
    for above in reversed(ours):
        for name, annotation in inspect.get_annotations(above).items():
            if not name.startswith("_"):
                value = f" = {getattr(kind, name)}" if "ClassVar" in _text(annotation) else ""
                yield f"{whole}.{name}: {_text(annotation)}{value}"


def _attribute(whole: str, value: Any) -> Iterator[str]:
    if isinstance(value, property | cached_property):
        getter: Any = value.fget if isinstance(value, property) else value.func
        yield f"{whole} -> {_text(inspect.signature(getter).return_annotation)}"
    elif isinstance(value, classmethod | staticmethod):
        yield f"{whole}{_signature(value.__func__)} [{type(value).__name__}]"
    elif inspect.isfunction(value):
        yield f"{whole}{_signature(value)}"


def _signature(function: Any) -> str:
    found = inspect.signature(function)
    given = [
        parameter.replace(
            annotation=_Said(_text(parameter.annotation))
            if parameter.annotation is not parameter.empty
            else parameter.annotation,
            default=_Said("<function>") if inspect.isfunction(parameter.default) else parameter.default,
        )
        for name, parameter in found.parameters.items()
        if name not in {"self", "cls"}
    ]
    returned = found.return_annotation
    if returned is not found.empty:
        returned = _Said(_text(returned))
    return str(found.replace(parameters=given, return_annotation=returned))


class _Said:
    """What stands in a signature, as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _text(annotation: Any) -> str:
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _parameter(command: Any, parameter: Any) -> str:
    words = "/".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        words = str(parameter.metavar)
    default = "" if parameter.default in {None, False} else f" = {parameter.default}"
    return f"{words} {taken(command, parameter)}{' required' if parameter.required else default}"
