"""Random rigid motion of the reference conformers (AlphaFold 3 supplement, Table 5 and algorithm 19)."""

from __future__ import annotations

from dataclasses import replace

import torch

from frazil.features import Features
from frazil.geometry import random_rotations

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
    if features.batch_size != 1:
        raise ValueError(f"randomize_reference works on one structure, this batch holds {features.batch_size}")
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
