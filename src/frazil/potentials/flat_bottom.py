"""`FlatBottomPotential`: the energy of terms that have to lie in an interval; `term_values` of such terms."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from frazil.errors import InputError
from frazil.potentials.base import Potential
from frazil.potentials.intervals import Interval, Straight
from frazil.potentials.reductions import AllOf, Reduction
from frazil.potentials.segments import Segments
from frazil.potentials.sites import AtomSites, Sites, full_precision
from frazil.potentials.variables import Variable
from frazil.restraints import Terms


class BoundedPotential(Potential, ABC):
    """Energies of groups of terms, summed over each structure; nothing where there are no groups.

    Parameters
    ----------
    structure : Tensor
        [G] int64, row of the batch of each group.
    """

    def __init__(self, structure: Tensor) -> None:
        self._structures = Segments(structure, int(structure.max()) + 1 if len(structure) else 0)

    @property
    def name(self) -> str:
        """The class's name in lower case, words joined by underscores, as in `POTENTIAL_SETS`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def group_energies(self, coords: Tensor, t: float) -> Tensor:
        """Energies [G, S] for `coords` [B, S, A, 3], float32 or float64; G > 0."""

    @abstractmethod
    def full_gradient(self, coords: Tensor, t: float) -> Tensor:
        """Gradient [B, S, A, 3] for such `coords`; G > 0."""

    @final
    def energy(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.energy`."""
        coords = full_precision(coords)
        if not self._structures.count:
            return coords.new_zeros(coords.shape[:2])
        sums = self._structures.sum(self.group_energies(coords, t))
        return pad(sums, (0, 0, 0, len(coords) - len(sums)))

    @final
    def gradient(self, coords: Tensor, t: float) -> Tensor:
        """See `Potential.gradient`."""
        coords = full_precision(coords)
        return self.full_gradient(coords, t) if self._structures.count else torch.zeros_like(coords)


class FlatBottomPotential(BoundedPotential, ABC):
    """E = sum over groups of reduce(weight x distance of the variable from [lower, upper]).

    Terms of weight 0 are left out: they are judged, but do not steer. The gradient is written by hand, and each
    sample's has the same bits whatever other samples, structures and padding there are.

    Parameters
    ----------
    terms : Terms
        T terms on as many atoms each as `variable` takes points.
    variable : Variable
        What is bounded.
    reduction : Reduction
        How the terms of a group make one energy; by default all have to hold.
    interval : Interval
        How a value is compared with its bounds; by default on a line.
    sites : Sites, optional
        Points of the terms, if not the atoms that they name.

    Raises
    ------
    InputError
        If the terms have more or fewer atoms than the variable takes points.

    Examples
    --------
    >>> from frazil.potentials.variables import Distance
    >>> class Bonds(FlatBottomPotential):
    ...     pass
    >>> bonds = Bonds(Terms.of(torch.tensor([[0, 1]]), upper=2.0), Distance())
    >>> coords = torch.tensor([[0.0, 0, 0], [5, 0, 0]])[None, None]
    >>> bonds.energy(coords, t=1.0), bonds.gradient(coords, t=1.0)[0, 0, :, 0]
    (tensor([[3.]]), tensor([-1.,  1.]))
    """

    def __init__(
        self, terms: Terms, variable: Variable, reduction: Reduction | None = None, interval: Interval | None = None,
        sites: Sites | None = None,
    ) -> None:  # fmt: skip
        if terms.atoms.shape[1] != variable.num_points:
            raise InputError(
                f"{type(self).__name__}: its terms have {terms.atoms.shape[1]} atoms each, but "
                f"{type(variable).__name__} takes {variable.num_points}"
            )
        self.terms = terms if sites else terms.keep(terms.weight != 0)
        self.variable = variable
        self.reduction, self.interval = reduction or AllOf(), interval or Straight()
        self.sites = sites or AtomSites(self.terms.structure, self.terms.atoms)
        self._groups = Segments(self.terms.group, self.terms.num_groups)
        super().__init__(self.terms.group_structure)

    @property
    def num_terms(self) -> int:
        """See `Potential.num_terms`."""
        return len(self.terms)

    def bounds(self, t: float) -> tuple[Tensor, Tensor]:
        """Least and greatest values [T] at time `t`."""
        return self.terms.lower, self.terms.upper

    def values(self, coords: Tensor) -> Tensor:
        """Values [T, S] of the terms in `coords` [B, S, A, 3]."""
        return self.variable.value(self.sites.gather(full_precision(coords))).t()

    def group_energies(self, coords: Tensor, t: float) -> Tensor:
        """See `BoundedPotential.group_energies`."""
        excess, _ = self.interval.outside(self.variable.value(self.sites.gather(coords)), *self.bounds(t))
        return self.reduction.energy((excess * self.terms.weight).t(), self._groups, t)

    def full_gradient(self, coords: Tensor, t: float) -> Tensor:
        """See `BoundedPotential.full_gradient`."""
        value, jacobian = self.variable.value_and_jacobian(self.sites.gather(coords))
        excess, slope = self.interval.outside(value, *self.bounds(t))
        shares = self.reduction.shares((excess * self.terms.weight).t(), self._groups, t)
        return self.sites.scatter(jacobian * (slope * self.terms.weight * shares.t()), coords.shape)


def term_values(terms: Terms, variable: Variable, coords: Tensor) -> Tensor:
    """Values [T, S] of all terms, those of weight 0 too.

    Parameters
    ----------
    terms : Terms
        T terms.
    variable : Variable
        What they bound.
    coords : Tensor
        [B, S, A, 3], angstrom.

    Examples
    --------
    >>> from frazil.potentials.variables import Distance
    >>> terms = Terms.of(torch.tensor([[0, 1]]), weight=0.0)
    >>> term_values(terms, Distance(), torch.tensor([[0.0, 0, 0], [3, 4, 0]])[None, None])
    tensor([[5.]])
    """
    return variable.value(AtomSites(terms.structure, terms.atoms).gather(full_precision(coords))).t()
