"""The section [steering] and the flags that mean the same: sets, particles, restraints, potentials, weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, get_type_hints

from frazil.config.tables import checked, is_table, known_key, shown, typed
from frazil.data.restraints import (
    REQUEST_KINDS,
    Request,
    parse_contact,
    parse_min_distance,
    parse_template,
    request_from,
)
from frazil.errors import InputError
from frazil.potentials import POTENTIAL_SETS, Constant, Exponential, PotentialWeights, Schedule, Steps
from frazil.predictor import PLAIN_WEIGHTS, PotentialFactory, SteeringSettings, potential_class, potential_name

# under another name in the file, or with a reader of their own
_READ_APART = ("strength", "potentials", "requests", "weights")
_OWN_KEYS = {"lambda": float, "potentials": tuple[str, ...]}
_WEIGHT_KEYS = ("guidance", "resampling", "interval")
_TEXTS: Mapping[str, Callable[[str], Request]] = {"contact": parse_contact, "template": parse_template}


def steering_flags(
    steering: str | None, particles: int | None, fix: str | None, potentials: Sequence[str] | None,
    requests: Sequence[Request] = (),
) -> dict[str, Any]:  # fmt: skip
    """Fields of `SteeringSettings` from the texts of the command line, None for those not given.

    Raises
    ------
    InputError
        If a list is empty, or a potential cannot be found.

    Examples
    --------
    >>> steering_flags("physical,contacts", None, "A", None)["sets"]
    ('physical', 'contacts')
    """
    sets = None if steering is None else () if steering.strip() == "none" else _listed(steering, "--steering")
    return {
        "sets": sets,
        "particles": particles,
        "fix": None if fix is None else _listed(fix, "--fix"),
        "potentials": tuple(potential_class(text) for text in potentials or ()),
        "requests": tuple(requests),
    }


def requests_from_flags(
    contacts: Sequence[str] | None, min_distances: Sequence[str] | None, template: str | None
) -> tuple[Request, ...]:
    """Restraints from the texts of the command line.

    Raises
    ------
    InputError
        If a text is not of its form.

    Examples
    --------
    >>> [one.label for one in requests_from_flags(["A:1:CA,B:2:CA,8"], None, None)]
    ['A:1:CA,B:2:CA,8']
    """
    found: list[Request] = [parse_contact(text) for text in contacts or ()]
    found += [parse_min_distance(text) for text in min_distances or ()]
    return (*found, *([] if template is None else [parse_template(template)]))


def _listed(text: str, flag: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(names) or "none" in names:
        raise InputError(f"{flag} {text!r}: not a list; write names with commas between, or leave it out")
    return names


def parse_steering(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Fields of `SteeringSettings` from the section [steering] of a file.

    Raises
    ------
    InputError
        If there is an unknown key, a value of the wrong type, or a restraint or potential that cannot be meant.

    Examples
    --------
    >>> parse_steering({"lambda": 2, "contact": ["A:1:CA,A:4:CA,6"]}, "run.toml")["strength"]
    2.0
    """
    hints = {key: hint for key, hint in get_type_hints(SteeringSettings).items() if key not in _READ_APART} | _OWN_KEYS
    apart = {key: value for key, value in table.items() if key in REQUEST_KINDS or key == "weights"}
    plain = {key: value for key, value in table.items() if key not in apart}
    found = checked(plain, hints, "[steering]", source, extra=(*REQUEST_KINDS, "weights"))
    if "lambda" in found:
        found["strength"] = found.pop("lambda")
    if found.get("sets") == ("none",):
        found["sets"] = ()
    if "potentials" in found:
        found["potentials"] = tuple(potential_class(text) for text in found["potentials"])
    if "weights" in apart:
        rows = apart.pop("weights")
        is_table(rows, "[steering.weights]", source)
        found["weights"] = {name: _weights(name, row, source) for name, row in rows.items()}
    if apart:
        found["requests"] = tuple(one for kind, rows in apart.items() for one in _requests(kind, rows, source))
    return found


def refuse_unknown_weights(weights: Iterable[str], own: Iterable[PotentialFactory]) -> None:
    """Refuse weights of what is neither a potential of ours nor one of the user's own.

    Raises
    ------
    InputError
        With the nearest name that there is.
    """
    known = (*_usual_weights(), *(potential_name(one) for one in own))
    for name in weights:
        known_key(name, known, "[steering.weights]", "potential")


def _requests(kind: str, rows: Any, source: str) -> list[Request]:
    """The restraints of one list: tables, or texts as on the command line."""
    where = f"{source}: [[steering.{kind}]]"
    if not isinstance(rows, list):
        raise InputError(f"{where} is {shown(rows)}, not a list of restraints")
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            if isinstance(row, str) and kind in _TEXTS:
                found.append(_TEXTS[kind](row))
                continue
            is_table(row, f"[[steering.{kind}]] {number}", source)
            found.append(request_from(kind, row))
        except InputError as error:
            raise InputError(f"{where} {number}: {error}") from None
    return found


def _usual_weights() -> dict[str, PotentialWeights]:
    return {key: preset.weights for presets in POTENTIAL_SETS.values() for key, preset in presets.items()}


def _weights(name: str, table: Any, source: str) -> PotentialWeights:
    """Weights of one potential: those that are given, and the usual ones for the rest."""
    section = f"[steering.weights.{name[:40]}]"
    is_table(table, section, source)
    weights = _usual_weights().get(name, PLAIN_WEIGHTS)
    for key, value in table.items():
        known_key(key, _WEIGHT_KEYS, source, f"{section} key")
        where = f"{source}: {section} {key}"
        try:
            read: Any = typed(value, int, where) if key == "interval" else _schedule(value, where)
            weights = replace(weights, **{key: read})
        except InputError as error:
            raise InputError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    return weights


def _schedule(value: Any, where: str) -> Schedule:
    """A number, or a table with the fields of `Steps` or `Exponential`."""
    if not isinstance(value, Mapping):
        return Constant(_finite(value, where))
    names = set(value)
    if names == {"start", "end", "alpha"}:
        return Exponential(**{name: _finite(number, where) for name, number in value.items()})
    if names == {"thresholds", "values"} and all(isinstance(numbers, list) for numbers in value.values()):
        lists = {name: tuple(_finite(number, where) for number in numbers) for name, numbers in value.items()}
        return Steps(**lists)
    raise InputError(
        f"{where} = {shown(dict(value))}: give a number, {{thresholds = [...], values = [...]}} "
        "or {start, end, alpha}"
    )


def _finite(value: Any, where: str) -> float:
    number: float = typed(value, float, where)
    if not isfinite(number):
        raise InputError(f"{where} = {number} is not a finite number")
    return number
