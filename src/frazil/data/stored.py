"""Features and the mmCIF of the same atoms, made elsewhere -> `Structure`, its atoms in the order of the features."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from biotite.structure import AtomArray, BondType
from biotite.structure.io.pdbx import CIFFile
from numpy.typing import NDArray
from rdkit import Chem

from frazil.chemistry import ATOMIC_NUMBER, ELEMENTS, NONPOLYMER
from frazil.data import molecules
from frazil.data.assembly import ChainPlan, ResiduePlan, add_bonds, assemble, finish
from frazil.data.cif import parse_cif
from frazil.data.files import parsing
from frazil.data.residues import Component, ccd_component
from frazil.data.structure import Structure
from frazil.data.write import to_rdkit
from frazil.errors import InputError
from frazil.features import Features

_BOND_TYPES = {
    1: BondType.SINGLE, 2: BondType.DOUBLE, 3: BondType.TRIPLE, 4: BondType.AROMATIC, 5: BondType.SINGLE,
}  # fmt: skip


def structure_of_features(cif: str, features: Features, *, name: str, source: str) -> Structure:
    """The molecules of features, named as an mmCIF of the same atoms in the same order names them.

    Which atoms there are, to which chain they belong and what is bonded comes from the features and the Chemical
    Component Dictionary, never from the distances in the mmCIF; names and coordinates come from the mmCIF.

    Parameters
    ----------
    cif : str
        Content of the mmCIF; of several models the first counts.
    features : Features
        One structure without padding, with its restraints.
    name, source : str
        Of the structure; the source is named in errors.

    Raises
    ------
    InputError
        If the text is no mmCIF, or its atoms are not those of the features.
    """
    with parsing(Path(source), "mmCIF"):
        records = parse_cif(CIFFile.read(io.StringIO(cif)).block, source).atoms
        records = records[records.model == records.model.min()]
        _refuse_others(records, features, source)
        table = _Table.of(records, features)
        plans = [_chain(table, chain) for chain in np.unique(table.chain)]
        assembly = assemble(plans, name=source)
        _refuse_disorder(assembly.atoms, records, source)
        add_bonds(assembly.atoms, table.cross_links())
        built = finish(assembly, plans, name=name, source=source, coords=records.coord[None])
        return _labelled(replace(built, ref_pos=table.ref_pos))


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of A atoms: what the file calls them, and what the features say of them."""

    records: AtomArray
    chain: NDArray[np.int64]
    """[A] number of the chain."""
    starts: NDArray[np.int64]
    """[R + 1] first atom of each residue, then A."""
    mol_type: NDArray[np.int64]
    cyclic: NDArray[np.bool_]
    charge: NDArray[np.int64]
    ref_pos: NDArray[np.float32]
    """[A, 3]."""
    bonds: dict[tuple[int, int], int]
    """Order by pair of atoms, the lower first: those that the features have for tokens that are atoms."""
    graph: frozenset[tuple[int, int]]
    """Bonded pairs of atoms of one conformer."""
    links: frozenset[tuple[int, int]]
    """Bonded pairs of atoms of unlike residues."""

    @classmethod
    def of(cls, records: AtomArray, features: Features) -> _Table:
        """Of features of as many atoms as there are records."""
        token = features.atom_token_index[0]

        def of_atoms(values: torch.Tensor) -> Any:
            return values[0, token].numpy()

        chain = of_atoms(features.asym_id)
        keys = np.stack([np.unique(column, return_inverse=True)[1] for column in (chain, *_residue_columns(records))])
        new = np.concatenate([[True], (np.diff(keys, axis=1) != 0).any(axis=0)])
        residue = np.cumsum(new) - 1
        restraints = features.restraints
        pairs = _pairs(restraints.bonds.atoms) | _pairs(restraints.connections.atoms)
        apart = {pair for pair in pairs if residue[pair[0]] != residue[pair[1]]}
        orders = _orders(features)
        return cls(
            records=records,
            chain=chain,
            starts=np.append(np.flatnonzero(new), len(records)),
            mol_type=of_atoms(features.mol_type),
            cyclic=of_atoms(features.cyclic_period) > 0,
            charge=features.ref_charge[0].numpy().round().astype(np.int64),
            ref_pos=features.ref_pos[0].numpy().astype(np.float32),
            bonds=orders,
            graph=frozenset(pairs - apart),
            links=frozenset(apart | {pair for pair in orders if residue[pair[0]] != residue[pair[1]]}),
        )

    def cross_links(self) -> list[tuple[int, int, int]]:
        """Bonds between residues, which `assemble` adds to those of the backbone."""
        return [(first, second, int(BondType.SINGLE)) for first, second in sorted(self.links)]


def _chain(table: _Table, chain: int) -> ChainPlan:
    atoms = np.flatnonzero(table.chain == chain)
    first, last = int(atoms[0]), int(atoms[-1])
    residues = [
        _residue(table, int(start), int(stop))
        for start, stop in zip(table.starts[:-1], table.starts[1:], strict=True)
        if first <= start <= last
    ]
    cyclic = bool(table.cyclic[first])
    return ChainPlan(str(table.records.chain_id[first]), int(table.mol_type[first]), tuple(residues), cyclic)


def _residue(table: _Table, start: int, stop: int) -> ResiduePlan:
    records = table.records[start:stop]
    hetero = bool(table.mol_type[start] == NONPOLYMER)
    return ResiduePlan(_component(table, start, stop), np.arange(stop - start), int(records.res_id[0]), hetero=hetero)


def _component(table: _Table, start: int, stop: int) -> Component:
    """The residue's atoms in their order, with the dictionary's bonds where its names are the dictionary's."""
    records = table.records[start:stop]
    name, names = str(records.res_name[0]), tuple(map(str, records.atom_name.tolist()))
    charges = table.charge[start:stop]
    elements = tuple(str(element).upper() for element in records.element)
    stated = {(a - start, b - start): kind for (a, b), kind in table.bonds.items() if start <= a and b < stop}
    bonds = _dictionary_bonds(name, names)
    if bonds is None or (stated and _pairs(torch.from_numpy(bonds[:, :2])) != stated.keys()):
        near = {(a - start, b - start): int(BondType.SINGLE) for a, b in table.graph if start <= a and b < stop}
        rows = [(*pair, kind) for pair, kind in sorted((stated or near).items())]
        bonds = molecules.kekulized(elements, charges.tolist(), np.array(rows, dtype=np.int64).reshape(-1, 3))
    return Component(
        name=name,
        kind=int(table.mol_type[start]),
        atom_names=names,
        elements=elements,
        charges=charges,
        leaving=np.zeros(len(names), dtype=bool),
        bonds=bonds,
        ref_pos=table.ref_pos[start:stop],
    )


def _dictionary_bonds(name: str, names: tuple[str, ...]) -> NDArray[np.int64] | None:
    """[K, 3] bonds of the atoms of a residue of the CCD; None if it has none of that name or without these atoms."""
    known = ccd_component(name)
    if known is None or not set(names) <= set(known.atom_names):
        return None
    place = np.full(len(known), -1)
    place[[known.atom_names.index(atom) for atom in names]] = np.arange(len(names))
    bonds = known.bonds.copy()
    bonds[:, :2] = place[bonds[:, :2]]
    return bonds[(bonds[:, :2] >= 0).all(axis=1)]


def _labelled(structure: Structure) -> Structure:
    """The structure with a SMILES for each ligand of one residue that is not the CCD's, stereo from its conformer."""
    chains = list(structure.chains)
    for index, chain in enumerate(chains):
        atoms = structure.atoms[structure.chain_index == index]
        names = tuple(map(str, atoms.atom_name.tolist()))
        if chain.mol_type != NONPOLYMER or len(chain.sequence) > 1 or _is_of_dictionary(atoms, names):
            continue
        if not (atoms.bonds.as_array()[:, 2] == BondType.AROMATIC).any():
            mol = Chem.RemoveHs(to_rdkit(structure, index, structure.ref_pos), sanitize=False)
            chains[index] = replace(chain, label=Chem.MolToSmiles(mol))
    return replace(structure, chains=tuple(chains))


def _is_of_dictionary(atoms: AtomArray, names: tuple[str, ...]) -> bool:
    bonds = _dictionary_bonds(str(atoms.res_name[0]), names)
    return bonds is not None and _pairs(torch.from_numpy(bonds[:, :2])) == _pairs(
        torch.from_numpy(atoms.bonds.as_array()[:, :2].astype(np.int64))
    )


def _residue_columns(records: AtomArray) -> tuple[NDArray[Any], ...]:
    return records.chain_id, records.res_id, records.ins_code, records.res_name


def _pairs(atoms: torch.Tensor) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for a, b in atoms.tolist()}


def _orders(features: Features) -> dict[tuple[int, int], int]:
    """Bond orders between atoms that are tokens by themselves, as the features' bonds between tokens have them."""
    token = features.atom_token_index[0]
    count = torch.bincount(token, minlength=features.num_tokens).tolist()
    atom = {one: index for index, one in enumerate(token.tolist()) if count[one] == 1}
    rows = zip(features.token_bonds[0].tolist(), features.token_bond_type[0].tolist(), strict=True)
    return {
        (min(atom[i], atom[j]), max(atom[i], atom[j])): int(_BOND_TYPES.get(kind, BondType.SINGLE))
        for (i, j), kind in rows
        if i in atom and j in atom and i != j
    }


def _refuse_others(records: AtomArray, features: Features, source: str) -> None:
    count = features.num_atoms
    if len(records) != count:
        raise InputError(f"{source}: its mmCIF has {len(records)} atoms, its features {count}; write it again")
    numbers = np.array([ATOMIC_NUMBER.get(str(element).upper(), 0) for element in records.element])
    wanted = features.ref_element[0].numpy()
    if (numbers != wanted).any():
        atom = int(np.flatnonzero(numbers != wanted)[0])
        element = ELEMENTS[int(wanted[atom])] if 0 <= int(wanted[atom]) < len(ELEMENTS) else "unknown"
        raise InputError(
            f"{source}: atom {atom + 1} of its mmCIF is {records.element[atom]}, of its features {element}; "
            "write it again"
        )


def _refuse_disorder(built: AtomArray, records: AtomArray, source: str) -> None:
    """Refuse chains that are not contiguous: the atoms built of them are in another order than the records."""
    same = (built.atom_name == records.atom_name) & (built.res_name == records.res_name)
    if not (same & (built.res_id == records.res_id) & (built.chain_id == records.chain_id)).all():
        raise InputError(f"{source}: the atoms of its mmCIF are not in the order of its features; write it again")
