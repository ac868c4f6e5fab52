"""`ParsedFile` -> `Structure`: complete molecules with the coordinates that the file has."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from biotite.structure import AtomArray, BondType

from frazil.chemistry import ATOMIC_NUMBER, NONPOLYMER
from frazil.data.assembly import (
    Assembly,
    ChainPlan,
    ResiduePlan,
    add_bonds,
    assemble,
    finish,
    polymer_residue,
)
from frazil.data.chains import Residue, assign_molecules, linked, polymer_type, residues_of
from frazil.data.residues import Component, ccd_component, renamed_to_match
from frazil.data.structure import Structure
from frazil.data.table import AtomKey, ParsedFile, Polymer, tidy
from frazil.errors import InputError

DISULFIDE_DISTANCES = (1.5, 2.5)
"""Angstrom, SG-SG distances between which two cysteines are bonded although no record says so."""

_BREAK_DISTANCE = 3.0
_PROTONATION_NAMES = {
    "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "CYX": "CYS", "CYM": "CYS",
    "LYN": "LYS", "ASH": "ASP", "GLH": "GLU",
}  # fmt: skip
_OLD_ATOM_NAMES = {"O1P": "OP1", "O2P": "OP2", "O3P": "OP3", "OT1": "O", "OT2": "OXT"}

Placed = list[tuple[ChainPlan, list[Residue | None]]]


def structure_from_file(parsed: ParsedFile, *, name: str, source: str) -> Structure:
    """Build the complete molecules of a file.

    Raises
    ------
    InputError
        If no heavy atom has coordinates, or a residue is unknown.
    """
    atoms, polymers = tidy(parsed.atoms), parsed.polymers
    if len(atoms) == 0:
        raise InputError(f"{source}: no heavy atom with coordinates, waters aside; give a file that has some")
    if not (atoms.molecule != "").any():
        atoms, polymers = assign_molecules(atoms, polymers)
    else:
        _number_ligands_alike(atoms)
    atoms.set_annotation("atom_name", atoms.atom_name.astype("U8"))
    ends = frozenset(end for first, second, _ in parsed.links for end in (first, second))
    by_molecule: dict[str, list[Residue]] = {}
    for residue in residues_of(atoms):
        by_molecule.setdefault(str(atoms.molecule[residue.rows[0]]), []).append(residue)
    reader = _ComponentReader(parsed, atoms, source)
    placed: Placed = []
    for molecule, residues in by_molecule.items():
        polymer = polymers.get(molecule)
        mol_type = _molecule_type(atoms, residues, polymer)
        if mol_type == NONPOLYMER:
            placed.append(_ligand(reader, residues, ends))
        else:
            placed.append(_polymer(reader, residues, polymer or Polymer(()), mol_type, parsed.links))
    return _build(parsed, atoms, placed, name=name, source=source)


def _number_ligands_alike(atoms: AtomArray) -> None:
    """Give a one-residue molecule the same number in all models: NMR files number ions on from model to model."""
    for molecule in np.unique(atoms.molecule[atoms.position < 0]):
        rows = np.flatnonzero(atoms.molecule == molecule)
        numbers = np.unique(np.stack([atoms.model[rows], atoms.res_id[rows]]), axis=1)
        if len(numbers.T) == len(np.unique(atoms.model[rows])):
            atoms.res_id[rows] = atoms.res_id[rows[0]]


class _ComponentReader:
    """Looks up the component of a residue and puts its old atom names right in the table."""

    def __init__(self, parsed: ParsedFile, atoms: AtomArray, source: str) -> None:
        self.atoms = atoms
        self._own = parsed.components
        self._source = source

    def missing(self, name: str) -> Component:
        """The component of a residue that the file only lists."""
        component = ccd_component(name)
        if component is None:
            raise InputError(f"{self._source}: residue {name} of the sequence is not in the CCD; use its code there")
        return component

    def observed(self, residue: Residue) -> tuple[Component, frozenset[str], tuple[tuple[str, str], ...]]:
        """Component, names seen, and the atoms seen that the component has not."""
        component = self._own.get(residue.name) or self._from_ccd(residue)
        rename = {
            old: component.synonyms.get(old, _OLD_ATOM_NAMES.get(old, old.replace("*", "'")))
            for old in residue.first_row
            if old not in component.atom_names
        }
        rename = {
            old: new for old, new in rename.items() if new in component.atom_names and new not in residue.first_row
        }
        for old, new in rename.items():
            rows = residue.rows[self.atoms.atom_name[residue.rows] == old]
            self.atoms.atom_name[rows] = new
            residue.first_row[new] = residue.first_row.pop(old)
        seen = frozenset(residue.first_row)
        extra = tuple(
            (atom, str(self.atoms.element[row]).upper())
            for atom, row in residue.first_row.items()
            if atom not in component.atom_names and str(self.atoms.element[row]).upper() in ATOMIC_NUMBER
        )
        return component, seen, extra

    def _from_ccd(self, residue: Residue) -> Component:
        where = f"{self._source}: residue {residue.name} {residue.chain_id}{residue.res_id}{residue.ins_code}"
        names = set(residue.first_row)
        component = ccd_component(residue.name)
        plain = _PROTONATION_NAMES.get(residue.name)
        if plain and {"N", "CA", "C"} <= names and (component is None or not names <= set(component.atom_names)):
            component = ccd_component(plain)
        if component is None:
            raise InputError(
                f"{where} is not in the Chemical Component Dictionary; use its CCD code, or give the ligand as SDF"
            )
        known = {*component.atom_names, *component.synonyms, *_OLD_ATOM_NAMES}
        if len(names) == 1 or (component.kind != NONPOLYMER and names & {"CA", "C1'", "C1*"}) or names <= known:
            return component
        matching = renamed_to_match(component, self.atoms[list(residue.first_row.values())])
        if matching is None and 2 * len(names & known) < len(names):
            raise InputError(
                f"{where} has other atoms than the CCD's {residue.name}; use its CCD code, or give the ligand as SDF"
            )
        return matching or component


def _molecule_type(atoms: AtomArray, residues: list[Residue], polymer: Polymer | None) -> int:
    if polymer is not None:
        if polymer.mol_type is not None:
            return polymer.mol_type
        return polymer_type(polymer.residues or [residue.name for residue in residues])
    # without a word on polymers, several numbered residues of a linking kind are one
    numbered = [r for r in residues if atoms.position[r.rows[0]] >= 0]
    linking = polymer_type([r.name for r in numbered])
    return linking if len(numbered) > 1 or (numbered and not numbered[0].hetero) else NONPOLYMER


def _ligand(
    reader: _ComponentReader, residues: list[Residue], ends: frozenset[AtomKey]
) -> tuple[ChainPlan, list[Residue | None]]:
    plans = []
    for residue in residues:
        component, seen, extra = reader.observed(residue)
        bound = len(residues) > 1 or any(
            AtomKey(residue.chain_id, residue.res_id, residue.ins_code, atom) in ends for atom in seen
        )
        seen_or_staying = [name in seen for name in component.atom_names] | ~component.leaving
        kept = np.flatnonzero(seen_or_staying | (not bound))
        plans.append(ResiduePlan(component, kept, residue.res_id, residue.ins_code, residue.hetero, extra))
    label = plans[0].component.label if len(plans) == 1 else None
    return ChainPlan(residues[0].chain_id, NONPOLYMER, tuple(plans), label=label), list(residues)


def _polymer(
    reader: _ComponentReader, residues: list[Residue], polymer: Polymer, mol_type: int,
    links: tuple[tuple[AtomKey, AtomKey, int], ...],
) -> tuple[ChainPlan, list[Residue | None]]:  # fmt: skip
    atoms = reader.atoms
    places = [int(atoms.position[residue.rows[0]]) for residue in residues]
    stated = polymer.residues
    if not stated or len(set(places)) < len(places) or min(places) < 0 or max(places) >= len(stated):
        # a sequence that does not fit its own residues is dropped: what is observed counts
        stated, places = (), list(range(len(residues)))
    at: list[Residue | None] = [None] * (len(stated) or len(residues))
    for place, residue in zip(places, residues, strict=True):
        at[place] = residue
    numbers = _numbers(at, polymer.numbers if stated else None)
    plans = []
    for place, here in enumerate(at):
        res_id, ins_code = numbers[place]
        if here is None:
            plans.append(polymer_residue(reader.missing(stated[place]), res_id, ins_code=ins_code))
        else:
            component, seen, extra = reader.observed(here)
            plans.append(
                polymer_residue(component, res_id, observed=seen, ins_code=ins_code, hetero=here.hetero, extra=extra)
            )
    breaks = frozenset() if stated else _breaks(atoms, residues)
    cyclic = _is_cyclic(at[0], at[-1], links) if len(at) > 2 else False
    return ChainPlan(residues[0].chain_id, mol_type, tuple(plans), cyclic, breaks=breaks), at


def _numbers(at: list[Residue | None], stated: tuple[tuple[int, str], ...] | None) -> list[tuple[int, str]]:
    """Unique (res_id, ins_code) for every residue: those seen keep theirs, the others count on from them."""
    numbers = [(r.res_id, r.ins_code) if r else None for r in at]
    taken = {number for number in numbers if number}
    first = next(k for k, number in enumerate(numbers) if number)
    start = numbers[first]
    last = start[0] - first - 1 if start else 0
    result = []
    for place, number in enumerate(numbers):
        if number is None:
            wish = stated[place] if stated else (last + 1, "")
            letters = iter(["", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
            while wish in taken:
                # more than 26 residues without a free number go on from the highest
                wish = (wish[0], letter) if (letter := next(letters, None)) else (max(taken)[0] + 1, "")
            number = wish
            taken.add(number)
        last = number[0]
        result.append(number)
    return result


def _breaks(atoms: AtomArray, residues: list[Residue]) -> frozenset[int]:
    """Neighbours that are neither numbered one after the other nor near enough to be linked."""
    return frozenset(
        k
        for k, (before, after) in enumerate(pairwise(residues))
        if after.res_id - before.res_id not in (0, 1) and not linked(atoms, before, after, _BREAK_DISTANCE)
    )


def _is_cyclic(first: Residue | None, last: Residue | None, links: tuple[tuple[AtomKey, AtomKey, int], ...]) -> bool:
    if first is None or last is None:
        return False
    for head, tail in (("N", "C"), ("P", "O3'")):
        ends = {
            AtomKey(first.chain_id, first.res_id, first.ins_code, head),
            AtomKey(last.chain_id, last.res_id, last.ins_code, tail),
        }
        if any({a, b} == ends for a, b, _ in links):
            return True
    return False


def _build(parsed: ParsedFile, atoms: AtomArray, placed: Placed, *, name: str, source: str) -> Structure:
    plans = [plan for plan, _ in placed]
    assembly = assemble(plans, name=source)
    residues = [residue for _, members in placed for residue in members]
    row, target = _row_targets(atoms, assembly, residues)
    models, model = np.unique(atoms.model[row], return_inverse=True)
    coords = np.full((len(models), len(assembly.atoms), 3), np.nan, dtype=np.float32)
    coords[model, target] = atoms.coord[row]
    plddt = None
    if parsed.predicted:
        plddt = np.zeros(len(assembly.atoms), dtype=np.float32)
        plddt[target] = np.clip(atoms.b_factor[row] * (100 if atoms.b_factor.max() <= 1 else 1), 0, 100)
    add_bonds(assembly.atoms, _named_links(assembly.atoms, parsed.links))
    add_bonds(assembly.atoms, _disulfides(assembly.atoms, coords))
    return finish(assembly, plans, name=name, source=source, coords=coords, plddt=plddt)


def _row_targets(atoms: AtomArray, assembly: Assembly, residues: list[Residue | None]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the table and the built atom of each."""
    rows, targets = [], []
    for index, residue in enumerate(residues):
        if residue is not None:
            start, stop = assembly.residue_start[index : index + 2].tolist()
            index_of = {atom: start + k for k, atom in enumerate(assembly.atoms.atom_name[start:stop].tolist())}
            for row, atom in zip(residue.rows.tolist(), atoms.atom_name[residue.rows].tolist(), strict=True):
                if atom in index_of:
                    rows.append(row)
                    targets.append(index_of[atom])
    return np.array(rows, dtype=np.int64), np.array(targets, dtype=np.int64)


def _named_links(atoms: AtomArray, links: Iterable[tuple[AtomKey, AtomKey, int]]) -> list[tuple[int, int, int]]:
    links = list(links)
    if not links:
        return []
    columns = (atoms.chain_id, atoms.res_id, atoms.ins_code, atoms.atom_name)
    index: dict[AtomKey, int] = {}
    for position, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        index.setdefault(AtomKey(*key), position)
    return [(index[a], index[b], kind) for a, b, kind in links if a in index and b in index]


def _disulfides(atoms: AtomArray, coords: np.ndarray) -> list[tuple[int, int, int]]:
    """Near SG pairs of the first model; each sulfur once, nearest pairs first."""
    sulfurs = np.flatnonzero(
        (atoms.res_name == "CYS") & (atoms.atom_name == "SG") & np.isfinite(coords[0]).all(axis=-1)
    )
    known = atoms.bonds.as_array()[:, :2]
    bonded = set(known[np.isin(known, sulfurs).all(axis=1)].ravel().tolist())
    shortest, longest = DISULFIDE_DISTANCES
    points = coords[0][sulfurs]
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    pairs = np.argwhere(np.triu((distances > shortest) & (distances < longest), k=1))
    found = []
    for a, b in sorted(pairs.tolist(), key=lambda pair: distances[pair[0], pair[1]]):
        first, second = int(sulfurs[a]), int(sulfurs[b])
        if first not in bonded and second not in bonded:
            bonded |= {first, second}
            found.append((first, second, int(BondType.SINGLE)))
    return found
