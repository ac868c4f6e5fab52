"""Pairs that an energy over all pairs leaves out: `PairSet`, and the pairs that few bonds join."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_BITS = 63


@dataclass(frozen=True, eq=False)
class PairSet:
    """A set of unordered pairs of numbers below some size, made to be asked for many pairs at once.

    Examples
    --------
    >>> pairs = PairSet.of(torch.tensor([0, 2]), torch.tensor([5, 1]), size=6)
    >>> pairs.contains(torch.tensor([5, 0]), torch.tensor([0, 1]))
    tensor([ True, False])
    """

    ends: tuple[Tensor, Tensor]
    """Smaller and larger number of each pair, [K] int64 each, sorted by the smaller, then the larger."""
    near: Tensor
    """[size] int64, bit d of number n tells whether n and n + d are a pair: neighbours in a chain, that is most."""
    far: Tensor
    """[F] int64, rising: smaller * size + larger of all pairs too far apart for a bit."""

    @classmethod
    def of(cls, first: Tensor, second: Tensor, size: int) -> PairSet:
        """The pairs first[k], second[k] ([K] int64), equal ones once, those of a number with itself left out."""
        keys = (torch.minimum(first, second) * size + torch.maximum(first, second))[first != second].unique()
        low, high = keys // size, keys % size
        bit = high - low < _BITS
        near = torch.zeros(size, dtype=torch.int64, device=keys.device)
        # no bit comes twice, so adding sets it
        near.index_add_(0, low[bit], torch.ones_like(low[bit]) << (high - low)[bit])
        return cls((low, high), near, keys[~bit])

    @property
    def size(self) -> int:
        """One more than the largest number there can be."""
        return len(self.near)

    def __len__(self) -> int:
        return len(self.ends[0])

    def contains(self, first: Tensor, second: Tensor) -> Tensor:
        """[P] bool, whether each pair first[p], second[p] is in the set."""
        if not len(self):
            return torch.zeros_like(first, dtype=torch.bool)
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        gap = high - low
        found = ((self.near.index_select(0, low) >> gap.clamp(max=_BITS)) & 1).bool()
        if len(self.far):
            keys = low * self.size + high
            place = torch.searchsorted(self.far, keys).clamp_(max=len(self.far) - 1)
            found |= self.far.index_select(0, place) == keys
        return found


def within_bonds(bonds: Tensor, num_atoms: int, reach: int = 3) -> PairSet:
    """Pairs of atoms that at most `reach` bonds join; time and memory linear in the number of bonds.

    Parameters
    ----------
    bonds : Tensor
        [K, 2] int64, bonded atoms.
    num_atoms : int
        Atoms in all.
    reach : int
        Most bonds on the shortest way.

    Examples
    --------
    >>> within_bonds(torch.tensor([[0, 1], [1, 2], [2, 3]]), 4, reach=2).ends
    (tensor([0, 0, 1, 1, 2]), tensor([1, 2, 2, 3, 3]))
    """
    step = PairSet.of(bonds[:, 0], bonds[:, 1], num_atoms)
    low, high = step.ends
    source, order = torch.cat([low, high]).sort(stable=True)
    target = torch.cat([high, low])[order]
    degree = torch.bincount(source, minlength=num_atoms)
    start = degree.cumsum(0) - degree
    reached = step
    for _ in range(reach - 1):
        low, high = reached.ends
        # every pair, from either end, goes on by every bond of its other end
        origin, last = torch.cat([low, high]), torch.cat([high, low])
        way = torch.repeat_interleave(degree[last])
        first_way = (degree[last].cumsum(0) - degree[last])[way]
        following = target[start[last[way]] + torch.arange(len(way), device=way.device) - first_way]
        reached = PairSet.of(torch.cat([low, origin[way]]), torch.cat([high, following]), num_atoms)
    return reached
