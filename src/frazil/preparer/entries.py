"""The kinds of entry that a store is made of; each can be sent to another process and featurised there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, final

from frazil.data.ccd import CrystalLigands
from frazil.data.store import StoredStructure
from frazil.data.targets import ligand_of_record, stored_file, stored_ligand
from frazil.errors import InputError
from frazil.preparer.settings import PrepareSettings


class Entry(Protocol):
    """One structure to prepare."""

    @property
    def name(self) -> str:
        """Under which it is stored."""

    @property
    def origin(self) -> str:
        """Where it comes from: unique, and the same in every run."""

    def structure(self, settings: PrepareSettings) -> StoredStructure:
        """Read and featurise it.

        Raises
        ------
        InputError
            If it cannot be used, or is outside the limits of size.
        """


@lru_cache(maxsize=1)
def dictionary() -> CrystalLigands:
    """The Chemical Component Dictionary, read once a process; processes forked later share it."""
    return CrystalLigands()


@final
@dataclass(frozen=True)
class DictionaryLigand:
    """A ligand of the Chemical Component Dictionary with its model coordinates."""

    name: str
    origin: str

    def structure(self, settings: PrepareSettings) -> StoredStructure:
        """See `Entry.structure`."""
        ligand = dictionary()[self.origin]
        settings.check_size(len(ligand.coords))
        return stored_ligand(ligand, settings.conformers, origin=self.origin)


@final
@dataclass(frozen=True)
class SdfRecord:
    """A ligand of an SDF."""

    name: str
    origin: str
    text: str

    def structure(self, settings: PrepareSettings) -> StoredStructure:
        """See `Entry.structure`."""
        ligand = ligand_of_record(self.text, self.name)
        settings.check_size(len(ligand.coords))
        return stored_ligand(ligand, settings.conformers, origin=self.origin)


@final
@dataclass(frozen=True)
class StructureFile:
    """An mmCIF, BinaryCIF or PDB file, with all molecules in it."""

    name: str
    origin: str

    def structure(self, settings: PrepareSettings) -> StoredStructure:
        """See `Entry.structure`."""
        stored = stored_file(Path(self.origin), origin=self.origin)
        settings.check_size(stored.features.num_atoms)
        return stored


@final
@dataclass(frozen=True)
class Unreadable:
    """What could not even be divided into entries."""

    name: str
    origin: str
    reason: str

    def structure(self, settings: PrepareSettings) -> StoredStructure:
        """Raise why."""
        raise InputError(self.reason)
