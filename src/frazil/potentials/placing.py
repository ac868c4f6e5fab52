"""`PlaceField`: where the places of `PlaceTerms` lie beside given coordinates, and how they move with them."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from frazil.geometry import mean_atoms, rigid_align, sum_atoms
from frazil.geometry.sums import cross, or_one
from frazil.potentials.sites import AtomSites
from frazil.restraints import PlaceTerms

# Bounds the turn of a set whose best orientation is a matter of chance: points on a line, in one place, mirrored.
_RIDGE = 1e-6


@final
class PlaceField:
    """Places, those of aligned sets put onto their atoms by the rigid motion of least squares (all atoms alike).

    Points are component first, [3, S, T]; aligned sets are worked on padded, [S, G, M, 3].
    """

    def __init__(self, places: PlaceTerms) -> None:
        terms = places.terms
        self.sites = AtomSites(terms.structure, terms.atoms)
        self._places = places.places
        sets = torch.nonzero(places.aligned).squeeze(1)
        self._terms = torch.nonzero(places.aligned[terms.group]).squeeze(1)
        row = torch.searchsorted(sets, terms.group[self._terms])
        sizes = torch.bincount(row, minlength=len(sets))
        rank = torch.arange(len(row), device=row.device) - (sizes.cumsum(0) - sizes)[row]
        self._mask = torch.arange(int(sizes.max()) if len(sets) else 0, device=row.device) < sizes[:, None]
        self._slot = row * self._mask.shape[1] + rank

    def offsets(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Atoms minus places [3, S, T], and the places themselves."""
        atoms = self.sites.gather(coords)[0]
        places = self._places.to(atoms.dtype)
        placed = places.t()[:, None].expand_as(atoms)
        if len(self._terms):
            moving = self._pad(placed)[:1]
            placed = self._merge(placed, rigid_align(moving, self._pad(atoms), self._mask))
        return atoms - placed, placed

    def through_alignment(self, forces: Tensor, offsets: Tensor, placed: Tensor) -> Tensor:
        """Total derivatives [3, S, T] from those at fixed places.

        With aligned places Y and atoms X about their centre, a motion dX turns the places by
        w = K^-1 sum Y x dX, where K = tr(S) 1 - S and S = sum Y X^T is symmetric: the condition sum X x Y = 0 of the
        best rotation (Horn 1987), differentiated.
        """
        if not len(self._terms):
            return forces
        atoms, y = (self._centred(self._pad(points)) for points in (placed + offsets, placed))
        largest = or_one(torch.maximum(atoms.abs(), y.abs()).amax(dim=(-2, -1), keepdim=True))
        x, y, force = atoms / largest, y / largest, self._centred(self._pad(forces))
        sums = torch.cat([(y[..., :, None] * x[..., None, :]).flatten(-2), cross(y, force), x * x + y * y], dim=-1)
        outer, torque, squares = sum_atoms(sums).split([9, 3, 3], dim=-1)
        size = or_one(squares.sum(dim=-1, keepdim=True) / 2)
        turn = _solve((outer / size).unflatten(-1, (3, 3)), torque / size)
        return self._merge(forces, self._masked(force - cross(turn[..., None, :].expand_as(y), y)))

    def _pad(self, points: Tensor) -> Tensor:
        """[S, G, M, 3] of the aligned terms in `points` [3, S, T], 0 in the padding."""
        padded = points.new_zeros(points.shape[1], self._mask.numel(), 3)
        padded = padded.index_copy(1, self._slot, points[:, :, self._terms].permute(1, 2, 0))
        return padded.unflatten(1, self._mask.shape)

    def _merge(self, points: Tensor, padded: Tensor) -> Tensor:
        """`points` [3, S, T] with the aligned terms taken from `padded` [S, G, M, 3]."""
        rows = padded.flatten(1, 2).index_select(1, self._slot).permute(2, 0, 1)
        return points.index_copy(2, self._terms, rows)

    def _centred(self, padded: Tensor) -> Tensor:
        return self._masked(padded - mean_atoms(padded, self._mask)[..., None, :])

    def _masked(self, padded: Tensor) -> Tensor:
        return torch.where(self._mask[..., None], padded, 0)


def _solve(outer: Tensor, torque: Tensor) -> Tensor:
    """K^-1 `torque` [..., 3] for K = tr(S) 1 - S, S = `outer` [..., 3, 3], as L D L^T with pivots kept above 0."""
    s = (outer + outer.transpose(-1, -2)) / 2
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = (row.unbind(-1) for row in s.unbind(-2))
    p, q, r = torque.unbind(-1)
    first = (yy + zz).clamp(min=_RIDGE)
    l, m = -xy / first, -xz / first
    second = (xx + zz + l * xy).clamp(min=_RIDGE)
    n = (-yz + l * xz) / second
    third = (xx + yy + m * xz - n * n * second).clamp(min=_RIDGE)
    q = q - l * p
    z = (r - m * p - n * q) / third
    y = q / second - n * z
    return torch.stack([p / first - l * y - m * z, y, z], dim=-1)
