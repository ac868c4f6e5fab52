"""Requests from the command line's texts and the tables of a settings file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from numbers import Real
from typing import Any

from frazil.data.restraints.requests import (
    REQUEST_KINDS,
    Contact,
    DistanceWindow,
    Request,
    TemplateRequest,
)
from frazil.data.restraints.selection import nearest
from frazil.errors import InputError


def parse_contact(text: str, *, enforced: bool = True) -> Contact:
    """A contact from `FIRST,SECOND,MAX_DISTANCE`.

    Raises
    ------
    InputError
        If it is not of that form.

    >>> parse_contact("A:12:CA,B:40:CB,8.0").max_distance
    8.0
    """
    first, second, distance = _three(text, "contact", "A:12:CA,B:40:CB,8.0")
    return Contact(first=first, second=second, max_distance=distance, enforced=enforced)


def parse_min_distance(text: str, *, enforced: bool = True) -> DistanceWindow:
    """A least distance from `FIRST,SECOND,DISTANCE`.

    Raises
    ------
    InputError
        If it is not of that form.

    >>> parse_min_distance("A:12:CA,B:40:CB,5").lower
    5.0
    """
    first, second, distance = _three(text, "minimum distance", "A:12:CA,B:40:CB,5.0")
    return DistanceWindow(first=first, second=second, lower=distance, enforced=enforced)


def parse_template(text: str, *, enforced: bool = True) -> TemplateRequest:
    """A template from `FILE` or `FILE,THRESHOLD`.

    Raises
    ------
    InputError
        If there is no file name, or the threshold is out of range.

    >>> parse_template("1abc.cif,1.5")
    TemplateRequest(file='1abc.cif', chains=(), template_chains=(), threshold=1.5, enforced=True)
    """
    file, comma, last = text.strip().rpartition(",")
    try:
        threshold = float(last) if comma else None
    except ValueError:
        threshold = None
    if threshold is None:
        return TemplateRequest(file=text.strip(), enforced=enforced)
    return TemplateRequest(file=file.strip(), threshold=threshold, enforced=enforced)


def request_from(kind: str, table: Mapping[str, Any]) -> Request:
    """A request from a table of a settings file, whose keys are the fields of its record.

    Parameters
    ----------
    kind : str
        A key of `REQUEST_KINDS`.
    table : mapping
        Lists become tuples; fields with a default may be missing.

    Raises
    ------
    InputError
        For an unknown kind, a missing, unknown or ill-typed key, or a number that is refused.

    >>> request_from("contact", {"first": "A:1", "second": "B:2", "max_distance": 8}).label
    'A:1,B:2,8'
    """
    record: Any = REQUEST_KINDS.get(kind)
    if record is None:
        raise InputError(f"{str(kind)[:60]!r} is no kind of restraint; {nearest(str(kind), REQUEST_KINDS)}")
    known = {field.name: field for field in fields(record)}
    for key in table:
        if key not in known:
            raise InputError(f"{kind}: unknown key {str(key)[:60]!r}; {nearest(str(key), known)}")
    for name, field in known.items():
        if name not in table and field.default is MISSING:
            raise InputError(f"{kind}: key {name!r} is missing; it needs {', '.join(known)}")
    return record(**{key: _typed(kind, key, value, str(known[key].type)) for key, value in table.items()})


def _typed(kind: str, key: str, value: Any, wanted: str) -> Any:
    """The value as the field's type, refused if it is of another kind."""
    if wanted.startswith("tuple"):
        value = [value] if isinstance(value, str) else value
        if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
            return tuple(value)
    elif isinstance(value, {"float": Real, "bool": bool}.get(wanted, str)):
        return value
    what = {"tuple": "a list of texts", "float": "a number", "bool": "true or false"}.get(wanted.split("[")[0], "text")
    raise InputError(f"{kind}: {key} {str(value)[:60]!r} must be {what}")


def _three(text: str, what: str, example: str) -> tuple[str, str, float]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(parts):
        raise InputError(f"{what} {text[:80]!r}: not of the form {example}")
    try:
        return parts[0], parts[1], float(parts[2])
    except ValueError:
        raise InputError(f"{what} {text[:80]!r}: {parts[2][:20]!r} is no distance; the form is {example}") from None
