"""What the metrics need to know of a structure besides its coordinates, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from biotite.structure import BondType
from numpy.typing import NDArray
from rdkit import Chem

from frazil.chemistry import METAL_RADIUS
from frazil.data.structure import Structure
from frazil.data.symmetry import Ints, equal_chains, is_metal, molecular_graph, symmetric_atoms

_TETRAHEDRAL = ("C", "N", "P", "S", "SI", "GE", "AS", "SE", "B")
_SINGLE_ORDERS = (BondType.ANY, BondType.SINGLE)


@dataclass(frozen=True, eq=False)
class Topology:
    """Connectivity, radii, stereocentres and symmetries of a structure of A atoms."""

    residue: Ints
    """[A] int64, residue (of a polymer) or ligand of each atom, numbered through."""
    bonds: Ints
    """[K, 2] int64, covalently bonded pairs."""
    radii: NDArray[np.float64]
    """[A] van-der-Waals radius in angstrom; 0.7 for a metal."""
    centres: Ints
    """[C, 4] int64, a tetrahedral stereocentre and three of its neighbours."""
    copies: list[Ints]
    """Per entity with copies [copies, n] int64: the atoms of each chain in the same order."""
    alternatives: list[Ints]
    """Per residue or ligand with symmetric atoms [P, k] int64: row 0 may be matched to any row."""


def topology(structure: Structure) -> Topology:
    """The `Topology` of a structure."""
    residue = np.stack([structure.chain_index, structure.residue_index], axis=1)
    _, number = np.unique(residue, axis=0, return_inverse=True)
    return Topology(
        residue=number.reshape(-1).astype(np.int64),
        bonds=structure.atoms.bonds.as_array()[:, :2].astype(np.int64),
        radii=contact_radii(structure.atoms.element),
        centres=stereocentres(structure),
        copies=equal_chains(structure),
        alternatives=symmetric_atoms(structure),
    )


def selections(structure: Structure) -> list[str]:
    """[A] the name of each atom as a restraint would select it.

    >>> from frazil.data import read
    >>> selections(read("CCO[H]"))[1:]
    ['A:1:C2', 'A:1:O1']
    """
    atoms = structure.atoms
    columns = (atoms.chain_id, atoms.res_id, atoms.ins_code, atoms.atom_name)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [f"{chain}:{number}{code}:{name}" for chain, number, code, name in rows]


def contact_radii(elements: NDArray[np.str_]) -> NDArray[np.float64]:
    """[A] van-der-Waals radii in angstrom (RDKit's table), `METAL_RADIUS` for metals."""
    table = Chem.GetPeriodicTable()
    names, where = np.unique(elements, return_inverse=True)
    radii = np.array([table.GetRvdw(name.capitalize()) for name in names.tolist()])
    return np.where(is_metal(names), METAL_RADIUS, radii)[where.reshape(-1)]


def stereocentres(structure: Structure) -> Ints:
    """[C, 4] int64: tetrahedral atoms whose handedness is part of what the molecule is, and three of their neighbours.

    An atom with three or four heavy neighbours, all single bonds (but S=O and P=O), where no two neighbours are
    equivalent in the graph without bond orders: C-alpha, C-beta of threonine and isoleucine, sugar carbons, centres of
    ligands; neither the phosphorus of a phosphodiester nor an invertible nitrogen. Centres that differ only from each
    other, as in 1,4-dimethylcyclohexane, are not found.
    """
    neighbours, orders = structure.atoms.bonds.get_all_bonds()
    metal = is_metal(structure.atoms.element)
    # a bond to a metal does not make a centre
    real = (neighbours >= 0) & ~metal[neighbours]
    found = [
        (atom, neighbours[atom][real[atom]])
        for atom in np.flatnonzero(np.isin(real.sum(axis=1), (3, 4)))
        if _is_tetrahedral(structure.atoms.element[atom].upper(), orders[atom][real[atom]])
    ]
    if not found:
        return np.empty((0, 4), dtype=np.int64)
    mol = molecular_graph(structure, np.arange(len(structure.atoms)))
    mol.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(mol)
    rank = np.array(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
    kept = [(atom, *around[:3]) for atom, around in found if len(set(rank[around])) == len(around)]
    return np.array(kept, dtype=np.int64).reshape(-1, 4)


def _is_tetrahedral(element: str, orders: NDArray[np.int64]) -> bool:
    """Whether an atom with these bonds to heavy atoms is a stable tetrahedron, hydrogens or a lone pair filling up."""
    if element not in _TETRAHEDRAL:
        return False
    if element == "N":
        return len(orders) == 4
    return element in ("S", "P", "AS", "SE") or bool(np.isin(orders, _SINGLE_ORDERS).all())
