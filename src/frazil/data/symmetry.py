"""Symmetries of a structure: equal chains, and atoms that only their names tell apart."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from frazil.chemistry import NONMETALS, NONPOLYMER, RESIDUE_TYPE_INDEX
from frazil.data.structure import Structure

Ints = NDArray[np.int64]

MAX_SYMMETRIES = 1000
"""Symmetries listed per molecule; beyond (some dendrimers and fullerenes), an RMSD is an upper bound."""
_RING = (("CD1", "CD2"), ("CE1", "CE2"))
_PHOSPHATE = (("OP1", "OP2"),)
SYMMETRIC_ATOMS = {
    "PHE": _RING,
    "TYR": _RING,
    "ASP": (("OD1", "OD2"),),
    "GLU": (("OE1", "OE2"),),
    "ARG": (("NH1", "NH2"),),
    **dict.fromkeys(("A", "C", "G", "U", "DA", "DC", "DG", "DT"), _PHOSPHATE),
}
"""Pairs that swap together. Not here: CD1/CD2 of leucine, CG1/CG2 of valine, whose names follow the handedness."""


def molecular_graph(structure: Structure, atoms: Ints) -> Chem.Mol:
    """Elements and connectivity of some atoms, without bond orders and charges, so that resonance forms are equal.

    Metals that coordinate another residue do not count. Atoms bonded to anything outside are marked (as isotopes, by
    the number of such bonds), so that no symmetry moves them onto atoms that are not.
    """
    mol = Chem.RWMol()
    local = np.full(len(structure.atoms), -1)
    local[atoms] = np.arange(len(atoms))
    for element in structure.atoms.element[atoms]:
        atom = Chem.Atom(element.capitalize())
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for i, j in local[_covalent_bonds(structure)].tolist():
        if i >= 0 and j >= 0:
            mol.AddBond(i, j, Chem.BondType.SINGLE)
        elif i >= 0 or j >= 0:
            outward = mol.GetAtomWithIdx(max(i, j))
            outward.SetIsotope(outward.GetIsotope() + 1)
    return mol.GetMol()


def isomorphisms(mol: Chem.Mol, other: Chem.Mol, limit: int = MAX_SYMMETRIES) -> Ints:
    """[P, n] int: for each way to lay `mol` on `other`, the atom of `other` for each of `mol`; P = 0 if unlike."""
    size = mol.GetNumAtoms()
    if size != other.GetNumAtoms() or mol.GetNumBonds() != other.GetNumBonds():
        return np.empty((0, size), dtype=np.int64)
    found = other.GetSubstructMatches(mol, uniquify=False, maxMatches=limit)
    return np.array(found, dtype=np.int64).reshape(-1, size)


def symmetric_atoms(structure: Structure) -> list[Ints]:
    """Alternatives for `metrics.Matcher`: per residue or ligand, [P, k] int with the atoms' own indices in row 0.

    Standard residues by table (`SYMMETRIC_ATOMS`), modified residues and whole ligands by the symmetries of their
    graph, up to `MAX_SYMMETRIES`.
    """
    known: dict[tuple[object, ...], Ints] = {}
    found = []
    for atoms in _units(structure):
        rows = _table_symmetries(structure, atoms)
        if rows is None:
            mol = molecular_graph(structure, atoms)
            key = _graph_key(mol)
            if key not in known:
                known[key] = isomorphisms(mol, mol)
            rows = known[key]
        rows = _moved_columns(rows)
        if len(rows) > 1:
            found.append(atoms[rows])
    return found


def equal_chains(structure: Structure) -> list[Ints]:
    """Copies for `metrics.Matcher`: per entity with several equal chains, [copies, n] int, atoms in the same order."""
    groups: dict[tuple[object, ...], list[Ints]] = defaultdict(list)
    for index, chain in enumerate(structure.chains):
        atoms = np.flatnonzero(structure.chain_index == index)
        keys = list(zip(structure.residue_index[atoms].tolist(), structure.atoms.atom_name[atoms], strict=True))
        order = sorted(range(len(atoms)), key=keys.__getitem__)
        groups[chain.entity_id, tuple(keys[i] for i in order)].append(atoms[order])
    return [np.stack(chains) for chains in groups.values() if len(chains) > 1]


def is_metal(elements: NDArray[np.str_]) -> NDArray[np.bool_]:
    """[A] bool."""
    return ~np.isin(np.char.upper(elements), NONMETALS)


def _covalent_bonds(structure: Structure) -> Ints:
    """[K, 2]: all bonds but those of metals to other residues."""
    bonds = structure.atoms.bonds.as_array()[:, :2].astype(np.int64)
    places = np.stack([structure.chain_index, structure.residue_index], axis=1)[bonds]
    metallic = is_metal(structure.atoms.element)[bonds].any(axis=1)
    return bonds[~(metallic & (places[:, 0] != places[:, 1]).any(axis=-1))]


def _units(structure: Structure) -> list[Ints]:
    """Atoms of each polymer residue and of each whole non-polymer."""
    types = np.array([chain.mol_type for chain in structure.chains])[structure.chain_index]
    position = np.where(types == NONPOLYMER, 0, structure.residue_index)
    changes = (np.diff(structure.chain_index) != 0) | (np.diff(position) != 0)
    return [part.astype(np.int64) for part in np.split(np.arange(len(types)), np.flatnonzero(changes) + 1)]


def _table_symmetries(structure: Structure, atoms: Ints) -> Ints | None:
    """Local symmetries of a standard residue, or None for what the table does not cover."""
    chain = structure.chains[structure.chain_index[atoms[0]]]
    residue = structure.atoms.res_name[atoms[0]]
    if chain.mol_type == NONPOLYMER or residue not in RESIDUE_TYPE_INDEX:
        return None
    local = {name: index for index, name in enumerate(structure.atoms.atom_name[atoms])}
    rows = np.tile(np.arange(len(atoms)), (2, 1))
    for a, b in SYMMETRIC_ATOMS.get(residue, ()):
        if a in local and b in local:
            rows[1, [local[a], local[b]]] = local[b], local[a]
    return rows[:1] if (rows[0] == rows[1]).all() else rows


def _moved_columns(rows: Ints) -> Ints:
    """The symmetries restricted to the atoms that any of them moves, identity first."""
    identity = np.arange(rows.shape[1])
    others = rows[(rows != identity).any(axis=1)]
    moved = (others != identity).any(axis=0)
    return np.concatenate([identity[None], others])[:, moved]


def _graph_key(mol: Chem.Mol) -> tuple[object, ...]:
    atoms = tuple((atom.GetAtomicNum(), atom.GetIsotope()) for atom in mol.GetAtoms())
    return atoms, tuple((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds())
