"""The folder of one input, as `frazil sample` leaves it: rows of `samples.json`, structures, trajectories."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from frazil.data.drawable import Drawable, read_conformers, read_models
from frazil.data.files import suffix_of
from frazil.data.sdf import SDF_SUFFIXES
from frazil.errors import InputError
from frazil.page.rows import SCORE_FIELDS, Row, mistake, number, read_json, read_rows

SAMPLES_JSON: Final = "samples.json"
EVALUATION_JSON: Final = "evaluation.json"
MOST_POSITIONS: Final = 150_000
"""Atoms times samples in one page; beyond, the best samples are shown."""
MOST_SAMPLES: Final = 200


@dataclass(frozen=True, eq=False)
class Samples:
    """What a page shows of one input."""

    folder: Path
    rows: tuple[Row, ...]
    """Of `samples.json`, all of them, the best first, those that are not finite last."""
    shown: tuple[int, ...]
    """[S] which of `rows` have coordinates here, in the order of `drawable.coords`."""
    drawable: Drawable
    evaluated: Mapping[int, Row]
    """By row: what `evaluation.json` says of the sample; empty without one."""

    @property
    def name(self) -> str:
        """Of the input."""
        return str(self.rows[0].get("name") or self.folder.resolve().name)

    @property
    def source(self) -> str:
        """File, SMILES or code that the samples were drawn of."""
        return str(self.rows[0].get("input") or "")

    @property
    def is_ligand(self) -> bool:
        """Whether they are conformers of one small molecule."""
        return not self.drawable.polymer.any()


def read_samples(folder: str | Path) -> Samples:
    """Read the folder of one input.

    Raises
    ------
    InputError
        If there is no readable `samples.json`, no finite sample, or a file that it names is missing or damaged.
    """
    folder = Path(folder)
    rows = sorted(read_rows(folder / SAMPLES_JSON), key=_order)
    usable = [index for index, row in enumerate(rows) if row.get("finite") and row.get("file") is not None]
    if not usable:
        raise InputError(f"{folder}: no finite sample in {SAMPLES_JSON}; there is nothing to show")
    shown = usable[:MOST_SAMPLES]
    drawable = _drawable(folder, [rows[index] for index in shown])
    most = max(1, MOST_POSITIONS // drawable.coords.shape[1])
    kept = Drawable(**{**vars(drawable), "coords": drawable.coords[:most]})
    return Samples(folder, tuple(rows), tuple(shown[:most]), kept, _evaluated(folder, rows))


def inside(folder: Path, name: str) -> Path | None:
    """A file of the folder itself by its name; None where there is none, whatever the name says.

    >>> inside(Path("."), "../other/samples.sdf") is None
    True
    """
    path = folder / name
    # `os.path` answers for names that no file can have, too
    known = Path(name).name == name and os.path.isfile(path)
    return path if known and path.resolve().parent == folder.resolve() else None


def _order(row: Row) -> tuple[float, float]:
    last = float("inf")
    rank, sample = number(row.get("rank")), number(row.get("sample"))
    return (last if rank is None else rank, last if sample is None else sample)


def _drawable(folder: Path, rows: Sequence[Row]) -> Drawable:
    paths = []
    for row in rows:
        path = inside(folder, row["file"])
        if path is None:
            name = repr(row["file"][:200])
            raise InputError(f"{folder}: {name}, named by {SAMPLES_JSON}, is not there; draw the samples anew")
        paths.append(path)
    if suffix_of(paths[0]) in SDF_SUFFIXES:
        return read_conformers(paths[0], [_record(row) for row in rows])
    return read_models(paths)


def _record(row: Row) -> int:
    """Which record of its file a sample is, from 1."""
    return int(row.get("record") or 1)


def _evaluated(folder: Path, rows: Sequence[Row]) -> dict[int, Row]:
    """Figures against a reference and checks, if `frazil evaluate` has left them here."""
    path = folder / EVALUATION_JSON
    if not path.is_file():
        return {}
    try:
        scores = _scores(read_json(path))
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:80]
        warnings.warn(f"{path}: left out, for it cannot be used ({why}); run frazil evaluate again", stacklevel=4)
        return {}
    keys = [(row.get("file"), _record(row)) for row in rows]
    return {index: scores[key] for index, key in enumerate(keys) if key in scores}


def _scores(found: Any) -> dict[tuple[Any, Any], Row]:
    """By file and model: figures against the nearest model of the reference, and PoseBusters' checks."""
    entries = found.get("samples") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no list of samples in it")
    for place, one in enumerate(entries, start=1):
        wrong = mistake(one, SCORE_FIELDS)
        if wrong:
            raise ValueError(f"sample {place}: {wrong}")
    return {
        (one.get("file"), one.get("model")): {**(one.get("nearest") or {}), "posebusters": one.get("posebusters")}
        for one in entries
    }
