"""Where samples lie, and what the files beside them say."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from frazil.data import read_all
from frazil.data.files import STRUCTURE_SUFFIXES, suffix_of
from frazil.data.sdf import SDF_SUFFIXES, record_numbers
from frazil.data.structure import Structure
from frazil.errors import InputError
from frazil.steering.judge import Outcome

SUFFIXES = STRUCTURE_SUFFIXES + SDF_SUFFIXES
_SAMPLES = re.compile(r"sample_\d+\.cif(\.gz)?")


def sample_files(samples: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that `evaluate` reads for what it was given.

    Raises
    ------
    InputError
        If there are none, or a folder holds several results.
    """
    if not isinstance(samples, str | Path):
        found = [file for one in samples for file in sample_files(one)]
        if not found:
            raise InputError("no samples given; name structure files or the folder of frazil sample")
        return found
    path = Path(samples)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; give structure files or the folder of frazil sample")
    found = _samples_in(path)
    if not found:
        inner = result_folders(path)
        if len(inner) > 1:
            raise InputError(f"{path}: holds results of {_some(inner)}; evaluate one of these folders")
        found = next(iter(inner.values()), [])
    if not found:
        raise InputError(f"{path}: no sample_*.cif, samples.sdf or other structure file in it")
    return found


def result_folders(path: Path) -> dict[str, list[Path]]:
    """The folders in a folder that hold samples, by name, in the order of the names, and the files of each.

    Empty for a folder that holds samples itself, and for anything but a folder.
    """
    if not path.is_dir() or _samples_in(path):
        return {}
    # a hidden folder is one that is being written
    folders = (inner for inner in sorted(path.iterdir(), key=_natural) if inner.is_dir() and inner.name[0] != ".")
    return {folder.name: files for folder in folders if (files := _samples_in(folder))}


def recorded(file: Path, number: int) -> tuple[Outcome, ...]:
    """Restraints that the `samples.json` beside a file records of its model or record `number`; () without any."""
    try:
        rows = json.loads((file.parent / "samples.json").read_text(encoding="utf-8"))
        [row] = [row for row in rows if row["file"] == file.name and row.get("record", 1) == number]
        return tuple(Outcome.from_dict(one) for one in row["restraints"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        # somebody else's file, or none
        return ()


def numbered(file: Path) -> Iterator[tuple[Structure, Sequence[int]]]:
    """The structures of a file with the number in it of each of their models."""
    structures = read_all([file])
    if suffix_of(file) in SDF_SUFFIXES:
        # a wrong stereocentre makes another molecule, so one structure's records need not be neighbours
        yield from zip(structures, record_numbers(file), strict=True)
    else:
        yield from ((structure, range(1, len(structure.coords) + 1)) for structure in structures)


def _samples_in(folder: Path) -> list[Path]:
    files = sorted((file for file in folder.iterdir() if file.is_file()), key=_natural)
    samples = [file for file in files if _SAMPLES.fullmatch(file.name)]
    conformers = [file for file in files if file.name == "samples.sdf"]
    return samples or conformers or [file for file in files if suffix_of(file) in SUFFIXES]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key in which sample_10 comes after sample_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _some(names: Collection[str]) -> str:
    """At most six of the names."""
    return ", ".join(list(names)[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
