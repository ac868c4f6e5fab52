"""Structure files on disk (mmCIF, BinaryCIF, PDB, all also .gz) -> `Structure`."""

from __future__ import annotations

import gzip
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from biotite import DeserializationError
from biotite.file import InvalidFileError
from biotite.structure import BadStructureError
from biotite.structure.io.pdbx import BinaryCIFFile, CIFFile

from frazil.data.cif import parse_cif
from frazil.data.observed import structure_from_file
from frazil.data.pdb import parse_pdb
from frazil.data.structure import Structure
from frazil.data.table import ParsedFile
from frazil.errors import InputError

CIF_SUFFIXES = (".cif", ".mmcif")
BCIF_SUFFIXES = (".bcif",)
PDB_SUFFIXES = (".pdb", ".ent")
STRUCTURE_SUFFIXES = CIF_SUFFIXES + BCIF_SUFFIXES + PDB_SUFFIXES
MAX_BYTES = 2**30

# what biotite, numpy and msgpack raise on bytes that are not the format they claim
_PARSE_ERRORS = (
    InvalidFileError, DeserializationError, BadStructureError, ValueError, LookupError, TypeError,
    AttributeError, ArithmeticError, AssertionError, EOFError, RuntimeError, StopIteration, MemoryError, struct.error,
)  # fmt: skip


def suffix_of(path: Path) -> str:
    """The suffix in lower case, the one before a .gz.

    >>> suffix_of(Path("a/1ABC.CIF.gz"))
    '.cif'
    """
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def stem_of(path: Path) -> str:
    """The file name without folder and suffixes, safe as a file name.

    >>> stem_of(Path("a/1abc.cif.gz"))
    '1abc'
    """
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return safe_name(Path(name).stem)


def safe_name(text: str) -> str:
    """Letters, digits and ._+- of a text, at most 80; never empty and never a path."""
    cleaned = re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("._")[:80]
    return cleaned or "unnamed"


def unique_names(names: Iterable[str]) -> list[str]:
    """The names, a number appended to those that are taken.

    >>> unique_names(["a", "b", "a"])
    ['a', 'b', 'a_2']
    """
    unique: dict[str, None] = {}
    for wanted in names:
        name, number = wanted, 1
        while name in unique:
            number += 1
            name = f"{wanted}_{number}"
        unique[name] = None
    return list(unique)


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzipped, whatever its name says.

    Raises
    ------
    InputError
        If it cannot be read, is empty, cut short or too large.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(content)) as unpacked:
                content = unpacked.read(MAX_BYTES + 1)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise InputError(f"{path}: damaged gzip file ({error}); fetch it again") from None
        raise InputError(f"{path}: cannot be read ({error.strerror}); check path and permissions") from None
    except (EOFError, zlib.error):
        raise InputError(f"{path}: gzip file cut short or damaged; fetch it again") from None
    if not content.strip():
        raise InputError(f"{path}: empty file; give one with content")
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES // 2**30} GiB; give a smaller one")
    return content


def read_text(path: Path) -> str:
    """`read_bytes` as UTF-8 (or Latin-1) text.

    Raises
    ------
    InputError
        As `read_bytes`, or if it is binary.
    """
    content = read_bytes(path)
    if b"\x00" in content:
        raise InputError(f"{path}: binary content where text belongs; check the file's suffix")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_structure_file(path: Path) -> Structure:
    """Read an mmCIF, BinaryCIF or PDB file.

    Raises
    ------
    InputError
        If it is not what its suffix says, has no atoms, or an unknown residue.
    """
    suffix = suffix_of(path)
    kind = "mmCIF" if suffix in CIF_SUFFIXES else "BinaryCIF" if suffix in BCIF_SUFFIXES else "PDB"
    with parsing(path, kind):
        parsed = _parse(path, kind)
        return structure_from_file(parsed, name=stem_of(path), source=str(path))


@contextmanager
def parsing(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises on foreign bytes into one `InputError`; silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except _PARSE_ERRORS as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{path}: not a readable {kind} file ({reason}); check the file and its suffix") from error


def _parse(path: Path, kind: str) -> ParsedFile:
    if kind == "PDB":
        return parse_pdb(read_text(path), str(path))
    if kind == "mmCIF":
        return parse_cif(CIFFile.read(io.StringIO(read_text(path))).block, str(path))
    return parse_cif(BinaryCIFFile.read(io.BytesIO(read_bytes(path))).block, str(path))
