"""Drawing particles by their weights: multinomial, systematic, stratified; in a fixed order of operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from frazil.geometry import sum_atoms

Uniform = Callable[[int], Tensor]
"""count -> [B, G, count] numbers in [0, 1); `NoiseStream.uniform` is one."""


class Resampler(Protocol):
    """Draws particles so that each is expected as often as its weight times the number drawn."""

    def choose(self, weights: Tensor, count: int, uniform: Uniform) -> Tensor:
        """Indices [B, G, `count`] int64 into the P particles of `weights` [B, G, P], which sum to 1 in each group.

        A weight of 0 is never drawn. What is random comes from `uniform`, called once.
        """
        ...


@final
@dataclass(frozen=True)
class Multinomial:
    """Independent draws, as in Boltz-2."""

    def choose(self, weights: Tensor, count: int, uniform: Uniform) -> Tensor:
        """See `Resampler.choose`."""
        return _inverse(weights, uniform(count))


@final
@dataclass(frozen=True)
class Stratified:
    """One draw from each of `count` equal parts of [0, 1): less variance than independent draws (Kitagawa 1996)."""

    def choose(self, weights: Tensor, count: int, uniform: Uniform) -> Tensor:
        """See `Resampler.choose`."""
        return _inverse(weights, (_strata(weights, count) + uniform(count)) / count)


@final
@dataclass(frozen=True)
class Systematic:
    """Stratified with the same draw in every part, so each count is its expectation, rounded up or down."""

    def choose(self, weights: Tensor, count: int, uniform: Uniform) -> Tensor:
        """See `Resampler.choose`.

        >>> Systematic().choose(torch.tensor([[[0.5, 0.0, 0.5]]]), 4, lambda n: torch.full((1, 1, n), 0.2))
        tensor([[[0, 0, 2, 2]]])
        """
        return _inverse(weights, (_strata(weights, count) + uniform(1)) / count)


@dataclass(frozen=True, eq=False)
class Weights:
    """Normalised weights of the particles of each group."""

    values: Tensor
    """[B, G, P], sum 1 in each group; all equal where every particle is impossible."""
    logs: Tensor
    """[B, G, P] their logarithms; -inf for particles that are impossible, 0 in groups where all are."""
    effective_size: Tensor
    """[B, G] effective number of particles, 1 / sum of squares (Kong 1994); 0 where all are impossible."""

    @classmethod
    def of(cls, log_weights: Tensor) -> Weights:
        """From `log_weights` [B, G, P], of any size, -inf for what is impossible; no NaN, no inf.

        >>> Weights.of(torch.tensor([[[-1e30, -1e30, float("-inf")]]])).values
        tensor([[[0.5000, 0.5000, 0.0000]]])
        """
        top = log_weights.amax(dim=-1, keepdim=True)
        possible = top > -torch.inf
        centred = torch.where(possible, log_weights - torch.where(possible, top, 0), 0)
        raw = centred.exp()
        total = _sum(raw)
        values = raw / total
        size = torch.where(possible, 1 / _sum(values * values), 0)[..., 0]
        return cls(values, torch.where(possible, centred - total.log(), 0), size)


def _inverse(weights: Tensor, points: Tensor) -> Tensor:
    """The particle whose share of [0, 1) holds each point."""
    sums = _running_sums(weights)
    # Equal to the sum before it where the weight is 0, in spite of rounding: such a share holds no point.
    sums = torch.where(weights > 0, sums, 0).cummax(dim=-1).values.contiguous()
    picked = torch.searchsorted(sums, (points * sums[..., -1:]).contiguous(), right=True)
    places = torch.arange(weights.shape[-1], device=weights.device)
    return torch.minimum(picked, torch.where(weights > 0, places, 0).amax(dim=-1, keepdim=True))


def _running_sums(values: Tensor) -> Tensor:
    """Cumulative sums along the last axis by doubling: elementwise, so of the same bits in any batch (Hillis 1986)."""
    shift = 1
    while shift < values.shape[-1]:
        values = torch.cat([values[..., :shift], values[..., shift:] + values[..., :-shift]], dim=-1)
        shift *= 2
    return values


def _sum(values: Tensor) -> Tensor:
    return sum_atoms(values[..., None])


def _strata(weights: Tensor, count: int) -> Tensor:
    return torch.arange(count, device=weights.device, dtype=weights.dtype)
