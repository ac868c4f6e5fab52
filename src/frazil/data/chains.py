"""Which atoms make a molecule, for files that do not say (PDB), and where residues sit in a stated sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from biotite.structure import AtomArray

from frazil.chemistry import NONPOLYMER, PROTEIN
from frazil.data.residues import ccd_kind
from frazil.data.table import UNPLACED, Polymer, group_ids

LINK_DISTANCE = 2.0
"""Angstrom, C-N or O3'-P distance up to which two neighbouring residues are one polymer."""


@dataclass(frozen=True, eq=False)
class Residue:
    """One residue of the file: its rows of all models."""

    chain_id: str
    res_id: int
    ins_code: str
    name: str
    hetero: bool
    segment: int
    rows: np.ndarray
    """Rows of the atom table, in file order."""
    first_row: dict[str, int] = field(default_factory=dict)
    """Atom name -> its row in the first model that has it."""


def residues_of(atoms: AtomArray) -> list[Residue]:
    """The residues in order of first appearance, the same residue of several models taken together."""
    ids = group_ids(atoms.molecule, atoms.segment, atoms.chain_id, atoms.res_id, atoms.ins_code, atoms.res_name)
    order = np.argsort(ids, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(ids[order])) + 1)
    residues = []
    for rows in sorted(groups, key=lambda rows: rows[0]):
        top = rows[0]
        names = atoms.atom_name[rows].tolist()
        residues.append(
            Residue(
                chain_id=str(atoms.chain_id[top]),
                res_id=int(atoms.res_id[top]),
                ins_code=str(atoms.ins_code[top]),
                name=str(atoms.res_name[top]),
                hetero=bool(atoms.hetero[top]),
                segment=int(atoms.segment[top]),
                rows=rows,
                first_row=dict(zip(reversed(names), reversed(rows.tolist()), strict=True)),
            )
        )
    return residues


def assign_molecules(atoms: AtomArray, stated: dict[str, Polymer]) -> tuple[AtomArray, dict[str, Polymer]]:
    """Fill in `molecule` and `position` by the rules of the PDB format.

    A chain's residues are its polymer if they are ATOM records of a linking component, modified residues that SEQRES
    lists, or any that are bonded (C-N, O3'-P) to it; every other residue is a molecule of its own. TER separates
    two polymers under the same letter only if their residue numbers clash.

    Returns
    -------
    AtomArray, dict
        The atoms with the two annotations set, and the polymers by molecule.
    """
    residues = residues_of(atoms)
    by_chain: dict[str, list[Residue]] = {}
    for residue in residues:
        by_chain.setdefault(residue.chain_id, []).append(residue)
    molecule = np.full(len(atoms), "", dtype="U40")
    position = np.full(len(atoms), UNPLACED)
    polymers: dict[str, Polymer] = {}
    for chain_id, members in by_chain.items():
        listed = stated.get(chain_id)
        for key, chain in _split_polymers(members, _polymer_flags(atoms, members, listed)).items():
            name = f"{chain_id}|{key}"
            places = embed_sequence([(r.name, r.res_id) for r in chain], listed.residues) if listed else None
            polymers[name] = listed if listed and places else Polymer(())
            for place, residue in zip(places or range(len(chain)), chain, strict=True):
                molecule[residue.rows] = name
                position[residue.rows] = place
        for number, residue in enumerate(members):
            if molecule[residue.rows[0]] == "":
                molecule[residue.rows] = f"{chain_id}|ligand {number}"
    atoms = atoms.copy()
    atoms.set_annotation("molecule", molecule)
    atoms.set_annotation("position", position)
    return atoms, polymers


def embed_sequence(observed: Sequence[tuple[str, int]], full: Sequence[str]) -> list[int] | None:
    """Positions of the observed residues in a full sequence, in order, or None if they do not fit.

    Every observed residue must sit on one of its name; among the ways to do so one is taken in which as few steps as
    possible disagree with the residue numbers.

    Parameters
    ----------
    observed : sequence of (str, int)
        Name and number of each residue.
    full : sequence of str
        Names.

    >>> embed_sequence([("ALA", 3), ("GLY", 5)], ["ALA", "GLY", "ALA", "GLY", "GLY"])
    [2, 4]
    """
    names = np.array(full, dtype=str)
    if not observed or len(observed) > len(names):
        return None
    # cost[j]: least number of surprises with the residues so far placed and the last one at j
    places = np.arange(len(names))
    cost = np.where(names == observed[0][0], (places != observed[0][1] - 1) * 0.5, np.inf)
    came_from = []
    for (_, before), (name, number) in pairwise(observed):
        earlier = np.minimum.accumulate(cost)
        best_so_far = _running_argmin(cost, earlier)
        jump = np.concatenate([[np.inf], earlier[:-1] + 1])
        origin = np.concatenate([[0], best_so_far[:-1]])
        step = number - before
        if 0 < step < len(names):
            straight = np.concatenate([np.full(step, np.inf), cost[:-step]])
            origin = np.where(straight <= jump, places - step, origin)
            jump = np.minimum(straight, jump)
        came_from.append(origin)
        cost = np.where(names == name, jump, np.inf)
    if not np.isfinite(cost).any():
        return None
    path = [int(np.argmin(cost))]
    for origin in reversed(came_from):
        path.append(int(origin[path[-1]]))
    return path[::-1]


def polymer_type(names: Sequence[str]) -> int:
    """The most common polymer among the residues, `NONPOLYMER` if none links."""
    kinds = Counter(kind for kind in map(ccd_kind, names) if kind != NONPOLYMER)
    return kinds.most_common(1)[0][0] if kinds else NONPOLYMER


def linked(atoms: AtomArray, before: Residue, after: Residue, distance: float = LINK_DISTANCE) -> bool:
    """Whether the C-N or O3'-P distance of two residues is that of a bond."""
    for left, right in (("C", "N"), ("O3'", "P"), ("O3*", "P")):
        if left in before.first_row and right in after.first_row:
            gap = atoms.coord[before.first_row[left]] - atoms.coord[after.first_row[right]]
            if np.linalg.norm(gap) <= distance:
                return True
    return False


def _running_argmin(values: np.ndarray, minima: np.ndarray) -> np.ndarray:
    fresh = np.concatenate([[True], minima[1:] < minima[:-1]]) & (values == minima)
    return np.maximum.accumulate(np.where(fresh, np.arange(len(values)), 0))


def _polymer_flags(atoms: AtomArray, members: list[Residue], listed: Polymer | None) -> list[bool]:
    names = set(listed.residues) if listed else set()
    first_segment = members[0].segment
    flags = [
        (not residue.hetero and ccd_kind(residue.name) != NONPOLYMER)
        or (residue.name in names and (residue.segment == first_segment or not residue.hetero))
        for residue in members
    ]
    for k in range(1, len(members)):
        flags[k] = flags[k] or (flags[k - 1] and linked(atoms, members[k - 1], members[k]))
    for k in range(len(members) - 2, -1, -1):
        flags[k] = flags[k] or (flags[k + 1] and linked(atoms, members[k], members[k + 1]))
    return flags


def _split_polymers(members: list[Residue], flags: list[bool]) -> dict[str, list[Residue]]:
    polymer = [residue for residue, flag in zip(members, flags, strict=True) if flag]
    numbers = Counter((residue.res_id, residue.ins_code) for residue in polymer)
    clash = any(count > 1 for count in numbers.values())
    chains: dict[str, list[Residue]] = {}
    group = "protein"
    for residue in polymer:
        kind = ccd_kind(residue.name)
        if kind != NONPOLYMER:
            group = "protein" if kind == PROTEIN else "nucleic"
        key = f"{group} {residue.segment}" if clash else group
        chains.setdefault(key, []).append(residue)
    return chains
