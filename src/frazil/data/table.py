"""`ParsedFile`: the atom records and the chemistry that a structure file states, before any chain is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from biotite.structure import AtomArray

from frazil.data.residues import WATERS, Component

UNPLACED = -1
"""`position` of an atom that is in no polymer."""


class AtomKey(NamedTuple):
    """An atom as a person names it."""

    chain_id: str
    res_id: int
    ins_code: str
    atom_name: str


@dataclass(frozen=True, eq=False)
class Polymer:
    """The full sequence that a file states for one chain."""

    residues: tuple[str, ...]
    mol_type: int | None = None
    """None where the file does not say."""
    numbers: tuple[tuple[int, str], ...] | None = None
    """(res_id, ins_code) of each residue, where the file says."""


@dataclass(frozen=True, eq=False)
class ParsedFile:
    """What a structure file says."""

    atoms: AtomArray
    """Records of all models in file order; beyond biotite's annotations: model (int), altloc, occupancy, b_factor,
    segment (int, counts TER records), molecule (str, the chain in AlphaFold 3's sense, empty if unknown) and position
    (int, in the molecule's full sequence, `UNPLACED` if unknown)."""
    polymers: dict[str, Polymer] = field(default_factory=dict)
    """By molecule, or by chain id where the atoms have no molecule."""
    links: tuple[tuple[AtomKey, AtomKey, int], ...] = ()
    """Bonds between residues, with a biotite `BondType`."""
    predicted: bool = False
    """Whether the B-factors are pLDDT."""
    components: dict[str, Component] = field(default_factory=dict)
    """Residues that the file defines itself."""


def group_ids(*columns: np.ndarray) -> np.ndarray:
    """[n] int64, equal where all columns are equal, in no particular order."""
    ids = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, codes = np.unique(column, return_inverse=True)
        ids = np.unique(ids * len(values) + codes, return_inverse=True)[1]
    return ids


def tidy(atoms: AtomArray) -> AtomArray:
    """Heavy atoms with finite coordinates, no waters, one alternate location a residue, each record once.

    Of a residue's alternate locations the one with the highest mean occupancy stays (the first letter among equals),
    with the atoms that have none; so a residue is never a mix of two, and the same one in all models.
    """
    heavy = ~np.isin(np.char.upper(atoms.element), ("H", "D", "T"))
    wanted = heavy & ~np.isin(atoms.res_name, tuple(WATERS)) & np.isfinite(atoms.coord).all(axis=1)
    atoms = atoms[wanted]
    if len(atoms) == 0:
        return atoms
    atoms = atoms[_chosen_altlocs(atoms)]
    record = group_ids(atoms.model, *_residue_columns(atoms), atoms.res_name, atoms.atom_name)
    first = np.sort(np.unique(record, return_index=True)[1])
    return atoms[first]


def _residue_columns(atoms: AtomArray) -> tuple[np.ndarray, ...]:
    return atoms.molecule, atoms.segment, atoms.chain_id, atoms.res_id, atoms.ins_code


def _chosen_altlocs(atoms: AtomArray) -> np.ndarray:
    alternate = atoms.altloc != ""
    if not alternate.any():
        return np.ones(len(atoms), dtype=bool)
    residue = group_ids(*_residue_columns(atoms))
    best: dict[int, tuple[float, str]] = {}
    rows = np.flatnonzero(alternate)
    letters, letter = np.unique(atoms.altloc[rows], return_inverse=True)
    variants, of_row = np.unique(residue[rows] * len(letters) + letter, return_inverse=True)
    occupancy = np.nan_to_num(atoms.occupancy[rows])
    means = np.bincount(of_row, weights=occupancy) / np.bincount(of_row)
    for variant, mean in zip(variants.tolist(), means.tolist(), strict=True):
        key, code = divmod(variant, len(letters))
        if key not in best or mean > best[key][0] + 1e-6:
            best[key] = (mean, letters[code])
    chosen = np.array([best[key][1] if key in best else "" for key in residue.tolist()], dtype=str)
    return ~alternate | (atoms.altloc == chosen)
