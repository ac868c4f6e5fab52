"""CSV files of runs, read without trusting them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frazil.errors import InputError


def read_records(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names in its first line; rows cut short are left out.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file") from None
    return [row for row in rows if None not in row and None not in row.values()]


def read_columns(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Columns of numbers; what is no number is NaN. Empty arrays if a column is missing.

    Raises
    ------
    InputError
        As `read_records`.
    """
    rows = read_records(path)
    if rows and any(name not in rows[0] for name in names):
        rows = []
    return {name: np.array([_number(row[name]) for row in rows], dtype=np.float64) for name in names}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
