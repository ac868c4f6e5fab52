"""JSON files of samples, read without trusting them: each field that a page looks at is of the kind that belongs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from frazil.errors import InputError

Row = Mapping[str, Any]
MOST_SHOWN: Final = 40
"""Characters of a wrong value in an error."""
LARGEST: Final = 1e30
"""Beyond, a number is damage, and no axis has ticks."""


@dataclass(frozen=True)
class Kind:
    """What a field may hold besides null, which says that there is nothing."""

    words: str
    holds: Callable[[Any], bool]


def number(value: object) -> float | None:
    """A number that can be shown, or None.

    >>> number(2), number("2"), number(float("nan")), number(True), number(10**400)
    (2.0, None, None, None, None)
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # false for NaN as well
    return float(value) if abs(value) <= LARGEST else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return number(value) is not None


def _is_any_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 1


def _holds_numbers(value: Any) -> bool:
    # of a sample that flew apart they may be as large as they like
    return isinstance(value, dict) and all(one is None or _is_any_number(one) for one in value.values())


def _is_trajectory(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    sigma, names = value.get("sigma"), (value.get("noisy"), value.get("denoised"))
    return isinstance(sigma, list) and all(map(_is_number, sigma)) and all(map(_is_text, names))


TEXT: Final = Kind("a text", _is_text)
TRUTH: Final = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER: Final = Kind("a number", _is_number)
COUNT: Final = Kind("a whole number from 1", _is_count)
LIST: Final = Kind("a list", lambda value: isinstance(value, list))
OBJECT: Final = Kind("an object", lambda value: isinstance(value, dict))
NUMBERS: Final = Kind("an object of numbers", _holds_numbers)
TRAJECTORY: Final = Kind("an object of noise levels and files", _is_trajectory)

STEREO_ERRORS: Final = ("stereo_violations", "chirality_errors")
"""Fields that count stereocentres and double bonds that are wrong or flat."""
SAMPLE_FIELDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("input", "name", "smiles", "remark", "sampler", "precision", "file"), TEXT),
    **dict.fromkeys(("rank", "sample", "seed", "steps", "start_sigma", "mean_lddt"), NUMBER),
    **dict.fromkeys(("restraints_satisfied", "restraints_total"), NUMBER),
    **dict.fromkeys((*STEREO_ERRORS, "clashes"), NUMBER),
    "finite": TRUTH,
    "record": COUNT,
    "energies": NUMBERS,
    "restraints": LIST,
    "physical": OBJECT,
    "trajectory": TRAJECTORY,
}
"""Of `samples.json`."""
SCORE_FIELDS: Final[Mapping[str, Kind]] = {"file": TEXT, "model": COUNT, "nearest": OBJECT, "posebusters": OBJECT}
"""Of `evaluation.json`."""


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not JSON; its numbers are finite.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_rows(path: Path) -> list[Row]:
    """The rows of `samples.json`, one a sample.

    Raises
    ------
    InputError
        If it cannot be read, or is not what `frazil sample` writes.
    """
    try:
        rows = read_json(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a folder of frazil sample") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({str(error)[:80]}); draw the samples anew") from None
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: not the list of samples that frazil sample writes; draw the samples anew")
    for place, row in enumerate(rows, start=1):
        wrong = mistake(row, SAMPLE_FIELDS)
        if wrong:
            raise InputError(f"{path}: entry {place}: {wrong}; draw the samples anew")
    return rows


def mistake(row: Any, fields: Mapping[str, Kind]) -> str:
    """What is wrong with one record, in words; empty if nothing is.

    >>> mistake({"file": "a.sdf", "model": 0}, SCORE_FIELDS)
    'model is 0, not a whole number from 1'
    """
    if not isinstance(row, dict):
        return f"it is {_shown(row)}, not an object"
    for name, kind in fields.items():
        value = row.get(name)
        if value is not None and not kind.holds(value):
            return f"{name} is {_shown(value)}, not {kind.words}"
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
