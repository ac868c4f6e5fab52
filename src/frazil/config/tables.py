"""Checks of tables from TOML: only known keys, values of the right type, one line that names what is wrong."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from frazil.errors import InputError

_LARGEST_INT = 2**53


def checked(
    table: Mapping[str, Any], hints: Mapping[str, Any], section: str, source: str, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values of a table by the types of its keys; keys in `extra` are known too, but read elsewhere.

    Raises
    ------
    InputError
        If a key is unknown or a value of another type.

    Examples
    --------
    >>> checked({"copies": 8, "rate": 1}, {"copies": int, "rate": float | None}, "[train]", "run.toml")
    {'copies': 8, 'rate': 1.0}
    """
    values = {}
    for key, value in table.items():
        known_key(key, (*hints, *extra), source, f"{section} key")
        values[key] = typed(value, hints[key], f"{source}: {section} {key}")
    return values


def known_key(key: str, known: Iterable[str], source: str, what: str) -> None:
    """Refuse a key that is not known, with the nearest that is."""
    known = tuple(known)
    if key not in known:
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
        raise InputError(f"{source}: unknown {what} {shown(key)}; did you mean {nearest!r}?")


def is_table(value: Any, section: str, source: str) -> None:
    """Refuse what is no table."""
    if not isinstance(value, Mapping):
        raise InputError(f"{source}: {section} is {shown(value)}, not a section; write it in brackets, keys below")


def typed(value: Any, hint: Any, where: str) -> Any:
    """The value as one of the hinted types; an integer may stand for a float, a list of texts for a tuple."""
    allowed = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if any(get_origin(kind) is tuple for kind in allowed):
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        raise InputError(f"{where} = {shown(value)} is not a list of texts")
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        raise InputError(f"{where} = {shown(value)} is too large a number")
    if type(value) in allowed:
        return value
    if type(value) is int and float in allowed:
        return float(value)
    names = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
    raise InputError(f"{where} = {shown(value)} is {_kind(value)}, not {names}")


def _kind(value: Any) -> str:
    names = {"str": "text", "dict": "a table", "list": "a list", "bool": "true or false", "int": "a whole number"}
    return names.get(type(value).__name__, type(value).__name__)


def shown(value: Any) -> str:
    """A value as the file has it, cut to a readable length."""
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to print integers of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."
