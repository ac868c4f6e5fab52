"""Random motion of the reference conformers, whole (AlphaFold 3 supplement, Table 5, algorithm 19) or in parts."""

from __future__ import annotations

from dataclasses import replace
from math import tau

import biotite.structure as struc
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from frazil.features import Features
from frazil.geometry import center, random_rotations, rigid_align

TRANSLATION_SCALE = 1.0
"""Angstrom, standard deviation of the translation along each axis."""


def randomize_reference(features: Features, generator: torch.Generator) -> Features:
    """Centre every reference conformer over its atoms, turn it at random and move it by N(0, 1 angstrom).

    Each `ref_space_uid` gets a motion of its own, so `ref_pos` tells nothing of how residues lie to each other.

    Parameters
    ----------
    features : Features
        One structure, B = 1; a crop or padded will do.
    generator : torch.Generator
        Source of the motions, on the CPU.

    Raises
    ------
    ValueError
        If the batch holds more than one structure.
    """
    features.refuse_several("randomize_reference")
    atoms = torch.nonzero(features.atom_mask[0]).squeeze(1)
    positions = features.ref_pos[0, atoms]
    spaces, space = torch.unique(features.ref_space_uid[0, atoms], return_inverse=True)
    count = torch.zeros(len(spaces), 1, device=features.device).index_add(0, space, positions.new_ones(len(atoms), 1))
    middle = positions.new_zeros(len(spaces), 3).index_add(0, space, positions) / count
    rotations = random_rotations((len(spaces),), generator).to(positions)
    shifts = TRANSLATION_SCALE * torch.randn(len(spaces), 3, generator=generator).to(positions)
    turned = torch.einsum("aij,aj->ai", rotations[space], positions - middle[space])
    moved = features.ref_pos.clone()
    moved[0, atoms] = turned + shifts[space]
    return replace(features, ref_pos=moved)


def share_reference_frame(features: Features, generator: torch.Generator) -> Features:
    """Lay the coordinates onto the reference conformer and turn both by the same random rotation.

    Parameters
    ----------
    features : Features
        One structure, B = 1, that is one molecule with one reference conformer.
    generator : torch.Generator
        Source of the rotation, on the CPU.

    Raises
    ------
    ValueError
        If the batch holds more than one structure.
    """
    features.refuse_several("share_reference_frame")
    known = features.resolved_mask & features.atom_mask[:, None]
    reference = center(features.ref_pos, features.atom_mask)
    laid = rigid_align(features.coords, reference[:, None].expand_as(features.coords), known)
    rotation = random_rotations((1,), generator).to(reference)
    coords = torch.where(known[..., None], laid @ rotation[:, None], 0)
    return replace(features, ref_pos=reference @ rotation, coords=coords)


def turn_torsions(features: Features, generator: torch.Generator) -> Features:
    """Turn reference conformers about each of their rotatable bonds by an angle of its own, all angles alike likely.

    Lengths, angles, rings, double bonds and stereo stay; which torsions are usual is then nowhere to be read off the
    conformer, and a network in training has to know it from the covalent graph. Atoms may end up on top of each other.
    Residues of one token, whose bonds no feature tells, keep their conformers.

    Parameters
    ----------
    features : Features
        One structure, B = 1.
    generator : torch.Generator
        Source of the angles, on the CPU.

    Raises
    ------
    ValueError
        If the batch holds more than one structure.
    """
    features.refuse_several("turn_torsions")
    ends = features.representative_atom_index[0][features.token_bonds[0]].numpy()
    space = features.ref_space_uid[0].numpy()[ends]
    # a conformer is turned within itself: a bond to another residue leads to where that one's conformer lies
    joined = (features.token_bonds[0, :, 0].numpy() >= 0) & (space[:, 0] == space[:, 1])
    kinds = np.where(features.token_bond_type[0].numpy() == 1, struc.BondType.SINGLE, struc.BondType.ANY)
    bonds = struc.BondList(features.num_atoms, np.column_stack([ends, kinds])[joined])
    place = features.ref_pos[0].numpy().copy()
    turning = struc.find_rotatable_bonds(bonds).as_array()[:, :2]
    angles = tau * torch.rand(len(turning), generator=generator).numpy()
    for (i, j), angle in zip(turning, angles, strict=True):
        bonds.remove_bond(i, j)
        beyond = struc.find_connected(bonds, j)
        bonds.add_bond(i, j, struc.BondType.SINGLE)
        along = place[j] - place[i]
        # atoms on top of each other turn nothing
        turn = Rotation.from_rotvec(angle * along / max(np.linalg.norm(along), 1e-6))
        place[beyond] = turn.apply(place[beyond] - place[j]) + place[j]
    return replace(features, ref_pos=torch.from_numpy(place)[None])
