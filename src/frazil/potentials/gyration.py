"""`Gyration`: the radius of gyration of a set of atoms."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from frazil.features import Features
from frazil.potentials.flat_bottom import BoundedPotential
from frazil.potentials.intervals import Straight
from frazil.potentials.segments import Segments
from frazil.potentials.sites import AtomSites, full_precision
from frazil.potentials.variables import FARTHEST
from frazil.restraints import Terms


@final
class Gyration(BoundedPotential):
    """E = sum over sets of weight x n x distance of the radius of gyration from [lower, upper], n the set's atoms.

    The radius is sqrt(mean |x - mean x|^2), atoms alike. With n, the gradient (x - mean x) / radius on an atom is
    about 1, whatever the size of the set. Bounds and weight are those of a set's first term.

    Parameters
    ----------
    features : Features
        Reads `restraints.gyration`.
    """

    def __init__(self, features: Features) -> None:
        terms = features.restraints.gyration
        self.terms = terms.keep(terms.weight[_first_of_groups(terms)][terms.group] != 0)
        first = _first_of_groups(self.terms)
        self._sets = _Sets(self.terms)
        self._lower, self._upper = self.terms.lower[first], self.terms.upper[first]
        self._weight = self.terms.weight[first]
        super().__init__(self.terms.group_structure)

    @property
    def num_terms(self) -> int:
        """Sets of atoms."""
        return self.terms.num_groups

    def values(self, coords: Tensor) -> Tensor:
        """Radii [G, S] in `coords` [B, S, A, 3], angstrom."""
        return gyration_radii(self.terms, coords)

    def group_energies(self, coords: Tensor, t: float) -> Tensor:
        """See `BoundedPotential.group_energies`."""
        radii = self._sets.radii(self._sets.arms(coords)).t()
        excess, _ = Straight().outside(radii, self._lower, self._upper)
        return (excess * self._weight * self._sets.groups.sizes).t()

    def full_gradient(self, coords: Tensor, t: float) -> Tensor:
        """See `BoundedPotential.full_gradient`; none where all atoms of a set coincide."""
        arms = self._sets.arms(coords)
        radii = self._sets.radii(arms).t()
        _, slope = Straight().outside(radii, self._lower, self._upper)
        pull = slope * self._weight / torch.where(radii == 0, float("inf"), radii)
        return self._sets.sites.scatter((arms * self._sets.groups.spread(pull.t()).t())[None], coords.shape)


@final
class _Sets:
    """Sets of atoms, one for each group of terms."""

    def __init__(self, terms: Terms) -> None:
        self.sites = AtomSites(terms.structure, terms.atoms)
        self.groups = Segments(terms.group, terms.num_groups)

    def arms(self, coords: Tensor) -> Tensor:
        """Atoms from the middle of their set, [3, S, n]."""
        points = self.sites.gather(coords)[0]
        middles = self.groups.sum(points.permute(2, 0, 1).flatten(1)) / self.groups.sizes[:, None]
        return points - self.groups.spread(middles).t().unflatten(0, points.shape[:2])

    def radii(self, arms: Tensor) -> Tensor:
        """[G, S]."""
        x, y, z = (arms * arms).unbind(0)
        mean = self.groups.sum((x + y + z).t()) / self.groups.sizes[:, None]
        return torch.sqrt(mean).clamp(max=FARTHEST)


def gyration_radii(terms: Terms, coords: Tensor) -> Tensor:
    """Radii of gyration [G, S] of all sets, those of weight 0 too.

    Parameters
    ----------
    terms : Terms
        k = 1; groups are sets.
    coords : Tensor
        [B, S, A, 3], angstrom.

    Examples
    --------
    >>> terms = Terms.of(torch.tensor([[0], [1]]), group=torch.tensor([0, 0]))
    >>> gyration_radii(terms, torch.tensor([[0.0, 0, 0], [6, 0, 0]])[None, None])
    tensor([[3.]])
    """
    sets = _Sets(terms)
    return sets.radii(sets.arms(full_precision(coords)))


def _first_of_groups(terms: Terms) -> Tensor:
    """[G] int64, first term of each group."""
    return torch.searchsorted(terms.group, torch.arange(terms.num_groups, device=terms.group.device))
