"""Reductions: the energy of a group of terms, of which all or any have to hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from frazil.potentials.schedules import Schedule
from frazil.potentials.segments import Segments

# Below this sharpness the soft minimum is its limit, the mean, to the last bit.
_BLUNT = 1e-20


class Reduction(ABC):
    """From the energies of terms to those of their groups."""

    @abstractmethod
    def energy(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """Energies [G, S] of the groups from `energies` [T, S] >= 0 of the terms."""

    @abstractmethod
    def shares(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """Derivatives [T, S] of each group's energy with respect to those of its terms, or one for all [1, 1]."""


@final
@dataclass(frozen=True)
class AllOf(Reduction):
    """Every term has to hold: the sum."""

    def energy(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """See `Reduction.energy`."""
        return groups.sum(energies)

    def shares(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """See `Reduction.shares`."""
        return energies.new_ones(1, 1)


@final
@dataclass(frozen=True)
class AnyOf(Reduction):
    """One term has to hold: the soft minimum -(1/l) log mean exp(-l E) of sharpness l, the mean at l = 0.

    It lies between the minimum and the mean, never underflows, and its derivatives are the softmax of -l E: they add
    up to 1 and none is negative, so no violated term is pushed away.

    Examples
    --------
    >>> from frazil.potentials.schedules import Constant
    >>> energies = torch.tensor([[0.0], [300.0]])
    >>> AnyOf(Constant(0.0)).energy(energies, Segments(torch.tensor([0, 0]), 1), t=1.0)
    tensor([[150.]])
    """

    sharpness: Schedule
    """l over time, at least 0, per unit of energy."""

    def energy(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """See `Reduction.energy`."""
        sharpness, size = self.sharpness.at(t), _sizes(energies, groups)
        if sharpness < _BLUNT:
            return groups.sum(energies) / size
        least = groups.min(energies)
        # log of the mean as log1p of the mean of expm1: exact also where the sharpness is tiny.
        above = groups.sum(torch.expm1(-sharpness * (energies - groups.spread(least)))) / size
        return least - torch.log1p(above) / sharpness

    def shares(self, energies: Tensor, groups: Segments, t: float) -> Tensor:
        """See `Reduction.shares`."""
        sharpness = self.sharpness.at(t)
        if sharpness < _BLUNT:
            return groups.spread(1 / _sizes(energies, groups))
        odds = torch.exp(-sharpness * (energies - groups.spread(groups.min(energies))))
        return odds / groups.spread(groups.sum(odds))


def _sizes(energies: Tensor, groups: Segments) -> Tensor:
    return groups.sizes.to(energies.dtype)[:, None]
