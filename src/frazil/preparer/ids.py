"""Lists of what to prepare: the package's own division of the dictionary's ligands, or a person's."""

from __future__ import annotations

import csv
import lzma
from collections import Counter
from importlib import resources
from pathlib import Path

from frazil.data.files import read_text, suffix_of
from frazil.errors import InputError

DEFAULT_SPLIT = "train"
_PACKAGED = "ccd_split.tsv.xz"
_ID_COLUMNS = ("ccd_id", "id", "name")
_TABLES = {".tsv": "\t", ".csv": ","}


def packaged_ids(split: str | None = None) -> tuple[str, ...]:
    """CCD codes of the package's list.

    Parameters
    ----------
    split : str, optional
        train (the default), val (scaffolds that train lacks) or test (entries since June 2023 with new scaffolds).

    Raises
    ------
    InputError
        If there is no such part.

    Examples
    --------
    >>> [len(packaged_ids(split)) for split in ("train", "val", "test")]
    [33287, 839, 500]
    """
    packed = (resources.files("frazil") / "assets" / _PACKAGED).read_bytes()
    return _of_table(lzma.decompress(packed).decode(), "\t", "the list of the package", split)


def ids_of(path: Path, split: str | None = None) -> tuple[str, ...]:
    """Ids that a file lists.

    Parameters
    ----------
    path : Path
        A .tsv or .csv with a header (column ccd_id, id or name, else the first; a column split), or one id a line.
    split : str, optional
        Which rows of a table with a column split; train by default.

    Raises
    ------
    InputError
        If it cannot be read, lists nothing, or has no such split.
    """
    text = read_text(path)
    delimiter = _TABLES.get(suffix_of(path))
    if delimiter:
        return _of_table(text, delimiter, str(path), split)
    if split is not None:
        raise InputError(f"{path}: --split {split} needs a .tsv or .csv with a column split; leave it out")
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return _some(tuple(dict.fromkeys(line for line in lines if line)), str(path))


def _of_table(text: str, delimiter: str, where: str, split: str | None) -> tuple[str, ...]:
    header, *rows = csv.reader(text.splitlines(), delimiter=delimiter)
    column = next((header.index(name) for name in _ID_COLUMNS if name in header), 0)
    rows = [row for row in rows if len(row) > column and row[column].strip()]
    if "split" in header:
        place = header.index("split")
        splits = Counter(row[place] if len(row) > place else "" for row in rows)
        wanted = DEFAULT_SPLIT if split is None else split
        if wanted not in splits:
            known = ", ".join(sorted(name for name in splits if name)) or "none"
            raise InputError(f"{where}: no split {wanted!r}; there is {known}")
        rows = [row for row in rows if len(row) > place and row[place] == wanted]
    elif split is not None:
        raise InputError(f"{where}: --split {split} needs a column split, its columns are {', '.join(header)}")
    return _some(tuple(dict.fromkeys(row[column].strip() for row in rows)), where)


def _some(ids: tuple[str, ...], where: str) -> tuple[str, ...]:
    if not ids:
        raise InputError(f"{where}: lists no id; give one a line")
    return ids
