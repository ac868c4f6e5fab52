"""The LMDB database of a store: opened once a process, by one writer at a time, and looked at before it is trusted."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import lmdb

from frazil._version import __version__
from frazil.errors import InputError

STORE_VERSION: Final = 1
MAP_SIZE: Final = 2**40
"""Bytes of address space, not of disk: what a store may grow to."""
MAX_READERS: Final = 4096
"""Processes that may read at once."""
META: Final = b"meta"
"""Key of the version and of what the whole store has in common."""
_DATA: Final = "data.mdb"
_RECORDS, _SIZES, _REFUSED = b"records", b"sizes", b"refused"


def is_store(path: str | Path) -> bool:
    """Whether a folder is a store."""
    return (Path(path) / _DATA).is_file()


@dataclass(frozen=True, eq=False)
class Tables:
    """An open database."""

    environment: Any
    records: Any
    """Name -> the structure's bytes."""
    sizes: Any
    """Name -> what is known of it without reading it, JSON."""
    refused: Any
    """Digest of an origin -> why nothing is stored of it, JSON; None in a store opened for reading."""


@lru_cache(maxsize=16)
def shared_tables(path: Path, process: int) -> Tables:
    """LMDB lets a process open a folder once, and a forked one neither use nor open again what its parent has open."""
    return open_tables(path, write=False)


os.register_at_fork(before=shared_tables.cache_clear)


def open_tables(path: Path, *, write: bool) -> Tables:
    """The database of a folder.

    Raises
    ------
    InputError
        If it is none of a store, cut short, or of a newer version.
    lmdb.Error
        If it is damaged otherwise.
    """
    if not write and not is_store(path):
        raise InputError(f"{path}: no store (it has no data.mdb); make one by `frazil prepare`")
    environment = _environment(path, write=write)
    try:
        return _looked_at(path, environment, write=write)
    except BaseException:
        environment.close()
        raise


def _looked_at(path: Path, environment: Any, *, write: bool) -> Tables:
    _refuse_cut_short(path, environment)
    with environment.begin() as transaction:
        meta = transaction.get(META)
        is_empty = not transaction.stat()["entries"]
    if meta is None and not (write and is_empty):
        raise InputError(f"{path}: a database, but no store of frazil; give another folder")
    if meta is not None and json.loads(meta)["version"] > STORE_VERSION:
        raise InputError(f"{path}: a store of a newer frazil than this ({__version__}); update frazil")
    records, sizes = (environment.open_db(name, create=write) for name in (_RECORDS, _SIZES))
    return Tables(environment, records, sizes, environment.open_db(_REFUSED) if write else None)


def _environment(path: Path, *, write: bool) -> Any:
    options: dict[str, Any] = {"max_dbs": 4, "max_readers": MAX_READERS, "readahead": False}
    if write:
        environment = lmdb.open(str(path), map_size=MAP_SIZE, **options)
        # slots of readers that were killed
        environment.reader_check()
        return environment
    try:
        return lmdb.open(str(path), map_size=0, readonly=True, **options)
    except (lmdb.ReadonlyError, PermissionError, lmdb.LockError):
        # where the lock's file cannot be written, nobody writes
        return lmdb.open(str(path), map_size=0, readonly=True, lock=False, **options)


def _refuse_cut_short(path: Path, environment: Any) -> None:
    """Reading memory beyond the end of a file kills the process."""
    size = (path / _DATA).stat().st_size
    if size < length(environment):
        raise InputError(f"{path}: damaged, data.mdb is cut short at {size} bytes; copy or prepare it again")


def length(environment: Any) -> int:
    """Bytes that the file must have at least."""
    return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


def items(transaction: Any, table: Any) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values in order; searched for one by one, since LMDB's own step to the next aborts on a damaged page."""
    cursor = transaction.cursor(table)
    found = cursor.first()
    while found:
        key, value = cursor.item()
        yield key, value
        found = cursor.set_range(key + b"\0")


def exclusive(path: Path) -> int:
    """A handle that holds the lock of the only writer of a folder, made if need be; forked processes do not hold it.

    Raises
    ------
    InputError
        If another process has it, or the folder cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another folder") from error
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise InputError(f"{path}: another process is writing there; wait for it or name another folder") from None
    return handle


@contextmanager
def as_input_error(path: Path) -> Iterator[None]:
    """One line for whatever reading a damaged or foreign database raises."""
    try:
        yield
    except (lmdb.Error, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a store that can be used ({reason(error)}); make one by `frazil prepare`"
        ) from error


def reason(error: Exception) -> str:
    """LMDB names its own function and the path before the reason."""
    return str(error).rsplit(": ", 1)[-1] or type(error).__name__
