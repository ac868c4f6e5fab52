"""What a person names -> the entries in it, one after the other, without holding them all."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frazil.data.files import STRUCTURE_SUFFIXES, safe_name, stem_of, suffix_of
from frazil.data.sdf import SDF_SUFFIXES
from frazil.errors import InputError
from frazil.preparer.entries import DictionaryLigand, Entry, SdfRecord, StructureFile, Unreadable
from frazil.preparer.ids import ids_of, packaged_ids

CCD = "ccd"
SUFFIXES = STRUCTURE_SUFFIXES + SDF_SUFFIXES


@dataclass(frozen=True)
class Sources:
    """All entries of what was named."""

    codes: tuple[str, ...]
    """Of the Chemical Component Dictionary."""
    files: tuple[Path, ...]
    wanted: frozenset[str] | None = None
    """Names of the entries of files to take; all without."""

    def __iter__(self) -> Iterator[Entry]:
        """The entries, in the same order every time; names may be taken twice."""
        yield from (DictionaryLigand(code, code) for code in self.codes)
        for path in self.files:
            entries = _records(path) if suffix_of(path) in SDF_SUFFIXES else iter([_structure_file(path)])
            yield from (entry for entry in entries if self.wanted is None or entry.name in self.wanted)


def sources_of(words: Sequence[str], ids: Path | None = None, split: str | None = None) -> Sources:
    """The sources that a person names.

    Parameters
    ----------
    words : sequence of str
        `ccd`, SDF and structure files, and folders of them.
    ids : Path, optional
        Which entries to take, as `ids_of`; all by default, and of `ccd` those of the package's list.
    split : str, optional
        Part of the list.

    Raises
    ------
    InputError
        If a file is of another kind or missing, a folder holds none, or the list is no good.
    """
    has_ccd = CCD in words
    files = tuple(dict.fromkeys(file for word in words if word != CCD for file in _files_of(Path(word))))
    if split is not None and ids is None and not has_ccd:
        raise InputError(f"--split {split}: needs --ids FILE, a table with a column split")
    wanted = None if ids is None else ids_of(ids, split)
    codes = () if not has_ccd else packaged_ids(split) if wanted is None else wanted
    return Sources(codes, files, None if wanted is None else frozenset(wanted))


def refuse_overlap(words: Sequence[str], out: Path) -> None:
    """Refuse to write a store over what it is made of; inside of it is well, since a store has no structure files.

    Raises
    ------
    InputError
        If the folder of the store is one of the sources, or one lies in it.
    """
    folder = out.resolve()
    for word in words:
        source = Path(word).resolve()
        if word != CCD and source.is_relative_to(folder):
            raise InputError(f"--out {out}: holds its own input {word}; give another folder")


def uniquely_named(entries: Iterator[Entry], taken: frozenset[str]) -> Iterator[Entry]:
    """The entries, a number appended to names that others have."""
    numbers = dict.fromkeys(taken, 1)
    for entry in entries:
        name = entry.name
        while name in numbers:
            numbers[entry.name] += 1
            name = f"{entry.name}_{numbers[entry.name]}"
        numbers[name] = 1
        yield _renamed(entry, name)


def _renamed(entry: Any, name: str) -> Entry:
    renamed: Entry = entry if entry.name == name else replace(entry, name=name)
    return renamed


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and suffix_of(file) in SUFFIXES)
        if not files:
            raise InputError(f"{path}: no file in this folder ends in one of {', '.join(SUFFIXES)}; name another")
        return [file.absolute() for file in files]
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; give one, or ccd for the Chemical Component Dictionary")
    if suffix_of(path) not in SUFFIXES:
        raise InputError(f"{path}: unknown kind of file; known are {', '.join(SUFFIXES)}, each also .gz")
    return [path.absolute()]


def _structure_file(path: Path) -> Entry:
    return StructureFile(stem_of(path), str(path))


def _records(path: Path) -> Iterator[Entry]:
    """The records of an SDF; what is damaged is an entry of its own, and the records before it count."""
    number = 0
    try:
        for number, text in enumerate(_texts(path), start=1):
            title = text.partition("\n")[0].strip()
            yield SdfRecord(safe_name(title) if title else f"{stem_of(path)}_{number}", f"{path}:{number}", text)
        if not number:
            yield Unreadable(stem_of(path), str(path), "no record in it; check that it is an SDF")
    except (OSError, EOFError, zlib.error) as error:
        reason = f"cannot be read after record {number} ({' '.join(str(error).split())}); fetch it again"
        yield Unreadable(stem_of(path), str(path), reason)


def _texts(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    lines: list[bytes] = []
    with gzip.open(path) if packed else path.open("rb") as stream:
        for line in stream:
            lines.append(line)
            if line.startswith(b"$$$$"):
                yield b"".join(lines).decode("utf-8", "replace")
                lines.clear()
    if any(line.strip() for line in lines):
        yield b"".join(lines).decode("utf-8", "replace")
