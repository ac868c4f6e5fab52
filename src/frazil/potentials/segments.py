"""Sums and minima over segments of rows, in one fixed order of operations."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Rows added one after the other before blocks are added: keeps rounding small without changing with the batch.
_BLOCK = 64


@final
class Segments:
    """Rows grouped by owner; every reduction runs over a segment's own rows alone, in their order.

    Sums are taken in blocks of 64 rows and then over the blocks, so a segment has the same bits whatever other
    segments, columns or threads there are.

    Parameters
    ----------
    owner : Tensor
        [n] int64, segment of each row, in any order.
    count : int
        Number of segments; those without rows have the sum 0.

    Examples
    --------
    >>> Segments(torch.tensor([0, 2, 0]), 3).sum(torch.tensor([[1.0], [2.0], [3.0]])).flatten()
    tensor([4., 0., 2.])
    """

    def __init__(self, owner: Tensor, count: int) -> None:
        self.owner, self.count = owner, count
        self._rows = torch.argsort(owner, stable=True)
        self.sizes = torch.bincount(owner, minlength=count)
        """[count] int64, rows of each segment."""
        self._offsets = _offsets(self.sizes)
        self._blocks: tuple[Tensor, Tensor] | None = None
        if len(owner) and int(self.sizes.max()) > _BLOCK:
            ordered = owner[self._rows]
            rank = torch.arange(len(owner), device=owner.device) - self._offsets[ordered]
            starts = torch.nonzero(rank % _BLOCK == 0).squeeze(1)
            ends = torch.cat([starts, starts.new_tensor([len(owner)])])
            self._blocks = ends, _offsets(torch.bincount(ordered[starts], minlength=count))

    def sum(self, rows: Tensor) -> Tensor:
        """Sums [count, c] of `rows` [n, c]."""
        if self._blocks is None:
            return _bags(rows, self._rows, self._offsets)
        ends, offsets = self._blocks
        blocks = _bags(rows, self._rows, ends)
        return _bags(blocks, torch.arange(len(blocks), device=rows.device), offsets)

    def min(self, rows: Tensor) -> Tensor:
        """Least values [count, c] of `rows` [n, c]; inf for a segment without rows. No gradient."""
        least = rows.new_full((self.count, rows.shape[1]), float("inf"))
        return least.scatter_reduce(0, self.owner[:, None].expand_as(rows), rows.detach(), "amin")

    def spread(self, values: Tensor) -> Tensor:
        """`values` [count, c] of the segments handed to their rows [n, c]."""
        return values.index_select(0, self.owner)


def _offsets(sizes: Tensor) -> Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _bags(rows: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    return embedding_bag(index, rows.contiguous(), offsets, mode="sum", include_last_offset=True)
