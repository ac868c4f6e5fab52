"""`Potential`: an energy of coordinates, with its gradient; `Weighted`: when and how strongly it acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from frazil.errors import InputError
from frazil.potentials.schedules import Schedule


class Potential(ABC):
    """An energy, built once for a batch of structures and evaluated on any number of samples of it.

    Whoever writes one gives `energy`; `gradient` is then derived from it. It must be a function of each sample alone.

    Examples
    --------
    >>> class PullToOrigin(Potential):
    ...     def energy(self, coords, t):
    ...         return coords.square().sum(dim=(-1, -2))
    >>> PullToOrigin().gradient(torch.ones(1, 2, 5, 3), t=0.5).unique()
    tensor([2.])
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        return type(self).__name__

    @property
    def num_terms(self) -> int:
        """Terms in all; a potential with none is left out of the run. 1 where terms are not counted."""
        return 1

    @abstractmethod
    def energy(self, coords: Tensor, t: float) -> Tensor:
        """Energy [B, S] of `coords` [B, S, A, 3], angstrom, at time `t`: 1 at the first step, towards 0 at the last."""

    def gradient(self, coords: Tensor, t: float) -> Tensor:
        """Gradient [B, S, A, 3] of the energy, by automatic differentiation unless a subclass knows better.

        Raises
        ------
        InputError
            If the energy is not one number for each sample.
        """
        with torch.enable_grad():
            moved = coords.detach().requires_grad_()
            energy = self.energy(moved, t)
            found = tuple(energy.shape) if isinstance(energy, Tensor) else type(energy).__name__
            if found != tuple(coords.shape[:2]):
                wanted = tuple(coords.shape[:2])
                raise InputError(f"potential {self.name}: its energy is {found}, give a tensor {wanted}")
            total = energy.sum()
            if not total.requires_grad:
                return torch.zeros_like(coords)
            (gradient,) = torch.autograd.grad(total, moved, allow_unused=True)
        return torch.zeros_like(coords) if gradient is None else gradient


@final
@dataclass(frozen=True)
class Weighted:
    """A potential with its weights over time t."""

    potential: Potential
    """The energy."""
    guidance: Schedule
    """Factor on its gradient in a guidance move."""
    resampling: Schedule
    """Factor on its energy in the weights of particles."""
    interval: int = 1
    """Acts in every so many-th guidance move."""
