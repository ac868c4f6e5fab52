"""`Structure` -> `Features`: tokens as in AlphaFold 3 (supplement, section 2.6 and Table 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from biotite.structure import BondType

from frazil.chemistry import (
    ATOMIC_NUMBER,
    DNA,
    NONPOLYMER,
    PROTEIN,
    RESIDUE_TYPE_INDEX,
    RNA,
    STANDARD_RESIDUES,
    UNKNOWN_RESIDUE,
    backbone_class,
    encode_atom_name,
)  # fmt: skip
from frazil.data.structure import Structure
from frazil.data.topology import stereocentres
from frazil.features import Features

_NUCLEIC = frozenset(STANDARD_RESIDUES[DNA].values()) | frozenset(STANDARD_RESIDUES[RNA].values()) | {"N", "DN"}
ONE_TOKEN_RESIDUES = {
    PROTEIN: frozenset(STANDARD_RESIDUES[PROTEIN].values()) | {"UNK"},
    DNA: _NUCLEIC,
    RNA: _NUCLEIC,
}
"""By molecule type; an unknown residue (UNK, N, DN) counts as standard, deoxyribo- and ribonucleotides may mix."""

_BASE_ATOM = {**dict.fromkeys(("A", "G", "DA", "DG"), "C4"), **dict.fromkeys(("C", "U", "DC", "DT"), "C2")}
_BOND_ORDERS = {
    BondType.SINGLE: 1, BondType.DOUBLE: 2, BondType.TRIPLE: 3, BondType.AROMATIC_SINGLE: 4,
    BondType.AROMATIC_DOUBLE: 4, BondType.AROMATIC_TRIPLE: 4, BondType.AROMATIC: 4,
}  # fmt: skip
_OTHER_BOND = 5
_FLAT = 0.2
"""Cubic angstrom: three bonds of a tetrahedron span 2 to 3, those of a drawing in the plane none."""
_BACKBONE_LINKS = (("C", "N"), ("O3'", "P"))


@dataclass(frozen=True, eq=False)
class _Tokens:
    first_atom: np.ndarray
    """[N] int64."""
    of_atom: np.ndarray
    """[A] int64."""
    residue_of_atom: np.ndarray
    """[A] int64, residue counted over all chains."""
    one_token: np.ndarray
    """[N] bool, tokens that are whole standard residues."""


def featurize(structure: Structure) -> Features:
    """Tokens, atoms and bonds of a structure, B = 1, unpadded.

    A standard residue of a polymer is one token; of modified residues, ligands and ions every heavy atom is one.
    `token_bonds` are the bonds of tokens that are atoms, among themselves and with residues; the polymers' own
    backbone and bonds between standard residues (disulfides, the closure of a ring) are left out, as in AlphaFold 3.

    Examples
    --------
    >>> from frazil.data import featurize, read
    >>> features = featurize(read("CCCO"))
    >>> features.num_tokens, features.token_bonds.tolist()
    (4, [[[0, 1], [1, 2], [2, 3]]])
    """
    tokens = _tokenize(structure)
    fields = {**_token_fields(structure, tokens), **_bond_fields(structure, tokens), **_atom_fields(structure, tokens)}
    tensors: dict[str, Any] = {name: torch.from_numpy(np.array(value))[None] for name, value in fields.items()}
    return Features(**tensors)


def on_reference(features: Features, structure: Structure) -> Features:
    """What `featurize` gives of a structure, in less time, from that of one that differs in `ref_pos` alone.

    Parameters
    ----------
    features : Features
        Of the other structure, B = 1.
    structure : Structure
        With the reference conformer that is to be taken.
    """
    chirality = _chirality(structure, _tokenize(structure))
    return replace(
        features,
        ref_pos=torch.from_numpy(structure.ref_pos.astype(np.float32))[None],
        ref_chirality=torch.from_numpy(chirality)[None],
    )


def _tokenize(structure: Structure) -> _Tokens:
    atoms = structure.atoms
    keys = np.stack([structure.chain_index, structure.residue_index])
    new_residue = np.concatenate([[True], (np.diff(keys, axis=1) != 0).any(axis=0)])
    types = np.array([chain.mol_type for chain in structure.chains])[structure.chain_index]
    standard = np.zeros(len(atoms), dtype=bool)
    for mol_type, names in ONE_TOKEN_RESIDUES.items():
        standard |= (types == mol_type) & np.isin(atoms.res_name, sorted(names))
    new_token = new_residue | ~standard
    first = np.flatnonzero(new_token)
    return _Tokens(first, np.cumsum(new_token) - 1, np.cumsum(new_residue) - 1, standard[first])


def _token_fields(structure: Structure, tokens: _Tokens) -> dict[str, np.ndarray]:
    first = tokens.first_atom
    chain_of_token = structure.chain_index[first]
    chains = structure.chains

    def of_chain(values: list[int]) -> np.ndarray:
        return np.array(values, dtype=np.int64)[chain_of_token]

    mol_type = of_chain([chain.mol_type for chain in chains])
    names = structure.atoms.res_name[first].tolist()
    res_type = [
        RESIDUE_TYPE_INDEX[name if whole else UNKNOWN_RESIDUE[kind]]
        for name, kind, whole in zip(names, mol_type.tolist(), tokens.one_token.tolist(), strict=True)
    ]
    return {
        "token_mask": np.ones(len(first), dtype=bool),
        "token_index": np.arange(len(first)),
        "residue_index": structure.residue_index[first],
        "asym_id": chain_of_token.astype(np.int64),
        "entity_id": of_chain([chain.entity_id for chain in chains]),
        "sym_id": of_chain([chain.sym_id for chain in chains]),
        "mol_type": mol_type,
        "res_type": np.array(res_type, dtype=np.int64),
        "modified": ~tokens.one_token & (mol_type != NONPOLYMER),
        "cyclic_period": of_chain([len(chain.sequence) if chain.cyclic else 0 for chain in chains]),
        "representative_atom_index": _representatives(structure, tokens, mol_type),
    }


def _representatives(structure: Structure, tokens: _Tokens, mol_type: np.ndarray) -> np.ndarray:
    atom_names = structure.atoms.atom_name.tolist()
    stops = np.append(tokens.first_atom[1:], len(atom_names)).tolist()
    result = tokens.first_atom.copy()
    for token, (start, stop) in enumerate(zip(tokens.first_atom.tolist(), stops, strict=True)):
        if tokens.one_token[token]:
            names = atom_names[start:stop]
            base = _BASE_ATOM.get(str(structure.atoms.res_name[start]), "C1'")
            wanted = ("CB", "CA") if mol_type[token] == PROTEIN else (base, "C1'")
            result[token] = start + next((names.index(name) for name in wanted if name in names), 0)
    return result


def _bond_fields(structure: Structure, tokens: _Tokens) -> dict[str, np.ndarray]:
    bonds = structure.atoms.bonds.as_array().astype(np.int64)
    first, second, kind = bonds.T
    pair = np.sort(np.stack([tokens.of_atom[first], tokens.of_atom[second]], axis=1), axis=1)
    kept = (pair[:, 0] != pair[:, 1]) & ~tokens.one_token[pair].all(axis=1)
    orders = np.array([_BOND_ORDERS.get(BondType(k), _OTHER_BOND) for k in kind.tolist()], dtype=np.int64)
    orders[_cross_links(structure, tokens, bonds)] = _OTHER_BOND
    pairs, index = np.unique(pair[kept], axis=0, return_index=True)
    return {"token_bonds": pairs.reshape(-1, 2), "token_bond_type": orders[kept][index]}


def _cross_links(structure: Structure, tokens: _Tokens, bonds: np.ndarray) -> np.ndarray:
    """[K] bool, bonds between residues that are not the backbone of a polymer."""
    first, second, _ = bonds.T
    names = structure.atoms.atom_name
    backbone = np.zeros(len(bonds), dtype=bool)
    for left, right in _BACKBONE_LINKS:
        backbone |= (names[first] == left) & (names[second] == right)
        backbone |= (names[second] == left) & (names[first] == right)
    polymer = np.array([chain.mol_type != NONPOLYMER for chain in structure.chains])[structure.chain_index]
    same_chain = structure.chain_index[first] == structure.chain_index[second]
    between = tokens.residue_of_atom[first] != tokens.residue_of_atom[second]
    return between & ~(backbone & same_chain & polymer[first])


def _atom_fields(structure: Structure, tokens: _Tokens) -> dict[str, np.ndarray]:
    atoms = structure.atoms
    types = np.array([chain.mol_type for chain in structure.chains])[structure.chain_index].tolist()
    names = atoms.atom_name.tolist()
    numbers = [ATOMIC_NUMBER.get(element.upper(), 0) for element in atoms.element.tolist()]
    classes = [backbone_class(name, kind) for name, kind in zip(names, types, strict=True)]
    return {
        "atom_mask": np.ones(len(atoms), dtype=bool),
        "atom_token_index": tokens.of_atom.astype(np.int64),
        "ref_pos": structure.ref_pos.astype(np.float32),
        "ref_element": np.array(numbers, dtype=np.int64),
        "ref_charge": atoms.charge.astype(np.float32),
        "ref_atom_name_chars": np.array([encode_atom_name(name) for name in names], dtype=np.int64),
        "ref_space_uid": tokens.residue_of_atom.astype(np.int64),
        "ref_chirality": _chirality(structure, tokens),
        "backbone_index": np.array(classes, dtype=np.int64),
        "plddt": structure.plddt.astype(np.float32),
        "coords": np.where(structure.resolved[..., None], structure.coords, 0).astype(np.float32),
        "resolved_mask": structure.resolved,
        "ensemble_size": np.array(len(structure.coords), dtype=np.int64),
    }


def _chirality(structure: Structure, tokens: _Tokens) -> np.ndarray:
    """[A] int64, `Features.ref_chirality`, read off the reference conformer."""
    found = np.zeros(len(structure.atoms), dtype=np.int64)
    alone = ~tokens.one_token[tokens.of_atom]
    if not alone.any():
        return found
    neighbours = structure.atoms.bonds.get_all_bonds()[0]
    centres = stereocentres(structure)[:, 0]
    first = [np.sort(row[row >= 0])[:3] for row in neighbours[centres]]
    quads = np.array([(centre, *row) for centre, row in zip(centres, first, strict=True)], dtype=np.int64).reshape(
        -1, 4
    )
    residue = tokens.residue_of_atom[quads]
    quads = quads[alone[quads].all(axis=1) & (residue == residue[:, :1]).all(axis=1)]
    around = structure.ref_pos[quads[:, 1:]] - structure.ref_pos[quads[:, :1]]
    volume = np.linalg.det(around.astype(np.float64))
    found[quads[:, 0]] = np.where(np.abs(volume) < _FLAT, 0, np.where(volume > 0, 1, 2))
    return found
