"""Lists of small molecules: SMILES, CCD codes, .smi, .csv and .sdf files -> one text each, with a name and a place."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from frazil.data.files import read_text, safe_name, stem_of, suffix_of
from frazil.data.ligands import smiles_of_component
from frazil.data.molecules import parsed_smiles
from frazil.data.reading import component_of_code, looks_like_path, name_of_smiles, why_unknown
from frazil.data.sdf import SDF_SUFFIXES
from frazil.errors import InputError

SMILES_SUFFIXES: Final = (".smi", ".smiles")
TABLE_SUFFIXES: Final = (".csv", ".tsv")
LIST_SUFFIXES: Final = SMILES_SUFFIXES + TABLE_SUFFIXES
LIGAND_SUFFIXES: Final = LIST_SUFFIXES + SDF_SUFFIXES
_SMILES_COLUMNS: Final = ("smiles", "isomeric_smiles", "canonical_smiles")
_NAME_COLUMNS: Final = ("id", "name", "title", "identifier", "code")
_SMILES_LINE: Final = re.compile(r"^\s*(\S*)(?:\s+(\|[^|]*\|)(?!\S))?\s*(.*)")
"""SMILES, perhaps the extension of a CXSMILES, name: anything fits, a blank line too."""
_END_OF_RECORD: Final = re.compile(r"^\$\$\$\$.*\n?", re.MULTILINE)


@dataclass(frozen=True)
class LigandText:
    """One molecule as it stands in an input; nothing says yet that it can be read."""

    name: str
    """Safe as a file name, perhaps not unique."""
    text: str
    """SMILES, or the record of an SDF, which has several lines."""
    origin: str
    """Where it stands: `ligands.smi:12`, or the text of the command line itself."""


@dataclass(frozen=True)
class BadLine:
    """A line or record that holds no molecule."""

    name: str
    """As that of a `LigandText`."""
    origin: str
    reason: str


def is_ligand_input(source: str | Path) -> bool:
    """Whether an input is meant to be small molecules and nothing else, by its name alone.

    >>> [is_ligand_input(source) for source in ("CCO", "STI", "a/b.smi.gz", "x.sdf", "x.cif", "x.yaml")]
    [True, True, True, True, False, False]
    """
    path, text = Path(source), str(source)
    if suffix_of(path) in LIGAND_SUFFIXES:
        return True
    try:
        # an empty text would be the working folder
        is_other_file = path.exists() and text.strip() != ""
    except (OSError, ValueError):
        is_other_file = False
    return not (is_other_file or isinstance(source, Path) or looks_like_path(text))


def read_ligand_texts(sources: Iterable[str | Path]) -> Iterator[LigandText | BadLine]:
    """The molecules of SMILES, CCD codes and files, in their order.

    A text that is both a CCD code and a SMILES, such as CCO, is the code, with a warning; in a file it is a SMILES.

    Parameters
    ----------
    sources : iterable of str or Path
        SMILES; CCD codes; `.smi` files (SMILES or CXSMILES, blank, name); `.csv` files with a column `smiles` and
        perhaps one of `id` or `name`; `.sdf` files, one molecule a record, named by its title. Files may be gzipped.

    Yields
    ------
    LigandText or BadLine

    Raises
    ------
    InputError
        If a file cannot be read at all or holds no molecule, or a table has no column of SMILES.

    Examples
    --------
    >>> [one.name for one in read_ligand_texts(["CCCO"])]
    ['CCCO']
    """
    for source in sources:
        path = Path(source)
        if suffix_of(path) not in LIGAND_SUFFIXES:
            yield _of_text(str(source).strip())
            continue
        molecules = _of_file(path)
        first = next(molecules, None)
        if first is None:
            raise InputError(f"{path}: no molecule in it; add some, or leave the file out")
        yield first
        yield from molecules


def refuse_folder(source: str | Path) -> None:
    """Refuse a folder where files of small molecules are to be named one by one.

    Raises
    ------
    InputError
        If it is one.
    """
    try:
        is_folder = str(source).strip() != "" and Path(source).is_dir()
    except (OSError, ValueError):
        # a SMILES may be too long for a file name
        return
    if is_folder:
        raise InputError(
            f"{source}: is a folder, which only a model of structures reads whole; name the files in it (such as "
            f"{Path(source) / '*.sdf'}), or give such a model by --checkpoint RUN"
        )


def _of_file(path: Path) -> Iterator[LigandText | BadLine]:
    suffix = suffix_of(path)
    if suffix in SMILES_SUFFIXES:
        return _of_smiles_file(path)
    return _of_table(path) if suffix in TABLE_SUFFIXES else _of_sdf(path)


def _of_text(text: str) -> LigandText | BadLine:
    if not text:
        return BadLine("unnamed", "''", "an empty input; give a file, a CCD code or a SMILES")
    component = component_of_code(text)
    if component is not None:
        return LigandText(text, smiles_of_component(component), text)
    name = name_of_smiles(text)
    return BadLine(name, text, why_unknown(text)) if parsed_smiles(text) is None else LigandText(name, text, text)


def _of_smiles_file(path: Path) -> Iterator[LigandText | BadLine]:
    lines = read_text(path).splitlines()
    for number, line in enumerate(lines, start=1):
        [(smiles, extension, name)] = _SMILES_LINE.findall(line)
        headed = number == 1 and smiles.lower() in _SMILES_COLUMNS
        if smiles and not smiles.startswith("#") and not headed:
            text = f"{smiles} {extension}".strip()
            yield LigandText(_name(name, path, number), text, f"{path}:{number}")


def _of_table(path: Path) -> Iterator[LigandText | BadLine]:
    text = read_text(path)
    header = text.splitlines()[0]
    delimiter = max(",;\t", key=header.count)
    try:
        [first] = csv.reader([header], delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise InputError(f"{path}:1: not a table that can be read ({error}); mend its first line") from None
    columns = [column.strip().lower().replace(" ", "_") for column in first]
    smiles, name = _column(columns, _SMILES_COLUMNS), _column(columns, _NAME_COLUMNS)
    if smiles is None:
        raise InputError(f"{path}: no column named smiles in its first line ({header[:80]}); name it so")
    yield from _of_rows(path, text.splitlines()[1:], delimiter, smiles, name)


def _of_rows(
    path: Path, lines: Iterable[str], delimiter: str, smiles: int, name: int | None
) -> Iterator[LigandText | BadLine]:
    """A row a line, so that a quote left open spoils its own line alone."""
    for number, line in enumerate(lines, start=2):
        try:
            row = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            yield BadLine(
                _name("", path, number), f"{path}:{number}", f"not a row of a table ({error}); mend its quotes"
            )
            continue
        cells = dict(enumerate(cell.strip() for cell in row))
        title = _name("" if name is None else cells.get(name, ""), path, number)
        if cells.get(smiles):
            yield LigandText(title, cells[smiles], f"{path}:{number}")
        elif any(cells.values()):
            yield BadLine(title, f"{path}:{number}", "no SMILES in its column")


def _of_sdf(path: Path) -> Iterator[LigandText | BadLine]:
    records = [record for record in _END_OF_RECORD.split(read_text(path).replace("\r\n", "\n")) if record.strip()]
    for number, record in enumerate(records, start=1):
        title = record.split("\n", 1)[0].strip()
        yield LigandText(_name(title, path, number), f"{record.rstrip()}\n", f"{path}:record {number}")


def _name(title: str, path: Path, number: int) -> str:
    return safe_name(title) if title.strip() else f"{stem_of(path)}_{number}"


def _column(columns: list[str], known: tuple[str, ...]) -> int | None:
    return next((columns.index(name) for name in known if name in columns), None)
