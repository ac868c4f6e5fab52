"""Random structures under restraints of every kind, for the tests of potentials."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import torch
from torch import Tensor

from frazil.features import Features
from frazil.potentials import POTENTIAL_SETS, Potential
from frazil.restraints import PlaceTerms, Restraints, Terms
from random_features import random_features

OVERLAPS = ("van_der_waals", "clashes")
PRESETS = {
    name: preset
    for presets in POTENTIAL_SETS.values()
    for name, preset in presets.items()
    if name not in OVERLAPS  # tested with their neighbour search
}
"""Potentials on lists of terms, by name."""
FIXED_IN_SPACE = ("positions",)


def build(name: str, features: Features) -> Potential:
    return PRESETS[name].build(features)


def restrained(num_tokens: int = 9, *, seed: int = 0, terms: int = 7) -> Features:
    """A structure of two copies of a chain, with some terms of every kind; with none of them its chains are unlike."""
    features = random_features(num_tokens, seed=seed)
    if not terms:
        return replace(features, entity_id=features.asym_id)
    g = torch.Generator().manual_seed(seed + 1000)

    def distinct(size: int) -> Tensor:
        return torch.stack([torch.randperm(features.num_atoms, generator=g)[:size] for _ in range(terms)])

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(terms, generator=g) * (high - low) + low

    def some(size: int, low: float, high: float, width: float, *, group: Tensor | None = None) -> Terms:
        lower = uniform(low, high)
        return Terms.of(distinct(size), lower, lower + uniform(0, width), weight=uniform(0.5, 2), group=group)

    pairs_of_groups = torch.arange(terms) // 3
    far = torch.tensor(float("inf"))
    chirality = some(4, -1, 1, 0)
    places = torch.randn(terms, 3, generator=g) * 8
    one_set = torch.zeros(terms, dtype=torch.int64)
    atoms = torch.randperm(features.num_atoms, generator=g)[:terms, None]
    restraints = Restraints(
        bonds=Terms.none(2),
        distance_bounds=Terms.join([some(2, 2, 20, 2), replace(some(2, 9, 20, 0), upper=far.expand(terms))]),
        chirality=replace(chirality, upper=far.expand(terms)),
        stereo_bonds=some(4, 1, 2, 1),
        planar_bonds=replace(some(4, 0.2, 0.2, 0), lower=-far.expand(terms), upper=uniform(0.1, 0.4)),
        connections=replace(
            some(2, 2, 2, 0), lower=-far.expand(terms), labels=tuple(f"bond {i}" for i in range(terms))
        ),
        contacts=replace(some(2, 4, 8, 0, group=pairs_of_groups), lower=-far.expand(terms)),
        distances=some(2, 2, 20, 4),
        dihedrals=some(4, -2 * pi, 2 * pi, 1),
        positions=PlaceTerms(Terms.of(atoms, upper=uniform(0, 2)), places, torch.zeros(terms, dtype=torch.bool)),
        templates=PlaceTerms(Terms.of(atoms, upper=uniform(0, 2), group=one_set), places, torch.tensor([True])),
        gyration=Terms.of(atoms, 2.0, 3.0, group=one_set),
    )
    return replace(features, restraints=restraints)


def coords_for(features: Features, samples: int = 3, *, seed: int = 0, scale: float = 6.0) -> Tensor:
    """Random coordinates [B, S, A, 3], the same for a structure whatever its padding; 0 there."""
    coords = torch.zeros(features.batch_size, samples, features.num_atoms, 3)
    for row in range(features.batch_size):
        for sample in range(samples):
            atoms = int(features.atom_mask[row].sum())
            g = torch.Generator().manual_seed(seed + 97 * sample + 10_007 * atoms)
            coords[row, sample, :atoms] = torch.randn(atoms, 3, generator=g) * scale
    return coords
