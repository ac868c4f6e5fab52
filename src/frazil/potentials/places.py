"""Potentials on atoms that stay near given places: positions and templates."""

from __future__ import annotations

from abc import ABC
from typing import final

from torch import Tensor

from frazil.features import Features
from frazil.potentials.flat_bottom import BoundedPotential
from frazil.potentials.intervals import Straight
from frazil.potentials.placing import PlaceField
from frazil.potentials.sites import full_precision
from frazil.potentials.variables import length, length_and_direction
from frazil.restraints import PlaceTerms


class PlacePotential(BoundedPotential, ABC):
    """E = sum of weight x distance outside [lower, upper] of atoms from places, aligned or as they lie.

    Places that are aligned move with the atoms that they are put onto. The gradient has this part too, so it exerts
    no force and no torque on an aligned set as a whole. Terms of weight 0 are left out.

    Parameters
    ----------
    places : PlaceTerms
        T terms.
    """

    def __init__(self, places: PlaceTerms) -> None:
        self.places = places.keep(places.terms.weight != 0)
        self._field = PlaceField(self.places)
        super().__init__(self.places.terms.structure)

    @property
    def num_terms(self) -> int:
        """See `Potential.num_terms`."""
        return len(self.places)

    def values(self, coords: Tensor) -> Tensor:
        """Distances [T, S] of the atoms from their places in `coords` [B, S, A, 3]."""
        return length(self._field.offsets(full_precision(coords))[0]).t()

    def group_energies(self, coords: Tensor, t: float) -> Tensor:
        """See `BoundedPotential.group_energies`; every term is a group of its own here."""
        terms = self.places.terms
        excess, _ = Straight().outside(self.values(coords).t(), terms.lower, terms.upper)
        return (excess * terms.weight).t()

    def full_gradient(self, coords: Tensor, t: float) -> Tensor:
        """See `BoundedPotential.full_gradient`."""
        terms = self.places.terms
        offsets, placed = self._field.offsets(coords)
        distance, direction = length_and_direction(offsets)
        _, slope = Straight().outside(distance, terms.lower, terms.upper)
        forces = self._field.through_alignment(direction * (slope * terms.weight), offsets, placed)
        return self._field.sites.scatter(forces[None], coords.shape)


@final
class Positions(PlacePotential):
    """Atoms stay near given places, angstrom."""

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.positions)


@final
class Template(PlacePotential):
    """Representative atoms stay near a template, angstrom.

    Boltz-2 (Passaro et al. 2025) takes the alignment for fixed and moves whole tokens; here the alignment follows
    and the atom itself moves.
    """

    def __init__(self, features: Features) -> None:
        super().__init__(features.restraints.templates)
