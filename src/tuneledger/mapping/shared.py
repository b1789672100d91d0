"""The set and the dict that many models have in common: what a model read from the archive has no own of.

A set and a dict for each model take a quarter of the time that reading a long job takes. Nobody may change
what others see too, and no model of ours can be changed anyway; a copy (`model_copy`) has its own.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["SharedDict", "SharedSet"]


def _refuse(*_arguments: object, **_named: object) -> NoReturn:
    message = "a model that was read cannot be changed; model_copy() gives one of your own"
    raise TypeError(message)


class SharedSet(set[str]):
    """A set that cannot be changed, and whose copies are sets."""

    __slots__ = ()

    add = clear = difference_update = discard = intersection_update = pop = remove = _refuse
    symmetric_difference_update = update = __iand__ = __ior__ = __isub__ = __ixor__ = _refuse

    def __copy__(self) -> set[str]:
        return set(self)

    def __reduce__(self) -> tuple[type[set[str]], tuple[list[str]]]:
        return set, (list(self),)


class SharedDict(dict[str, Any]):
    """A dict that cannot be changed, and whose copies are dicts."""

    __slots__ = ()

    clear = pop = popitem = setdefault = update = __delitem__ = __ior__ = __setitem__ = _refuse

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)
