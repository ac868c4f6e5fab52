"""Atoms by name: `CHAIN`, `CHAIN:NUMBER`, `CHAIN:NUMBER:ATOM`, a ligand's residue name in place of the number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import final

import numpy as np

from frazil.chemistry import NONPOLYMER
from frazil.data.structure import Structure
from frazil.data.symmetry import Ints
from frazil.errors import InputError

_SHOWN = 3
_NUMBER = re.compile(r"-?\d{1,9}")


@final
@dataclass(frozen=True)
class _Residue:
    """One residue of a structure: where its atoms lie and the names it answers to."""

    start: int
    stop: int
    chain: int
    number: str
    """As in the file, with the insertion code; from 1 where the input is a sequence."""
    name: str
    ligand: bool


@final
class Selector:
    """Looks selections up in one structure.

    Numbers are those of the file (`12`, with an insertion code `12A`); residues of a sequence count from 1. A ligand is
    named by its number or its residue name. A chain that shares its name with others, as a PDB file's ligands do with
    their polymer, stands for its polymer if there is one.
    """

    def __init__(self, structure: Structure) -> None:
        self._atom_names: list[str] = structure.atoms.atom_name.tolist()
        self._chains = structure.chains
        self._chain_index = structure.chain_index
        self._residues: dict[str, list[_Residue]] = {chain.chain_id: [] for chain in structure.chains}
        for residue in _residues(structure):
            self._residues[structure.chains[residue.chain].chain_id].append(residue)

    def atoms(self, text: str) -> Ints:
        """[n] int64, rising: the atoms of a selection, at least one.

        Raises
        ------
        InputError
            If it names no atom, or may mean several things; with the nearest names there are.
        """
        parts = [part.strip() for part in text.split(":")]
        if len(parts) > 3 or not all(parts[1:]):
            raise InputError(f"selection {text[:60]!r}: not of the form CHAIN, CHAIN:NUMBER or CHAIN:NUMBER:ATOM")
        if parts[0] not in self._residues:
            raise InputError(
                f"selection {text[:60]!r}: no chain {parts[0][:20]!r}; {nearest(parts[0], self._residues)}"
            )
        if len(parts) == 1:
            return np.flatnonzero(self._chain_index == self._chain(parts[0]))
        residue = self._residue(text, parts[0], parts[1])
        span = range(residue.start, residue.stop)
        if len(parts) == 2:
            return np.array(span, dtype=np.int64)
        found = [atom for atom in span if self._atom_names[atom] == parts[2]]
        if not found:
            known = nearest(parts[2], [self._atom_names[atom] for atom in span])
            where = f"residue {residue.number} ({residue.name}) of chain {parts[0]}"
            raise InputError(f"selection {text[:60]!r}: no atom {parts[2][:20]!r} in {where}; {known}")
        return np.array(found, dtype=np.int64)

    def one(self, text: str) -> int:
        """The single atom of a selection.

        Raises
        ------
        InputError
            As `atoms`, or if it names several.
        """
        found = self.atoms(text)
        if len(found) > 1:
            raise InputError(f"selection {text[:60]!r}: means {len(found)} atoms, one is needed; add the atom's name")
        return int(found[0])

    def chain(self, name: str) -> int:
        """Index into `Structure.chains` of a chain's name.

        Raises
        ------
        InputError
            If there is none, or which of several is meant cannot be told.
        """
        if name not in self._residues:
            raise InputError(f"no chain {name[:20]!r}; {nearest(name, self._residues)}")
        return self._chain(name)

    def _chain(self, name: str) -> int:
        found = [index for index, chain in enumerate(self._chains) if chain.chain_id == name]
        polymers = [index for index in found if self._chains[index].mol_type != NONPOLYMER]
        kept = polymers or found
        if len(kept) > 1:
            shown = ", ".join(f"{name}:{one.number}" for one in self._residues[name][:_SHOWN])
            raise InputError(f"selection {name!r}: means {len(kept)} molecules; say which by number ({shown}, ...)")
        return kept[0]

    def _residue(self, text: str, chain: str, wanted: str) -> _Residue:
        here = self._residues[chain]
        found = [one for one in here if one.number == wanted or (one.ligand and one.name == wanted)]
        if len(found) > 1:
            shown = ", ".join(dict.fromkeys(f"{chain}:{one.number} ({one.name})" for one in found))
            raise InputError(f"selection {text[:60]!r}: means {len(found)} residues; choose one of {shown[:200]}")
        if not found:
            names = [name for one in here for name in ((one.number, one.name) if one.ligand else (one.number,))]
            raise InputError(
                f"selection {text[:60]!r}: no residue {wanted[:20]!r} in chain {chain}; {nearest(wanted, names)}"
            )
        return found[0]


def held_atoms(structure: Structure, chains: Iterable[str]) -> np.ndarray:
    """The atoms of some chains (or other selections) that have coordinates in the first model, to hold them fixed.

    Parameters
    ----------
    structure : Structure
        With coordinates.
    chains : iterable of str
        Selections; a chain's name is one.

    Returns
    -------
    array
        [A] bool.

    Raises
    ------
    InputError
        If a selection names no atom, or none of its atoms has a position.
    """
    selector = Selector(structure)
    held = np.zeros(len(structure.atoms), dtype=bool)
    for text in chains:
        atoms = selector.atoms(text)
        known = atoms[structure.resolved[0, atoms]]
        if not len(known):
            raise InputError(f"{structure.name}: {text[:60]!r} has no coordinates to hold; give a structure file")
        held[known] = True
    return held


def nearest(text: str, names: Iterable[str]) -> str:
    """A hint at the names that are meant, for the end of an error message.

    >>> nearest("cb", ["N", "CA", "CB"])
    'did you mean CB, CA?'
    >>> nearest("99", ["1", "2", "56"])
    'did you mean 56, 2, 1?'
    """
    known = list(dict.fromkeys(names))
    if _NUMBER.fullmatch(text):
        numbers = [name for name in known if _NUMBER.fullmatch(name)]
        close = sorted(numbers, key=lambda name: abs(int(name) - int(text)))[:_SHOWN]
    else:
        upper = {name.upper(): name for name in known}
        close = [upper[match] for match in get_close_matches(text.upper()[:60], list(upper), n=_SHOWN, cutoff=0.5)]
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"known are {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"


def _residues(structure: Structure) -> list[_Residue]:
    atoms = structure.atoms
    places = np.stack([structure.chain_index, structure.residue_index])
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(places, axis=1) != 0).any(axis=0)]))
    stops = np.append(starts[1:], len(atoms))
    chains, ids = structure.chain_index[starts].tolist(), atoms.res_id[starts].tolist()
    codes, names = atoms.ins_code[starts].tolist(), atoms.res_name[starts].tolist()
    return [
        _Residue(start, stop, chain, f"{number}{code}", name, structure.chains[chain].mol_type == NONPOLYMER)
        for start, stop, chain, number, code, name in zip(
            starts.tolist(), stops.tolist(), chains, ids, codes, names, strict=True
        )
    ]
