"""Several inputs as one batch: their features, and the energies of each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from frazil.data import featurize, on_reference, randomize_reference
from frazil.denoiser import StructureModel
from frazil.features import Features
from frazil.predictor.requests import Request
from frazil.predictor.settings import SteeringSettings
from frazil.predictor.steering import Forces, forces
from frazil.sampler import stable_seed
from frazil.steering.energies import energies

ROOM = 4
"""Tokens are padded to a multiple of this, so that structures of like size go together, and each computes the same bits
among others as alone."""


def room(num_tokens: int) -> int:
    """Tokens that a structure is padded to.

    >>> room(25), room(28)
    (28, 28)
    """
    return -(-num_tokens // ROOM) * ROOM


def joined_features(model: StructureModel, requests: Sequence[Request], seed: int) -> Features:
    """Features with their restraints, padded as the model wants them and on its device."""
    each = [
        replace(_posed(request, plain, seed), restraints=request.restraints)
        for request, plain in zip(requests, _featurized(requests), strict=True)
    ]
    features = each[0] if len(each) == 1 else Features.stack(each, window=1)
    features = model.prepare(features.pad(num_tokens=room(features.num_tokens)))
    return features.to(next(model.parameters()).device)


def joined_energies(
    acting: Forces, coords: Tensor, requests: Sequence[Request], features: Features, settings: SteeringSettings
) -> list[dict[str, tuple[float, ...]]]:
    """Of each structure, samples in [B, S, A, 3]; those of one molecule together, no molecule beside another."""
    if features.batch_size == 1:
        return [energies(acting.reported, coords, features.atom_mask)]
    samples = coords.shape[1]
    found = []
    for rows in _molecules(requests, settings):
        one = features.select(rows[0])
        of_all = energies(forces(one, settings).reported, coords[rows].flatten(0, 1)[None], one.atom_mask)
        for first in range(0, len(rows) * samples, samples):
            found.append({name: values[first : first + samples] for name, values in of_all.items()})
    return found


def _molecules(requests: Sequence[Request], settings: SteeringSettings) -> Iterator[list[int]]:
    """Rows of one molecule each; alone where the user's own potentials may look at the reference conformer."""
    rows = [0]
    for row in range(1, len(requests)):
        if settings.potentials or not _one_molecule(requests[row - 1], requests[row]):
            yield rows
            rows = []
        rows.append(row)
    yield rows


def _featurized(requests: Sequence[Request]) -> Iterator[Features]:
    """Of each input, unpadded."""
    previous: tuple[Request, Features] | None = None
    for request in requests:
        if request.conditioned is not None:
            features = request.conditioned.features
        elif previous is not None and _one_molecule(previous[0], request):
            features = on_reference(previous[1], request.structure)
        else:
            features = featurize(request.structure)
        previous = request, features
        yield features


def _posed(request: Request, features: Features, seed: int) -> Features:
    """With reference poses of the seed's, or those that the trunk has seen."""
    if request.conditioned is not None:
        return features
    return randomize_reference(
        features, torch.Generator().manual_seed(stable_seed(seed, request.name, "reference poses"))
    )


def _one_molecule(one: Request, other: Request) -> bool:
    """Whether they differ in their reference conformers alone."""
    return one.restraints is other.restraints and one.structure.atoms is other.structure.atoms
