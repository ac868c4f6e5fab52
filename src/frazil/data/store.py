"""A store of featurised structures on disk, which many workers and processes read: LMDB, one record a structure."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lmdb

from frazil._version import __version__
from frazil.data.database import (
    META,
    STORE_VERSION,
    Tables,
    as_input_error,
    exclusive,
    is_store,
    items,
    length,
    open_tables,
    reason,
    shared_tables,
)
from frazil.data.records import Record, Refusal, Row, StoredStructure, decode, encode
from frazil.errors import InputError

__all__ = ["Record", "Refusal", "StoreWriter", "StoredStructure", "StructureStore", "decode", "encode", "is_store"]


class StructureStore:
    """A store opened for reading; cheap to hand to other processes, each of which opens it anew.

    Parameters
    ----------
    path : Path
        Folder that `frazil prepare` made.

    Raises
    ------
    InputError
        If it is no store, damaged, or written by a newer version.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from frazil.data import featurize, read
    >>> features = featurize(read("CC(=O)N"))
    >>> folder = TemporaryDirectory()
    >>> with StoreWriter(folder.name) as writer:
    ...     writer.add({"acetamide": StoredStructure(features, features.ref_pos, "CC(N)=O")})
    >>> store = StructureStore(folder.name)
    >>> store.names, store.num_tokens, store[0].label
    (('acetamide',), (4,), 'CC(N)=O')
    >>> folder.cleanup()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._reading() as (tables, transaction):
            rows = [(key.decode(), Row.parse(value)) for key, value in items(transaction, tables.sizes)]
        self.names = tuple(name for name, _ in rows)
        """In the store's order."""
        self.num_tokens = tuple(row.num_tokens for _, row in rows)
        """Of each structure."""
        self.labels = tuple(row.label for _, row in rows)
        """SMILES of each ligand, empty for other structures."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> StoredStructure:
        """The structure of that place in `names`.

        Raises
        ------
        InputError
            If its record is damaged.
        """
        return self.select([index])[0]

    def select(self, indices: Sequence[int]) -> list[StoredStructure]:
        """Several structures at once, in the order asked for.

        Raises
        ------
        InputError
            If one of the records is damaged.
        """
        names = [self.names[index] for index in indices]
        with self._reading() as (tables, transaction):
            found = [
                (transaction.get(name.encode(), db=tables.records), transaction.get(name.encode(), db=tables.sizes))
                for name in names
            ]
        return [self._structure(name, *content) for name, content in zip(names, found, strict=True)]

    def fingerprint(self) -> str:
        """Digest of the names, the sizes and the records' checksums: the same for the same content."""
        digest = blake2b(digest_size=16)
        with self._reading() as (tables, transaction):
            for key, row in items(transaction, tables.sizes):
                digest.update(key + b"\0" + row)
        return digest.hexdigest()

    def _structure(self, name: str, content: bytes | None, row: bytes | None) -> StoredStructure:
        try:
            if content is None or row is None:
                raise InputError("missing")
            known = Row.parse(row)
            if known.checksum not in (None, zlib.crc32(content)):
                raise InputError("damaged")
            return replace(decode(content), label=known.label, origin=known.origin)
        except InputError as error:
            raise InputError(f"{self.path}: the record {name} is {error}; prepare it again in a new folder") from error

    @contextmanager
    def _reading(self) -> Iterator[tuple[Tables, Any]]:
        path = self.path.absolute()
        with as_input_error(self.path):
            tables = shared_tables(path, os.getpid())
            with tables.environment.begin() as transaction:
                yield tables, transaction


class StoreWriter:
    """A store opened for writing; records become visible in whole batches, so a killed run leaves a usable store.

    Others may read meanwhile. The lock on the folder ends with the process, however that ends.

    Parameters
    ----------
    path : Path
        Folder; made if it does not exist.
    num_conformers : int, optional
        Reference conformers of a ligand, which must be the same for the whole store; not checked without.

    Raises
    ------
    InputError
        If another process is writing there, or the folder holds something else, a damaged store, one of a newer
        version or one with another number of conformers.
    """

    def __init__(self, path: str | Path, *, num_conformers: int | None = None) -> None:
        self.path = Path(path)
        # LMDB lets a process open a folder once
        shared_tables.cache_clear()
        with ExitStack() as opened, as_input_error(self.path):
            opened.callback(os.close, exclusive(self.path))
            self._tables = open_tables(self.path, write=True)
            opened.callback(self._tables.environment.close)
            self._agree(num_conformers)
            self._opened = opened.pop_all()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def names(self) -> frozenset[str]:
        """What is stored already."""
        with as_input_error(self.path), self._tables.environment.begin() as transaction:
            return frozenset(key.decode() for key, _ in items(transaction, self._tables.sizes))

    def origins(self) -> frozenset[str]:
        """Where that came from; its name where the store does not say."""
        with as_input_error(self.path), self._tables.environment.begin() as transaction:
            rows = items(transaction, self._tables.sizes)
            return frozenset(Row.parse(row).origin or key.decode() for key, row in rows)

    def refusals(self) -> tuple[Refusal, ...]:
        """What was refused, by origin."""
        with as_input_error(self.path), self._tables.environment.begin() as transaction:
            found = [Refusal(**json.loads(value)) for _, value in items(transaction, self._tables.refused)]
        return tuple(sorted(found, key=lambda refusal: refusal.origin))

    def add(self, batch: Mapping[str, StoredStructure]) -> None:
        """Store some structures, all of them or none.

        Raises
        ------
        InputError
            If the disk is full; what was stored before stays as it is.
        """
        self.put({name: Record.of(structure) for name, structure in batch.items()})

    def put(self, records: Mapping[str, Record], refusals: Sequence[Refusal] = ()) -> None:
        """Store some records and refusals, all of them or none; an entry that is stored is no longer refused.

        Raises
        ------
        InputError
            As `add`.
        """
        with self._writing() as transaction:
            for refusal in refusals:
                transaction.put(_key(refusal.origin), json.dumps(vars(refusal)).encode(), db=self._tables.refused)
            for name, record in records.items():
                transaction.put(name.encode(), record.content, db=self._tables.records)
                transaction.put(name.encode(), Row.of(record).json(), db=self._tables.sizes)
                transaction.delete(_key(record.origin), db=self._tables.refused)

    def close(self) -> None:
        """Write everything to disk and let others write."""
        self._opened.close()

    def _agree(self, num_conformers: int | None) -> None:
        with self._tables.environment.begin() as transaction:
            meta = json.loads(transaction.get(META) or b"{}")
        stored = meta.get("conformers")
        if None not in (stored, num_conformers) and stored != num_conformers:
            raise InputError(
                f"{self.path}: was prepared with {stored} conformers a ligand, not {num_conformers}; give "
                f"--conformers {stored} or another folder"
            )
        known = {"version": STORE_VERSION, "frazil": __version__, "conformers": num_conformers or stored}
        if known != meta:
            with self._writing() as transaction:
                transaction.put(META, json.dumps(known).encode())

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        environment = self._tables.environment
        try:
            with environment.begin(write=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise InputError(
                f"{self.path}: cannot be written ({reason(error)}); what was stored before is whole, free some space "
                "and run the same command again"
            ) from error
        # pages at the end that the transaction freed again are not written; a reader takes their lack for damage
        data = self.path / "data.mdb"
        if data.stat().st_size < length(environment):
            os.truncate(data, length(environment))


def _key(origin: str) -> bytes:
    """Of a refusal; paths may be longer than keys of LMDB."""
    return blake2b(origin.encode("utf-8", "surrogateescape"), digest_size=16).digest()
