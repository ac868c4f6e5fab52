"""Covalent bonds, which Boltz-2's features do not list: read off the reference conformers and the polymers' links.

Terms on clashes leave out what few bonds join, so they need the graph.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from frazil.chemistry import DNA, PROTEIN, RNA, VDW_RADII, encode_atom_name
from frazil.features import Features
from frazil.potentials.neighbours import neighbour_pairs
from frazil.potentials.overlap import atom_radii
from frazil.restraints import Terms

# Of the sum of two van-der-Waals radii: bonds are at 0.35 to 0.56 (long ones of metals apart), other pairs above 0.63.
_BONDED_SHARE = 0.6
_LINKS = ((PROTEIN, "C", "N"), (DNA, "O3'", "P"), (RNA, "O3'", "P"))


def covalent_bonds(features: Features) -> Terms:
    """Bonds within residues and ligands and along polymers, rings closed; no bounds.

    Within a reference conformer two atoms are bonded if they are closer than 0.6 times the sum of their van-der-Waals
    radii; long bonds of metals are missed. Bonds between chains are not among them, nor disulfides, of which the
    features of a sequence say nothing.

    Parameters
    ----------
    features : Features
        Reference conformers, elements, names and residues.
    """
    first, second = (torch.cat(ends) for ends in zip(_within(features), _along(features), strict=True))
    structure, atom = first // features.num_atoms, torch.stack([first, second], dim=1) % features.num_atoms
    return replace(Terms.of(atom), structure=structure)


def _within(features: Features) -> tuple[Tensor, Tensor]:
    """Both ends [K] of bonds of conformers, as row * A + atom."""
    atoms = torch.nonzero(features.atom_mask.flatten()).flatten()
    conformer = features.ref_space_uid - features.ref_space_uid.min()
    row = torch.arange(features.batch_size, device=features.device)[:, None]
    conformer = (row * (conformer.max() + 1) + conformer).flatten()[atoms]
    radius = atom_radii(features, VDW_RADII).flatten()[atoms]
    reach = 2 * _BONDED_SHARE * float(radius.max()) if len(atoms) else 0.0
    first, second = [atoms[:0]], [atoms[:0]]
    for pairs in neighbour_pairs(features.ref_pos.flatten(0, 1)[atoms], conformer, reach):
        bonded = pairs.distance < _BONDED_SHARE * (radius[pairs.first] + radius[pairs.second])
        first.append(atoms[pairs.first[bonded]])
        second.append(atoms[pairs.second[bonded]])
    return torch.cat(first), torch.cat(second)


def _along(features: Features) -> tuple[Tensor, Tensor]:
    """Both ends [K] of the links between neighbouring residues of polymers."""
    kind, chain, residue, period = (
        field.gather(1, features.atom_token_index)
        for field in (features.mol_type, features.asym_id, features.residue_index, features.cyclic_period)
    )
    following = torch.where(period > 0, (residue + 1) % period.clamp(min=1), residue + 1)
    pairs: list[tuple[int, int]] = []
    for polymer, out, into in _LINKS:
        leaving, entering = (_named(features, name) & (kind == polymer) for name in (out, into))
        first, second = _positions(leaving, chain, following), _positions(entering, chain, residue)
        pairs += sorted((first[key], second[key]) for key in first.keys() & second.keys())
    ends = torch.tensor(pairs, dtype=torch.int64, device=features.device).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def _named(features: Features, name: str) -> Tensor:
    """[B, A] bool, atoms of that name."""
    code = torch.tensor(encode_atom_name(name), device=features.device)
    return features.atom_mask & (features.ref_atom_name_chars == code).all(dim=-1)


def _positions(atoms: Tensor, chain: Tensor, residue: Tensor) -> dict[tuple[int, int, int], int]:
    """The atom, as row * A + atom, of each row, chain and residue."""
    row, atom = torch.nonzero(atoms, as_tuple=True)
    keys = zip(row.tolist(), chain[row, atom].tolist(), residue[row, atom].tolist(), strict=True)
    return dict(zip(keys, (row * atoms.shape[1] + atom).tolist(), strict=True))
