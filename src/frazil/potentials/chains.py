"""`SymmetricChains`: copies of one chain do not lie on top of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from frazil.features import Features
from frazil.potentials.flat_bottom import FlatBottomPotential
from frazil.potentials.schedules import Exponential, Schedule
from frazil.potentials.sites import CentreSites
from frazil.potentials.variables import Distance
from frazil.restraints import Terms

_FARTHER_AT_THE_START: Schedule = Exponential(start=1.0, end=5.0, alpha=-2.0)

PairWeight = Callable[[Tensor, Tensor], Tensor]
"""(atoms of the first chain [P], of the second [P]) -> weight of the pair [P]."""


def equal_weight(first: Tensor, second: Tensor) -> Tensor:
    """1 for each pair of chains, as in Boltz-2."""
    return torch.ones_like(first, dtype=torch.float32)


def atom_weight(first: Tensor, second: Tensor) -> Tensor:
    """Harmonic mean of the numbers of atoms: the gradient on an atom is then about 1, whatever the chain's size.

    >>> atom_weight(torch.tensor([10]), torch.tensor([10]))
    tensor([10.])
    """
    return 2 * (first * second).float() / (first + second).float()


@final
class SymmetricChains(FlatBottomPotential):
    """Centres of mass of chains of one entity are apart; chains of a single atom are left out.

    Atoms count alike. The gradient is the true one, 1 / n of the centre's on each of n atoms, where Boltz-2 leaves
    out 1 / n; with `weight=atom_weight` it is as strong as there.

    Parameters
    ----------
    features : Features
        Reads chains and entities.
    lower : Schedule
        Least distance over time, angstrom.
    weight : callable
        Factor on the energy of a pair of chains, from their numbers of atoms.
    """

    def __init__(
        self, features: Features, lower: Schedule = _FARTHER_AT_THE_START, weight: PairWeight = equal_weight
    ) -> None:
        copies = _copies(features)
        sites = CentreSites(copies.structure, copies.atom, copies.chain, copies.pairs)
        sizes = sites.sizes[copies.pairs]
        terms = Terms.of(copies.pairs, weight=weight(sizes[:, 0], sizes[:, 1]))
        rows = torch.zeros(len(sites.sizes), dtype=torch.int64, device=features.device)
        rows = rows.index_copy(0, copies.chain, copies.structure)
        super().__init__(replace(terms, structure=rows[copies.pairs[:, 0]]), Distance(), sites=sites)
        self._lower = lower

    def bounds(self, t: float) -> tuple[Tensor, Tensor]:
        """See `FlatBottomPotential.bounds`."""
        return torch.full_like(self.terms.lower, self._lower.at(t)), self.terms.upper


@dataclass(frozen=True, eq=False)
class _Copies:
    """Chains that occur more than once in their structure, numbered over the batch."""

    structure: Tensor
    """[m] int64, row of the batch of each of their atoms."""
    atom: Tensor
    """[m] int64."""
    chain: Tensor
    """[m] int64."""
    pairs: Tensor
    """[P, 2] int64, pairs of chains of one entity of one structure."""


def _copies(features: Features) -> _Copies:
    structure, atom = torch.nonzero(features.atom_mask, as_tuple=True)
    token = features.atom_token_index[structure, atom]
    keys = torch.stack([structure, features.entity_id[structure, token], features.asym_id[structure, token]], dim=1)
    chains, chain, sizes = torch.unique(keys, dim=0, return_inverse=True, return_counts=True)
    alike = (chains[:, None, :2] == chains[None, :, :2]).all(dim=-1) & (sizes > 1) & (sizes > 1)[:, None]
    pairs = torch.nonzero(alike.triu(diagonal=1))
    paired = torch.zeros_like(sizes, dtype=torch.bool).index_fill(0, pairs.flatten(), True)
    number = paired.cumsum(0) - 1
    kept = paired[chain]
    return _Copies(structure[kept], atom[kept], number[chain[kept]], number[pairs])
