"""Neighbour search: pairs of points within a radius, in time and memory linear in the number of points.

Space is cut into columns along z, and columns into layers; the points are sorted by column and layer, and the
neighbours of a point lie in a few short stretches of that order (cell lists: Allen and Tildesley, Computer Simulation
of Liquids, section 5.3). Layers are counted modulo a fixed number, so the table of stretches stays small for points
however far apart: what meets by that is told apart by its distance. Pairs come in blocks of bounded size, so that not
even points that all coincide exhaust the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1 << 15
"""Candidate pairs looked at in one go: what a cache holds."""
_FARTHEST = 4096
"""Cells from the origin beyond which all points share the outermost cells: exact still, but slower there."""
_SLACK = 1.01
"""Cells are wider than the radius by more than the rounding of their indices."""
_PER_CELL = 2
"""Layers that a cell is cut into along z; thinner ones leave fewer candidates."""
_SHIFT = 6
_LAYERS = 1 << _SHIFT
"""Layers of a column until they repeat."""
_LAYER_BITS = _LAYERS - 1
_SIDE = 2 * _FARTHEST + 3
_NEXT = (1, _SIDE - 1, _SIDE, _SIDE + 1)
"""Steps to half of the columns around one; the other half finds the same pairs from their other end."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of points of the same group, in an order that does not depend on other groups or on the block size."""

    first: Tensor
    """[P] int64."""
    second: Tensor
    """[P] int64; of coincident points the one with the larger index."""
    difference: tuple[Tensor, Tensor, Tensor]
    """x, y, z [P] of the first point minus the second."""
    distance: Tensor
    """[P]."""


def neighbour_pairs(
    points: Tensor, group: Tensor, radius: float, *, label: Tensor | None = None, block: int = BLOCK
) -> Iterator[Pairs]:
    """Every pair of points of one group that are closer than `radius`, each once.

    Parameters
    ----------
    points : Tensor
        [n, 3] float32, angstrom; points that are not finite have no neighbours.
    group : Tensor
        [n] int64, from 0 to at most 2 ** 31; points of unlike groups never meet (samples, structures).
    radius : float
        Angstrom; distances below it count.
    label : Tensor, optional
        [n] int64; only pairs of unlike label are given (chains).
    block : int
        Candidates looked at in one go; more only where a single point has more.

    Yields
    ------
    Pairs
        Distance and difference are of float32, as sqrt((dx dx + dy dy) + dz dz).

    Examples
    --------
    >>> points = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 0, 5]])
    >>> [(p.first.tolist(), p.second.tolist()) for p in neighbour_pairs(points, torch.zeros(3, dtype=torch.int64), 2.0)]
    [([0], [1])]
    """
    cells = _Cells.of(points, group, radius)
    labels = None if label is None else label.index_select(0, cells.order)
    searching = None if labels is None else cells.beside_unlike(labels)
    for i, j in cells.candidates(searching, block):
        if labels is not None:
            unlike = _where(labels.index_select(0, i) != labels.index_select(0, j))
            i, j = i.index_select(0, unlike), j.index_select(0, unlike)
        dx, dy, dz = (axis.index_select(0, i) - axis.index_select(0, j) for axis in cells.axes)
        distance = (dx * dx + dy * dy + dz * dz).sqrt()
        near = _where(distance < radius)
        i, j, dx, dy, dz, distance = (part.index_select(0, near) for part in (i, j, dx, dy, dz, distance))
        if len(near):
            yield Pairs(cells.order.index_select(0, i), cells.order.index_select(0, j), (dx, dy, dz), distance)


@dataclass(frozen=True, eq=False)
class _Cells:
    """The m finite points in the order of their column and layer; those of one layer in the order given."""

    order: Tensor
    """[m] int64, index of each point as given."""
    axes: tuple[Tensor, Tensor, Tensor]
    """x, y, z [m]."""
    column: Tensor
    """[m] int64, rank of the column of each point."""
    layer: Tensor
    """[m] int64."""
    next_column: Tensor
    """[4, c] int64, rank of the column at each step; c, an empty one, where there is none."""
    start: Tensor
    """[(c + 1) * layers + 1] int64, first place in the order of each layer of each column."""

    @classmethod
    def of(cls, points: Tensor, group: Tensor, radius: float) -> _Cells:
        finite = _where(torch.isfinite(points).all(dim=-1)) if radius > 0 else group.new_zeros(0)
        points, group = points.index_select(0, finite), group.index_select(0, finite)
        cell = (points / (_SLACK * radius)).clamp_(-_FARTHEST, _FARTHEST).add_(_FARTHEST + 1)
        x, y = cell[:, 0].to(torch.int64), cell[:, 1].to(torch.int64)
        layer = (cell[:, 2] * _PER_CELL).to(torch.int64) & _LAYER_BITS
        keys, order = torch.sort((((group * _SIDE + x) * _SIDE + y) << _SHIFT) | layer, stable=True)
        columns, column = torch.unique_consecutive(keys >> _SHIFT, return_inverse=True)
        layer = keys & _LAYER_BITS
        counts = torch.bincount((column << _SHIFT) | layer, minlength=(len(columns) + 1) << _SHIFT)
        along = points.index_select(0, order).T.contiguous()
        return cls(
            order=finite.index_select(0, order), axes=(along[0], along[1], along[2]), column=column, layer=layer,
            next_column=_next_columns(columns), start=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        )  # fmt: skip

    def beside_unlike(self, labels: Tensor) -> Tensor:
        """Places [k] whose column or one of the next holds another of the `labels` [m]."""
        count = self.next_column.shape[1]
        around = torch.cat([torch.arange(count, device=labels.device)[None], self.next_column])
        extremes = []
        for reduction, neutral in (("amin", torch.iinfo(labels.dtype).max), ("amax", torch.iinfo(labels.dtype).min)):
            of_column = labels.new_full((count + 1,), neutral)
            of_column.scatter_reduce_(0, self.column, labels, reduction)
            extremes.append(of_column[around])
        mixed = extremes[0].amin(dim=0) < extremes[1].amax(dim=0)
        return _where(mixed.index_select(0, self.column))

    def candidates(self, searching: Tensor | None, block: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Places (i, j) in the order, i one of `searching` (all), among them every close pair once.

        They come in an order that each group has by itself.
        """
        place, first, end = self._stretches(searching)
        length = end - first
        total = length.cumsum(0)
        shift = end - total
        for part, begin, stop in _parts(total, block):
            stretch = torch.repeat_interleave(length[part], output_size=stop - begin)
            j = shift[part].index_select(0, stretch) + torch.arange(begin, stop, device=stretch.device)
            yield place[part].index_select(0, stretch), j

    def _stretches(self, searching: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Stretches [k] to be searched: place of the point that searches, first place, place after the last."""
        place = torch.arange(len(self.order), device=self.order.device) if searching is None else searching
        column, layer = self.column.index_select(0, place), self.layer.index_select(0, place)
        beside = self.next_column.index_select(1, column)
        low, high = layer - _PER_CELL, layer + _PER_CELL
        # in its own column a point searches what comes after it
        parts = [(place, place + 1, self._stretch(column, low, high)[1]), (place, *self._stretch(beside, low, high))]
        # what lies beyond the first or last layer is counted from the other end
        for turn, edge in ((_LAYERS, _where(low < 0)), (-_LAYERS, _where(high >= _LAYERS))):
            layers = low[edge] + turn, high[edge] + turn
            parts.append((place[edge], *self._stretch(beside.index_select(1, edge), *layers)))
            # of two points in one column only the lower, which comes first, searches
            if turn > 0:
                parts.append((place[edge], *self._stretch(column[edge], *layers)))
        flat = [[part.reshape(-1) for part in torch.broadcast_tensors(*stretches)] for stretches in parts]
        places, firsts, ends = (torch.cat(columns) for columns in zip(*flat, strict=True))
        return places, firsts, ends

    def _stretch(self, column: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """First place and place after the last of layers `low` to `high`, as far as they exist, of columns [.., k]."""
        base = column << _SHIFT
        first, after = base + low.clamp(min=0), base + (high + 1).clamp(max=_LAYERS)
        return self.start.take(first), self.start.take(after)


def _next_columns(columns: Tensor) -> Tensor:
    """[4, c] rank of the column at each step from each of `columns` [c] (rising); c, an empty one, where none is."""
    wanted = columns + torch.tensor(_NEXT, device=columns.device)[:, None]
    rank = torch.searchsorted(columns, wanted)
    # a column past the last can only be asked for where nothing is
    found = torch.cat([columns, columns.new_full((1,), -1)])[rank] == wanted
    return torch.where(found, rank, len(columns))


def _parts(total: Tensor, block: int) -> Iterator[tuple[slice, int, int]]:
    """Slices of stretches of at most `block` candidates, or of one stretch, with the candidates before and up to them.

    `total` [k] counts the candidates up.
    """
    start, begin = 0, 0
    while start < len(total):
        stop = max(int(torch.searchsorted(total, begin + block, right=True)), start + 1)
        end = int(total[stop - 1])
        yield slice(start, stop), begin, end
        start, begin = stop, end


def _where(mask: Tensor) -> Tensor:
    """[k] int64, places where `mask` [n] is True."""
    return torch.nonzero(mask).squeeze(1)
