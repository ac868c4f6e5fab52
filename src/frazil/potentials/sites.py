"""Sites: the points that terms are made of, taken from coordinates, with the way of their gradients back to atoms.

Points are kept component first, [k, 3, S, T]: every operation on them then runs over contiguous memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from frazil.potentials.segments import Segments


def full_precision(coords: Tensor) -> Tensor:
    """`coords` in float32, the least precision that energies are computed in; float64 stays."""
    return coords if coords.dtype == torch.float64 else coords.float()


class Sites(ABC):
    """k points for each of T terms of a batch of structures."""

    @abstractmethod
    def gather(self, coords: Tensor) -> Tensor:
        """Points [k, 3, S, T] of `coords` [B, S, A, 3]."""

    @abstractmethod
    def scatter(self, vectors: Tensor, shape: torch.Size) -> Tensor:
        """Gradient of the shape [B, S, A, 3] from those of the points, [k, 3, S, T]."""


@final
class AtomSites(Sites):
    """The atoms of terms.

    Parameters
    ----------
    structure : Tensor
        [T] int64, row of the batch.
    atoms : Tensor
        [T, k] int64, atoms of that structure.

    Examples
    --------
    >>> sites = AtomSites(torch.tensor([0]), torch.tensor([[1, 0]]))
    >>> sites.gather(torch.arange(6.0).view(1, 1, 2, 3))[..., 0, 0]
    tensor([[3., 4., 5.],
            [0., 1., 2.]])
    """

    def __init__(self, structure: Tensor, atoms: Tensor) -> None:
        self._num_terms, self._num_points = atoms.shape
        self._structure = structure.repeat(self._num_points)
        self._atoms = atoms.t().flatten()
        self._segments: dict[tuple[int, int], Segments] = {}

    def gather(self, coords: Tensor) -> Tensor:
        """See `Sites.gather`."""
        b, s, a, _ = coords.shape
        flat = coords.permute(3, 1, 0, 2).reshape(3 * s, b * a)
        picked = flat.index_select(1, self._structure * a + self._atoms)
        return picked.view(3, s, self._num_points, self._num_terms).permute(2, 0, 1, 3)

    def scatter(self, vectors: Tensor, shape: torch.Size) -> Tensor:
        """See `Sites.scatter`."""
        b, s, a, _ = shape
        if (b, a) not in self._segments:
            self._segments = {(b, a): Segments(self._structure * a + self._atoms, b * a)}
        rows = vectors.permute(0, 3, 2, 1).reshape(len(self._atoms), s * 3)
        return self._segments[b, a].sum(rows).view(b, a, s, 3).transpose(1, 2).contiguous()


@final
class CentreSites(Sites):
    """The centres (means) of sets of atoms.

    Parameters
    ----------
    structure, atom, owner : Tensor
        [m] int64: row of the batch, atom, and the set that it belongs to; every set up to the last has atoms.
    sets : Tensor
        [T, k] int64, the sets of each term.
    """

    def __init__(self, structure: Tensor, atom: Tensor, owner: Tensor, sets: Tensor) -> None:
        self._atoms = AtomSites(structure, atom[:, None])
        self._members = Segments(owner, int(owner.max()) + 1 if len(owner) else 0)
        self._sets = sets
        self._terms = Segments(sets.t().flatten(), self._members.count)

    @property
    def sizes(self) -> Tensor:
        """[n] int64, atoms of each set."""
        return self._members.sizes

    def gather(self, coords: Tensor) -> Tensor:
        """See `Sites.gather`."""
        members = self._atoms.gather(coords)[0]
        sums = self._members.sum(members.permute(2, 0, 1).flatten(1))
        centres = sums / self.sizes[:, None]
        picked = centres.index_select(0, self._sets.t().flatten()).unflatten(0, (self._sets.shape[1], -1))
        return picked.unflatten(2, members.shape[:2]).permute(0, 2, 3, 1)

    def scatter(self, vectors: Tensor, shape: torch.Size) -> Tensor:
        """See `Sites.scatter`."""
        pulls = self._terms.sum(vectors.permute(0, 3, 1, 2).reshape(-1, 3 * vectors.shape[2]))
        each = self._members.spread(pulls / self.sizes[:, None])
        return self._atoms.scatter(each.unflatten(1, vectors.shape[1:3]).permute(1, 2, 0)[None], shape)
