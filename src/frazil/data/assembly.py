"""Chains planned residue by residue -> one `AtomArray` with all covalent bonds; common to every kind of input."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from biotite.structure import AtomArray, BondList, BondType, concatenate

from frazil.chemistry import DNA, NONPOLYMER, PROTEIN, RNA
from frazil.data.residues import LIGAND_NAME, Component
from frazil.data.structure import Chain, Structure
from frazil.errors import InputError

MAX_ATOMS = 200_000
_LINK_ATOMS = {PROTEIN: ("C", "N"), DNA: ("O3'", "P"), RNA: ("O3'", "P")}

NO_EXTRA: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class ResiduePlan:
    """One residue or ligand to build: which of its component's atoms, under which number."""

    component: Component
    kept: np.ndarray
    """[n] int64, rising, atoms of the component to build."""
    res_id: int
    ins_code: str = ""
    hetero: bool = False
    extra: tuple[tuple[str, str], ...] = NO_EXTRA
    """(atom name, element) of atoms that the file has and the component has not."""

    @property
    def atom_names(self) -> tuple[str, ...]:
        """Names in building order."""
        return (*(self.component.atom_names[i] for i in self.kept), *(name for name, _ in self.extra))


@dataclass(frozen=True, eq=False)
class ChainPlan:
    """One molecule to build."""

    chain_id: str
    mol_type: int
    residues: tuple[ResiduePlan, ...]
    cyclic: bool = False
    label: str | None = None
    breaks: frozenset[int] = frozenset()
    """Residues (by position) that are not linked to the next one."""

    @property
    def sequence(self) -> tuple[str, ...]:
        """Residue names."""
        return tuple(residue.component.name for residue in self.residues)


@dataclass(frozen=True, eq=False)
class Assembly:
    """The built atoms, still without coordinates."""

    atoms: AtomArray
    chain_index: np.ndarray
    residue_index: np.ndarray
    residue_start: np.ndarray
    """[R + 1] int64, first atom of each residue of all chains, then A."""
    ref_pos: np.ndarray


def polymer_residue(
    component: Component, res_id: int, *, observed: frozenset[str] = frozenset(), ins_code: str = "",
    hetero: bool = False, extra: tuple[tuple[str, str], ...] = NO_EXTRA,
) -> ResiduePlan:  # fmt: skip
    """A residue without its leaving atoms, but for those that were observed."""
    seen = np.array([name in observed for name in component.atom_names], dtype=bool)
    kept = np.flatnonzero(~component.leaving | seen)
    return ResiduePlan(component, kept, res_id, ins_code, hetero, extra)


def whole_residue(component: Component, res_id: int = 1, *, hetero: bool = True) -> ResiduePlan:
    """A free molecule: every atom of the component."""
    return ResiduePlan(component, np.arange(len(component)), res_id, hetero=hetero)


def named_apart(plans: Sequence[ChainPlan]) -> list[ChainPlan]:
    """The chains with one residue name for each distinct SMILES: LIG, LIG2, LIG3, ..., but for codes in use."""
    taken = {name for plan in plans if plan.label is None for name in plan.sequence}
    free = (
        name for number in itertools.count(1) if (name := f"{LIGAND_NAME}{number if number > 1 else ''}") not in taken
    )
    names: dict[str, str] = {}
    renamed = []
    for plan in plans:
        if plan.label is not None:
            name = names[plan.label] = names.get(plan.label) or next(free)
            residue = plan.residues[0]
            residue = replace(residue, component=replace(residue.component, name=name))
            plan = replace(plan, residues=(residue,))
        renamed.append(plan)
    return renamed


def assemble(plans: Sequence[ChainPlan], *, name: str) -> Assembly:
    """Build the atoms of all chains with the bonds within residues and along polymers.

    Raises
    ------
    InputError
        If there are no atoms, or more than `MAX_ATOMS`.
    """
    residues = [residue for plan in plans for residue in plan.residues]
    sizes = np.array([len(residue.kept) + len(residue.extra) for residue in residues], dtype=np.int64)
    if not 0 < sizes.sum() <= MAX_ATOMS:
        raise InputError(f"{name}: {sizes.sum()} heavy atoms; an input needs 1 to {MAX_ATOMS}")
    lengths = np.array([len(plan.residues) for plan in plans])
    chain_of_residue = np.repeat(np.arange(len(plans)), lengths)
    position = np.concatenate([np.arange(len(plan.residues)) for plan in plans])
    atoms = concatenate([_residue_atoms(residue, plan.chain_id) for plan in plans for residue in plan.residues])
    start = np.concatenate([[0], np.cumsum(sizes)])
    first_residues = (np.cumsum(lengths) - lengths).tolist()
    links = [
        link for plan, first in zip(plans, first_residues, strict=True) for link in _polymer_links(plan, start, first)
    ]
    add_bonds(atoms, links)
    return Assembly(
        atoms=atoms,
        chain_index=np.repeat(chain_of_residue, sizes),
        residue_index=np.repeat(position, sizes),
        residue_start=start,
        ref_pos=np.concatenate([_reference(residue) for residue in residues]).astype(np.float32),
    )


def add_bonds(atoms: AtomArray, rows: Sequence[tuple[int, int, int]]) -> None:
    """Add bonds (atom, atom, biotite `BondType`) in place; those already there keep their type."""
    known = atoms.bonds.as_set() if rows else set()
    present = {(first, second) for first, second, _ in known}
    new = {(min(a, b), max(a, b)): kind for a, b, kind in rows if a != b and (min(a, b), max(a, b)) not in present}
    if new:
        table = np.array([(*pair, kind) for pair, kind in new.items()], dtype=np.int64)
        atoms.bonds = atoms.bonds.merge(BondList(len(atoms), table))


def finish(
    assembly: Assembly, plans: Sequence[ChainPlan], *, name: str, source: str,
    coords: np.ndarray | None = None, plddt: np.ndarray | None = None,
) -> Structure:  # fmt: skip
    """The `Structure` of built atoms; `coords` [E, A, 3] is NaN where unresolved, None for nothing known."""
    count = len(assembly.atoms)
    if coords is None:
        coords = np.full((1, count, 3), np.nan, dtype=np.float32)
    coords = coords.astype(np.float32)
    assembly.atoms.coord = coords[0].copy()
    return Structure(
        name=name,
        atoms=assembly.atoms,
        coords=coords,
        resolved=np.isfinite(coords).all(axis=-1),
        chains=_chains(plans),
        chain_index=assembly.chain_index.astype(np.int64),
        residue_index=assembly.residue_index.astype(np.int64),
        plddt=np.full(count, 100, dtype=np.float32) if plddt is None else plddt.astype(np.float32),
        ref_pos=assembly.ref_pos,
        source=source,
    )


def _residue_atoms(residue: ResiduePlan, chain_id: str) -> AtomArray:
    component, kept = residue.component, residue.kept
    atoms = AtomArray(len(kept) + len(residue.extra))
    atoms.coord[:] = np.nan
    names = np.array(residue.atom_names, dtype=str)
    elements = [component.elements[i] for i in kept] + [element for _, element in residue.extra]
    charge = np.concatenate([component.charges[kept], np.zeros(len(residue.extra), dtype=np.int64)])
    for category, values in {
        "chain_id": np.full(len(atoms), chain_id),
        "res_id": np.full(len(atoms), residue.res_id),
        "ins_code": np.full(len(atoms), residue.ins_code),
        "res_name": np.full(len(atoms), component.name),
        "hetero": np.full(len(atoms), residue.hetero),
        "atom_name": names,
        "element": np.array(elements, dtype=str),
        "charge": charge,
    }.items():
        atoms.set_annotation(category, values)
    new_index = np.full(len(component), -1)
    new_index[kept] = np.arange(len(kept))
    bonds = component.bonds.copy()
    bonds[:, :2] = new_index[bonds[:, :2]]
    atoms.bonds = BondList(len(atoms), bonds[(bonds[:, :2] >= 0).all(axis=1)])
    return atoms


def _reference(residue: ResiduePlan) -> np.ndarray:
    known = residue.component.ref_pos[residue.kept]
    # atoms without a place in the component get the middle of it: finite, and no leak of the file's coordinates
    middle = residue.component.ref_pos.mean(axis=0, keepdims=True)
    return np.concatenate([known, np.repeat(middle, len(residue.extra), axis=0)])


def _polymer_links(plan: ChainPlan, start: np.ndarray, first_residue: int) -> list[tuple[int, int, int]]:
    if plan.mol_type == NONPOLYMER:
        return []
    left, right = _LINK_ATOMS[plan.mol_type]
    count = len(plan.residues)
    pairs = [(k, k + 1) for k in range(count - 1) if k not in plan.breaks]
    if plan.cyclic and count > 2:
        pairs.append((count - 1, 0))
    links = []
    for before, after in pairs:
        names_before, names_after = plan.residues[before].atom_names, plan.residues[after].atom_names
        if left in names_before and right in names_after:
            a = start[first_residue + before] + names_before.index(left)
            b = start[first_residue + after] + names_after.index(right)
            links.append((int(a), int(b), int(BondType.SINGLE)))
    return links


def _chains(plans: Sequence[ChainPlan]) -> tuple[Chain, ...]:
    entities: dict[tuple, int] = {}
    copies: dict[int, int] = {}
    chains = []
    for plan in plans:
        identity = (plan.mol_type, plan.sequence, plan.label, plan.cyclic)
        entity = entities.setdefault(identity, len(entities))
        sym = copies.get(entity, 0)
        copies[entity] = sym + 1
        chains.append(Chain(plan.chain_id, entity, sym, plan.mol_type, plan.sequence, plan.cyclic, plan.label))
    return tuple(chains)
