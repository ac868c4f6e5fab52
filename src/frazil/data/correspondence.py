"""Which atom of one structure is which atom of another, by chains, residues, atom names and graphs."""

from __future__ import annotations

import numpy as np

from frazil.chemistry import MOLECULE_TYPES, NONPOLYMER
from frazil.data.structure import Structure
from frazil.data.symmetry import Ints, isomorphisms, molecular_graph
from frazil.errors import InputError


def correspondence(sample: Structure, reference: Structure) -> Ints:
    """For each atom of the reference the atom of the sample that is the same, -1 where the sample has none.

    Polymers are paired by equal sequence, in order; atoms by residue position and name. Ligands are paired by residue
    and atom names with equal bonds, else by their graphs. Ligands that only the reference has are left out (-1); which
    of several equal chains or symmetric atoms is meant is left to `metrics.Matcher`.

    Parameters
    ----------
    sample, reference : Structure

    Returns
    -------
    array
        [A of the reference] int64.

    Raises
    ------
    InputError
        If polymers differ in sequence or number, or a ligand of the sample is not in the reference.
    """
    partner = np.full(len(reference.atoms), -1, dtype=np.int64)
    free = list(range(len(reference.chains)))
    for index in sorted(range(len(sample.chains)), key=lambda i: sample.chains[i].mol_type == NONPOLYMER):
        for candidate in free:
            found = paired_atoms(sample, index, reference, candidate)
            if found is not None:
                partner[found[1]] = found[0]
                free.remove(candidate)
                break
        else:
            raise InputError(_unmatched(sample, index, reference))
    for candidate in free:
        if reference.chains[candidate].mol_type != NONPOLYMER:
            raise InputError(_unmatched(reference, candidate, sample))
    return partner


def paired_atoms(sample: Structure, i: int, reference: Structure, j: int) -> tuple[Ints, Ints] | None:
    """Equal atoms of chain i of the sample and chain j of the reference, None if they are not the same molecule."""
    ours, theirs = sample.chains[i], reference.chains[j]
    if ours.mol_type != theirs.mol_type:
        return None
    named = _pair_by_name(sample, i, reference, j)
    if ours.mol_type != NONPOLYMER:
        return named if ours.sequence == theirs.sequence and len(named[0]) else None
    # a name says little of a molecule from a SMILES: LIG may be anything, so all of it has to agree
    whole = len(named[0]) == (sample.chain_index == i).sum() == (reference.chain_index == j).sum()
    known = whole or (ours.label is None and theirs.label is None)
    if known and ours.sequence == theirs.sequence and _same_bonds(sample, named[0], reference, named[1]):
        return named
    return _pair_by_graph(sample, i, reference, j)


def _pair_by_name(sample: Structure, i: int, reference: Structure, j: int) -> tuple[Ints, Ints]:
    names = {key: atom for atom, key in _named_atoms(sample, i)}
    pairs = [(names[key], atom) for atom, key in _named_atoms(reference, j) if key in names]
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _named_atoms(structure: Structure, chain: int) -> list[tuple[int, tuple[int, str, str]]]:
    atoms = np.flatnonzero(structure.chain_index == chain)
    keys = zip(
        structure.residue_index[atoms].tolist(),
        structure.atoms.atom_name[atoms].tolist(),
        np.char.upper(structure.atoms.element[atoms]).tolist(),
        strict=True,
    )
    return list(zip(atoms.tolist(), keys, strict=True))


def _same_bonds(sample: Structure, ours: Ints, reference: Structure, theirs: Ints) -> bool:
    """Whether atoms paired by name are joined alike; two molecules can share names, but then not the bonds."""
    return len(ours) > 0 and _inner_bonds(sample, ours) == _inner_bonds(reference, theirs)


def _inner_bonds(structure: Structure, atoms: Ints) -> set[frozenset[int]]:
    local = np.full(len(structure.atoms), -1)
    local[atoms] = np.arange(len(atoms))
    ends = local[structure.atoms.bonds.as_array()[:, :2]]
    return {frozenset(pair) for pair in ends[(ends >= 0).all(axis=1)].tolist()}


def _pair_by_graph(sample: Structure, i: int, reference: Structure, j: int) -> tuple[Ints, Ints] | None:
    ours = np.flatnonzero(sample.chain_index == i)
    theirs = np.flatnonzero(reference.chain_index == j)
    if sorted(sample.atoms.element[ours]) != sorted(reference.atoms.element[theirs]):
        return None
    found = isomorphisms(molecular_graph(reference, theirs), molecular_graph(sample, ours), limit=1)
    return (ours[found[0]], theirs) if len(found) else None


def _unmatched(structure: Structure, index: int, other: Structure) -> str:
    chain = structure.chains[index]
    what = MOLECULE_TYPES[chain.mol_type]
    size = f"{what} of {len(chain.sequence)} residues" if chain.mol_type != NONPOLYMER else "-".join(chain.sequence)
    return (
        f"{structure.name}: chain {chain.chain_id} ({size}) has no partner in {other.name}; "
        "sample and reference must be the same molecules"
    )
